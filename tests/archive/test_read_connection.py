"""The connection of an archive: in a thread, one query at a time, and safe to cancel."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from conftest_archive import store

from aiomessages.archive.connection import ReadConnection
from aiomessages.archive.errors import ArchiveError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

ENDLESS = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers)
SELECT count(*) FROM numbers
"""


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[ReadConnection]:
    """Open an archive of one conversation."""
    store(tmp_path / "archive.db", "a", "hello")
    opened = ReadConnection(tmp_path / "archive.db")
    await opened.open()
    yield opened
    await opened.aclose()


def count(db: sqlite3.Connection) -> int:
    """Return the number of completions."""
    (found,) = db.execute("SELECT count(*) FROM completions").fetchone()
    return int(found)


async def endless(connection: ReadConnection) -> asyncio.Task[object]:
    """Start a query that does not end by itself, and return when it runs."""
    loop, running = asyncio.get_running_loop(), asyncio.Event()

    def work(db: sqlite3.Connection) -> object:
        loop.call_soon_threadsafe(running.set)
        return db.execute(ENDLESS).fetchone()

    task = asyncio.create_task(connection.run(work))
    await running.wait()
    return task


async def test_the_event_loop_goes_on(connection: ReadConnection) -> None:
    """A query runs in another thread than the loop."""
    assert await connection.run(lambda _: threading.current_thread()) != threading.current_thread()


async def test_a_query_that_is_cancelled(connection: ReadConnection) -> None:
    """A cancelled query ends at once, and the next one gets its answer."""
    for _ in range(20):
        task = await endless(connection)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await connection.run(count) == 1


async def test_a_query_that_is_cancelled_before_its_turn(connection: ReadConnection) -> None:
    """A cancelled query that waits for its turn interrupts no other."""
    loop, running, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def work(db: sqlite3.Connection) -> int:
        loop.call_soon_threadsafe(running.set)
        go.wait(30)
        return count(db)

    first = asyncio.create_task(connection.run(work))
    await running.wait()
    second = asyncio.create_task(connection.run(count))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    assert await first == 1


async def test_closing_ends_a_query(connection: ReadConnection) -> None:
    """A query that still runs when the archive is closed fails with an error of the archive."""
    task = await endless(connection)
    closing = asyncio.create_task(connection.aclose())
    with pytest.raises(ArchiveError, match="interrupted"):
        await task
    await closing
    with pytest.raises(ArchiveError, match="not open"):
        await connection.run(count)


async def test_a_mistake_in_a_query(connection: ReadConnection) -> None:
    """An error of SQLite is an error of the archive, which names the file."""
    with pytest.raises(ArchiveError, match=r"archive\.db: .*no such table"):
        await connection.run(lambda db: db.execute("SELECT * FROM absent"))
