"""A sync that is killed at any moment, and run again, loses nothing and keeps nothing twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from conftest_played import HOUR, PlayedServer

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.archive.schema import APPLICATION_ID
from aiomessages.archive.syncing import sync
from aiomessages.archive.text import searchable

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

KILLS = int(os.environ.get("AIOMESSAGES_KILLS", "100"))
PROCESSES = multiprocessing.get_context("forkserver")  # a child begins in milliseconds
PROCESSES.set_forkserver_preload(["aiomessages.archive.syncing", "aiohttp"])


def run_sync(base_url: str, archive: str) -> None:
    """Sync, as a process of its own."""

    async def main() -> None:
        retry = RetryPolicy(max_retries=0)
        async with AsyncMessagesClient("sk-killed", base_url=base_url, retry=retry) as client:
            await sync(client, archive, concurrency=3)

    asyncio.run(main())


def check_consistent(archive: Path) -> None:
    """Check what holds at every moment: conversations are whole, and the index is that of them."""
    with closing(sqlite3.connect(archive)) as db:
        if db.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            return  # it was killed before the tables were there
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        broken = db.execute(
            "SELECT id FROM completions WHERE message_count !="
            " (SELECT count(*) FROM messages WHERE completion = completions.number"
            "  AND choice IS NULL)"
        ).fetchall()
        assert broken == []
        both = "SELECT id FROM waiting WHERE id IN (SELECT id FROM completions)"
        assert db.execute(both).fetchall() == []
        db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, instance)")
        indexed = {(row, term) for term, row in db.execute("SELECT term, doc FROM terms")}
        texts = db.execute("SELECT number, text FROM messages").fetchall()
        assert indexed == {(row, word) for row, text in texts for word in words_of(text)}


def words_of(text: str) -> list[str]:
    """Return the words of a text of these tests, as the index has them."""
    return searchable(text.replace("-", " ")).lower().split()


def rows(archive: Path) -> list[tuple[object, ...]]:
    """Return everything that the archive has of the completions, in an order of its own."""
    with closing(sqlite3.connect(archive)) as db:
        return db.execute(
            "SELECT completions.id, completions.body, state, n, choice, messages.id, text"
            " FROM completions JOIN messages ON completion = completions.number ORDER BY 1, 4"
        ).fetchall()


async def run_killed(server: PlayedServer, archive: Path, request: int, delay: float) -> bool:
    """Sync, and kill it after a request has arrived; return whether it was killed."""
    arrived, left = asyncio.Event(), request

    def count(_: web.Request) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            arrived.set()

    server.fail = count
    process = PROCESSES.Process(target=run_sync, args=(server.base_url, str(archive)))
    process.start()
    ended = asyncio.ensure_future(asyncio.to_thread(process.join))
    reached = asyncio.ensure_future(arrived.wait())
    await asyncio.wait({ended, reached}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(delay)  # a random moment behind the request: also within a transaction
    process.kill()
    await ended
    reached.cancel()
    server.fail = lambda _: None
    code = process.exitcode
    process.close()
    assert code in (0, -9)
    return code == -9


@pytest.mark.parametrize("listing", ["ascending", "newest-first"])
async def test_killed_at_random_moments(tmp_path: Path, listing: str) -> None:
    """However often it is killed, the archive ends as an uninterrupted sync leaves it."""
    seed = os.environ.get("AIOMESSAGES_SEED", "1")
    chance, kills, archives = random.Random(seed + listing), 0, 0  # noqa: S311 no secret
    async with PlayedServer(listing=listing, page=7).running() as server:
        for _ in range(30):
            server.now += HOUR
            server.create(late=3)
        server.now += 2 * HOUR
        whole = tmp_path / "whole.db"
        await asyncio.to_thread(run_sync, server.base_url, str(whole))
        while kills < KILLS // 2:
            archives += 1
            archive = tmp_path / f"killed-{archives}.db"
            while await run_killed(server, archive, chance.randint(1, 9), chance.random() / 50):
                kills += 1
                check_consistent(archive)
            assert rows(archive) == rows(whole)
