"""The stream and the client under fire: cancelled, timed out, dropped, closed, in an outage.

Schedules of many things at once run on virtual time, over a server of Python lists; what needs a
connection runs over a real loopback socket. No test waits for a clock.
"""

import asyncio
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from schedules import EAGER, play
from virtual_time import now, run, work

from aiomessages import stream
from aiomessages.errors import APIConnectionError

# --- streams: schedules ---------------------------------------------------------------------------

BATCH = 300


@pytest.mark.parametrize("batch", range(8))
def test_a_stream_under_fire(batch: int) -> None:
    """Whatever the schedule: each item once and in order, and unfinished never looks finished.

    At most one fetch is in flight, two pages are held, and no task is left. See schedules.py.
    """
    play_all(range(batch * BATCH, (batch + 1) * BATCH), stream)


def play_all(seeds: range, streams: types.ModuleType) -> None:
    """Play one schedule after another; the one that fails is told by its seed."""
    for seed in seeds:
        try:
            play(seed, streams)
        except AssertionError as error:
            error.add_note(f"play({seed}, stream) fails alone as well")
            raise


# Each is a mistake that was made, or nearly, by somebody who wrote such a stream.
MISTAKES = {
    "a page given up when its consumer is cancelled": (
        "            await asyncio.sleep(0)\n        fetcher.taking",
        "            page = fetcher.pages.popleft()\n            await asyncio.sleep(0)\n            fetcher.pages.appendleft(page)\n        fetcher.taking",
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
        "self._error, self._traceback = error, error.__traceback__",
        "self.ended = True",
    ),
    "an error raised once": (
        "            raise self._error.with",
        "            self.ended = True\n            error, self._error = self._error, None\n            raise error.with",
    ),
    "an error before the items in front of it": (
        "        while not fetcher.pages:\n",
        "        fetcher.raise_error()\n        while not fetcher.pages:\n",
    ),
    "a second fetch at once": (
        "if self.running or not",
        "if not",
    ),
    "three pages held": (
        "return len(self.pages) < 1 + self.taking",
        "return len(self.pages) < 2 + self.taking",
    ),
    "a variable that keeps the last page": (
        "self._accept(await self._fetch(self._cursor, self._remaining))",
        "page = await self._fetch(self._cursor, self._remaining); self._accept(page)",
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
        "all_delivered = not length_hint(self._unread)",
        "all_delivered = True",
    ),
    "an unread page that looks complete": (
        "all_delivered and not self._fetcher.pages",
        "all_delivered",
    ),
    "a closing that does not stop the fetch": (
        "            self._task.cancel()\n",
        "",
    ),
    "a closing that does not wait": (
        "                await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)",
        "                pass",
    ),
    "a page accepted after the closing": (
        "        if self._stopped:\n            return\n",
        "",
    ),
    "a dropped stream whose fetch goes on": (
        "task.get_loop().call_soon_threadsafe(task.cancel)",
        "pass",
    ),
    "a dropped stream that keeps its pages": (
        "        self._stopped = True\n        self.pages.clear()\n        task = self._task",
        "        task = self._task",
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
        "            self._remaining -= len(page.ids)\n",
        "            pass\n",
    ),
}


def stream_with(mistake: tuple[str, str]) -> types.ModuleType:
    """Return the stream module with one mistake in it."""
    right, wrong = mistake
    source = Path(stream.__file__).read_text(encoding="utf-8")
    assert source.count(right) == 1, "stream.py changed: say again what the mistake is"
    module = types.ModuleType("aiomessages.mistaken")
    code = compile(source.replace(right, wrong), "mistaken.py", "exec")
    exec(code, vars(module))  # noqa: S102 our own source
    return module


@pytest.mark.filterwarnings("ignore")  # a broken stream may leave anything behind
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_stream_with_a_mistake(mistake: tuple[str, str]) -> None:
    """The schedules find each of these mistakes: they can fail."""
    with pytest.raises(AssertionError):
        play_all(range(8 * BATCH), stream_with(mistake))


# --- streams: single shots ------------------------------------------------------------------------


class Page:
    """A page of one item."""

    headers: dict[str, str] = {}  # noqa: RUF012 never written to
    attempts = 1
    completion_id = "chatcmpl-1"

    def __init__(self, number: int, of: int) -> None:
        self.ids = [str(number)]
        self.data = [number]
        self.next_cursor = str(number) if number + 1 < of else None


def items_of(fetch: Any, **options: Any) -> stream.ItemIterator[int]:
    """Return a stream of items."""
    return stream.ItemIterator(stream.Walk(fetch, **options))


def number_behind(after: str | None) -> int:
    """Return which page stands behind a cursor."""
    return 0 if after is None else int(after) + 1


async def test_a_fetch_that_is_cancelled_from_within() -> None:
    """Where what a fetch waits for was cancelled, the stream fails, and does not try for ever."""
    asked = 0

    async def fetch(_: str | None, __: int | None) -> Page:
        nonlocal asked
        asked += 1
        key = asyncio.get_running_loop().create_future()
        key.cancel()
        return Page(await key, 1)

    items = items_of(fetch)
    for _ in range(2):
        async with asyncio.timeout(5):
            with pytest.raises(APIConnectionError, match="was cancelled"):
                await anext(items)
    assert asked == 1


async def test_an_error_raised_again_and_again() -> None:
    """A stream that is asked on after its error holds no more for it each time."""

    async def fetch(_: str | None, __: int | None) -> Page:
        raise APIConnectionError("lost")

    items = items_of(fetch)
    lengths = set()
    for _ in range(20):
        with pytest.raises(APIConnectionError) as caught:
            await anext(items)
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
        assert "fetch" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert len(lengths) == 1


@pytest.mark.skipif(not EAGER, reason="tasks that start at once are new in Python 3.12")
async def test_a_fetch_that_is_done_at_once() -> None:
    """Where tasks start at once, a page that is there at once does not wait for the next one."""
    never = asyncio.Event()

    async def fetch(after: str | None, _: int | None) -> Page:
        if after is not None:
            await never.wait()
        return Page(number_behind(after), of=2)

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    items = items_of(fetch)
    async with asyncio.timeout(5):
        assert await anext(items) == 0
    await items.aclose()


# --- streams: what prefetching saves --------------------------------------------------------------

MS = 1.0  # virtual: whole numbers, so that sums are exact


async def time_of_ten_pages(latency: float, effort: Callable[[], Any], *, prefetch: bool) -> float:
    """Return how long a consumer takes that does some work for each page of one item."""

    async def fetch(after: str | None, _: int | None) -> Page:
        await asyncio.sleep(latency)
        return Page(number_behind(after), of=10)

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
    """With prefetch ten pages take what the slower side takes, without it the sum, to the tick."""
    assert run(time_of_ten_pages(latency, lambda: kind(effort), prefetch=prefetch)) == takes
