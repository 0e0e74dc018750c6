"""A sync that is killed at any moment, and run again, loses nothing and keeps nothing twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
from typing import TYPE_CHECKING

import pytest
from conftest_played import HOUR, PlayedServer, check_consistent, rows

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.archive.syncing import sync

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

pytestmark = pytest.mark.unmeasured

KILLS = int(os.environ.get("AIOMESSAGES_KILLS", "24"))
PROCESSES = multiprocessing.get_context("forkserver")  # a child begins in milliseconds
PROCESSES.set_forkserver_preload(["aiomessages.archive.syncing", "aiohttp"])


def run_sync(base_url: str, archive: str) -> None:
    """Sync, as a process of its own."""

    async def main() -> None:
        retry = RetryPolicy(max_retries=0)
        async with AsyncMessagesClient("sk-killed", base_url=base_url, retry=retry) as client:
            await sync(client, archive, concurrency=3)

    asyncio.run(main())


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
