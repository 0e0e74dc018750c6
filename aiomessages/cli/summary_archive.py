"""What an archive holds, in lines for a person: pure functions of its status.

Nothing here prints or reads a file. Times name their zone.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

from aiomessages.archive import ArchiveStatus, Run

from .progress import counted, megabytes
from .summary import SHOWN

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
        yield "created", f"{_time(found.first_created, zone)} to {_time(found.last_created, zone)}"
    yield "size", megabytes(found.bytes)
    for run in found.runs:
        yield "run", f"{_time(run.begin, zone)}: {_outcome(run)}"


def waiting(found: ArchiveStatus, zone: tzinfo | None = None) -> list[str]:
    """Return a line for each of the first completions that wait, and one for the others."""
    lines = [
        f"waiting: {item.id}, {_MEANINGS.get(item.state, item.state)}"
        f" since {_time(item.since, zone)}" + (f": {item.error}" if item.error else "")
        for item in found.waiting[:SHOWN]
    ]
    more = len(found.waiting) - SHOWN
    return [*lines, f"waiting: {more:,} more (--format json has all)"] if more > 0 else lines


def _outcome(run: Run) -> str:
    if run.end is None:
        return f"{run.kind}, not ended"
    numbers = {"new": run.new, "changed": run.changed, "gone": run.gone, "failed": run.failed}
    said = [f"{count:,} {name}" for name, count in numbers.items() if count]
    if not said and run.result in (None, "complete"):
        said = ["nothing new"]
    done = ", ".join([*said, counted(run.requests, "request")])
    return f"{run.kind}: {done}" + (f"; {run.result}" if run.result else "")


def _time(seconds: float, zone: tzinfo | None) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone(zone).strftime("%F %H:%M %Z")
    except (ValueError, OverflowError, OSError):  # a server may send any number
        return f"{seconds:.0f} s"
