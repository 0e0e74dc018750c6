"""A connection to an archive for an event loop: each query runs in a thread, one at a time.

A call that is cancelled returns at once, and its query is interrupted. The thread of the next call
waits until that query has ended, so that two threads never use the connection together.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread

from .database import open_to_read
from .errors import ArchiveError, sqlite_errors

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_STEPS: Final = 10_000  # of SQLite's machine between two looks; about a millisecond


class _Call:
    cancelled = False


class ReadConnection:
    """A read-only connection; `open` it first, and `aclose` it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._limiter: CapacityLimiter | None = None
        self._using = threading.Lock()  # held by the thread that uses the connection
        self._guard = threading.Lock()  # held for an instant, around the two fields below
        self._running: _Call | None = None
        self._closed = False

    async def open(self) -> None:
        """Open the file. Raises what `open_to_read` does."""
        if self._limiter is not None:
            raise ArchiveError(f"{os.fspath(self.path)}: this Archive was opened before")
        self._limiter = CapacityLimiter(1)
        await to_thread.run_sync(self._open, limiter=self._limiter)

    async def run(self, work: Work[T]) -> T:
        """Return `work(connection)`, run in a thread. Raises ArchiveError for SQLite's errors."""
        if self._db is None or self._closed:
            raise ArchiveError(
                f"{os.fspath(self.path)}: the archive is not open: use it inside of"
                " `async with Archive(path) as archive`"
            )
        call = _Call()

        def use() -> T:
            with self._using, sqlite_errors(self.path):
                return self._use(call, work)

        try:
            return await to_thread.run_sync(use, abandon_on_cancel=True, limiter=self._limiter)
        except anyio.get_cancelled_exc_class():
            self._interrupt(call)
            raise

    async def aclose(self) -> None:
        """Close the file, and end a query that still runs."""
        self._closed = True
        if self._db is None:
            return
        self._db.interrupt()
        with CancelScope(shield=True):
            await to_thread.run_sync(self._close)

    def _open(self) -> None:
        self._db = open_to_read(self.path)

    def _use(self, call: _Call, work: Work[T]) -> T:
        assert self._db is not None  # noqa: S101 `run` has seen it
        with self._guard:
            self._running = call
        # An interruption has no effect between two statements; this one has.
        self._db.set_progress_handler(lambda: call.cancelled or self._closed, _STEPS)
        try:
            return work(self._db)
        finally:
            with self._guard:
                self._running = None

    def _interrupt(self, call: _Call) -> None:
        """Interrupt a call, and no other one that has begun meanwhile."""
        call.cancelled = True
        with self._guard:
            if self._running is call and self._db is not None:
                self._db.interrupt()

    def _close(self) -> None:
        with self._using:
            if self._db is not None:
                self._db.close()
            self._db = None


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Let all queries of the block see one state of the archive."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")  # nothing was written
