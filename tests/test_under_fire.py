"""The stream and the client under stress: cancelled, timed out, dropped, closed, in an outage.

Schedules of many concurrent steps run on virtual time, over a server of Python lists; tests that
need a connection run over a real loopback socket. No test waits for a clock.
"""

import asyncio
import contextlib
import gc
import os
import random
import traceback
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import schedules
from loopback import Answer, Asked, Loopback, conversation, error, message, page, replies
from schedules import EAGER, play, spin
from virtual_time import now, run, work

from aiomessages import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AsyncMessagesClient,
    ClientClosedError,
    InternalServerError,
    MessagePage,
    RateLimitError,
    RetryPolicy,
)
from aiomessages.calls.retry import RetryQuota
from aiomessages.pages import Page
from aiomessages.paging import cursor, prefetch, stream
from aiomessages.paging.cursor import Fetched, WalkState
from aiomessages.wire.page_content import PageContent

pytestmark = pytest.mark.unmeasured

# --- streams: schedules ---------------------------------------------------------------------------

BATCH = 300


@pytest.mark.parametrize("batch", range(8))
def test_a_stream_under_fire(batch: int) -> None:
    """In any schedule each item comes once and in order, and a failed stream never looks complete.

    At most one fetch is in flight, two pages are held, and no task is left. See schedules.py.
    """
    play_all(range(batch * BATCH, (batch + 1) * BATCH), stream)


def play_all(seeds: range, streams: types.ModuleType) -> None:
    """Play one schedule after another; a failure names its seed."""
    for seed in seeds:
        try:
            play(seed, streams)
        except AssertionError as error:
            error.add_note(f"play({seed}, stream) fails alone as well")
            raise


# Mistakes that were made, or nearly made, in such streams.
MISTAKES = {
    "a page given up when its consumer is cancelled": (
        "            await asyncio.sleep(0)\n        fetcher.taking",
        (
            "            page = fetcher.pages.popleft()\n"
            "            await asyncio.sleep(0)\n"
            "            fetcher.pages.appendleft(page)\n"
            "        fetcher.taking"
        ),
    ),
    "an item counted before it is delivered": (
        "            for item in self._unread:  #",
        "            for item in self._unread:\n                await asyncio.sleep(0)  #",
    ),
    "a page that overwrites the one ahead": (
        "self.pages.append(page)",
        "self.pages.clear(); self.pages.append(page)",
    ),
    "a page put in front of the one ahead": (
        "self.pages.append(page)",
        "self.pages.appendleft(page)",
    ),
    "a page delivered twice": (
        "self._ids, self._unread = page.ids, iter(page.data)",
        "self._ids, self._unread = page.ids, iter(page.data + page.data[:1])",
    ),
    "a page left where it is": (
        "return fetcher.pages.popleft() if",
        "return fetcher.pages[0] if",
    ),
    "an error swallowed": (
        "self.error, self._traceback = error, error.__traceback__",
        "self._state.ended = True",
    ),
    "an error raised once": (
        "            raise self.error.with",
        (
            "            self._state.ended = True\n"
            "            error, self.error = self.error, None\n"
            "            raise error.with"
        ),
    ),
    "an error before the items in front of it": (
        "        while not fetcher.pages:\n",
        "        fetcher.raise_error()\n        while not fetcher.pages:\n",
    ),
    "a second fetch at once": (
        "if is_running or not",
        "if not",
    ),
    "three pages held": (
        "return len(self.pages) < 1 + self.taking",
        "return len(self.pages) < 2 + self.taking",
    ),
    "a variable that keeps the last page": (
        "self._accept(await self._fetch(state.cursor, state.wanted, state.fresh))",
        "it = await self._fetch(state.cursor, state.wanted, state.fresh); self._accept(it)",
    ),
    "a fetch ahead that nobody wanted": (
        "        if self._prefetch:\n",
        "        if True:\n",
    ),
    "a fetch cancelled with its consumer": (
        "            await arrival\n",
        "            await fetcher._task\n",
    ),
    "a cancelled fetch that nobody makes again": (
        "        self._task.add_done_callback(self._wake)\n",
        "",
    ),
    "a closed stream that looks complete": (
        "        if self._closed:\n            raise ClientClosedError(",
        "        if self._closed:\n            return True\n            raise ClientClosedError(",
    ),
    "a half-read page that looks complete": (
        "all_delivered = not self._has_items()",
        "all_delivered = True",
    ),
    "an unread page that looks complete": (
        "all_delivered and not self._fetcher.pages",
        "all_delivered",
    ),
    "a closing that does not stop the fetch": (
        "        for task in running:\n            task.cancel()\n",
        "",
    ),
    "a closing that does not wait": (
        "                await asyncio.wait(running, timeout=CLOSE_TIMEOUT)",
        "                pass",
    ),
    "a page accepted after the closing": (
        "None if self._stopped else self._state",
        "self._state",
    ),
    "a dropped stream whose fetch goes on": (
        "task.get_loop().call_soon_threadsafe(task.cancel)",
        "pass",
    ),
    "a dropped stream that keeps its pages": (
        "        self._stopped = True\n        self.pages.clear()\n        if self._task",
        "        if self._task",
    ),
    "tasks that turn a page at once": (
        "        async with self._turning:\n            if length",
        "        if True:\n            if length",
    ),
    "a page turned twice": (
        "            if length_hint(self._unread):\n                return  #",
        "            if False:\n                return  #",
    ),
    "a cursor that runs ahead": (
        "return self._ids[read - 1] if read else self._delivered",
        "return self._ids[-1] if self._ids else self._delivered",
    ),
    "a cursor that forgets": (
        "return self._ids[read - 1] if read else self._delivered",
        "return self._ids[read - 1] if read else None",
    ),
    "max_items not counted": (
        "            self.remaining -= len(content.ids)\n",
        "            pass\n",
    ),
}


def stream_with(mistake: tuple[str, str]) -> types.ModuleType:
    """Return the stream module with one mistake in it, or in one of the two below it."""
    sources = [Path(str(each.__file__)).read_text("utf-8") for each in (cursor, prefetch, stream)]
    found = sum(source.count(mistake[0]) for source in sources)
    assert found == 1, "the source has changed: write the mistake again"
    states, walks, mistaken = (module_of(source.replace(*mistake)) for source in sources)
    vars(mistaken).update(WalkState=states.WalkState, Walk=walks.Walk)
    return mistaken


def module_of(source: str) -> types.ModuleType:
    """Return a module of the package, made from this source."""
    module = types.ModuleType("aiomessages.paging.mistaken")
    exec(compile(source, "<mistaken>", "exec"), vars(module))  # noqa: S102 our own source
    return module


@pytest.mark.filterwarnings("ignore")  # a broken stream may leave anything behind
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_stream_with_a_mistake(mistake: tuple[str, str]) -> None:
    """The schedules find each of these mistakes."""
    broken = stream_with(mistake)
    with pytest.raises(AssertionError):
        play_all(range(8 * BATCH), broken)
    gc.collect()  # leftovers warn now, and not in another test


# --- streams: single shots ------------------------------------------------------------------------


def numbered(number: int, of: int) -> Fetched[Page[int]]:
    """Return a page of one item."""
    more = number + 1 < of
    return PageContent(Page, [number], [str(number)], has_more=more, promised=more), 1


def items_of(fetch: Any, **options: Any) -> stream.PageStream[int, Any]:
    """Return a stream of items."""
    return schedules.items_of(stream.Walk(fetch, WalkState(), **options))


def number_behind(after: str | None) -> int:
    """Return the number of the page after a cursor."""
    return 0 if after is None else int(after) + 1


async def test_a_fetch_that_is_cancelled_from_within() -> None:
    """If something that a fetch waits for is cancelled, the stream fails, without endless tries."""
    asked = 0

    async def fetch(_: str | None, __: int | None, ___: bool) -> Fetched[Page[int]]:
        nonlocal asked
        asked += 1
        key = asyncio.get_running_loop().create_future()
        key.cancel()
        return numbered(await key, 1)

    items = items_of(fetch)
    for _ in range(2):
        async with asyncio.timeout(5):
            with pytest.raises(APIConnectionError, match="was cancelled"):
                await anext(items)
    assert asked == 1


async def test_an_error_raised_again_and_again() -> None:
    """A stream that raises its error again and again holds no more memory each time."""

    async def fetch(_: str | None, __: int | None, ___: bool) -> Fetched[Page[int]]:
        raise APIConnectionError("lost")

    items = items_of(fetch)
    lengths = set()
    for _ in range(20):
        with pytest.raises(APIConnectionError) as caught:
            await anext(items)
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
        assert "fetch" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert len(lengths) == 1


async def test_a_stream_that_another_thread_drops() -> None:
    """A stream that another thread drops cancels its fetch in its own loop."""
    left = asyncio.Event()

    async def fetch(_: str | None, __: int | None, ___: bool) -> Fetched[Page[int]]:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    kept = [items_of(fetch)]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await anext(kept[0])
    with pytest.warns(ResourceWarning, match="aclose"):
        await asyncio.to_thread(kept.clear)
    async with asyncio.timeout(5):
        await left.wait()


@pytest.mark.skipif(not EAGER, reason="tasks that start at once are new in Python 3.12")
async def test_a_fetch_that_is_done_at_once() -> None:
    """With eager tasks, a page that is ready at once does not wait for the next one."""
    never = asyncio.Event()

    async def fetch(after: str | None, _: int | None, __: bool) -> Fetched[Page[int]]:
        if after is not None:
            await never.wait()
        return numbered(number_behind(after), of=2)

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    items = items_of(fetch)
    async with asyncio.timeout(5):
        assert await anext(items) == 0
    await items.aclose()


# --- streams: what prefetching saves --------------------------------------------------------------

MS = 1.0  # virtual: whole numbers, so that sums are exact


async def time_of_ten_pages(latency: float, effort: Callable[[], Any], *, prefetch: bool) -> float:
    """Return the time of a consumer that works on each page of one item."""

    async def fetch(after: str | None, _: int | None, __: bool) -> Fetched[Page[int]]:
        await asyncio.sleep(latency)
        return numbered(number_behind(after), of=10)

    began = now()
    async for _ in items_of(fetch, prefetch=prefetch):
        if (pause := effort()) is not None:
            await pause
    return now() - began


KINDS_OF_WORK = {"awaits": asyncio.sleep, "blocks the loop": work}


@pytest.mark.parametrize("kind", KINDS_OF_WORK.values(), ids=KINDS_OF_WORK)
@pytest.mark.parametrize(
    ("latency", "effort", "prefetch", "takes"),
    [
        pytest.param(50 * MS, 60 * MS, True, (50 + 10 * 60) * MS, id="the work is slower"),
        pytest.param(60 * MS, 50 * MS, True, (10 * 60 + 50) * MS, id="the server is slower"),
        pytest.param(50 * MS, 60 * MS, False, 10 * (50 + 60) * MS, id="prefetch=False"),
    ],
)
def test_ten_pages(
    kind: Callable[[float], Any], latency: float, effort: float, *, prefetch: bool, takes: float
) -> None:
    """With prefetch ten pages take the time of the slower side, without it the sum."""
    assert run(time_of_ten_pages(latency, lambda: kind(effort), prefetch=prefetch)) == takes


# --- the client: cancellations --------------------------------------------------------------------

# In a test with sockets, the virtual clock jumps after no socket had data for this many real
# seconds.
GRACE = 0.05
KEY = "sk-canary-0123456789"
AT_ONCE = RetryPolicy(initial_backoff=0, max_backoff=0)
NO_RETRY = RetryPolicy(max_retries=0)


def client_of(server: Loopback, api_key: Any = KEY, **options: Any) -> AsyncMessagesClient:
    """Return a client of a scripted server."""
    return AsyncMessagesClient(api_key, base_url=server.base_url, **options)


async def page_of(client: AsyncMessagesClient, **options: Any) -> MessagePage:
    """Await one page, as a coroutine."""
    return await client.list("x", **options)


async def anext_of(items: Any) -> Any:
    """Take one item, as a coroutine."""
    return await anext(items)


async def items_from(client: AsyncMessagesClient) -> int:
    """Walk a list of several pages, as a coroutine."""
    async with client.list("x", limit=1) as items:
        return len([item async for item in items])


def in_use(session: aiohttp.ClientSession) -> tuple[int, int]:
    """Return the connections in use, and the requests that wait for one."""
    connector: Any = session.connector
    waiting = sum(len(waiters) for waiters in connector._waiters.values())  # noqa: SLF001
    return len(connector._acquired), waiting  # noqa: SLF001 there is no public way to ask


async def tasks_of(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the new tasks that stayed after all others could end."""
    await spin(50)
    return asyncio.all_tasks() - before


class Unsteady:
    """A list of three pages, answered after some iterations, or not, or with a 503."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.faulty = True
        self._pages = [
            Answer(page([message(n, completion_id="x")], has_more=n < 2)) for n in range(3)
        ]

    async def __call__(self, asked: Asked) -> Answer | None:
        """Answer as planned."""
        await spin(self._dice.randint(0, 3))
        if self.faulty and self._dice.random() < 0.1:
            return self._dice.choice([None, error(503)])
        after = asked.query.get("after")
        return self._pages[0 if after is None else 1 + int(after.rpartition("-")[2])]


CANCELLATIONS = int(os.environ.get("AIOMESSAGES_CANCELLATIONS", "2000"))
WORKERS = 40


async def test_thousands_of_cancellations() -> None:
    """However many calls and walks are cancelled at any moment, nothing is left of them."""
    dice = random.Random(48)  # noqa: S311 the same moments each time
    before = asyncio.all_tasks()
    cancelled = 0

    async def cancel_some(client: AsyncMessagesClient) -> None:
        nonlocal cancelled
        while cancelled < CANCELLATIONS:
            call = page_of(client) if dice.random() < 0.8 else items_from(client)
            task = asyncio.create_task(call)
            await spin(dice.randint(0, 30))
            task.cancel()
            await asyncio.wait({task})
            cancelled += task.cancelled()
            assert task.cancelled() or isinstance(task.exception(), APIError | None)

    script = Unsteady(dice)
    async with (
        Loopback(script) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WORKERS // 2)) as session,
        client_of(server, session=session, retry=AT_ONCE) as client,
    ):
        async with asyncio.TaskGroup() as workers:
            for _ in range(WORKERS):
                workers.create_task(cancel_some(client))
        assert in_use(session) == (0, 0)
        script.faulty = False
        assert await items_from(client) == 3
        assert len(await asyncio.gather(*(page_of(client) for _ in range(WORKERS)))) == WORKERS
        assert in_use(session) == (0, 0)
    assert await tasks_of(before) == set()
    assert cancelled >= CANCELLATIONS
    assert len(server.asked) > CANCELLATIONS / 2, "most were cancelled before they were sent"


# --- the client: an outage ------------------------------------------------------------------------

CALLERS = 100
CALLS = 21  # of each
PAID = RetryQuota.CAPACITY // RetryQuota.RETRY_COST
"""Retries that a full quota pays for."""


class Outage:
    """Fails until the outage is over."""

    def __init__(self) -> None:
        self.over = False

    def __call__(self, _: Asked) -> Answer:
        """Answer according to the state of the outage."""
        return Answer(page([])) if self.over else error(503)


async def call_and_fail(client: AsyncMessagesClient, times: int) -> None:
    """Make some calls, all of which fail."""
    for _ in range(times):
        with pytest.raises(InternalServerError):
            await page_of(client)


async def test_an_outage() -> None:
    """In a full outage requests stay within 1.05 of the calls, and retries return after it.

    Once the quota is spent a call is one request, whichever client makes it. A success earns a
    fifth of a retry.
    """
    script = Outage()
    async with Loopback(script) as server, client_of(server, retry=AT_ONCE) as client:
        clients = [client, client.with_options(timeout=7)] * (CALLERS // 2)
        await asyncio.gather(*(call_and_fail(one, 1) for one in clients))
        assert len(server.asked) == CALLERS + PAID  # spent by the first calls
        spent = len(server.asked)
        await asyncio.gather(*(call_and_fail(one, CALLS) for one in clients))
        assert len(server.asked) - spent == CALLERS * CALLS
        assert len(server.asked) <= 1.05 * (CALLERS + CALLERS * CALLS)

        script.over = True
        successes = 10 * RetryQuota.RETRY_COST
        await asyncio.gather(*(page_of(client) for _ in range(successes)))
        script.over = False
        before = len(server.asked)
        await asyncio.gather(*(call_and_fail(client, 1) for _ in range(CALLERS)))
        assert len(server.asked) - before == CALLERS + 10


def test_a_retry_that_is_not_made_costs_nothing() -> None:
    """Calls that give up because of their deadline leave the quota to the others."""
    slowly = RetryPolicy(initial_backoff=100, max_backoff=100)

    async def main() -> float:
        async with (
            Loopback(Outage()) as server,
            client_of(server, retry=slowly, deadline=10) as client,
        ):
            await call_and_fail(client, PAID + 1)
            assert len(server.asked) == PAID + 1
            await call_and_fail(client.with_options(retry=AT_ONCE), 1)
            assert len(server.asked) == PAID + 1 + 3
            return now()

    assert run(main(), grace=GRACE) == 0


# --- the client: one deadline ---------------------------------------------------------------------

DEADLINE = 5.0
STEADY = {"jitter": 0.0, "max_backoff": 100.0}


async def ends_at(call: Awaitable[Any], kind: type[BaseException]) -> float:
    """Return the time of a call that ends with that error."""
    began = now()
    with pytest.raises(kind):
        await call
    return now() - began


async def never(_: Asked) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def key_after(seconds: float) -> str:
    """Return a key after a delay."""
    await asyncio.sleep(seconds)
    return KEY


def answer_with_no_end(body: bytes = b"") -> bytes:
    """Return a response whose body stops short, on a connection that stays open."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n" + body


SLOW = [
    pytest.param(never, {}, APITimeoutError, DEADLINE, id="no answer"),
    pytest.param(
        lambda _: answer_with_no_end(b"{"), {}, APITimeoutError, DEADLINE, id="a body that stalls"
    ),
    pytest.param(
        never, {"timeout": 2}, APITimeoutError, DEADLINE, id="attempts that time out"
    ),
    pytest.param(
        never, {"timeout": 2, "retry": RetryPolicy(initial_backoff=1, **STEADY)},
        APITimeoutError, DEADLINE, id="attempts, and waits between them",
    ),
    pytest.param(
        replies(error(503)), {"retry": RetryPolicy(initial_backoff=2, **STEADY)},
        InternalServerError, 2.0, id="a next wait beyond it",
    ),
    pytest.param(
        replies(error(503)), {"retry": RetryPolicy(initial_backoff=5, **STEADY)},
        InternalServerError, 0.0, id="a wait that leaves nothing",
    ),
    pytest.param(
        replies(error(429, retry_after="4"), answer_with_no_end()), {},
        APITimeoutError, DEADLINE, id="Retry-After within it",
    ),
    pytest.param(
        replies(error(429, retry_after="6")), {}, RateLimitError, 0.0, id="Retry-After beyond it"
    ),
    pytest.param(
        never, {"api_key": lambda: key_after(3)}, APITimeoutError, DEADLINE, id="a slow key"
    ),
    pytest.param(
        never, {"api_key": lambda: key_after(9)}, APITimeoutError, DEADLINE, id="no key in time"
    ),
    pytest.param(
        replies(error(503)),
        {"api_key": lambda: key_after(2), "retry": AT_ONCE},
        APITimeoutError, DEADLINE, id="a slow key for each attempt",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("script", "options", "kind", "takes"), SLOW)
def test_one_deadline(
    script: Any, options: dict[str, Any], kind: type[BaseException], takes: float
) -> None:
    """A call ends at its deadline, whatever it waits for, or before it if waiting is useless."""

    async def main() -> float:
        async with (
            Loopback(script) as server,
            client_of(server, **{"retry": AT_ONCE, "deadline": DEADLINE, **options}) as client,
        ):
            return await ends_at(page_of(client), kind)

    assert run(main(), grace=GRACE) == takes


def test_a_deadline_in_a_full_pool() -> None:
    """The wait for a connection counts, and giving up leaves the pool to the others."""

    async def main() -> float:
        connector = aiohttp.TCPConnector(limit=1)
        script = replies(answer_with_no_end(), Answer(page([])))
        async with (
            Loopback(script) as server,
            aiohttp.ClientSession(connector=connector) as session,
            client_of(server, session=session, retry=AT_ONCE, deadline=DEADLINE) as client,
        ):
            held = await session.get(server.base_url)
            took = await ends_at(page_of(client), APITimeoutError)
            assert in_use(session) == (1, 0)
            held.close()
            await page_of(client)
            assert in_use(session) == (0, 0)
            assert len(server.asked) == 2
            return took

    assert run(main(), grace=GRACE) == DEADLINE


def test_a_deadline_of_a_walk() -> None:
    """A walk's deadline counts from its first request, the consumer's own work included."""

    async def main() -> list[float]:
        script = conversation(message(n, completion_id="x") for n in range(9))
        times: list[float] = []

        async def walk(client: AsyncMessagesClient) -> None:
            async for _ in client.list("x", limit=1):
                times.append(now())
                await asyncio.sleep(2)

        async with Loopback(script) as server, client_of(server, deadline=DEADLINE) as client:
            with pytest.raises(APITimeoutError, match="deadline"):
                await walk(client)
        return times

    assert run(main(), grace=GRACE) == [0.0, 2.0, 4.0, 6.0]  # fetched at 4, while 4 was worked on


# --- the client: closing it -----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def fire(script: Any, **options: Any) -> AsyncIterator[tuple[Loopback, AsyncMessagesClient]]:
    """Give a server and a client that the test closes; then nothing may be left."""
    before = asyncio.all_tasks()
    async with Loopback(script) as server:
        client = client_of(server, **options)
        yield server, client
        await server.all_gone()  # as only the client closes its connections
    assert await tasks_of(before) == set()


class State:
    """The state in which a call is when the client is closed, and how it gets there."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def hang(self, *_: object) -> Any:
        """Signal that the call is here, and hold it."""
        self.reached.set()
        await asyncio.Event().wait()

    async def half_a_body(self, _: Asked) -> bytes:
        """Answer with an endless body."""
        asyncio.get_running_loop().call_later(0, self.reached.set)
        return answer_with_no_end(b"{")

    def reach(self, *_: object) -> None:
        """Signal that the call is here."""
        self.reached.set()


def connecting(state: State) -> dict[str, Any]:
    """A call that waits for its connection."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(state.hang)
    return {"script": never, "trace_configs": [trace]}


def sending(state: State) -> dict[str, Any]:
    """A call that waits for the answer's first byte."""
    return {"script": state.hang}


def reading(state: State) -> dict[str, Any]:
    """A call in the middle of a body."""
    return {"script": state.half_a_body}


def waiting_to_retry(state: State) -> dict[str, Any]:
    """A call that sleeps before its next attempt."""
    slowly = RetryPolicy(initial_backoff=100, max_backoff=100)
    return {"script": replies(error(503)), "retry": slowly, "on_retry": state.reach}


def asking_for_the_key(state: State) -> dict[str, Any]:
    """A call that waits for its key."""
    return {"script": never, "api_key": state.hang}


STATES = [connecting, sending, reading, waiting_to_retry, asking_for_the_key]
in_every_state = pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)


async def watched(call: Awaitable[Any], count: list[int]) -> Any:
    """Await a call, and return how many cancellations its task still has after an error."""
    try:
        return await call
    finally:
        count.append(asyncio.current_task().cancelling())  # type: ignore[union-attr]


async def closed_within_bounds(client: AsyncMessagesClient) -> None:
    """Close a client; the bound is for a test that would hang."""
    async with asyncio.timeout(5):
        await client.aclose()


@in_every_state
@pytest.mark.parametrize("use", [page_of, items_from])
def test_closing(use: Any, state: Any) -> None:
    """Closing ends a call or a walk in any state with ClientClosedError, and leaves nothing.

    It takes no time on the loop's clock, as no step waits for a timer.
    """
    counts = list[int]()

    async def main() -> float:
        moment = State()
        async with fire(**state(moment)) as (_, client):
            call = asyncio.create_task(watched(use(client), counts))
            await moment.reached.wait()
            began = now()
            await client.aclose()
            with pytest.raises(ClientClosedError):
                await call
            took = now() - began
            with pytest.raises(ClientClosedError):
                await use(client)
            return took

    assert run(main(), grace=GRACE) == 0
    assert counts == [0]


@in_every_state
async def test_closing_parent_and_child_together(state: Any) -> None:
    """A client and its child that are closed at once end their calls with ClientClosedError."""
    moment, counts = State(), list[int]()
    async with fire(**state(moment)) as (_, client):
        child = client.with_options(timeout=7)
        calls = [asyncio.create_task(watched(page_of(c), counts)) for c in (client, child)]
        await moment.reached.wait()
        await spin(10)
        await asyncio.gather(*(closed_within_bounds(c) for c in (child, client)))
        for call in calls:
            with pytest.raises(ClientClosedError):
                await call
    assert counts == [0, 0]


@in_every_state
async def test_closing_a_child(state: Any) -> None:
    """Closing a child ends only its own calls, even if their task calls the parent next."""
    moment = State()
    options = state(moment)
    async with fire(**options) as (_, client):
        child = client.with_options(timeout=7)

        async def both() -> None:
            with pytest.raises(ClientClosedError):
                await page_of(child)
            await page_of(client)

        calls = [asyncio.create_task(call) for call in (page_of(client), both())]
        await moment.reached.wait()
        await spin(10)
        await closed_within_bounds(child)
        await spin(10)
        assert [call.done() for call in calls] == [False, False]
        await closed_within_bounds(client)
        for call in calls:
            with pytest.raises(ClientClosedError):
                await call


@in_every_state
@pytest.mark.parametrize("first", ["cancel", "close"])
async def test_cancelling_and_closing_at_once(state: Any, first: str) -> None:
    """A cancellation at the moment of closing is a CancelledError, and counts once."""
    moment, counts = State(), list[int]()
    async with fire(**state(moment)) as (_, client):
        call = asyncio.create_task(watched(page_of(client), counts))
        await moment.reached.wait()
        closing = asyncio.create_task(closed_within_bounds(client))
        if first == "close":
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await closing
    assert counts == [1]


@in_every_state
async def test_a_timeout_at_the_moment_of_closing(state: Any) -> None:
    """A timeout at the moment of closing is a TimeoutError, and leaves no cancellation."""
    moment, counts = State(), list[int]()

    async def call_within(limit: asyncio.Timeout) -> None:
        async with limit:
            await page_of(client)

    async with fire(**state(moment)) as (_, client):
        limit = asyncio.timeout(None)
        call = asyncio.create_task(watched(call_within(limit), counts))
        await moment.reached.wait()
        limit.reschedule(0)
        await closed_within_bounds(client)
        with pytest.raises((TimeoutError, ClientClosedError)):
            await call
    assert counts == [0]


@in_every_state
async def test_a_closer_that_is_cancelled(state: Any) -> None:
    """If closing is cancelled itself, the session is closed all the same."""
    moment = State()
    async with fire(**state(moment)) as (_, client):
        call = asyncio.create_task(page_of(client))
        await moment.reached.wait()
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        with pytest.raises(ClientClosedError):
            await call


async def test_a_closer_that_is_cancelled_with_nothing_under_way() -> None:
    """A cancelled closing also closes the connections of an idle client."""
    async with fire(replies(Answer(page([])))) as (_, client):
        await page_of(client)
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        with pytest.raises(asyncio.CancelledError):
            await client.aclose()
        asyncio.current_task().uncancel()  # type: ignore[union-attr]


async def test_closing_under_an_idle_stream() -> None:
    """Pages fetched ahead are delivered after the client was closed; then the error comes."""
    script = conversation(message(n, completion_id="x") for n in range(3))
    async with Loopback(script) as server, aiohttp.ClientSession() as session:
        client = client_of(server, session=session)
        items = client.list("x", limit=1)
        first = await anext(items)
        while len(server.asked) < 2 or in_use(session) != (0, 0):
            await spin(1)
        await spin(10)
        await closed_within_bounds(client)
        assert [first.id, (await anext(items)).id] == ["x-0", "x-1"]
        for _ in range(2):
            with pytest.raises(ClientClosedError):
                await anext(items)
        assert items.cursor == "x-1"


async def test_closing_a_client_and_its_stream_at_once() -> None:
    """A stream and its client that are closed at once leave nothing, in either order."""
    for order in (1, -1):
        moment = State()
        async with fire(moment.hang) as (_, client):
            items = client.list("x")
            call = asyncio.create_task(anext_of(items))
            await moment.reached.wait()
            await asyncio.gather(*[items.aclose(), closed_within_bounds(client)][::order])
            with pytest.raises(ClientClosedError):
                await call


async def test_closing_before_a_connection_was_free() -> None:
    """Calls that wait for a connection leave the queue when the client is closed."""
    connector = aiohttp.TCPConnector(limit=1)
    script = replies(answer_with_no_end())
    async with Loopback(script) as server, aiohttp.ClientSession(connector=connector) as session:
        held = await session.get(server.base_url)
        client = client_of(server, session=session)
        calls = [asyncio.create_task(page_of(client)) for _ in range(3)]
        while in_use(session) != (1, 3):
            await spin(1)
        await closed_within_bounds(client)
        assert in_use(session) == (1, 0)
        for call in calls:
            with pytest.raises(ClientClosedError):
                await call
        held.close()
        assert in_use(session) == (0, 0)


# --- the client: api_key callables that make trouble ----------------------------------------------


async def test_a_key_that_comes_through_a_child() -> None:
    """An api_key callable may call through a child of its client."""
    async with fire(replies(Answer(page([])))) as (server, plain):

        async def key() -> str:
            await page_of(plain)
            return KEY

        asking = plain.with_options(api_key=key)
        assert (await page_of(asking)).data == []
        assert len(server.asked) == 2
        await plain.aclose()


async def test_a_key_that_comes_although_the_client_was_closed() -> None:
    """An api_key callable that delays its cancellation does not reopen a closed client."""
    moment, counts = State(), list[int]()

    async def key() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await moment.hang()
        return KEY

    async with fire(never, api_key=key) as (server, client):
        call = asyncio.create_task(watched(page_of(client), counts))
        await moment.reached.wait()
        await closed_within_bounds(client)
        with pytest.raises(ClientClosedError):
            await call
        assert server.asked == []
    assert counts == [0]


async def test_a_key_callable_that_closes_the_client() -> None:
    """An api_key callable that closes its own client ends its own call."""
    counts = list[int]()

    async def key() -> str:
        await client.aclose()
        return KEY

    async with fire(never, api_key=key) as (_, client):
        async with asyncio.timeout(5):
            with pytest.raises(ClientClosedError):
                await watched(page_of(client), counts)
    assert counts == [0]
