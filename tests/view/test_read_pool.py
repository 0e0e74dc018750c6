"""The connections that the pages share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from conftest_view import opened, store

from aiomessages.archive.errors import ArchiveError
from aiomessages.view.pool import ReadPool
from aiomessages.view.room import ROOM

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp.typedefs import Handler

ENDLESS = "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of one conversation."""
    path = tmp_path / "archive.db"
    store(path, "a", "the text")
    return path


@pytest.fixture
async def pool(archive: Path) -> AsyncIterator[ReadPool]:
    """A pool of connections to it."""
    found = ReadPool(archive)
    yield found
    await found.aclose()


def count(db: sqlite3.Connection) -> int:
    """Return the number of conversations."""
    (found,) = db.execute("SELECT count(*) FROM completions").fetchone()
    return int(found)


class Slow:
    """A query that does not end by itself, and says when it has begun."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()

    def __call__(self, db: sqlite3.Connection) -> None:
        """Run it."""
        self.loop.call_soon_threadsafe(self.begun.set)
        db.execute(ENDLESS).fetchone()


async def test_a_slow_query_blocks_no_other(pool: ReadPool) -> None:
    """While three queries run, others are answered."""
    slow = [Slow() for _ in range(3)]
    running = [asyncio.create_task(pool.run(query)) for query in slow]
    for query in slow:
        await query.begun.wait()
    assert [await pool.run(count) for _ in range(3)] == [1, 1, 1]
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def test_more_queries_than_connections(pool: ReadPool) -> None:
    """Queries beyond the number of connections wait for one."""
    assert await asyncio.gather(*(pool.run(count) for _ in range(20))) == [1] * 20


async def test_a_cancelled_query_frees_its_connection(pool: ReadPool) -> None:
    """A query whose reader has left is interrupted, and its connection serves again."""
    for _ in range(6):
        slow = Slow()
        task = asyncio.create_task(pool.run(slow))
        await slow.begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    assert await pool.run(count) == 1


async def test_a_cancelled_opening_leaves_nothing_open(pool: ReadPool) -> None:
    """A reader who leaves while the file is opened leaves no open file behind."""
    task = asyncio.create_task(pool.run(count))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await pool.run(count) == 1  # an open file would be a warning, and so an error


async def test_a_cancelled_opening_of_what_is_missing(tmp_path: Path) -> None:
    """The same, where there is no such file."""
    pool = ReadPool(tmp_path / "none.db")
    task = asyncio.create_task(pool.run(count))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    with pytest.raises(ArchiveError, match="no such archive"):
        await pool.run(count)
    await pool.aclose()


async def test_a_reader_who_leaves_ends_the_query(archive: Path) -> None:
    """When the connection of a browser ends, so does the query of its page."""
    ended = asyncio.Event()
    began = asyncio.Event()

    @web.middleware
    async def slow(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/none":
            return await handler(request)
        query = Slow()
        task = asyncio.create_task(query.begun.wait())
        task.add_done_callback(lambda _: began.set())
        try:
            await request.app[ROOM].pool.run(query)
        finally:
            ended.set()
        raise AssertionError

    async with opened(archive, also=slow) as room:
        _, writer = await asyncio.open_connection("127.0.0.1", room.access.port)
        head = f"GET /none HTTP/1.1\r\nHost: {room.host}\r\nCookie: {room.cookie}\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(30):
            await began.wait()
            assert (await room.get("/")).status == 200  # meanwhile
            writer.close()
            await ended.wait()
        await writer.wait_closed()
        assert (await room.get("/")).status == 200


async def test_no_connection_stays_behind(archive: Path) -> None:
    """When the server has ended, no thread uses the archive, and no file beside it is left."""
    async with opened(archive) as room:
        await asyncio.gather(*(room.get("/") for _ in range(10)))
    assert sorted(path.name for path in archive.parent.iterdir()) == ["archive.db"]
