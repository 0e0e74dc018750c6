"""The writer: it collects lines in batches, which a thread commits while fetching continues."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Self, TypeVar, TypeVarTuple

import anyio

from .ledger_schema import Entry
from .line_output import LineOutput
from .output import Output
from .stored import Lines

# A batch is written when it is this large or this old. A kill costs about two batches: the one that
# is written, and the one that is collected.
BATCH_BYTES: Final = 4 * 1024 * 1024
BATCH_SECONDS: Final = 2.0

ArgsT = TypeVarTuple("ArgsT")
ResultT = TypeVar("ResultT")


class Writer:
    """Collect lines with their ledger entries, and commit both together.

    Inside of `async with` a batch is also committed when it is `seconds` old and nothing more is
    added; the rest is committed at the end.
    """

    def __init__(
        self,
        output: Output | LineOutput,
        on_commit: Callable[[int], None],
        *,
        seconds: float = BATCH_SECONDS,
    ) -> None:
        self._output = output
        self._on_commit = on_commit
        self._seconds = seconds
        self._begin()
        self._writing = asyncio.Lock()
        self._error: Exception | None = None
        self._ending = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._timer = asyncio.create_task(self._commit_old())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        with anyio.CancelScope(shield=True):
            await end_of(self._timer)
            await self.flush()

    async def _commit_old(self) -> None:
        """Commit each batch that grows old, until the end; `add` and `flush` raise its error."""
        clock = asyncio.get_running_loop().time
        while not self._ending.is_set():
            age = 0.0 if self._oldest is None else clock() - self._oldest
            with suppress(TimeoutError):
                async with asyncio.timeout(max(self._seconds - age, 0.0)):
                    await self._ending.wait()
            if self._oldest is not None and clock() - self._oldest >= self._seconds:
                with suppress(Exception):
                    await self.flush()

    def _begin(self) -> None:
        """Begin a batch."""
        self._text = bytearray()  # no list of lines: joining it would take twice the memory
        self._number = 0
        self._entries: dict[str, Entry] = {}
        self._oldest: float | None = None

    async def add(self, lines: Lines, entry: Entry) -> None:
        """Add a completion's lines; wait while a full batch is being written.

        Raises the error of a write; nothing is committed after one.
        """
        if self._error is not None:
            raise self._error
        now = asyncio.get_running_loop().time()
        self._oldest = now if self._oldest is None else self._oldest
        self._text += lines.text
        self._number += lines.number
        self._entries[entry.completion_id] = entry
        if len(self._text) >= BATCH_BYTES or now - self._oldest >= self._seconds:
            await self.flush()

    async def add_large(
        self, lines: Iterable[Lines], entry: Entry, incomplete: Iterable[bytes] = ()
    ) -> None:
        """Commit one completion whose lines come in pieces, so that they are never all in memory.

        `incomplete` is pieces of the lines of a lost completion. Raises as `add` does.
        """
        await self.flush()
        async with self._writing:
            await self._commit(lines, [entry], incomplete)

    async def flush(self) -> None:
        """Commit the collected batch. Raises the error of an earlier batch."""
        async with self._writing:
            if self._error is None and not self._entries:
                return  # another task wrote it
            lines, entries = Lines(self._text, self._number), list(self._entries.values())
            self._begin()
            await self._commit([lines], entries)

    async def _commit(
        self, lines: Iterable[Lines], entries: Sequence[Entry], incomplete: Iterable[bytes] = ()
    ) -> None:
        if self._error is not None:
            raise self._error  # the file may end with half a batch
        try:
            self._on_commit(await run_to_end(self._output.write, lines, entries, incomplete))
        except Exception as error:
            self._error = error
            raise


async def run_to_end(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run a function in a thread; a cancelled caller waits for its end as well.

    The next step (another batch, closing the ledger, releasing the lock) must find it ended.
    """
    return await end_of(asyncio.get_running_loop().run_in_executor(None, function, *args))


async def end_of(running: asyncio.Future[ResultT]) -> ResultT:
    """Return the result of a future; a cancelled caller waits for it as well."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            with suppress(Exception):  # `result` raises it
                await asyncio.shield(running)
        except asyncio.CancelledError as error:  # possibly repeated, by a second Ctrl-C
            cancelled = error
    result = running.result()  # its error takes precedence over a cancellation
    if cancelled is not None:
        raise cancelled
    return result
