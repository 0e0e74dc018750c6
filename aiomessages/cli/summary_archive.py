"""What an archive holds, in lines for a person: pure functions of its status.

Nothing here prints or reads a file. Times name their zone.
"""

from collections.abc import Iterator
from datetime import tzinfo

from aiomessages.archive import ArchiveStatus, Run

from .progress import counted, megabytes
from .summary import SHOWN, moment

_MEANINGS = {"pending": "not visible yet", "failed": "not read so far"}


def archive_table(found: ArchiveStatus, zone: tzinfo | None = None) -> Iterator[tuple[str, str]]:
    """Yield a name and a value for each line; times are in the zone, or local."""
    if found.project:
        facts = dict(found.project)
        server = facts.pop("base_url", "")
        said = [server, *(f"{name} {value}" for name, value in facts.items())]
        yield "server", ", ".join(filter(None, said))
    numbers = (f"{count:,} {state}" for state, count in found.completions.items())
    yield "completions", ", ".join(numbers) or "none yet"
    replies = f"{found.replies:,} " + ("reply" if found.replies == 1 else "replies")
    yield "messages", f"{counted(found.messages, 'message')} and {replies}"
    if found.first_created is not None and found.last_created is not None:
        first, last = moment(found.first_created, zone), moment(found.last_created, zone)
        yield "created", f"{first} to {last}"
    yield "size", megabytes(found.bytes)
    for number, run in enumerate(found.runs):  # the newest first
        outcome = _outcome(run, is_running=found.running and not number)
        yield "run", f"{moment(run.begin, zone)}: {outcome}"


def waiting(found: ArchiveStatus, zone: tzinfo | None = None) -> list[str]:
    """Return a line for each of the first completions that wait, and one for the others."""
    lines = [
        f"waiting: {item.id}, {_MEANINGS.get(item.state, item.state)}"
        f" since {moment(item.since, zone)}" + (f": {item.error}" if item.error else "")
        for item in found.waiting[:SHOWN]
    ]
    more = len(found.waiting) - SHOWN
    return [*lines, f"waiting: {more:,} more (--format json has all)"] if more > 0 else lines


def _outcome(run: Run, *, is_running: bool) -> str:
    if run.end is None:
        return f"{run.kind}, running" if is_running else f"{run.kind}, not ended"
    numbers = {"new": run.new, "changed": run.changed, "gone": run.gone, "failed": run.failed}
    said = [f"{count:,} {name}" for name, count in numbers.items() if count]
    if not said and run.result in (None, "complete"):
        said = ["nothing new"]
    done = ", ".join([*said, counted(run.requests, "request")])
    return f"{run.kind}: {done}" + (f"; {run.result}" if run.result else "")
