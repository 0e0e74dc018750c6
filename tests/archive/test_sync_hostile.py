"""A sync against clocks that are wrong, lists that lie, and servers with ways of their own."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from conftest_played import (
    DAY,
    HOUR,
    RETENTION,
    PlayedServer,
    answering,
    ask,
    check_consistent,
    create,
    not_found,
    rows,
    run,
)
from faults.addresses import nobody_listens

from aiomessages.archive.errors import OtherProjectError
from aiomessages.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiomessages.export import Progress


def kept(archive: Path) -> dict[str, str]:
    """Return the state of each completion in the archive."""
    return dict(ask(archive, "SELECT id, state FROM completions"))


# --- clocks ---------------------------------------------------------------------------------------


async def test_a_run_that_lasts_for_hours(server: PlayedServer, archive: Path) -> None:
    """A completion that becomes visible behind the reader is found by the next sync."""
    create(server, 20)
    server.now -= HOUR
    late = server.create(late=HOUR)
    young = []
    for _ in range(40):
        server.now += 30
        young.append(server.create())
    server.page, others_read = 10, asyncio.Event()

    async def be_slow(request: web.Request) -> None:
        if request.path.endswith(f"{young[0].id}/messages"):
            await others_read.wait()
        elif request.path.endswith(f"{young[5].id}/messages"):
            server.now += 2 * HOUR
        elif request.path.endswith(f"{young[-1].id}/messages"):
            others_read.set()

    server.fail = be_slow
    await run(server, archive, concurrency=2)
    assert late.id not in kept(archive)
    assert (await run(server, archive)).new == 1
    assert late.id in kept(archive)


CLOCKS: dict[str, tuple[Callable[[float], float | None], float]] = {
    "no Date, the machine's clock is ahead": (lambda _: None, DAY),
    "no Date, the machine's clock is behind": (lambda _: None, -DAY),
    "no Date, the machine's clock is right": (lambda _: None, 0),
    "the Date is ahead": (lambda now: now + DAY, 0),
    "the Date is behind": (lambda now: now - DAY, 0),
    "the Date is of 1970": (lambda _: 0.0, 0),
    "the Date goes back": (lambda now: now - time.monotonic() % 1 * DAY, 0),
    "the machine's clock is ahead": (lambda now: now, DAY),
    "the machine's clock is behind": (lambda now: now, -DAY),
}


@pytest.mark.parametrize("listing", ["ascending", "newest-first"])
@pytest.mark.parametrize(("date", "skew"), CLOCKS.values(), ids=CLOCKS)
async def test_a_wrong_clock(
    server: PlayedServer,
    archive: Path,
    date: Callable[[float], float | None],
    skew: float,
    listing: str,
) -> None:
    """Whatever the clocks say, what becomes visible within the hour is found."""
    server.listing, server.date = listing, date
    create(server, 25)
    server.now -= HOUR
    late = server.create(late=HOUR / 2)
    for _ in range(5):
        server.now += 60
        server.create()
    clock = lambda: server.now + skew  # noqa: E731
    await run(server, archive, clock=clock)
    assert late.id not in kept(archive)
    server.now += HOUR / 2
    await run(server, archive, clock=clock)
    assert kept(archive).keys() == server.kept.keys()


async def test_answers_without_a_date(server: PlayedServer, archive: Path) -> None:
    """Without a Date, the newest completion is the clock: a later sync lists its last hour."""
    server.date = lambda _: None
    create(server, 250)
    await run(server, archive, clock=lambda: server.now + DAY)
    assert (await run(server, archive, clock=lambda: server.now + DAY)).requests == 1


CREATED: dict[str, list[Any]] = {
    "missing": [None],
    "0": [0],
    "a text": ["yesterday", "1700000000"],
    "a float": [1_700_000_000.5, 1_700_003_600.25],
    "too large": [10**30, -(10**30)],
    "of one second": [1_700_000_000],
    "in the future": [4_000_000_000],
    "true": [True],
}


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("listing", "share"),
    [("ascending", 1), ("ascending", 3), ("storage", 3), ("newest-first", 3), ("shuffled", 1)],
)
@pytest.mark.parametrize("values", CREATED.values(), ids=CREATED)
async def test_odd_times(
    server: PlayedServer, archive: Path, values: list[Any], share: int, listing: str
) -> None:
    """Completions whose time is odd, all or every third, are kept, and so are those behind them."""
    server.listing = listing
    for round_ in range(3):
        for n in range(15):
            server.now += HOUR / 3
            odd = {"created": values[n % len(values)]} if n % share == 0 else {}
            server.create(extra=odd, late=[0, 1500][round_ == 1 and n % 4 == 0])
        await run(server, archive)
    server.now += HOUR
    await run(server, archive)
    assert kept(archive).keys() == server.kept.keys()


# --- lists ----------------------------------------------------------------------------------------


async def test_a_list_that_leaves_something_out(server: PlayedServer, archive: Path) -> None:
    """What a list leaves out is not gone while the server has it."""
    made = create(server, 30)
    await run(server, archive)
    made[3].hidden = made[28].hidden = True
    made[4].deleted = server.now
    report = await run(server, archive, recheck=True)
    assert (report.missing, report.changed) == ([made[4].id], 0)


@pytest.mark.parametrize("listing", ["ascending", "newest-first"])
async def test_a_server_that_ends_every_page(
    server: PlayedServer, archive: Path, listing: str
) -> None:
    """A full page is not taken for the last one, and a quiet day still costs one request."""
    server.listing = listing
    made = create(server, 250)
    made[0].messages = [f"message {n}" for n in range(250)]
    server.ends_every_page = True
    report = await run(server, archive)
    assert (report.new, report.messages) == (250, sum(len(one.messages) for one in made))
    if listing == "ascending":
        assert (await run(server, archive)).requests == 1
    create(server, 130)
    assert (await run(server, archive)).new == 130


async def test_a_list_that_always_fails_at_the_same_page(
    server: PlayedServer, archive: Path
) -> None:
    """What stands around a page that cannot be read is kept, and what waits is tried again."""
    made = create(server, 25)
    server.fail = answering(f"{made[0].id}/messages", 500)
    await run(server, archive)
    new, failures = create(server, 20), asyncio.Event()
    server.page = 11

    async def fail(request: web.Request) -> web.Response | None:
        if request.query.get("after") == new[9].id:
            failures.set()
            return web.Response(status=500)
        if request.path.endswith("/messages"):
            await failures.wait()
        return None

    server.fail = fail
    with pytest.raises(InternalServerError):
        await run(server, archive)
    assert kept(archive).keys() == {one.id for one in [*made, *new]}
    assert ask(archive, "SELECT result FROM runs ORDER BY number DESC LIMIT 1") == [
        ("InternalServerError",)
    ]


@pytest.mark.parametrize("broken", [30, 45])
async def test_a_completion_that_no_list_can_show(
    server: PlayedServer, archive: Path, broken: int
) -> None:
    """One completion that fails each page with it costs what is new no place; each run says so."""
    server.page = 10
    made = create(server, 60)

    def fail(request: web.Request) -> web.Response | None:
        if not request.path.endswith("/completions"):
            return None
        shown = [one.id for one in server.shown()]
        if request.query.get("order") == "desc":
            shown.reverse()
        begin = shown.index(request.query["after"]) + 1 if "after" in request.query else 0
        return web.Response(status=500) if made[broken].id in shown[begin : begin + 10] else None

    for _ in range(3):
        server.fail = fail
        with pytest.raises(InternalServerError):
            await run(server, archive)
        server.fail = lambda _: None
        missing = server.kept.keys() - kept(archive).keys()
        assert made[broken].id in missing
        assert len(missing) <= 20
        create(server, 20)
    await run(server, archive)
    assert kept(archive).keys() == server.kept.keys()


@pytest.mark.parametrize("fault", ["not found", "empty"])
async def test_a_conversation_that_the_server_forgets(
    server: PlayedServer, archive: Path, fault: str
) -> None:
    """A part of a conversation, or none of it, does not replace the whole one."""
    (one,) = create(server, 1, messages=[f"message {n}" for n in range(4)])
    server.page = 2
    await run(server, archive)
    before = rows(archive)
    one.extra = {"choices": []}
    if fault == "empty":
        one.messages = []
    else:
        server.fail = lambda r: (
            web.json_response({"error": not_found(one.id)}, status=404)
            if "after" in r.query and r.path.endswith("/messages")
            else None
        )
    report = await run(server, archive, recheck=True)
    assert (report.new, report.lost, [*report.failed]) == (0, [], [one.id])
    assert "the archive keeps those from before" in report.failed[one.id]
    assert rows(archive) == before
    server.fail, one.messages = (lambda _: None), ["another", "conversation"]
    assert (await run(server, archive)).new == 1
    assert ask(archive, "SELECT message_count FROM completions") == [(2,)]


async def test_an_empty_conversation_with_another_reply(
    server: PlayedServer, archive: Path
) -> None:
    """A conversation that never had a message is read anew like any other."""
    (one,) = create(server, 1, messages=[])
    await run(server, archive)
    one.extra = {"choices": []}
    report = await run(server, archive, recheck=True)
    assert (report.new, report.failed) == (1, {})


@pytest.mark.parametrize(("reached", "status"), [(False, 500), (True, 401)])
async def test_a_list_that_ends_the_run(
    server: PlayedServer, archive: Path, reached: bool, status: int
) -> None:
    """Without a first page, or with a key that is refused later, what waits is not tried."""
    made = create(server, 25)
    server.page, tried = 10, list[str]()
    server.fail = answering(f"{made[0].id}/messages", 500)
    await run(server, archive)
    made[0].hidden = True

    def fail(request: web.Request) -> web.Response | None:
        if not request.path.endswith("/completions"):
            tried.append(request.path)
        elif ("after" in request.query) is reached:
            return web.Response(status=status)
        return None

    server.fail = fail
    with pytest.raises(AuthenticationError if reached else InternalServerError):
        await run(server, archive, recheck=True)
    assert tried == []


async def test_conversations_that_a_key_may_not_read(server: PlayedServer, archive: Path) -> None:
    """A key that is refused for some conversations, with others between them, reads the others."""
    made = create(server, 8)
    refused = {f"/v1/chat/completions/{one.id}/messages" for one in made[::2]}
    server.fail = lambda r: web.Response(status=403) if r.path in refused else None
    report = await run(server, archive, concurrency=1)
    assert (report.new, [*report.failed]) == (4, [one.id for one in made[::2]])


async def test_the_progress_of_a_sync(server: PlayedServer, archive: Path) -> None:
    """The progress tells what was already there from what is fetched."""
    create(server, 3)
    await run(server, archive)
    create(server, 2)
    told = list[tuple[int, int]]()

    def tell(progress: Progress) -> None:
        told.append((progress.already, progress.completions))

    await run(server, archive, recheck=True, on_progress=tell)
    assert (told[0], told[-1]) == ((0, 0), (3, 2))


async def test_the_progress_of_what_is_not_kept(server: PlayedServer, archive: Path) -> None:
    """The progress counts each completion of the report, also those that are not in the archive."""
    failing, gone, *_ = create(server, 25)
    server.fail = answering("/messages", 500)
    await run(server, archive)
    server.create(messages=[])
    gone.deleted, gone.hidden = server.now, True
    server.fail = answering(f"{failing.id}/messages", 500)
    told: list[Progress] = []
    report = await run(server, archive, on_progress=told.append)
    assert (len(report.failed), len(report.pending), len(report.gone)) == (1, 1, 1)
    counted = (told[-1].failed, told[-1].pending, told[-1].gone, told[-1].completions)
    assert counted == (1, 1, 1, report.new)


async def test_a_recheck_whose_list_fails(server: PlayedServer, archive: Path) -> None:
    """Without the end of the list nothing is judged, and the server is asked for nothing."""
    made = create(server, 30)
    await run(server, archive)
    made[25].deleted = server.now
    server.page, before = 10, server.requests
    server.fail = lambda r: web.Response(status=500) if "after" in r.query else None
    with pytest.raises(InternalServerError):
        await run(server, archive, recheck=True)
    assert server.requests == before + 1 + 2
    assert set(kept(archive).values()) == {"complete"}


async def test_a_first_list_that_fails(server: PlayedServer, archive: Path) -> None:
    """A list, newest first, of which the end was not read leaves no anchor."""
    made = create(server, 60)
    server.page, server.listing = 20, "newest-first"
    server.fail = lambda r: (
        web.Response(status=500) if r.query.get("after") == made[20].id else None
    )
    with pytest.raises(InternalServerError):
        await run(server, archive)
    assert len(kept(archive)) == 40
    server.fail = lambda _: None
    assert (await run(server, archive)).new == 20


async def test_a_server_that_keeps_for_longer(server: PlayedServer, archive: Path) -> None:
    """Where older ones are listed, one of 30 days is not taken for expired."""
    server.exists = lambda one: one.deleted is None  # type: ignore[method-assign]
    made = create(server, 5)
    await run(server, archive)
    server.now += 2 * RETENTION
    made[1].hidden = True
    made[2].deleted = server.now
    assert (await run(server, archive, recheck=True)).missing == [made[2].id]
    assert kept(archive)[made[2].id] == "expired"


async def test_a_missing_one_that_cannot_be_asked_for(server: PlayedServer, archive: Path) -> None:
    """What the server cannot say is not gone, and does not end the recheck; the next one asks."""
    made = create(server, 5)
    await run(server, archive)
    made[1].deleted = made[2].deleted = server.now
    server.fail = answering(made[1].id, 500)
    assert (await run(server, archive, recheck=True)).missing == [made[2].id]
    other = made[0].body()
    server.fail = lambda r: web.json_response(other) if r.path.endswith(made[1].id) else None
    assert (await run(server, archive, recheck=True)).missing == []
    server.fail = lambda _: None
    assert (await run(server, archive, recheck=True)).missing == [made[1].id]


async def test_a_missing_one_that_a_gateway_does_not_find(
    server: PlayedServer, archive: Path
) -> None:
    """A "not found" that is not the API's own does not make a completion gone."""
    made = create(server, 5)
    await run(server, archive)
    made[1].hidden = True
    server.fail = lambda r: (
        web.Response(status=404, text="no route") if r.path.endswith(made[1].id) else None
    )
    assert (await run(server, archive, recheck=True)).missing == []
    assert set(kept(archive).values()) == {"complete"}


async def test_a_key_refused_while_asking_for_the_missing(
    server: PlayedServer, archive: Path
) -> None:
    """A key that is refused ends the recheck; nothing is gone."""
    made = create(server, 5)
    await run(server, archive)
    made[1].deleted = server.now
    server.fail = answering(made[1].id, 401, {"code": "invalid_api_key"})
    with pytest.raises(AuthenticationError):
        await run(server, archive, recheck=True)
    assert set(kept(archive).values()) == {"complete"}


async def test_a_missing_one_that_has_changed(server: PlayedServer, archive: Path) -> None:
    """A completion that a list leaves out, and that has another reply, is read anew."""
    made = create(server, 5)
    await run(server, archive)
    made[1].hidden = True
    made[1].extra = {"choices": []}
    report = await run(server, archive, recheck=True)
    assert (report.missing, report.new) == ([], 1)


async def test_an_id_that_is_used_again(server: PlayedServer, archive: Path) -> None:
    """Another completion under the same id is read, though its reply is the same."""
    (one,) = create(server, 1)
    await run(server, archive)
    one.created, one.messages = one.created + 60, ["another conversation"]
    await run(server, archive, recheck=True)
    texts = ask(archive, "SELECT text FROM messages WHERE choice IS NULL")
    assert texts == [("another conversation",)]


async def test_pages_that_are_too_large(server: PlayedServer, archive: Path) -> None:
    """List pages that a gateway refuses are asked for in smaller ones."""
    create(server, 40)

    def refuse(request: web.Request) -> web.Response | None:
        is_list = request.path.endswith("/completions")
        status = {True: 413, False: 504}[int(request.query.get("limit", 20)) > 10]
        too_large = is_list and int(request.query.get("limit", 20)) > 5
        return web.Response(status=status) if too_large else None

    server.fail = refuse
    assert (await run(server, archive)).new == 40


async def test_pages_that_overlap(server: PlayedServer, archive: Path) -> None:
    """Completions that are on two pages are kept once, and counted once."""
    create(server, 40)
    server.page = 10

    def overlap(request: web.Request) -> web.Response | None:
        after = request.query.get("after")
        if not request.path.endswith("/completions") or after is None:
            return None
        items = [one.body() for one in server.shown()]
        at = [item["id"] for item in items].index(after) - 3
        page = items[at : at + 10]
        more = at + 10 < len(items)
        frame = {"object": "list", "first_id": page[0]["id"], "last_id": page[-1]["id"]}
        return web.json_response(frame | {"data": page, "has_more": more})

    server.fail = overlap
    report = await run(server, archive)
    assert (report.new, len(kept(archive))) == (40, 40)


async def test_a_list_that_repeats_itself(server: PlayedServer, archive: Path) -> None:
    """A completion that is listed twice is read once, and kept once."""
    made = create(server, 5)
    items = [one.body() for one in [*made, *made]]

    def repeat(request: web.Request) -> web.Response | None:
        if not request.path.endswith("/completions"):
            return None
        frame = {"object": "list", "first_id": items[0]["id"], "last_id": items[-1]["id"]}
        return web.json_response(frame | {"data": items, "has_more": False})

    server.fail = repeat
    report = await run(server, archive)
    assert (report.new, report.requests, report.listed) == (5, 1 + 5, 10)
    assert ask(archive, "SELECT count(*), sum(message_count) FROM completions") == [
        (5, sum(len(one.messages) for one in made))
    ]


async def test_a_completion_that_is_listed_again_after_it_failed(
    server: PlayedServer, archive: Path
) -> None:
    """A completion that could not be read, and is listed once more in the same run, is read."""
    made = create(server, 20)
    server.page, fault = 10, answering(f"{made[3].id}/messages", 422)
    cursors, failed = [made[9].id, made[8].id], asyncio.Event()

    async def fail(request: web.Request) -> web.Response | None:
        if request.query.get("after") in cursors:  # so that the list begins anew
            await failed.wait()
            cursors.remove(request.query["after"])
            return web.json_response({"error": {"message": "no", "param": "after"}}, status=404)
        answer = None if failed.is_set() else fault(request)
        if answer is not None:
            failed.set()
        return answer

    server.fail = fail
    report = await run(server, archive, concurrency=1)
    assert (report.new, report.failed) == (20, {})


@pytest.mark.parametrize(
    ("deleted", "again"), [(slice(19, 20), 1), (slice(18, 20), 20), (slice(20), 30)]
)
async def test_a_cursor_that_is_deleted_on_the_way(
    server: PlayedServer, archive: Path, deleted: slice, again: int
) -> None:
    """A list whose cursor was deleted while a page was read is read to its end.

    It goes on behind the completion before it, or else from its begin.
    """
    ids = [one.id for one in create(server, 40)[deleted]]
    error = {"error": {"message": "no such item", "param": "after"}}
    server.page = 10

    def refuse(request: web.Request) -> web.Response | None:
        after = request.query.get("after")
        if after not in ids:
            return None
        ids.remove(after)
        return web.json_response(error, status=404)

    server.fail = refuse
    assert (await run(server, archive)).listed == 40 + again
    assert kept(archive).keys() == server.kept.keys()


async def test_a_server_that_refuses_every_cursor(server: PlayedServer, archive: Path) -> None:
    """A list of which no second page can be read ends the sync with the server's error.

    The oldest and the newest page are kept.
    """
    create(server, 40)
    server.page = 10
    server.fail = lambda r: (
        web.json_response({"error": {"message": "no", "param": "after"}}, status=400)
        if "after" in r.query
        else None
    )
    with pytest.raises(BadRequestError):
        await run(server, archive)
    assert len(kept(archive)) == 20


async def test_small_pages_of_a_server_that_ignores_the_order(
    server: PlayedServer, archive: Path
) -> None:
    """A page of the wrong side of the anchor is not taken for the one behind it."""
    server.listing, server.page = "newest-first", 5
    create(server, 15)
    for _ in range(30):
        server.now += 60
        server.create()
    server.now += 2 * HOUR
    await run(server, archive)
    create(server, 3)
    assert (await run(server, archive)).new == 3


# --- servers --------------------------------------------------------------------------------------


async def test_the_dialect_of_ogx(server: PlayedServer, archive: Path) -> None:
    """A 400 for an unknown id, listed replies, empty ids: all is kept, each reply once."""
    made = create(server, 12)
    for one in made:
        one.extra = {"request_id": None, "input_messages": [{"role": "user"}] * len(one.messages)}
    pending = made[4].id

    def answer(request: web.Request) -> web.Response | None:
        if request.path.endswith(f"{pending}/messages"):
            detail = {"error": {"message": f"Chat completion with id {pending} not found"}}
            return web.json_response(detail, status=400)
        if request.path.endswith("/messages"):
            one = server.kept[request.match_info["id"]]
            absent = dict.fromkeys(["name", "tool_calls", "refusal", "audio"])
            said = [("user", text) for text in one.messages]
            said.append(("assistant", f"reply to {one.id}"))
            data = [
                {"id": f"{one.id}-{n}", "role": role, "content": text} | absent
                for n, (role, text) in enumerate(said)
            ]
            frame = {"object": "list", "first_id": data[0]["id"], "last_id": data[-1]["id"]}
            return web.json_response(frame | {"data": data, "has_more": False})
        if "after" in request.query:
            frame = {"object": "list", "data": [], "first_id": "", "last_id": ""}
            return web.json_response(frame | {"has_more": False})
        return None

    server.fail = answer
    await run(server, archive, since=made[5].created)
    assert len(kept(archive)) == 7
    assert ask(archive, "SELECT count(*) FROM messages WHERE text LIKE 'reply%'") == [(7,)]


async def test_messages_that_stay_invisible(server: PlayedServer, archive: Path) -> None:
    """A completion that exists, and whose messages do not, has failed after an hour."""
    made = create(server, 25)
    id = made[0].id
    server.fail = answering(f"{id}/messages", 500)
    await run(server, archive)
    server.fail = answering(f"{id}/messages", 404, not_found(id))
    for _ in range(2):
        report = await run(server, archive)
        assert (report.pending, [*report.failed], report.gone) == ([], [id], [])
    server.fail = lambda _: None
    assert (await run(server, archive)).new == 1


@pytest.mark.parametrize("created", [None, 1_700_000_000])
async def test_messages_that_are_not_found_for_an_hour(
    server: PlayedServer, archive: Path, created: int | None
) -> None:
    """A completion whose messages are not found waits, and has failed after an hour."""
    one = server.create(extra={"created": created})
    server.fail = answering("/messages", 500)
    await run(server, archive)
    one.hidden = True  # a listed one is asked for again for 15 s
    server.fail = answering("/messages", 404, not_found(one.id))
    server.now += HOUR - 1
    report = await run(server, archive)
    assert (report.pending, report.failed) == ([one.id], {})
    server.now += 1
    report = await run(server, archive)
    assert (report.pending, [*report.failed]) == ([], [one.id])
    server.fail = lambda _: None
    assert (await run(server, archive)).new == 1


@pytest.mark.parametrize("created", [None, 1_700_000_000, 4_000_000_000])
async def test_messages_that_are_listed_late(
    server: PlayedServer, archive: Path, created: int | None
) -> None:
    """A completion without messages waits for an hour, and is then kept as it is."""
    one, other = (server.create(extra={"created": created}) for _ in range(2))
    texts, one.messages, other.messages = one.messages, [], []
    report = await run(server, archive)
    assert (report.pending, report.failed, report.new) == ([one.id, other.id], {}, 0)
    one.messages = texts
    server.now += HOUR
    report = await run(server, archive)
    assert (report.new, report.messages, report.complete) == (2, len(texts), True)


async def test_an_id_that_no_request_can_hold_and_is_gone(
    server: PlayedServer, archive: Path
) -> None:
    """A completion that could never be requested is named as gone when it must be deleted."""
    (one,) = create(server, 1, extra={"id": "a/../b"})
    await run(server, archive)
    one.deleted = server.now
    assert [*(await run(server, archive)).failed] == ["a/../b"]
    server.now += RETENTION
    report = await run(server, archive)
    assert (report.gone, report.failed) == (["a/../b"], {})
    assert (await run(server, archive)).complete


async def test_an_id_that_no_request_can_hold_and_is_kept_for_longer(
    server: PlayedServer, archive: Path
) -> None:
    """A completion that could never be requested is not gone while the server lists it."""
    server.exists = lambda _: True  # type: ignore[method-assign]
    create(server, 1, extra={"id": "a/../b"})
    await run(server, archive)
    server.now += 2 * RETENTION
    report = await run(server, archive)
    assert (report.gone, [*report.failed]) == ([], ["a/../b"])


@pytest.mark.parametrize("body", [b'{"id": "another"}', b"{}", b'{"id": 3}'])
async def test_another_completion_in_the_answer(
    server: PlayedServer, archive: Path, body: bytes
) -> None:
    """A waiting completion that the server answers with another one fails, and harms no other."""
    made = create(server, 25)
    server.fail = answering(f"{made[0].id}/messages", 500)
    await run(server, archive)
    new = create(server, 2)
    server.fail = lambda r: (
        web.Response(body=body, content_type="application/json")
        if r.path.endswith(made[0].id)
        else None
    )
    report = await run(server, archive)
    assert report.failed.keys() == {made[0].id}
    assert kept(archive).keys() == {one.id for one in [*made[1:], *new]}
    server.fail = lambda _: None
    assert (await run(server, archive)).complete


async def test_half_an_emoji_in_every_text(server: PlayedServer, archive: Path) -> None:
    """Lone surrogates in an id, metadata or text cost no other completion its place."""
    create(server, 3)
    server.create(
        metadata=dict.fromkeys(["a\ud83d", "a\ude00"], "b\ud83d"), messages=["half \ud83d", "\x00"]
    )
    server.now += 2 * HOUR
    report = await run(server, archive)
    assert (report.new, report.complete) == (4, True)
    assert json.loads(ask(archive, "SELECT body FROM messages WHERE text LIKE 'half%'")[0][0])


async def test_a_storm_of_faults(server: PlayedServer, archive: Path) -> None:
    """Whatever the requests meet, nothing is gone or lost, and calm completes the archive."""
    create(server, 30)
    server.page = 7
    whole, chance = archive.with_name("whole.db"), random.Random(1)  # noqa: S311 no secret
    await run(server, whole)

    def fault(request: web.Request) -> web.Response | None:
        kind = chance.randrange(20)
        met[kind] += kind < 6
        if kind == 0 and request.transport is not None:
            request.transport.abort()
        return {
            1: web.Response(status=429, headers={"Retry-After": "0"}),
            2: web.Response(status=503, text="<html>down</html>", content_type="text/html"),
            3: web.Response(status=404, text="<html>no page</html>", content_type="text/html"),
            4: web.Response(body=b'{"object": "list", "data": [', content_type="application/json"),
            5: web.Response(status=204),
        }.get(kind)

    met = Counter[int]()
    for _ in range(12):
        server.fail = fault
        with suppress(APIError):
            report = await run(server, archive, recheck=bool(chance.randrange(2)))
            assert (report.gone, report.lost, report.missing, report.pending) == ([], [], [], [])
        check_consistent(archive)
    server.fail = lambda _: None
    assert (await run(server, archive)).complete
    assert rows(archive) == rows(whole)
    assert sum(met.values()) > 12


# --- what waits -----------------------------------------------------------------------------------


async def test_what_waits_and_is_not_selected(server: PlayedServer, archive: Path) -> None:
    """What failed is tried again also by a sync of a later time that lists it."""
    made = create(server, 25)
    server.fail = answering(f"{made[0].id}/messages", 500)
    await run(server, archive)
    server.fail = lambda _: None
    report = await run(server, archive, since=made[20].created)
    assert (report.new, report.failed) == (1, {})


async def test_what_waits_and_is_whole_after_all(server: PlayedServer, archive: Path) -> None:
    """A change that could not be read, and was undone, waits no more."""
    made = create(server, 3)
    await run(server, archive)
    made[0].extra = {"choices": []}
    server.fail = answering(f"{made[0].id}/messages", 500)
    assert not (await run(server, archive, recheck=True)).complete
    made[0].extra = {}
    report = await run(server, archive, recheck=True)
    assert (report.failed, report.new) == ({}, 0)


async def test_the_anchor_moves_over_what_is_known(server: PlayedServer, archive: Path) -> None:
    """What another selection has kept, or none wants, is behind the anchor all the same."""
    made = create(server, 250)
    await run(server, archive)
    assert (await run(server, archive, model="gpt-4o")).requests == 3
    assert (await run(server, archive, model="gpt-4o")).requests == 1
    since = made[-1].created
    assert (await run(server, archive, since=since)).requests == 3
    assert (await run(server, archive, since=since)).requests == 1


# --- the project ----------------------------------------------------------------------------------


async def test_a_wrong_address_at_first(server: PlayedServer, archive: Path) -> None:
    """An address that never answered is not recorded as the archive's."""
    right = server.base_url
    with nobody_listens() as server.base_url, pytest.raises(APIConnectionError):
        await run(server, archive)
    server.base_url = right
    create(server, 1)
    assert (await run(server, archive)).new == 1


async def test_moved_to_another_project(server: PlayedServer, archive: Path) -> None:
    """A move to the address of another organization is refused, and changes nothing."""
    create(server, 1)
    await run(server, archive)
    async with PlayedServer(organization="org-2").running() as other:
        with pytest.raises(OtherProjectError, match="another organization"):
            await run(other, archive, moved=True)
    await run(server, archive)
