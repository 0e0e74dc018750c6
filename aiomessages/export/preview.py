"""A look at an export before it runs: only the list is requested, and nothing is written."""

import sqlite3
from collections.abc import Container, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import msgspec

from aiomessages.calls.rate_limit import Pace
from aiomessages.client import AsyncMessagesClient, caller_of

from .created_between import created_of
from .exporting import check_layout, settings_of
from .ledger import agreement
from .names import Names
from .output import check_format, check_unknown
from .run import MAX_RETRY_AFTER
from .source import ListedSource, Source, batches, selection_of
from .sqlite_files import read_snapshot, sqlite_errors

_DONE: Final = "SELECT id FROM completions WHERE state IN ('done', 'skipped')"


class Preview(msgspec.Struct):
    """What an export would fetch.

    `completions` are those to fetch, created between `first` and `last` (Unix seconds, None if it
    is unknown); `already` are in the output. `listed` is the number of requests for the list, which
    were sent, and `requests` the least number that the export takes with them.
    """

    completions: int = 0
    already: int = 0
    first: float | None = None
    last: float | None = None
    listed: int = 0
    requests: int = 0


async def preview(
    client: AsyncMessagesClient,
    source: Source,
    destination: str | Path | None = None,
    *,
    layout: str = "messages",
    include_reply: bool = True,
    media: str | Path | None = None,
    origin: str | None = None,
    max_rps: float | None = None,
) -> Preview:
    """Return what an export of the source to a destination, if there is one, would fetch.

    The arguments are those of `export`, and options that it would refuse are refused in the same
    way. A list is read to its end. Ids are counted, and nothing is requested for them.
    """
    check_layout(layout, include_reply=include_reply, media=media)
    done: Container[str] = ()
    if destination is not None:
        names = Names.of(destination)
        check_format(names.destination)
        settings = settings_of(client, names, layout, media, origin, include_reply=include_reply)
        done = _done(names, settings, selection_of(source))
    found = Preview()

    def count() -> None:
        found.listed += 1

    caller = caller_of(client).paced(
        Pace(max_rps),
        max_retry_after=MAX_RETRY_AFTER,
        on_retry=lambda _: None,
        on_sent=count,
    )
    seen: set[str] = set()  # a look holds the ids in memory, which an export does not
    async with aclosing(batches(source, caller.attempts)) as listed:
        async for batch in listed:
            for completion_id, completion in batch:
                if completion_id in seen:
                    continue
                seen.add(completion_id)
                if completion_id in done:
                    found.already += 1
                    continue
                found.completions += 1
                _note(found, completion and created_of(completion))
    # A listed completion carries its reply, an id needs one more request for it.
    each = 1 if isinstance(source, ListedSource) or not include_reply else 2
    found.requests = found.listed + each * found.completions
    return found


def _note(found: Preview, created: float | bytes | None) -> None:
    if isinstance(created, int | float):
        found.first = created if found.first is None else min(found.first, created)
        found.last = created if found.last is None else max(found.last, created)


def _done(
    names: Names, settings: Mapping[str, Any], selection: Mapping[str, Any] | None
) -> Container[str]:
    """Return the ids that the output of an earlier run has.

    Raises ChangedError for a run with other options, and CorruptError for files that are no
    export's.
    """
    if not names.ledger.is_file():
        check_unknown(names)
        return ()

    def read(db: sqlite3.Connection) -> set[str]:
        if not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            return set()  # a process has just created it, or was killed then
        agreement(db, settings, selection)
        return {row[0] for row in db.execute(_DONE)}

    with sqlite_errors(names.ledger):
        return read_snapshot(names.ledger, read)
