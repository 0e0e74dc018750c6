"""Write the shards of a project to the destination: its completions, each once, in parts.

A list has one cursor and cannot be split, so one process reads it. Memory holds one part.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Final, Self

from aiomessages.client import caller_of
from aiomessages.export.ledger import MAX_ROWS, Ledger
from aiomessages.export.run import MAX_RETRY_AFTER
from aiomessages.export.source import SourceItem, batches

from .destination import Destination
from .plan import Named, RunSettings, Shard, encode_part, line_of, shard_of
from .projects import Access, Selection, checked_ids
from .remote_queue import RemoteQueue

# A part is complete with this many bytes, if it does not have its number of completions before: it
# is in memory while it is made, and a shard of long conversations would take long.
PART_BYTES: Final = 32 * 2**20


class Parts:
    """Write parts of `size` completions to the destination, and keep their names."""

    def __init__(
        self,
        project: str,
        base_url: str,
        settings: RunSettings,
        destination: Destination,
        size: int,
    ) -> None:
        self.shards: list[Shard] = []
        self._facts = (project, base_url, settings)
        self._destination = destination
        self._size = size
        self._lines: list[bytes] = []
        self._bytes = 0

    def add(self, named: Iterable[Named]) -> None:
        """Add completions that were not added before."""
        for completion_id, completion in named:
            line = line_of(completion_id, completion)
            self._lines.append(line)
            self._bytes += len(line)
            if len(self._lines) == self._size or self._bytes >= PART_BYTES:
                self.finish()

    def finish(self) -> list[Shard]:
        """Write the last part; return the shards."""
        if self._lines:
            part = encode_part(self._lines)
            shard = shard_of(*self._facts, len(self.shards), part, len(self._lines))
            self._destination.put(f"plan/{shard.name}.txt.gz", part)
            self.shards.append(shard)
            self._lines, self._bytes = [], 0
        return self.shards


async def plan_selection(
    access: Access, selection: Selection, parts: Parts, queue: RemoteQueue
) -> list[Shard]:
    """List the completions of a selection, write their parts, and return the shards.

    Raises APIError if the list cannot be read to its end, and ClusterError.
    """
    with _Seen() as seen:
        async with aclosing(listed(access, selection, queue)) as found:
            async for batch in found:
                new = seen.first_sights([(one, completion) for one, completion in batch])
                await asyncio.to_thread(parts.add, new)
    return await asyncio.to_thread(parts.finish)


async def listed(
    access: Access, selection: Selection, queue: RemoteQueue
) -> AsyncGenerator[list[SourceItem], None]:
    """Yield the completions of a selection in batches; one may come twice. Raises APIError."""
    async with access.client() as client:
        caller = caller_of(client).queued(queue, max_retry_after=MAX_RETRY_AFTER)
        async with aclosing(batches(selection.source(client), caller.attempts)) as found:
            async for batch in found:
                yield batch


def plan_ids(ids: Iterable[object], parts: Parts) -> list[Shard]:
    """Write the parts of ids, and return the shards. Raises ConfigurationError, ClusterError."""
    with _Seen() as seen:
        for batch in _batched(ids):
            parts.add(seen.first_sights([(completion_id, None) for completion_id in batch]))
    return parts.finish()


def digest_of_ids(ids: Iterable[object]) -> dict[str, object]:
    """Return what distinguishes ids from others, as the source of a project in a plan."""
    digest, count = hashlib.sha256(), 0
    for count, completion_id in enumerate(checked_ids(ids), 1):  # noqa: B007 - the last one counts
        digest.update(completion_id.encode() + b"\n")
    return {"ids": count, "sha256": digest.hexdigest()}


def _batched(ids: Iterable[object]) -> Iterator[list[str]]:
    rest = iter(checked_ids(ids))
    while batch := list(islice(rest, MAX_ROWS)):
        yield batch


class _Seen:
    """The ids of a project so far, on disk: a list of millions does not fit into memory."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="aiomessages-")
        self._ledger = Ledger(Path(self._folder.name, "ledger"))
        self._ledger.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._ledger.__exit__(None, None, None)
        self._folder.cleanup()

    def first_sights(self, named: list[Named]) -> list[Named]:
        """Return the completions that are new, each once."""
        new = self._ledger.first_sights([completion_id for completion_id, _ in named])
        found = []
        for completion_id, completion in named:
            if completion_id in new:
                new.remove(completion_id)
                found.append((completion_id, completion))
        return found
