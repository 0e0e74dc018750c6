"""Lines gathered into batches: written by a thread, one batch at a time, while fetching goes on."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypeVar, TypeVarTuple

from .layouts import Lines
from .ledger_schema import Entry
from .output import Output

# A batch is written when it is this large, or when lines come and it is this old: two of them, one
# that is written and one that is gathered, are about what a kill can cost.
BATCH_BYTES: Final = 4 * 1024 * 1024
BATCH_SECONDS: Final = 2.0

ArgsT = TypeVarTuple("ArgsT")
ResultT = TypeVar("ResultT")


class Writer:
    """Gathers lines and what they mean for the ledger, and commits both together."""

    def __init__(self, output: Output, on_commit: Callable[[int], None]) -> None:
        self._output = output
        self._on_commit = on_commit
        self._begin()
        self._writing = asyncio.Lock()
        self._error: Exception | None = None

    def _begin(self) -> None:
        """Begin a batch."""
        self._text = bytearray()  # and no list of lines: these are held once, and not to be joined
        self._number = 0
        self._entries: dict[str, Entry] = {}
        self._oldest: float | None = None

    async def add(self, lines: Lines, entry: Entry) -> None:
        """Take a completion's lines; wait while a full batch is being written.

        Raises what writing raises; nothing that was added after is then committed.
        """
        now = asyncio.get_running_loop().time()
        self._oldest = now if self._oldest is None else self._oldest
        self._text += lines.text
        self._number += lines.number
        self._entries[entry.completion_id] = entry
        if len(self._text) >= BATCH_BYTES or now - self._oldest >= BATCH_SECONDS:
            await self.flush()

    async def add_large(
        self, lines: Iterable[Lines], entry: Entry, incomplete: Iterable[bytes] = ()
    ) -> None:
        """Commit a completion by itself, whose lines come in pieces and are never held at once.

        `incomplete` are pieces of what was read of a completion that is lost. Raises what `add`
        does.
        """
        await self.flush()
        async with self._writing:
            await self._commit(self._output.write_pieces, lines, [entry], incomplete)

    async def flush(self) -> None:
        """Commit what was gathered. Raises what an earlier batch could not be written for."""
        async with self._writing:
            if self._error is None and not self._entries:
                return  # another one wrote it
            lines, entries = Lines(self._text, self._number), list(self._entries.values())
            self._begin()
            await self._commit(self._output.write, lines, entries)

    async def _commit(self, write: Callable[[*ArgsT], int], *batch: *ArgsT) -> None:
        if self._error is not None:
            raise self._error  # behind what failed there may be half a batch
        try:
            self._on_commit(await run_to_end(write, *batch))
        except Exception as error:
            self._error = error
            raise


async def run_to_end(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run a function in a thread, and whoever is cancelled meanwhile waits for it all the same.

    What comes next (another batch, the ledger closed, the lock given back) must find it ended.
    """
    running = asyncio.get_running_loop().run_in_executor(None, function, *args)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:  # and once more, by a second Ctrl-C
            cancelled = error
    result = running.result()  # what went wrong counts for more than having been cancelled
    if cancelled is not None:
        raise cancelled
    return result
