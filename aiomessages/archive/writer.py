"""Commit the changes of many tasks together: one transaction for all that wait for the disk."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiomessages.export.writer import end_of, run_to_end

from .errors import sqlite_errors

# The least time between the beginnings of two transactions, in seconds. Each waits for the disk and
# writes pages of the indexes again: fewer and larger ones save a tenth of the CPU time of a sync.
EVERY: Final = 0.02

Change = Callable[[sqlite3.Connection], object]


class Writer:
    """Write to an archive from many tasks.

    `before_commit` returns one more change for each transaction, or None. Nothing is written after
    an error.
    """

    def __init__(
        self, db: sqlite3.Connection, path: str, before_commit: Callable[[], Change | None]
    ) -> None:
        self._db = db
        self._path = path
        self._before_commit = before_commit
        self._batch: list[tuple[Change, Callable[[], object] | None]] = []
        self._gathering: asyncio.Task[None] | None = None  # commits the batch
        self._last: asyncio.Task[None] | None = None  # commits, or committed, the batch before
        self._next = 0.0  # when the next transaction may begin
        self._error: Exception | None = None

    async def write(self, change: Change, done: Callable[[], object] | None = None) -> None:
        """Commit a change, and return when it is durable; `done` is called as it is committed.

        While one transaction is written, the changes for the next one gather, and for 20 ms since
        the beginning of the last. A caller that is
        cancelled waits for the commit as well: the change may read what the caller then deletes.
        Raises the error of the transaction, also of an earlier one.
        """
        self._batch.append((change, done))
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._commit_after(self._last))
        await end_of(self._gathering)

    async def close(self) -> None:
        """Wait for the end of the transactions; also a caller that is cancelled does."""
        while (last := self._gathering or self._last) is not None and not last.done():
            with suppress(Exception):  # `write` raises it
                await end_of(last)

    async def _commit_after(self, last: asyncio.Task[None] | None) -> None:
        if last is not None:
            await asyncio.wait([last])
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._next - clock())
        self._next = clock() + EVERY
        self._last, self._gathering = self._gathering, None
        batch, self._batch = self._batch, []
        if self._error is not None:
            raise self._error
        try:
            await self._commit(batch)
        except Exception as error:
            self._error = error
            raise

    async def _commit(self, batch: list[tuple[Change, Callable[[], object] | None]]) -> None:
        for _, done in batch:
            if done is not None:
                done()
        changes = [change for change, _ in batch]
        if (last := self._before_commit()) is not None:
            changes.append(last)
        await run_to_end(self._transact, changes)

    def _transact(self, changes: list[Change]) -> None:
        with sqlite_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    change(self._db)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    with suppress(sqlite3.Error):  # the first error is the one to report
                        self._db.execute("ROLLBACK")
