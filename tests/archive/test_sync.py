"""What a sync keeps, what it asks, and what it says of completions that it could not read."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from conftest_played import DAY, HOUR, PlayedServer, answering, ask, create, not_found, run

import aiomessages
from aiomessages.archive import sync
from aiomessages.archive.errors import LockedError, OtherProjectError
from aiomessages.archive.guard import locked
from aiomessages.errors import (
    AuthenticationError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# --- the key --------------------------------------------------------------------------------------


def is_there(path: Path) -> bool:
    """Say whether a file exists."""
    return path.exists()


async def test_a_key_that_is_lost(server: PlayedServer, archive: Path) -> None:
    """A callable without a key ends a sync, and no completion counts as refused for it."""
    create(server, 3)
    keys = iter(["sk-canary-0123456789"])

    async def provide() -> str:
        return next(keys, "")

    async with aiomessages.AsyncMessagesClient(provide, base_url=server.base_url) as client:
        with pytest.raises(ConfigurationError, match="no API key"):
            await sync(client, archive)
    assert not is_there(archive)  # nothing was kept
    assert (await run(server, archive)).new == 3


# --- what is new ----------------------------------------------------------------------------------


async def test_the_first_sync_keeps_everything(server: PlayedServer, archive: Path) -> None:
    """Each completion is there with all its messages and its reply."""
    made = create(server, 25)
    report = await run(server, archive)
    messages = sum(len(completion.messages) for completion in made)
    assert (report.new, report.messages, report.complete) == (25, messages, True)
    kept = ask(archive, "SELECT id, message_count, state FROM completions ORDER BY created")
    assert kept == [(one.id, len(one.messages), "complete") for one in made]
    replies = "SELECT text FROM messages WHERE choice = 0 ORDER BY number"
    assert {text for (text,) in ask(archive, replies)} == {f"reply to {one.id}" for one in made}


async def test_nothing_new_costs_one_request(server: PlayedServer, archive: Path) -> None:
    """A sync with nothing new lists one page."""
    create(server, 25)
    await run(server, archive)
    server.now += DAY
    report = await run(server, archive)
    assert (report.new, report.requests, report.complete) == (0, 1, True)


@pytest.mark.parametrize("since", [datetime(2026, 1, 1, tzinfo=UTC), "30d", float("nan"), True])
async def test_a_time_that_is_no_number(server: PlayedServer, archive: Path, since: Any) -> None:
    """It is refused before anything is sent or written, as an export refuses it."""
    with pytest.raises(ConfigurationError, match="since must be a number of Unix seconds"):
        await run(server, archive, since=since)
    assert not archive.exists()  # noqa: ASYNC240 nothing else runs
    assert server.requests == 0


async def test_only_what_is_new_is_read(server: PlayedServer, archive: Path) -> None:
    """A later sync reads the new completions, and no other."""
    create(server, 150)
    await run(server, archive)
    create(server, 3)
    report = await run(server, archive)
    assert (report.new, report.requests) == (3, 1 + 3)


async def test_a_completion_that_became_visible_late(server: PlayedServer, archive: Path) -> None:
    """A completion that is listed before others that were known is found."""
    create(server, 25)
    late = server.create(late=1800)
    server.now += 60
    server.create()
    await run(server, archive)
    server.now += 1800
    assert (await run(server, archive)).new == 1
    assert (late.id,) in ask(archive, "SELECT id FROM completions")


@pytest.mark.parametrize("how", ["after deleted", "witness deleted", "both deleted"])
async def test_an_anchor_that_was_deleted(server: PlayedServer, archive: Path, how: str) -> None:
    """Without the anchor, or its witness, what is new is found, and nothing else is read."""
    made = create(server, 30)
    await run(server, archive)
    before, witness = made[-2:]
    if how != "witness deleted":
        before.deleted = server.now
    if how != "after deleted":
        witness.deleted = server.now
    new = create(server, 2)
    report = await run(server, archive)
    assert report.new == len(new)
    assert report.requests <= 2 + 2 + 2


async def test_a_server_that_forgets_its_cursors(server: PlayedServer, archive: Path) -> None:
    """An empty page for a cursor is not taken for "nothing new"."""
    create(server, 30)
    await run(server, archive)
    create(server, 2)
    empty = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}

    def forget(request: web.Request) -> web.Response | None:
        return web.json_response(empty) if "after" in request.query else None

    server.fail = forget
    assert (await run(server, archive)).new == 2


async def test_a_list_that_fails_behind_the_anchor(server: PlayedServer, archive: Path) -> None:
    """A list that cannot be read behind the anchor ends the sync; nothing is forgotten."""
    create(server, 30)
    await run(server, archive)
    new = create(server, 2)
    server.fail = answering("/completions", 500)
    with pytest.raises(InternalServerError):
        await run(server, archive)
    assert ask(archive, "SELECT count(DISTINCT anchor), count(anchor) FROM runs") == [(1, 2)]
    server.fail = lambda _: None
    assert (await run(server, archive)).requests == 1 + len(new)


async def test_a_server_that_ignores_the_order(server: PlayedServer, archive: Path) -> None:
    """Where the list is always newest first, it is read until the rest lies behind the anchor."""
    server.listing, server.page = "newest-first", 10
    create(server, 100)
    await run(server, archive)
    create(server, 2)
    report = await run(server, archive)
    assert report.new == 2
    assert report.requests <= 1 + 4 + 2


# --- what could not be read -----------------------------------------------------------------------


async def test_a_completion_that_fails(server: PlayedServer, archive: Path) -> None:
    """It is named and waits, the others are kept, and the next sync tries it again."""
    made = create(server, 5)
    server.fail = answering(f"{made[2].id}/messages", 500)
    report = await run(server, archive)
    assert (report.new, [*report.failed], report.complete) == (4, [made[2].id], False)
    assert "a fault" in report.failed[made[2].id]
    await run(server, archive)
    assert ask(archive, "SELECT id, state, attempts FROM waiting") == [(made[2].id, "failed", 2)]
    server.fail = lambda _: None
    report = await run(server, archive)
    assert (report.new, report.failed, report.complete) == (1, {}, True)
    assert ask(archive, "SELECT * FROM waiting") == []


async def test_a_failure_long_ago(server: PlayedServer, archive: Path) -> None:
    """What failed is tried again also when it is far behind the anchor."""
    made = create(server, 50)
    server.fail = answering(f"{made[0].id}/messages", 500)
    await run(server, archive)
    create(server, 2)
    server.fail = lambda _: None
    report = await run(server, archive)
    assert (report.new, report.complete) == (3, True)


async def test_a_waiting_one_that_is_gone(server: PlayedServer, archive: Path) -> None:
    """What failed and was deleted meanwhile is named as gone, and waits no more."""
    made = create(server, 30)
    server.fail = answering(f"{made[0].id}/messages", 500)
    await run(server, archive)
    server.fail = lambda _: None
    made[0].deleted = server.now
    report = await run(server, archive)
    assert (report.gone, report.complete) == ([made[0].id], False)
    assert ask(archive, "SELECT * FROM waiting") == []
    assert (await run(server, archive)).complete


async def test_an_id_that_no_request_can_hold(server: PlayedServer, archive: Path) -> None:
    """A listed completion whose id cannot be requested is named, and costs no other its place."""
    made = create(server, 3)
    made[1].extra = {"id": "a/../b"}
    report = await run(server, archive)
    assert (report.new, [*report.failed]) == (2, ["a/../b"])


async def test_a_completion_without_choices_to_read(server: PlayedServer, archive: Path) -> None:
    """Choices of an unknown shape are kept as they are sent, beside the messages."""
    (one,) = create(server, 1)
    one.extra = {"choices": {"of": "another shape"}}
    assert (await run(server, archive)).new == 1
    assert ask(archive, "SELECT count(*) FROM messages WHERE choice IS NOT NULL") == [(0,)]


async def test_a_conversation_that_is_lost(server: PlayedServer, archive: Path) -> None:
    """One that changes whenever it is read is kept in part, said to be, and tried again."""
    (one,) = create(server, 1, messages=[f"message {n}" for n in range(4)])
    create(server, 25, messages=["a message"])  # so that later lists begin behind it
    server.page = 2
    kept = "SELECT state, message_count FROM completions ORDER BY created LIMIT 1"

    def vanish(request: web.Request) -> web.Response | None:
        if "after" in request.query and request.path.endswith(f"{one.id}/messages"):
            return web.json_response({"error": not_found(one.id)}, status=404)
        return None

    server.fail = vanish
    report = await run(server, archive)
    assert (report.lost, report.complete) == ([one.id], False)
    assert ask(archive, kept) == [("lost", 2)]
    assert (await run(server, archive)).lost == [one.id]
    server.fail = lambda _: None
    assert (await run(server, archive)).complete
    assert ask(archive, kept) == [("complete", 4)]


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"code": "invalid_api_key"}, AuthenticationError),
        (429, {"code": "insufficient_quota"}, RateLimitError),
        (500, {"message": "down"}, InternalServerError),
        (404, {"message": "no such route"}, NotFoundError),
    ],
)
async def test_a_list_that_cannot_be_read(
    server: PlayedServer, archive: Path, status: int, error: dict[str, Any], kind: type[Exception]
) -> None:
    """A list that cannot be read ends the sync with its error, which the run records."""
    create(server, 1)
    await run(server, archive)
    create(server, 2)
    server.fail = answering("/completions", status, error)
    with pytest.raises(kind):
        await run(server, archive)
    _, (found, end) = ask(archive, 'SELECT result, "end" FROM runs ORDER BY number')
    assert issubclass(getattr(aiomessages, found), kind)
    assert end is not None
    server.fail = lambda _: None
    assert (await run(server, archive)).new == 2


async def test_a_first_sync_that_fails(server: PlayedServer, archive: Path) -> None:
    """A first sync that fails before it has a completion leaves no file behind."""
    create(server, 1)
    server.fail = answering("/completions", 401, {"code": "invalid_api_key"})
    with pytest.raises(AuthenticationError):
        await run(server, archive)
    assert list(archive.parent.iterdir()) == []
    server.fail = lambda _: None
    assert (await run(server, archive)).new == 1


async def test_the_time_of_a_run(server: PlayedServer, archive: Path) -> None:
    """A run is recorded from its begin to its end, also where the server's clock stands still."""
    create(server, 2)
    report = await run(server, archive)
    (lasted,) = (end for (end,) in ask(archive, 'SELECT "end" - begin FROM runs'))
    assert report.seconds > 0
    assert lasted == pytest.approx(report.seconds, abs=1e-3)


async def test_a_refused_key_in_the_middle(server: PlayedServer, archive: Path) -> None:
    """A key that is refused ends the sync at once; what was kept stays."""
    made = create(server, 30)
    server.fail = answering(f"{made[10].id}/messages", 401, {"code": "invalid_api_key"})
    with pytest.raises(AuthenticationError):
        await run(server, archive, concurrency=1)
    assert ask(archive, "SELECT count(*) FROM completions") == [(10,)]
    server.fail = lambda _: None
    assert (await run(server, archive)).new == 20


async def test_a_rate_limit_that_lets_nothing_through(server: PlayedServer, archive: Path) -> None:
    """A refusal by a rate limit that is not to be tried again ends the sync, as it is for all."""
    made = create(server, 30)
    server.fail = lambda r: (
        web.Response(status=429, headers={"x-should-retry": "false"})
        if r.path.endswith(f"{made[10].id}/messages")
        else None
    )
    with pytest.raises(RateLimitError):
        await run(server, archive, concurrency=1)
    assert ask(archive, "SELECT count(*) FROM completions") == [(10,)]
    assert ask(archive, "SELECT * FROM waiting") == []


async def test_what_waits_longest(server: PlayedServer, archive: Path) -> None:
    """What could not be read is tried again in the order in which it failed, to expire last."""
    tried = list[str]()

    def fail(request: web.Request) -> web.Response | None:
        if not request.path.endswith("/messages"):
            return None
        tried.append(request.match_info["id"])
        return web.Response(status=501)

    server.fail = fail
    ids = list[str]()
    for _ in range(4):
        one = server.create()
        ids.insert(0, one.id)
        one.hidden, server.now = True, server.now + HOUR
    for one in [*server.kept.values()][::-1]:
        one.hidden = False
        await run(server, archive)
        one.hidden, server.now = True, server.now + HOUR
    tried.clear()
    await run(server, archive, concurrency=1)
    assert [*dict.fromkeys(tried)] == ids


async def test_the_record_of_what_waits(server: PlayedServer, archive: Path) -> None:
    """It has the first and the last attempt, how many there were, and the last error."""
    (one,) = create(server, 1)
    first = server.now
    for text in ("a fault", "another fault"):
        server.fail = answering("/messages", 501, {"message": text})
        await run(server, archive)
        last = server.now
        server.now += HOUR
    ((*record, error),) = ask(archive, "SELECT id, since, next, attempts, error FROM waiting")
    assert record == [one.id, first, last, 2]
    assert "another fault" in error


async def test_the_record_of_a_run(server: PlayedServer, archive: Path) -> None:
    """It has the counts of the report, and each completion the last time at which it was there."""
    failing, gone, deleted, changed, *_ = create(server, 30)
    server.fail = lambda r: (
        web.Response(status=501)
        if {failing.id, gone.id} & {*r.path.split("/")} and "/messages" in r.path
        else None
    )
    await run(server, archive)
    seen = server.now
    gone.deleted = deleted.deleted = server.now
    changed.metadata = {"a": "b"}
    server.now += DAY
    server.create()
    report = await run(server, archive, recheck=True)
    counts = (report.new, report.changed, len(report.missing) + len(report.gone))
    assert counts == (1, 1, 2)
    last = "SELECT new, changed, gone, failed, requests FROM runs ORDER BY number DESC LIMIT 1"
    assert ask(archive, last) == [(*counts, 1, report.requests)]
    times = ask(archive, "SELECT last_seen, gone_since, count(*) FROM completions GROUP BY 1, 2")
    assert times == [(seen, server.now, 1), (server.now, None, 28)]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    """Return the client's logger, which loses the filters of the test at its end."""
    caplog.set_level(logging.INFO, "aiomessages")
    logger = logging.getLogger("aiomessages")
    before = [*logger.filters]
    yield logger
    logger.filters[:] = before


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("seconds", "waits"), [(600, True), (601, False)])
async def test_how_long_a_server_may_ask_to_wait(
    server: PlayedServer,
    archive: Path,
    status: int,
    seconds: int,
    log: logging.Logger,
    *,
    waits: bool,
) -> None:
    """A sync waits for ten minutes if the server asks for that; a longer wait ends it."""
    create(server, 2)
    server.fail = lambda r: (
        web.Response(status=status, headers={"Retry-After": f"{seconds}"})
        if r.path.endswith("/messages")
        else None
    )
    retries = asyncio.Event()

    def hear(record: logging.LogRecord) -> bool:
        if vars(record).get("event") == "retry":
            retries.set()
        return True

    log.addFilter(hear)
    syncing = asyncio.ensure_future(run(server, archive, concurrency=1))
    waiting = asyncio.ensure_future(retries.wait())
    await asyncio.wait({syncing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    ended = syncing.done()
    for task in (syncing, waiting):
        task.cancel()
    assert ended != waits
    with pytest.raises((asyncio.CancelledError, RateLimitError, InternalServerError)):
        await syncing


# --- the recheck ----------------------------------------------------------------------------------


async def test_a_recheck(server: PlayedServer, archive: Path) -> None:
    """It updates metadata, and marks what is gone or expired; nothing is deleted."""
    (old,) = create(server, 1)
    server.now += 20 * DAY
    gone, changed, same = create(server, 3)
    await run(server, archive)
    server.now += 11 * DAY
    gone.deleted = server.now
    changed.metadata = {"topic": "new"}
    report = await run(server, archive, recheck=True)
    assert (sorted(report.missing), report.changed) == (sorted([old.id, gone.id]), 1)
    assert report.complete
    kept = {old.id: "expired", gone.id: "gone", changed.id: "complete", same.id: "complete"}
    assert dict(ask(archive, "SELECT id, state FROM completions")) == kept
    assert ask(archive, "SELECT name, value FROM metadata") == [("topic", "new")]


async def test_what_is_listed_again_is_no_longer_gone(server: PlayedServer, archive: Path) -> None:
    """A completion that was marked as gone, and is listed again, is complete."""
    made = create(server, 3)
    await run(server, archive)
    made[1].deleted = server.now
    await run(server, archive, recheck=True)
    made[1].deleted = None
    report = await run(server, archive, recheck=True)
    assert (report.changed, report.new) == (1, 0)
    assert ask(archive, "SELECT DISTINCT state, gone_since FROM completions") == [
        ("complete", None)
    ]


async def test_a_recheck_of_a_selection(server: PlayedServer, archive: Path) -> None:
    """Only what the selection had is judged; one whose metadata has changed is not gone."""
    create(server, 3, model="gpt-5")
    moved, deleted = create(server, 2, metadata={"team": "a"})
    await run(server, archive)
    moved.metadata = {"team": "b"}
    deleted.deleted = server.now
    report = await run(server, archive, recheck=True, metadata={"team": "a"})
    assert (report.missing, report.changed) == ([deleted.id], 1)
    assert ask(archive, "SELECT value FROM metadata ORDER BY 1") == [("a",), ("b",)]
    report = await run(server, archive, recheck=True, model="gpt-4o", since=server.now - HOUR)
    assert report.missing == []


async def test_a_reply_that_has_changed(server: PlayedServer, archive: Path) -> None:
    """A completion that is listed with another reply is read anew."""
    (one,) = create(server, 1)
    await run(server, archive)
    body = one.body()
    body["choices"][0]["message"]["content"] = "another reply"
    one.body = lambda: body  # type: ignore[method-assign]  # it is the server's
    assert (await run(server, archive, recheck=True)).new == 1
    assert ask(archive, "SELECT text FROM messages WHERE choice = 0") == [("another reply",)]


# --- selections and projects ----------------------------------------------------------------------


async def test_a_selection(server: PlayedServer, archive: Path) -> None:
    """Only what is selected is kept; another selection adds to the archive."""
    create(server, 3, model="gpt-5")
    create(server, 2, model="gpt-4o", metadata={"team": "a"})
    create(server, 4)
    assert (await run(server, archive, model="gpt-5")).new == 3
    assert (await run(server, archive, metadata={"team": "a"})).new == 2
    assert (await run(server, archive)).new == 4


async def test_since(server: PlayedServer, archive: Path) -> None:
    """With `since`, older completions are listed and not read; a later sync may want them."""
    made = create(server, 30)
    assert (await run(server, archive, since=made[20].created)).new == 10
    assert (await run(server, archive, since=made[20].created)).requests == 1
    assert (await run(server, archive)).new == 20


async def test_another_server(server: PlayedServer, archive: Path) -> None:
    """The archive of one address is refused to another, and accepts it as moved."""
    create(server, 1)
    await run(server, archive)
    async with PlayedServer().running() as other:
        with pytest.raises(
            OtherProjectError,
            match="belongs to another base_url",
        ):
            await run(other, archive)
        assert other.requests == 0
        await run(other, archive, moved=True)
        await run(other, archive)


async def test_another_organization(server: PlayedServer, archive: Path) -> None:
    """The archive of one organization is refused to another, also as moved."""
    create(server, 1)
    await run(server, archive)
    create(server, 1)
    server.organization = "org-2"
    with pytest.raises(OtherProjectError, match="another organization: org-1, and not org-2"):
        await run(server, archive, moved=True)
    assert ask(archive, "SELECT count(*) FROM completions") == [(1,)]


async def test_two_syncs(server: PlayedServer, archive: Path) -> None:
    """The second of two syncs of an archive is refused before it sends anything."""
    await run(server, archive)
    before = server.requests
    with (
        locked(archive),
        pytest.raises(LockedError, match="another sync of this archive") as refused,
    ):
        await run(server, archive)
    assert (server.requests, refused.value.exit_code) == (before, 75)


async def test_unusable_arguments(server: PlayedServer, archive: Path) -> None:
    """Arguments that cannot be used are refused before a file is made."""
    with pytest.raises(ConfigurationError, match="concurrency"):
        await run(server, archive, concurrency=0)
    assert not archive.exists()  # noqa: ASYNC240 a test
