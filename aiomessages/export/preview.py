"""A look at an export before it runs: only the list is requested, and nothing is written."""

from collections.abc import Container
from contextlib import aclosing
from typing import Final

import msgspec

from aiomessages.calls.rate_limit import Pace
from aiomessages.client import AsyncMessagesClient, caller_of

from .created_between import created_of
from .names import Names
from .run import MAX_RETRY_AFTER
from .source import ListedSource, Source, batches
from .sqlite_files import read_snapshot

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
    names: Names | None = None,
    *,
    include_reply: bool = True,
    max_rps: float | None = None,
) -> Preview:
    """Return what an export of the source would fetch; `names` are those of its destination.

    A list is read to its end. Ids are counted, and nothing is requested for them.
    """
    found = Preview()
    done = _done(names)

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


def _done(names: Names | None) -> Container[str]:
    """Return the ids that the output of an earlier run has."""
    if names is None or not names.ledger.is_file():
        return ()
    return read_snapshot(names.ledger, lambda db: {row[0] for row in db.execute(_DONE)})
