"""A list of completions narrowed by time, as a source of an export and by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest
from conftest_export import IDS, RECORDS, expected_messages, written
from hypothesis import given
from hypothesis import strategies as st
from loopback import Answer, Asked, Loopback

from aiomessages import AsyncMessagesClient, ConfigurationError, RetryPolicy
from aiomessages.export import CreatedBetween, export
from aiomessages.export.created_between import MARGIN, STEPS, EndOfRange, TimeRange, created_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiomessages.server import LocalServer

Order = Literal["asc", "desc"]
Json = Any
ORDERS: list[Order] = ["asc", "desc"]
FIRST = 1_700_000_000  # when the first of the records was created; then one a second
DAY = 86_400


class Listing(Loopback):
    """A server that lists completions in an order of its own, a few a page."""

    def __init__(self, *, asc: Sequence[Json], desc: Sequence[Json], page: int) -> None:
        super().__init__(self._answer)
        self._listed = {"asc": self._items(asc), "desc": self._items(desc)}
        self._page = page
        self.failing = 0

    def _items(self, times: Sequence[Json]) -> list[Json]:
        return [{"id": f"c{n}", "created": time, "choices": []} for n, time in enumerate(times)]

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("/messages"):
            return Answer({"object": "list", "data": [], "has_more": False})
        if self.failing and asked.query.get("after"):
            self.failing -= 1
            return Answer(b"", status=500)
        items = self._listed[asked.query["order"]]
        after = asked.query.get("after")
        first = next((n for n, item in enumerate(items, 1) if item["id"] == after), 0)
        page = items[first : first + self._page]
        more = first + len(page) < len(items)
        return Answer({"object": "list", "data": page, "has_more": more})


async def found(
    times: Sequence[Json] | Mapping[str, Sequence[Json]],
    order: Order | None,
    *,
    page: int = 10,
    **span: Any,
) -> tuple[list[Json], int]:
    """Return the times that are found in a range, and the number of requested pages."""
    listed = times if isinstance(times, Mapping) else {"asc": times, "desc": times}
    async with (
        Listing(asc=listed["asc"], desc=listed["desc"], page=page) as server,
        client_of(server) as client,
    ):
        chosen = CreatedBetween(client.completions(order=order), order=order, **span)
        kept = [json.loads(item)["created"] async for item in chosen]
        return kept, len(server.asked)


def client_of(server: Loopback, retries: int = 0) -> AsyncMessagesClient:
    """Return a client of the server."""
    policy = RetryPolicy(max_retries=retries, initial_backoff=0.001)
    return AsyncMessagesClient("key", base_url=server.base_url, retry=policy)


# --- nothing of the span is lost ------------------------------------------------------------------


async def test_bounds() -> None:
    """The lower bound is in the range, the upper is not; an unknown time is in none."""
    assert (await found([9, 10, 19, None, "12", 20], None, since=10, until=20))[0] == [10, 19]
    assert (await found([9, 10, None], None, since=10))[0] == [10]
    assert (await found([9, 10, None], None, until=10))[0] == [9]


async def test_no_bounds() -> None:
    """Without bounds every completion is kept, whatever its time."""
    assert (await found([1, None, "x", 2], "asc"))[0] == [1, None, "x", 2]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_list_in_the_order_of_storage(order: Order) -> None:
    """A slow call is listed among later ones; those behind it are found as well."""
    stored = [n * 60 for n in range(600)]
    times = [time - 1800 if n % 50 == 20 else time for n, time in enumerate(stored)]
    listed = {"asc": times, "desc": times[::-1]}
    since, until = stored[200], stored[400]
    kept, _ = await found(listed, order, since=since, until=until)
    assert sorted(kept) == sorted(time for time in times if since <= time < until)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("page", [1, 7, 100])
async def test_a_server_that_ignores_order(order: Order, page: int) -> None:
    """The first page lies far outside the range, and the list is still read to its end."""
    times = [FIRST + n * DAY for n in range(60)]
    wrong = times[::-1] if order == "asc" else times
    span = {"until": times[5]} if order == "asc" else {"since": times[-5]}
    kept, _ = await found(wrong, order, page=page, **span)
    assert len(kept) == 5


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("page", [1, 2, 5, 20])
async def test_a_server_without_any_order(order: Order, page: int) -> None:
    """A few items that happen to be in order prove nothing."""
    times = [FIRST + n * DAY for n in range(60)]
    for seed in range(10):
        random.Random(seed).shuffle(times)  # noqa: S311 no secret
        kept, _ = await found(
            times, order, page=page, since=FIRST + 20 * DAY, until=FIRST + 25 * DAY
        )
        assert len(kept) == 5


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "odd",
    [None, "today", [], True, FIRST + 0.5, 10**60, -(10**60), 0],
    ids=["null", "text", "list", "true", "float", "huge", "far", "zero"],
)
@pytest.mark.parametrize("page", [1, 10])
async def test_odd_times(order: Order, odd: Json, page: int) -> None:
    """A time that is no plain number of seconds, or far from the truth, costs others nothing."""
    times: list[Json] = [FIRST + n * DAY for n in range(60)]
    for place in (0, 15, 35, 59):
        mixed = [*times[:place], odd, *times[place:]]
        listed = {"asc": mixed, "desc": mixed[::-1]}
        kept, _ = await found(listed, order, page=page, since=times[30], until=times[40])
        assert sorted(kept) == times[30:40]


@pytest.mark.parametrize("order", ORDERS)
async def test_equal_times(order: Order) -> None:
    """A list of one time shows no order, and is read to its end."""
    times = [FIRST] * 50
    kept, pages = await found(times, order, since=FIRST + DAY, until=FIRST + 2 * DAY)
    assert (kept, pages) == ([], 5)


# --- and a list is not read for nothing -----------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
async def test_the_end_of_the_range(order: Order) -> None:
    """In the requested order, a list ends with the page behind the range."""
    times: list[Json] = [FIRST + n * 1800 for n in range(1000)]
    times[50], times[950] = times[51], times[949]
    listed: list[Json] = [*times[:20], None, "today", *times[20:980], None, *times[980:]]
    both = {"asc": listed, "desc": listed[::-1]}
    bound = {"asc": {"until": times[200]}, "desc": {"since": times[800]}}
    kept, pages = await found(both, order, **bound[order])
    assert len(kept) == 200
    assert pages <= 23  # twenty-one in the range, one behind it, one prefetched


async def test_an_empty_range() -> None:
    """If the first page shows the order and lies behind the range, it is the last one."""
    times = [FIRST + n * DAY for n in range(100)]
    kept, pages = await found(times[::-1], "desc", page=20, since=FIRST + 200 * DAY)
    assert (kept, pages) == ([], 2)  # one was prefetched


async def test_without_an_order() -> None:
    """Without an order to rely on, the whole list is read."""
    times = [FIRST + n * DAY for n in range(100)]
    async with Listing(asc=times, desc=times[::-1], page=10) as server, client_of(server) as client:
        chosen = CreatedBetween(client.completions(), until=FIRST + DAY)
        assert len([item async for item in chosen]) == 1
        assert len(server.asked) == 10


# --- the decision ---------------------------------------------------------------------------------

HOURS = [n * 3600 for n in range(100)]


def reached(order: Order | None, *pages: Sequence[float | None], **span: float) -> list[bool]:
    """Return the pages after which a list could end."""
    end = EndOfRange(TimeRange(**span), order)
    return [end.is_reached(page) for page in pages]


def test_the_whole_page_and_the_margin() -> None:
    """A page ends the list only if all its items lie a margin beyond the edge of the range."""
    shown: list[float | None] = [*range(-20_000, -20_000 + STEPS + 1)]
    far = [9e9] * (STEPS - 1)
    assert reached("asc", shown, [MARGIN - 1, *far], until=0) == [False, False]
    assert reached("asc", shown, [MARGIN, *far], until=0) == [False, True]
    newest_first = [-time for time in shown if time is not None]
    before = [-time for time in far]
    assert reached("desc", newest_first, [1 - MARGIN, *before], since=0) == [False, False]
    assert reached("desc", newest_first, [-MARGIN, *before], since=0) == [False, True]


def test_small_pages() -> None:
    """With small pages, as many items as show an order must lie behind the range."""
    behind = [[HOURS[40 + n]] for n in range(STEPS)]
    assert reached("asc", HOURS[:20], *behind, until=HOURS[25]) == [False] * STEPS + [True]


def test_how_many_steps_show_an_order() -> None:
    """Ten steps in the order asked for show it; equal and unknown times are no steps."""
    assert reached("asc", [*HOURS[10 : 10 + STEPS]], [HOURS[30]], until=0) == [False, True]
    same: list[float | None] = [HOURS[10], HOURS[10], None] * STEPS
    assert reached("asc", same, [HOURS[30]], until=0) == [False, False]


def test_how_far_an_order_must_go() -> None:
    """Steps within the margin show nothing: delays of storage make such steps as well."""
    near: list[float | None] = [1e6 + n for n in range(STEPS + 1)]
    assert reached("asc", near, [1e6 + MARGIN], [1e6 + MARGIN + 1], until=0) == [False, False, True]


def test_a_contradiction() -> None:
    """After an item that contradicts the order, a list never ends early."""
    pages = [HOURS[:20], [HOURS[20], HOURS[19]], HOURS[60:80], HOURS[80:]]
    assert not any(reached("asc", *map(list, pages), until=HOURS[20]))


def test_pages_that_prove_nothing() -> None:
    """A page that is empty or has only unknown times ends no list."""
    behind = HOURS[50:]
    assert reached("asc", [*behind], [], [None], until=0) == [True, False, False]
    assert reached("asc", [*behind], since=0) == [False]
    assert reached("desc", [*behind[::-1]], until=0) == [False]
    assert reached(None, [*behind], since=0, until=1) == [False]


@given(
    calls=st.lists(
        st.tuples(
            st.integers(0, 40 * MARGIN) | st.floats(0, 40 * MARGIN),  # when it was created
            st.floats(0, MARGIN),  # how long it took until it was stored
            st.booleans() | st.just(value=True),  # whether the server says when
        ),
        max_size=80,
    ),
    edges=st.lists(st.integers(-MARGIN, 41 * MARGIN), min_size=2, max_size=2, unique=True),
    page=st.integers(1, 30),
    order=st.sampled_from(ORDERS),
    answered=st.sampled_from(ORDERS),
)
def test_a_perfect_observer(
    calls: list[tuple[float, float, bool]],
    edges: list[int],
    page: int,
    order: Order,
    answered: Order,
) -> None:
    """No completion of the range is lost in a list by time of storage, in either order.

    The observer knows the whole list: no completion of the range is behind the last page that is
    read.
    """
    stored = sorted(calls, key=lambda call: call[0] + call[1], reverse=answered == "desc")
    listed = [created if says else None for created, _, says in stored]
    span = TimeRange(*sorted(edges))
    end = EndOfRange(span, order)
    for first in range(0, len(listed), page):
        if end.is_reached(listed[first : first + page]):
            assert not any(map(span.holds, listed[first + page :]))


@given(
    times=st.lists(st.integers() | st.floats(allow_nan=False) | st.none(), max_size=60),
    page=st.integers(1, 20),
    order=st.sampled_from(ORDERS),
    edge=st.integers(),
)
def test_conditions_of_an_early_end(
    times: list[float | None], page: int, order: Order, edge: int
) -> None:
    """An early end needs enough items in order, and a page behind the range."""
    span = TimeRange(until=edge) if order == "asc" else TimeRange(since=edge)
    end = EndOfRange(span, order)
    for last in range(page, len(times) + page, page):
        if end.is_reached(times[last - page : last]):
            known = [time for time in times[:last] if time is not None]
            assert known == sorted(known, reverse=order == "desc")
            assert len(set(known)) > STEPS
            assert not any(map(span.holds, times[last - page : last]))


# --- as a source ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
async def test_an_export(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path, order: Order
) -> None:
    """The completions of the range are exported, with the replies that the list carried."""
    source = CreatedBetween(
        client.completions(order=order), since=FIRST + 10, until=FIRST + 15, order=order
    )
    report = await export(client, source, tmp_path / "out.jsonl")
    assert written(tmp_path / "out.jsonl") == expected_messages(RECORDS[10:15])
    assert (report.finished, server.requests) == (True, 1 + 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": "2026-11-01"},
        {"until": True},
        {"since": float("nan")},
        {"since": 2, "until": 1},
        {"since": 1, "until": 1},
        {"order": "newest"},
    ],
    ids=str,
)
def test_an_invalid_range(client: AsyncMessagesClient, wrong: Any) -> None:
    """A bound that is no number, an empty range and an unknown order are refused at once."""
    with pytest.raises(ConfigurationError, match=r"since|until|order"):
        CreatedBetween(client.completions(), **wrong)


@pytest.mark.parametrize(
    ("completion", "time"),
    [
        (b'{"id":"a","created":12}', 12),
        (b'{"created":1.5}', 1.5),
        (b'{"created":null}', None),
        (b'{"created":"12"}', None),
        (b'{"created":true}', None),
        (b'{"created":1e400}', None),
        (b'{"created":%b}' % (b"9" * 5000), None),
        (b'{"created":100000000000}', 100_000_000_000),
        (b'{"created":1700000000123}', 1_700_000_000),
        (b'{"created":1700000000123.5}', 1_700_000_000),
        (b'{"created":%b}' % (b"9" * 400), 10**397 - 1),
        (b"{}", None),
    ],
)
def test_created(completion: bytes, time: float | None) -> None:
    """The time of creation is read from the bytes; a value that is no number is unknown.

    One that must be in milliseconds is in seconds.
    """
    assert created_of(completion) == time


async def test_another_address(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A server known by its origin may have another address the next time."""
    await export(client, IDS[:2], tmp_path / "out.jsonl", origin="mine")
    moved = client.with_options(base_url="http://127.0.0.1:9/v1")
    report = await export(moved, IDS[:2], tmp_path / "out.jsonl", origin="mine")
    assert report.progress.already == 2
