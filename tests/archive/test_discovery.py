"""What a sync lists: how much of the list each run reads, and by which clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest_played import DAY, HOUR, RETENTION, PlayedServer, ask, create, run

from aiomessages.archive.listing import MARGIN

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web


# --- the anchor -----------------------------------------------------------------------------------


async def test_quiet_days(server: PlayedServer, archive: Path) -> None:
    """Each run with nothing new lists one page, also after others with nothing new."""
    create(server, 250)
    await run(server, archive)
    assert [(await run(server, archive)).requests for _ in range(3)] == [1, 1, 1]


async def test_times_in_milliseconds(server: PlayedServer, archive: Path) -> None:
    """Where `created` is in milliseconds, a quiet day costs one request, and it is kept as sent."""
    made = create(server, 250)
    for one in made:
        one.extra = {"created": int(one.created * 1000) + 1}
    await run(server, archive)
    assert (await run(server, archive)).requests == 1
    kept = [created for (created,) in ask(archive, "SELECT created FROM completions ORDER BY 1")]
    assert kept == [one.extra["created"] for one in made]


async def test_days_of_a_few_completions(server: PlayedServer, archive: Path) -> None:
    """Each run lists what is new and the last completion of the run before, however few are new."""
    create(server, 30)
    await run(server, archive)
    for _ in range(3):
        create(server, 3)
        assert (await run(server, archive)).listed == 1 + 3


@pytest.mark.parametrize("dated", [True, False])
async def test_days_of_a_server_that_ignores_the_order(
    server: PlayedServer, archive: Path, *, dated: bool
) -> None:
    """Where the list is always newest first, each run reads it to the place of the run before."""
    server.listing, server.page = "newest-first", 10
    if not dated:
        server.date = lambda _: None
    create(server, 100)
    await run(server, archive)
    for _ in range(3):
        new = create(server, 20)
        report = await run(server, archive)
        assert report.new == len(new)
        assert report.listed <= len(new) + 2 * server.page


async def test_an_older_anchor(server: PlayedServer, archive: Path) -> None:
    """If the place of the last run was deleted, a run lists behind the one before that.

    A list that is sorted by the time of storage shows no other end.
    """
    server.listing, server.page = "storage", 10
    create(server, 50, late=HOUR / 4)
    slow = server.create(late=HOUR / 2)
    create(server, 50)
    slow.created += HOUR / 4
    await run(server, archive)
    *_, before, last = create(server, 3)
    await run(server, archive)
    before.deleted = last.deleted = server.now
    new = create(server, 3)
    report = await run(server, archive)
    assert report.new == len(new)
    assert report.listed <= 1 + 3 + 3


async def test_an_anchor_that_holds_no_more(server: PlayedServer, archive: Path) -> None:
    """Places in a list of which only a few completions are left are asked for once, and dropped."""
    create(server, 30)
    await run(server, archive)
    server.now += RETENTION
    create(server, 3)
    await run(server, archive)
    assert (await run(server, archive)).requests == 1


# --- clocks ---------------------------------------------------------------------------------------


async def test_answers_of_which_one_has_no_date(server: PlayedServer, archive: Path) -> None:
    """One page without a Date, among others with one, is not dated by the clock of the machine."""
    server.page = 10
    *_, last = create(server, 20)
    server.now -= HOUR
    late = server.create(late=HOUR / 2)
    for _ in range(15):
        server.now += 60
        server.create()

    def set_date(request: web.Request) -> None:
        is_undated = request.query.get("after") == last.id
        server.date = (lambda _: None) if is_undated else (lambda now: now)

    server.fail = set_date
    await run(server, archive, clock=lambda: server.now + DAY)
    server.now += HOUR / 2
    await run(server, archive, clock=lambda: server.now + DAY)
    assert (late.id,) in ask(archive, "SELECT id FROM completions")


async def test_a_clock_that_is_ahead_when_the_anchor_was_deleted(
    server: PlayedServer, archive: Path
) -> None:
    """A place found newest first, without a Date, lies before what may become visible yet."""
    server.date = lambda _: None
    made = create(server, 25)
    await run(server, archive, clock=lambda: server.now + DAY)
    for one in made[-5:]:
        one.deleted = server.now
    late = server.create(late=HOUR / 2)
    for _ in range(15):
        server.now += 60
        server.create()
    await run(server, archive, clock=lambda: server.now + DAY)
    server.now += HOUR / 2
    await run(server, archive, clock=lambda: server.now + DAY)
    assert (late.id,) in ask(archive, "SELECT id FROM completions")


async def test_a_page_from_a_cache(server: PlayedServer, archive: Path) -> None:
    """A page with the Date of yesterday makes no completion young, and none wait."""
    server.page = 10
    create(server, 20, messages=[])

    def set_date(request: web.Request) -> None:
        age = DAY if "after" in request.query else 0
        server.date = lambda now: now - age

    server.fail = set_date
    report = await run(server, archive)
    assert (report.new, report.pending) == (20, [])


@pytest.mark.parametrize(("seconds", "keeps_longer"), [(MARGIN, False), (MARGIN + 1, True)])
async def test_how_late_a_server_may_delete(
    server: PlayedServer, archive: Path, seconds: int, *, keeps_longer: bool
) -> None:
    """A recheck asks for what must have expired only if a server is an hour late to delete."""
    server.exists = lambda one: one.deleted is None  # type: ignore[method-assign]
    oldest, expired, _ = create(server, 3)
    await run(server, archive)
    server.now = oldest.created + RETENTION + seconds
    expired.hidden = True
    report = await run(server, archive, recheck=True)
    assert report.requests == 1 + keeps_longer
    assert report.missing == ([] if keeps_longer else [expired.id])
