"""A connection to an archive for an event loop: each query runs in a thread, one at a time.

A call that is cancelled returns at once, and its query is interrupted. The thread of the next call
waits until that query has ended, so that two threads never use the connection together.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar, cast

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread

from .database import BUSY_SECONDS, is_outdated, open_to_read, steady
from .errors import ArchiveError, sqlite_errors

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_STEPS: Final = 10_000  # of SQLite's machine between two looks; about a millisecond


class _Call:
    cancelled = False


class ReadConnection:
    """A read-only connection; `open` it first, and `aclose` it.

    `seconds` is the time to wait for a process that has locked the archive.
    """

    def __init__(self, path: str | os.PathLike[str], *, seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self._seconds = seconds
        self._db: sqlite3.Connection | None = None  # set by the thread that uses it
        self._closed = False
        self._limiter: CapacityLimiter | None = None
        self._using = threading.Lock()  # held by the thread that uses the connection
        self._guard = threading.Lock()  # held for an instant, around the next field
        self._running: _Call | None = None

    async def open(self) -> None:
        """Open the file. Raises what `open_to_read` does."""
        if self._limiter is not None:
            raise ArchiveError(f"{os.fspath(self.path)}: this Archive was opened before")
        self._limiter = CapacityLimiter(1)
        await to_thread.run_sync(self._open, limiter=self._limiter)

    async def run(self, work: Work[T]) -> T:
        """Return `work(connection)`, run in a thread. Raises ArchiveError for SQLite's errors."""
        call = _Call()
        self._check_open()

        def use() -> T:
            with self._using, sqlite_errors(self.path):
                return self._use(self._renewed(), call, work)

        try:
            return await to_thread.run_sync(use, abandon_on_cancel=True, limiter=self._limiter)
        except anyio.get_cancelled_exc_class():
            call.cancelled = True
            with self._guard:
                if self._running is call:  # and no other call, which has begun meanwhile
                    self._connection.interrupt()
            raise

    async def aclose(self) -> None:
        """Close the file, and end a query that still runs."""
        if self._db is None or self._closed:
            return
        self._closed = True
        with self._guard:
            self._connection.interrupt()

        def close() -> None:
            with self._using:
                self._connection.close()

        with CancelScope(shield=True):
            await to_thread.run_sync(close)

    def _open(self) -> None:
        self._db = open_to_read(self.path, seconds=self._seconds)

    @property
    def _connection(self) -> sqlite3.Connection:
        return cast("sqlite3.Connection", self._db)

    def _check_open(self) -> None:
        if self._db is None or self._closed:
            raise ArchiveError(
                f"{os.fspath(self.path)}: the archive is not open: use it inside of"
                " `async with Archive(path) as archive`"
            )

    def _renewed(self) -> sqlite3.Connection:
        """Return the connection, opened anew if it is outdated."""
        self._check_open()
        if is_outdated(old := self._connection):
            renewed = open_to_read(self.path, seconds=self._seconds)
            with self._guard:
                self._db = renewed
            old.close()
        return self._connection

    def _use(self, db: sqlite3.Connection, call: _Call, work: Work[T]) -> T:
        with self._guard:
            self._running = call
        # An interruption has no effect between two statements; this one has.
        db.set_progress_handler(lambda: call.cancelled or self._closed, _STEPS)
        try:
            with steady(db, self.path):
                return work(db)
        finally:
            with self._guard:
                self._running = None


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Let all queries of the block see one state of the archive: that of the outermost block."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.rollback()  # nothing was written; after some errors SQLite has ended it by itself
