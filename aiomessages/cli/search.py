"""`aiomessages search`: find messages in an archive by their words.

It sends nothing and changes nothing.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from aiomessages.archive import Archive, Hit

from . import exits, formats, output, running, stderr
from .options import AtLeastOne, Utc
from .selection import COMPLETIONS, Metadata, Model, Since, Until, metadata_of, span_of

# What a person reads at once. A program gets all.
_AT_TERMINAL = 20

_EXAMPLES = """\
All words must occur; accents and capitals do not count. begin*, OR, NOT, ( )
and "a phrase" (quoted for the shell as well) are understood.

Examples:
  aiomessages search archive.db umbrella
  aiomessages search archive.db 'refund NOT "store credit"' --since 7d
  aiomessages search archive.db 'visa OR mastercard*' --role user --limit 20
  aiomessages search archive.db refund | jq -r .completion_id | sort -u
  aiomessages search archive.db refund --format table | less

The exit code is 1 if nothing is found.
"""

app = App(
    name="search",
    group_parameters=COMPLETIONS,
    usage="Usage: aiomessages search [OPTIONS] ARCHIVE WORDS...",
    help_epilogue=_EXAMPLES,
)


@app.default
def search(
    archive: Annotated[
        Path, Parameter(metavar="ARCHIVE", help="The file that `aiomessages sync` keeps.")
    ],
    /,
    *words: Annotated[str, Parameter(metavar="WORDS", help="What to search for.")],
    role: Annotated[
        str | None,
        Parameter(metavar="ROLE", help="Only messages of this role: user, …"),
    ] = None,
    model: Model = None,
    metadata: Metadata = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        AtLeastOne | None,
        Parameter(
            metavar="N",
            help=f"Stop after N messages. Without it: {_AT_TERMINAL} at a terminal, else all.",
        ),
    ] = None,
    best: Annotated[
        bool,
        formats.shown_by(
            show_default=False,
            help="The best matches first, of very many the best of the newest; else the newest.",
        ),
    ] = False,
    utc: Utc = False,
    format: formats.HitOption = "auto",  # noqa: A002 - the name of the option
    quiet: formats.Quiet = False,
) -> int:
    """Find messages and replies in an archive by their words."""
    _check(archive, words)
    span, wanted = span_of(since, until, utc=utc), metadata_of(metadata)
    screen = output.screen_for(output.STANDARD_OUTPUT, utc=utc)
    shown = formats.of_hits(format, screen)
    most = _AT_TERMINAL if limit is None and formats.read_at_terminal(format, screen) else None
    found = 0

    async def items(opened: Archive) -> AsyncIterator[Any]:
        nonlocal found
        hits = opened.search(
            " ".join(words),
            role=role,
            model=model,
            metadata=wanted,
            since=span.since,
            until=span.until,
            limit=limit if most is None else most + 1,  # one more tells whether there are more
            best=best,
        )
        async for hit in hits:
            found += 1
            if most is None or found <= most:
                yield _plain(hit)

    async def write_all(write: output.Write) -> None:
        async with Archive(archive) as opened:
            await formats.write_all(items(opened), shown, write)

    with output.opened(output.STANDARD_OUTPUT) as write:
        running.run(write_all(write))
    if not found:
        if not quiet:
            stderr.say(f"nothing found in {archive}")
        return exits.RUNTIME  # as grep does
    if not quiet and most is not None and found > most:
        which = "best" if best else "newest"
        stderr.say(f"these are the {which} {most}; there are more: --limit N shows up to N")
    return exits.OK


def _check(archive: Path, words: Sequence[str]) -> None:
    """Raise UsageError if there is nothing to search for, or the archive comes last."""
    if not words:
        given = "WORDS are" if archive.exists() else "ARCHIVE or WORDS is"
        raise exits.UsageError(f"{given} missing", "write: aiomessages search archive.db umbrella")
    if not archive.exists() and Path(words[-1]).is_file():
        raise exits.UsageError(f"{archive}: there is no such archive", f"name {words[-1]} first")


def _plain(hit: Hit) -> dict[str, Any]:
    message = hit.message.to_dict()
    role = message.get("role")
    return {
        "completion_id": hit.completion_id,
        "n": hit.n,
        "choice": hit.choice,
        "role": role if isinstance(role, str) else None,
        "created": hit.created,
        "model": hit.model,
        "snippet": msgspec.to_builtins(hit.snippet),
        "message": message,
    }
