"""A season of daily syncs, against what a perfect observer knows; in the session `crash` a year."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from conftest_played import DAY, HOUR, RETENTION, Completion, PlayedServer

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.archive.syncing import sync
from aiomessages.errors import APIError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unmeasured

# Of the API's own order fourteen weeks, which are three times its retention; of the others seven,
# in which every case comes.
DAYS = int(os.environ.get("AIOMESSAGES_DAYS", "98"))
LISTINGS = {"ascending": DAYS} | dict.fromkeys(("storage", "newest-first", "shuffled"), DAYS // 2)
KEY = "sk-test-of-a-year"


class Year:
    """A server, the archive, and what happens to both."""

    def __init__(self, server: PlayedServer, archive: Path, seed: int) -> None:
        self.server = server
        self.archive = archive
        self.random = random.Random(seed)  # noqa: S311 no secret
        self.rechecked: list[float] = []

    def pass_a_day(self) -> int:
        """Create, change and delete completions all day long; return how many were created."""
        chance, server = self.random, self.server
        end, created = server.now + DAY, chance.randrange(6)
        moments = sorted(server.now + chance.random() * DAY for _ in range(created))
        for moment in moments:
            # A call may last for minutes, and becomes visible some seconds after it was stored.
            late = chance.choice([0, 3, 7, chance.uniform(60, 1800)])
            server.create(at=moment, late=late, metadata={"day": str(chance.randrange(3))})
        server.now = end
        existing = server.shown()
        for completion in chance.sample(existing, min(len(existing), chance.randrange(3))):
            if chance.random() < 0.5:
                completion.deleted = server.now
            else:
                completion.metadata = {"changed": str(chance.randrange(1000))}
        return created

    async def sync(self, *, recheck: bool) -> int:
        """Sync, after some syncs that are killed or meet failures; return its requests."""
        server, chance = self.server, self.random
        for _ in range(chance.randrange(3)):
            await self._sync_that_ends(chance.randint(1, 8))
        if chance.random() < 0.2:
            server.fail = self._failing(chance.uniform(0.05, 0.4))
            await self._sync(recheck=recheck, whole=False)
            server.fail = lambda _: None
        # Not the server's count: requests of a sync that was cancelled may arrive later.
        return await self._sync(recheck=recheck)

    async def _sync(self, *, recheck: bool = False, whole: bool = True) -> int:
        async with self._client() as client:
            try:
                report = await sync(client, self.archive, recheck=recheck, concurrency=4)
            except APIError:
                assert not whole  # a list that cannot be read ends the run
                return 0
        assert report.complete or not whole, report
        return report.requests

    def _client(self) -> AsyncMessagesClient:
        retry = RetryPolicy(max_retries=1, initial_backoff=0.001, max_backoff=0.001)
        return AsyncMessagesClient(KEY, base_url=self.server.base_url, allow_http=True, retry=retry)

    async def _sync_that_ends(self, requests: int) -> None:
        """Sync, and cancel it when it has sent so many requests."""
        reached, left = asyncio.Event(), requests

        def count(_: web.Request) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                reached.set()

        self.server.fail = count
        running = asyncio.ensure_future(self._sync())
        ending = asyncio.ensure_future(reached.wait())
        await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        ending.cancel()
        await asyncio.wait({running, ending})
        self.server.fail = lambda _: None

    def _failing(self, share: float) -> object:
        def fail(_: web.Request) -> web.Response | None:
            fails = self.random.random() < share
            return web.Response(status=500, text="a bad day") if fails else None

        return fail

    # --- what must hold ---------------------------------------------------------------------------

    def check_nothing_is_missing(self) -> None:
        """What was visible for an hour, and still is, is in the archive with all its messages."""
        kept = self.rows("SELECT id, message_count FROM completions WHERE state != 'lost'")
        for completion in self.server.shown():
            if completion.visible <= self.server.now - HOUR:
                assert kept.get(completion.id) == len(completion.messages), completion

    def check_states(self) -> None:
        """The states and metadata are those that the server has."""
        states = self.rows("SELECT id, state FROM completions")
        metadata = self.rows(
            "SELECT completions.id, json_group_object(name, value) FROM completions"
            " LEFT JOIN metadata ON completion = number WHERE name IS NOT NULL GROUP BY 1"
        )
        for id, state in states.items():
            completion = self.server.kept[id]
            assert state == self.state_of(completion), completion
            if state == "complete":
                values = "".join(completion.metadata.values())
                assert values in metadata.get(id, ""), completion

    def state_of(self, completion: Completion) -> str:
        """Return the state that an observer gives to a completion."""
        if self.server.exists(completion):
            return "complete"
        expires = completion.created + RETENTION
        vanished = expires if completion.deleted is None else min(completion.deleted, expires)
        noticed = next(time for time in self.rechecked if time >= vanished)
        return "expired" if noticed >= expires else "gone"

    def rows(self, query: str) -> dict[str, object]:
        """Return the pairs that a query finds in the archive."""
        db = sqlite3.connect(self.archive)
        found = dict(db.execute(query))
        db.close()
        return found


@pytest.mark.parametrize("listing", LISTINGS)
async def test_a_year(tmp_path: Path, listing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was visible for an hour is missing; a recheck knows what an observer knows."""
    # This server has no rate limit, so a slow start would only take time.
    monkeypatch.setattr("aiomessages.calls.rate_limit.FIRST_RATE", 1e6)
    async with PlayedServer(listing=listing, page=20).running() as server:
        year = Year(server, tmp_path / "year.db", seed=len(listing))
        for day in range(LISTINGS[listing]):
            created = year.pass_a_day()
            recheck = day % 7 == 6
            requests = await year.sync(recheck=recheck)
            year.check_nothing_is_missing()
            if recheck:
                year.rechecked.append(server.now)
                year.check_states()
            elif listing == "ascending":
                assert requests <= 5 + 2 * created  # of five anchors, some may be deleted
