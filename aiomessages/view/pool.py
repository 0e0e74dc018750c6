"""A few read-only connections to one archive, which the pages share.

A slow search uses one of them, while the others answer. What happens to the file meanwhile is found
out before each use: it was removed, another one has its name, or a later version has migrated it.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from aiomessages.archive.connection import ReadConnection
from aiomessages.archive.errors import ArchiveError, CorruptError, DiskError, NotAnArchiveError
from aiomessages.archive.schema import version_of

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_SIZE: Final = 4  # each has a cache of 2 MB, and the machine few cores
_BUSY_SECONDS: Final = 2.0  # for which a page waits; no reader waits for a sync at all
# After these the file may be another one by the next time, and is opened anew.
_OF_THE_FILE: Final = (NotAnArchiveError, CorruptError, DiskError)


class _Held(NamedTuple):
    """A connection, and the device and number of its file: another one may get its name."""

    connection: ReadConnection
    file: tuple[int, int] | None


class ReadPool:
    """Connections to an archive, opened when they are needed; `aclose` it at the end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._places = asyncio.Semaphore(_SIZE)
        self._idle: list[_Held] = []

    async def run(self, work: Work[T]) -> T:
        """Return `work(connection)`, run in a thread. Raises ArchiveError.

        A call that is cancelled interrupts its query.
        """
        async with self._places:
            held = await self._taken()
            good = True
            try:
                return await held.connection.run(self._checked(work))
            except _OF_THE_FILE:
                good = False
                raise
            finally:
                if good:
                    self._idle.append(held)
                else:
                    await held.connection.aclose()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[ReadConnection]:
        """Open a connection for one reader, who may be slow: a download."""
        connection = await self._opened()
        try:
            yield connection
        finally:
            await connection.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle:
            await self._idle.pop().connection.aclose()

    async def _taken(self) -> _Held:
        """Return a connection to the file that has the name now."""
        file = _file_at(self.path)
        while self._idle:
            held = self._idle.pop()
            if held.file == file:
                return held
            await held.connection.aclose()
        return _Held(await self._opened(), file)

    async def _opened(self) -> ReadConnection:
        connection = ReadConnection(self.path, seconds=_BUSY_SECONDS)
        opening = asyncio.ensure_future(connection.open())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(ArchiveError):  # its thread goes on, and there is something to close
                await opening
            await connection.aclose()
            raise
        return connection

    def _checked(self, work: Work[T]) -> Work[T]:
        def checked(db: sqlite3.Connection) -> T:
            try:
                version_of(db)
            except NotAnArchiveError as error:
                raise NotAnArchiveError(f"{os.fspath(self.path)}: {error}") from None
            return work(db)

        return checked


def _file_at(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:  # to open it says why
        return None
    return found.st_dev, found.st_ino
