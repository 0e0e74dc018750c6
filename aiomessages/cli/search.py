"""`aiomessages search`: find messages in an archive by their words.

It sends nothing and changes nothing.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from aiomessages.archive import Archive, Hit

from . import exits, formats, output, running, stderr
from .options import AtLeastOne
from .selection import COMPLETIONS, Metadata, Model, Since, Until, Utc, metadata_of, span_of

_EXAMPLES = """\
Words must all occur; accents and capitals do not count. "a phrase" (quoted for the shell as well),
begin*, OR, NOT and ( ) are understood.

Examples:
  aiomessages search archive.db umbrella
  aiomessages search archive.db 'refund NOT "store credit"' --since 7d
  aiomessages search archive.db 'visa OR mastercard*' --role user --limit 20
  aiomessages search archive.db refund --format jsonl | jq -r .completion_id | sort -u

The exit code is 1 if nothing is found.
"""

app = App(name="search", group_parameters=COMPLETIONS, help_epilogue=_EXAMPLES)


@app.default
def search(
    archive: Annotated[
        Path, Parameter(metavar="ARCHIVE", help="The file that `aiomessages sync` keeps.")
    ],
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
        Parameter(metavar="N", help="Stop after N messages."),
    ] = None,
    best: Annotated[
        bool,
        formats.shown_by(
            help="The best matches first, of very many the best of the newest; else the newest."
        ),
    ] = False,
    utc: Utc = False,
    format: formats.HitOption = "auto",  # noqa: A002 - the name of the option
) -> int:
    """Find messages and replies in an archive by their words."""
    if not words:
        raise exits.UsageError("WORDS are missing: what should be searched for?")
    span, wanted = span_of(since, until, utc=utc), metadata_of(metadata)
    shown = formats.of_hits(format, output.screen_for(output.STANDARD_OUTPUT), utc=utc)
    found = False

    async def items(opened: Archive) -> AsyncIterator[Any]:
        nonlocal found
        hits = opened.search(
            " ".join(words),
            role=role,
            model=model,
            metadata=wanted,
            since=span.since,
            until=span.until,
            limit=limit,
            best=best,
        )
        async for hit in hits:
            found = True
            yield _plain(hit)

    async def write_all(write: output.Write) -> None:
        async with Archive(archive) as opened:
            await formats.write_all(items(opened), shown, write)

    with output.opened(output.STANDARD_OUTPUT) as write:
        running.run(write_all(write))
    if found:
        return exits.OK
    stderr.say(f"nothing found in {archive}")
    return exits.RUNTIME  # as grep does


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
