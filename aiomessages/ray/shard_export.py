"""Export one shard: read its conversations, many at once, and make one file of them.

What may pass is tried once more at the end of the shard, and named in its record if it fails again.
An error that all other conversations would meet ends the run. Nothing here knows Ray.
"""

import asyncio
import gzip
import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import IO, Final, NamedTuple

from aiomessages.calls.refusals import Refusals
from aiomessages.errors import APIConnectionError, APIError, ConfigurationError, RateLimitError
from aiomessages.export.conversation_reader import ConversationReader, Item, Outcome
from aiomessages.export.layouts import incomplete_lines, lay_out
from aiomessages.export.ledger_schema import REFUSED
from aiomessages.export.memory_budget import Reservation
from aiomessages.export.run import MAX_RETRY_AFTER
from aiomessages.export.stored import Fetched, Lines, SkipError
from aiomessages.export.writer import run_to_end
from aiomessages.paging.workers import Results
from aiomessages.values.json_lines import split_lines
from aiomessages.wire.requests import check_completion_id

from .columns import ParquetFile
from .plan import Named, RunSettings
from .records import ShardRecord
from .spool import Spool

# After so many failures in a row, the network or the server is down, and not one conversation.
FAILURES_IN_A_ROW: Final = 20


class ShardFile(NamedTuple):
    """A finished shard: its record, its file, and the file of incomplete lines, if there are any.

    The files have no names. Close both.
    """

    record: ShardRecord
    data: IO[bytes]
    incomplete: bytes

    def close(self) -> None:
        """Delete the file."""
        self.data.close()


class Failures:
    """The failures of one process in a row; each conversation that is read ends them.

    `reads` is the number of conversations that were read.
    """

    def __init__(self) -> None:
        self._refusals = Refusals(MAX_RETRY_AFTER)
        self._count = 0
        self.reads = 0

    def ends_run(self, error: APIError) -> bool:
        """Record a failure; return whether all other conversations would fail as well."""
        self._count += 1
        is_last = self._refusals.ends_run(error) or isinstance(error, RateLimitError)
        return is_last or self._count >= FAILURES_IN_A_ROW

    def succeeded(self) -> None:
        """Record a conversation that was read, or is known not to exist."""
        self._count = 0
        self.reads += 1
        self._refusals.succeeded()


@dataclass
class ShardExport:
    """The export of one shard."""

    name: str
    settings: RunSettings
    reader: ConversationReader
    failures: Failures
    raises: bool
    concurrency: int

    _found: dict[int, str] = field(default_factory=dict)  # by place: a state other than done
    _reasons: dict[int, str] = field(default_factory=dict)
    _before: dict[int, tuple[str, int]] = field(default_factory=dict)  # reason, and reads so far
    _incomplete: dict[int, bytes] = field(default_factory=dict)
    _left_out: dict[int, str] = field(default_factory=dict)
    _rows: int = 0
    _done: int = 0
    _messages: int = 0

    async def run(self, named: Sequence[Named]) -> ShardFile:
        """Read all conversations, and return the shard's file. Raises APIError."""
        with Spool() as self._spool:
            self._writing = asyncio.Lock()
            await self._read_all(enumerate(named))
            for place in self._before:
                del self._found[place], self._reasons[place]
            await self._read_all([(place, named[place]) for place in self._before])
            self._refuse_unreachable()
            return await run_to_end(self._finish, [completion_id for completion_id, _ in named])

    async def _read_all(self, places: Iterable[tuple[int, Named]]) -> None:
        async with Results(places, self._read, concurrency=self.concurrency) as results:
            async for _ in results:
                pass

    async def _read(self, item: tuple[int, Named]) -> None:
        place, (completion_id, completion) = item
        try:
            check_completion_id(completion_id)
        except ConfigurationError:
            self._note(place, "failed", REFUSED)
            return
        wanted = Item(completion_id, completion=completion, old_list=True)
        try:
            with (
                Reservation(self.reader.budget) as held,
                closing(await self.reader.read(wanted, held)) as outcome,
            ):
                self.failures.succeeded()
                await self._write(place, wanted, outcome)
        except APIError as error:
            reason = type(error).__name__
            # At the end of the shard, broken conversations follow on one another.
            failures = Failures() if self._is_broken(place, reason) else self.failures
            if failures.ends_run(error) or self.raises:
                raise
            self._note(place, "failed", reason)
            self._error = error
            self._before.setdefault(place, (reason, self.failures.reads))

    def _refuse_unreachable(self) -> None:
        """Raise the last error if the server has not been reached since the first failure.

        Fewer completions than end a run would be named as failed, and not be tried again.
        """
        reasons = {self._reasons[place] for place in self._before if place in self._reasons}
        reached = any(reads < self.failures.reads for _, reads in self._before.values())
        if reasons == {APIConnectionError.__name__} and not reached:
            raise self._error

    def _is_broken(self, place: int, reason: str) -> bool:
        """Return whether a conversation failed like this before, and others were read since."""
        before, reads = self._before.get(place, ("", 0))
        return before == reason and self.failures.reads > reads

    def _note(self, place: int, state: str, reason: str = "") -> None:
        self._found[place] = state
        if reason:
            self._reasons[place] = reason

    async def _write(self, place: int, item: Item, outcome: Outcome) -> None:
        completion = outcome.completion
        if outcome.state != "done":
            self._note(place, outcome.state)
            if outcome.state == "lost":
                blocks, about = outcome.messages.blocks(), completion or item.completion
                pieces = incomplete_lines(item.completion_id, blocks, about)
                self._incomplete[place] = b"".join(pieces)
            return
        whole = not outcome.messages.spilled
        fetched = Fetched(
            item.completion_id, outcome.messages.blocks(), completion, item.completion
        )
        columns = self.settings.format == "parquet"
        try:
            lines = lay_out(self.settings.layout, fetched, columns=columns, whole=whole)
        except SkipError as reason:
            self._note(place, "skipped", str(reason))
            return
        if isinstance(lines, Lines) and lines.left_out:
            self._left_out[place] = ", ".join(lines.left_out)
        async with self._writing:
            if isinstance(lines, Lines):
                self._rows += self._spool.add(place, [lines])
            else:
                self._rows += await run_to_end(self._spool.add, place, lines)
        self._done += 1
        self._messages += len(outcome.messages)

    # --- the file ---------------------------------------------------------------------------------

    def _finish(self, ids: list[str]) -> ShardFile:
        with ExitStack() as undo:
            data = undo.enter_context(tempfile.TemporaryFile(prefix="aiomessages-"))
            written = self._write_file(data)
            undo.pop_all()  # the caller closes it

        def named(state: str) -> list[int]:
            return sorted(place for place, found in self._found.items() if found == state)

        record = ShardRecord(
            self.name,
            f"{self.name}.{self.settings.format}",
            _sha256(data),
            os.fstat(data.fileno()).st_size,
            written,
            self._done,
            self._messages,
            gone=[ids[place] for place in named("gone")],
            pending=[ids[place] for place in named("pending")],
            lost=[ids[place] for place in named("lost")],
            failed={ids[place]: self._reasons[place] for place in named("failed")},
            skipped={ids[place]: self._reasons[place] for place in named("skipped")},
            left_out={ids[place]: self._left_out[place] for place in sorted(self._left_out)},
        )
        kept = b"".join(self._incomplete[place] for place in sorted(self._incomplete))
        return ShardFile(record, data, gzip.compress(kept, mtime=0) if kept else b"")

    def _write_file(self, data: IO[bytes]) -> int:
        """Write all lines in the plan's order, and return the number of rows."""
        if self.settings.format == "parquet":
            with ParquetFile(data, self.settings.layout) as table:
                for line in split_lines(self._spool.in_order()):
                    table.add(line)
            return table.rows
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=data, mtime=0) as file:
            for block in self._spool.in_order():
                file.write(block)
        return self._rows


def _sha256(data: IO[bytes]) -> str:
    data.flush()
    data.seek(0)
    return hashlib.file_digest(data, "sha256").hexdigest()  # type: ignore[arg-type]
