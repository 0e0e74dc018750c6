"""Seeded schedules that try to break a stream, and a check of its output.

One seed is one schedule: pages, the time of each, a fault or none, consumers that share one
iterator and time out, change tasks or are cancelled, and an actor that cancels the fetch, closes
the stream or drops it. `play(seed, streams)` plays it on the given stream module, on virtual time,
and raises AssertionError if a promise is broken.
"""

import asyncio
import contextlib
import random
import sys
import warnings
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import anyio
from virtual_time import run, work

from aiomessages.errors import APIConnectionError, ClientClosedError
from aiomessages.pages import Page
from aiomessages.paging import stream
from aiomessages.paging.cursor import Fetched, WalkState
from aiomessages.wire.page_content import PageContent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EAGER: Final = sys.version_info >= (3, 12)


class _Held(list[str]):
    """A list whose lifetime can be observed."""

    __slots__ = ("__weakref__",)


def _content(ids: list[str], *, has_more: bool) -> PageContent[Page[str]]:
    return PageContent(Page, _Held(ids), _Held(ids), has_more=has_more, promised=has_more)


class _Server:
    """Gives pages after a delay, and checks that no fetch breaks the stream's rules."""

    def __init__(self, dice: random.Random, *, prefetch: bool, got: list[str]) -> None:
        self._dice = dice
        self._prefetch = prefetch
        self._got = got
        sizes = [dice.randint(1, 4) for _ in range(dice.randint(0, 4))] + [dice.randint(0, 3)]
        self.pages = [[f"{n}.{i}" for i in range(size)] for n, size in enumerate(sizes)]
        self.fault_at = dice.randrange(len(sizes)) if dice.random() < 0.3 else None
        self.fault = APIConnectionError("lost")
        self.asked: list[str | None] = []
        self.running = 0
        self.task: asyncio.Task[Any] | None = None
        self.cancelled = 0
        self._live: list[tuple[int, weakref.ref[_Held]]] = []

    def reachable(self) -> list[str]:
        """Return every item that a stream can come to."""
        return [item for page in self.pages[: self.fault_at] for item in page]

    def held(self) -> set[int]:
        """Return the numbers of the pages that are still referenced."""
        self._live = [(n, ref) for n, ref in self._live if ref() is not None]
        return {n for n, _ in self._live}

    async def fetch(self, after: str | None, _: int | None, fresh: bool) -> Fetched[Page[str]]:
        """Return the page after a cursor, after its delay."""
        assert not fresh or after in self.asked, "fresh at the first look"
        self.asked.append(after)
        number = 0 if after is None else 1 + int(after.partition(".")[0])
        assert after == (self.pages[number - 1][-1] if number else None), "a wrong cursor"
        self._check_need(number)
        self.running += 1
        assert self.running == 1, "two fetches at once"
        self.task = asyncio.current_task()
        try:
            await self._take_time()
            return self._page(number)
        finally:
            self.running -= 1

    def _check_need(self, number: int) -> None:
        read = number - 1 if self._prefetch else number
        behind = sum(len(page) for page in self.pages[: max(read, 0)])
        assert len(self._got) >= behind, "fetched before it was needed"

    async def _take_time(self) -> None:
        kind = self._dice.random()
        try:
            await (spin(self._dice.randint(0, 5)) if kind < 0.5 else nap(self._dice))
        except asyncio.CancelledError:
            await spin(self._dice.randint(0, 2))  # a connection takes a moment to be given back
            if kind > 0.25:
                raise  # and some fetches ignore their cancellation

    def _page(self, number: int) -> Fetched[Page[str]]:
        if number == self.fault_at:
            raise self.fault
        ids = self.pages[number]
        page = _content(ids, has_more=number + 1 < len(self.pages))
        self._live += [(number, weakref.ref(page.ids)), (number, weakref.ref(page.data))]
        assert len(self.held()) <= 2, "more than two pages are held"
        return page, 1


def items_of(walk: Any, streams: Any = stream, **options: Any) -> Any:
    """Return a stream over a walk, of this stream module, for a reader of items alone."""
    return streams.PageStream(walk, fetch_one=None, raw=None, bulk=None, **options)


class _Schedule:
    """One schedule: the actors and the expected outcome."""

    def __init__(self, seed: int, streams: ModuleType) -> None:
        self.dice = dice = random.Random(seed)  # noqa: S311 a schedule is repeated from its seed
        self.got: list[str] = []
        prefetch = dice.random() < 0.75
        self.server = _Server(dice, prefetch=prefetch, got=self.got)
        self.expected = self.server.reachable()
        max_items = dice.randint(1, 8) if dice.random() < 0.2 else None
        if max_items is not None and max_items <= len(self.expected):
            self.expected = self.expected[:max_items]
            self.server.fault_at = None  # no longer in the way
        state = getattr(streams, "WalkState", WalkState)(
            max_items=max_items
        )  # perhaps a broken one
        walk = streams.Walk(self.server.fetch, state, prefetch=prefetch)
        by_page = dice.random() < 0.25
        self.iterator = streams.PageIterator(walk) if by_page else items_of(walk, streams)
        self.closed = False
        self.outcomes: list[BaseException] = []
        self.takers: list[asyncio.Task[None]] = []

    # --- what consumers do ------------------------------------------------------------------------

    async def take(self) -> None:
        """Take the next element, or check the end; the order of returning here counts."""
        try:
            element = await anext(self.iterator)
        except (StopAsyncIteration, APIConnectionError, ClientClosedError) as end:
            self._judge(end)
        else:
            self.got += element.ids if isinstance(element, Page) else [element]

    async def _take_within_timeout(self) -> None:
        async with asyncio.timeout(self.dice.randint(0, 4)):
            await self.take()

    async def _take_within_wait_for(self) -> None:
        await asyncio.wait_for(self.take(), self.dice.randint(0, 4))

    async def _take_within_scope(self) -> None:
        with anyio.move_on_after(self.dice.randint(0, 4)):
            await self.take()

    async def _take_elsewhere(self) -> None:
        await asyncio.create_task(self.take())

    async def _take_and_be_cancelled(self) -> None:
        taking = asyncio.create_task(self.take())
        self.takers.append(taking)  # it outlives a consumer that is itself cancelled
        for _ in range(self.dice.randint(1, 2)):
            await spin(self.dice.randint(0, 6))
            taking.cancel()
        await asyncio.wait({taking})
        assert taking.cancelled() or taking.exception() is None

    async def _be_slow(self) -> None:
        if self.dice.random() < 0.5:
            work(self.dice.randint(1, 6))
        await nap(self.dice)

    async def consume(self) -> None:
        """Do some of the consumer's actions."""
        ways: list[Callable[[], Awaitable[None]]] = [
            self.take,
            self._take_within_timeout,
            self._take_within_wait_for,
            self._take_within_scope,
            self._take_elsewhere,
            self._take_and_be_cancelled,
            self._be_slow,
        ]
        for way in self.dice.choices(ways, k=self.dice.randint(1, 12)):
            with contextlib.suppress(TimeoutError):
                await way()

    # --- what others do ---------------------------------------------------------------------------

    async def cancel_fetches(self) -> None:
        """Cancel the fetching task at random."""
        for _ in range(self.dice.randint(0, 3)):
            await (spin(self.dice.randint(0, 8)) if self.dice.random() < 0.5 else nap(self.dice))
            task = self.server.task
            if task is not None and not task.done():
                self.server.cancelled += task.cancel()

    async def close(self) -> None:
        """Close, perhaps twice, perhaps while being cancelled."""
        await (spin(self.dice.randint(0, 8)) if self.dice.random() < 0.5 else nap(self.dice))
        self.closed = True
        fetching = self.server.task if self.server.running else None
        if self.dice.random() < 0.3:
            asyncio.current_task().cancel()  # type: ignore[union-attr]
        try:
            await self.iterator.aclose()
            await self.iterator.aclose()
            assert not self.server.running, "the fetch outlived the closing"
        finally:
            assert fetching is None or fetching.cancelling(), "the fetch was not cancelled"

    # --- the play ---------------------------------------------------------------------------------

    async def play(self) -> None:
        """Let all actors run, read the rest, and check the outcome."""
        if EAGER and self.dice.random() < 0.2:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        actors = [asyncio.create_task(self.consume()) for _ in range(self.dice.randint(1, 3))]
        others = [asyncio.create_task(self.cancel_fetches())]
        ending = self.dice.random()
        if ending < 0.3:
            others.append(asyncio.create_task(self.close()))
        if self.dice.random() < 0.2:
            await nap(self.dice)
            actors[0].cancel()
        await asyncio.wait(actors + others)
        await asyncio.wait([*self.takers, *actors])
        _raise_failures(actors + others + self.takers)
        self.takers.clear()
        del actors, others  # a task keeps its CancelledError, and the frames of its traceback
        if ending > 0.85:
            await self._drop()
        else:
            await self._read_the_rest()
        await self._check_nothing_is_left()

    async def _read_the_rest(self) -> None:
        for _ in range(len(self.expected) + 3):
            await self.take()
        assert len(self.outcomes) >= 2, "the stream does not end"
        assert self.iterator.cursor == (self.got[-1] if self.got else None), "a wrong cursor"
        await self.iterator.aclose()
        del self.iterator

    def _judge(self, end: BaseException) -> None:
        """Compare the error of a step with the delivered items and with earlier errors."""
        whole = self.got == self.expected
        if isinstance(end, StopAsyncIteration):
            assert whole, "unfinished, and looks finished"
            assert self.server.fault_at is None, "an error was swallowed"
        elif isinstance(end, APIConnectionError):
            assert end is self.server.fault
            assert whole or self.closed, "an error before the items in front of it"
        else:
            assert self.closed
        if self.outcomes:
            last = self.outcomes[-1]
            assert type(end) is type(last) or self.closed, "one end after another"
            assert not isinstance(last, StopAsyncIteration) or type(end) is type(last)
        self.outcomes.append(end)

    async def _drop(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            running = self.server.running
            self.outcomes.clear()
            del self.iterator
        assert len(caught) == bool(running), "a fetch was dropped in silence"

    async def _check_nothing_is_left(self) -> None:
        self.outcomes.clear()
        await spin(8)
        self.server.task = None  # a cancelled task keeps the frames of its CancelledError
        assert self.got == self.expected[: len(self.got)], "not the items in their order"
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
        assert not self.server.running
        errors = self.server.fault_at is not None  # an error's traceback keeps frames alive
        assert errors or not self.server.held(), "pages are held after the end"
        looks_twice = len(self.server.pages) > 1 and not self.server.pages[-1]
        most = len(self.server.pages) + self.server.cancelled + looks_twice
        assert len(self.server.asked) <= most, "a page was fetched twice"


def _raise_failures(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if not task.cancelled():
            task.result()


async def spin(turns: int) -> None:
    """Let all other tasks run for some iterations."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def nap(dice: random.Random) -> None:
    """Sleep for some virtual seconds."""
    await asyncio.sleep(dice.randint(1, 5))


def play(seed: int, streams: ModuleType) -> None:
    """Play one schedule on a stream module; raise AssertionError if a promise is broken."""
    run(_Schedule(seed, streams).play())
