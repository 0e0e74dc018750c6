"""The prefetching stream, over any function that fetches one page.

Nothing here knows of HTTP. A `Walk` goes from page to page around one task that fetches the next
one while the caller works on the current; the iterators over it hand out items or pages. They are
classes rather than async generators, for two measured reasons: a task group around a `yield` kills
innocent tasks when the consumer leaves, and a timeout around one `__anext__` finalises a generator,
whose next call then says that the stream is complete. Here

- a consumer's wait can be cancelled at any moment: the fetch goes on, and the page is kept;
- what came before an error is delivered first, the error is raised every time after that, and
  StopAsyncIteration means that the end was really reached;
- two pages at most are held: the one being consumed, and one ahead.
"""

import asyncio
import logging
import warnings
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Protocol, Self, TypeVar

import anyio

from .errors import ClientClosedError, PaginationError

log = logging.getLogger("aiomessages")

# A fetch that was cancelled needs a moment to give its connection back; one that does not end by
# then must not hold up whoever closes the stream.
CLOSE_TIMEOUT: Final = 5.0


class AnyPage(Protocol):
    """What a walk asks of a page."""

    data: list[Any]
    ids: list[str]
    attempts: int
    headers: Mapping[str, str]
    completion_id: str | None

    @property
    def next_cursor(self) -> str | None:
        """The `after` of the page behind it, None at the end."""
        ...


PageT = TypeVar("PageT", bound=AnyPage)
ItemT = TypeVar("ItemT")
Fetch = Callable[[str | None, int | None], Awaitable[PageT]]
"""From a cursor, and the number of items still wanted (None: all), to a page."""


class _Slot:
    """Where a walk keeps its fetch: apart, so that a finalizer can reach it without the walk."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None


async def _outcome(fetch: Fetch[PageT], after: str | None, remaining: int | None) -> Any:
    """Fetch a page; return the error instead of raising it, so that it can wait to be asked for."""
    try:
        return await fetch(after, remaining)
    except Exception as error:  # noqa: BLE001 whatever it is, the consumer is told
        return error


def _abandon(slot: _Slot) -> None:
    task = slot.task
    if task is None or task.done() or task.get_loop().is_closed():
        return
    task.get_loop().call_soon_threadsafe(task.cancel)  # the collector may run in any thread
    warnings.warn(
        "a message stream was dropped while it was fetching a page;"
        " leave it by `async with` or `await stream.aclose()`",
        ResourceWarning,
        stacklevel=2,
    )


class Walk(Generic[PageT]):
    """Go from page to page, one fetch at a time, the next one ahead of its need."""

    def __init__(
        self,
        fetch: Fetch[PageT],
        *,
        after: str | None = None,
        max_items: int | None = None,
        prefetch: bool = True,
    ) -> None:
        self._fetch = fetch
        self._cursor = after
        self._remaining = max_items
        self._prefetch = prefetch
        self._seen_cursors = {after}
        self._last_ids: frozenset[str] = frozenset()
        self._slot = _Slot()
        self._ready: PageT | None = None
        self._error: Exception | None = None
        self._ended = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def begun(self) -> bool:
        """Tell whether anything was fetched yet."""
        return self._loop is not None

    async def next_page(self) -> PageT | None:
        """Return the next page, or None at the end. One caller at a time.

        Raises the error of the fetch, again at each call, and ClientClosedError after `aclose`.
        """
        self._stay_in_one_loop()
        while True:
            if self._ready is not None:
                return await self._hand_out()
            if self._ended:
                return None
            if self._error is not None:
                raise self._error
            if self._closed:
                raise ClientClosedError(_CLOSED)
            await self._arrival()

    def _stay_in_one_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            weakref.finalize(self, _abandon, self._slot).atexit = False
        elif self._loop is not loop:
            raise RuntimeError(
                "this stream belongs to another event loop; list the rest in this one"
                " with after=stream.cursor"
            )

    async def _hand_out(self) -> PageT | None:
        if self._prefetch and not self._ended and self._slot.task is None:
            self._start()
            # One turn of the loop sends the request, also for a consumer that never awaits. Being
            # cancelled here leaves the page where it is.
            await asyncio.sleep(0)
        page, self._ready = self._ready, None
        return page

    def _start(self) -> asyncio.Task[Any]:
        fetch = _outcome(self._fetch, self._cursor, self._remaining)
        self._slot.task = asyncio.get_running_loop().create_task(fetch)
        return self._slot.task

    async def _arrival(self) -> None:
        task = self._slot.task or self._start()
        # wait() neither raises the task's error nor cancels it along with the waiting. From here to
        # the end nothing awaits, so no cancellation can come between the result and its place.
        await asyncio.wait({task})
        self._slot.task = None
        if task.cancelled():  # by this stream's closing, or by somebody else: then fetch anew
            return
        result = task.result()
        if isinstance(result, Exception):
            self._error = result
        else:
            self._accept(result)

    def _accept(self, page: PageT) -> None:
        self._drop_repeated(page)
        cursor = page.next_cursor
        if cursor is not None and cursor in self._seen_cursors:
            self._error = PaginationError(
                f"the cursor {cursor} came a second time", status=200, headers=page.headers
            ).at(completion_id=page.completion_id, cursor=self._cursor, attempts=page.attempts)
            return
        self._seen_cursors.add(cursor)
        self._count(page)
        self._ended = cursor is None or self._remaining == 0
        self._cursor = cursor
        self._ready = page

    def _drop_repeated(self, page: PageT) -> None:
        """Leave out what the page before it had already, as when a list grew in between."""
        fresh = [n for n, item in enumerate(page.ids) if item not in self._last_ids]
        self._last_ids = frozenset(page.ids)
        if len(fresh) < len(page.ids):
            log.warning("a page repeats %d items of the one before", len(page.ids) - len(fresh))
            page.data = [page.data[n] for n in fresh]
            page.ids = [page.ids[n] for n in fresh]

    def _count(self, page: PageT) -> None:
        if self._remaining is not None:
            del page.data[self._remaining :], page.ids[self._remaining :]
            self._remaining -= len(page.ids)

    async def aclose(self, *, all_delivered: bool = True) -> None:
        """Cancel the fetch that is under way, and wait up to 5 s for it to leave."""
        # A walk whose last page was not delivered whole must not say that it reached its end.
        self._ended = self._ended and self._ready is None and all_delivered
        self._closed = True
        self._ready = None
        task = self._slot.task
        if task is not None and not task.done():
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task}, timeout=CLOSE_TIMEOUT)


_CLOSED: Final = "the stream was closed before its end; list the rest with after=stream.cursor"

YieldT = TypeVar("YieldT")
ViewT = TypeVar("ViewT", bound="WalkIterator[Any]")


class WalkIterator(AsyncGenerator[YieldT, None]):
    """An iterator over a walk; leaving it as an async context manager closes the walk."""

    def __init__(self, walk: Walk[Any], *, after: str | None = None) -> None:
        self._walk = walk
        self._delivered = after

    @property
    def cursor(self) -> str | None:
        """The id of the last item delivered; a later list with `after=` it goes on there."""
        return self._delivered

    async def aclose(self) -> None:
        """Stop fetching and give up what was not delivered. Any task of the loop may call it."""
        await self._walk.aclose()

    async def asend(self, value: None) -> YieldT:
        """Return the next element: a stream takes nothing in."""
        if value is not None:
            raise TypeError("nothing can be sent into a stream")
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> NoReturn:
        """Close the stream and raise the exception."""
        await self.aclose()
        error = typ if isinstance(typ, BaseException) else typ(*(() if val is None else (val,)))
        raise error.with_traceback(tb) if tb else error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class PageIterator(WalkIterator[PageT]):
    """The pages of a walk, one after another."""

    async def __anext__(self) -> PageT:
        page: PageT | None = await self._walk.next_page()
        if page is None:
            raise StopAsyncIteration
        self._delivered = page.ids[-1] if page.ids else self._delivered
        return page


class ItemIterator(WalkIterator[ItemT]):
    """The items of a walk's pages, one after another. Several tasks may share one iterator."""

    def __init__(self, walk: Walk[Any], *, after: str | None = None) -> None:
        super().__init__(walk, after=after)
        self._items: list[ItemT] = []
        self._ids: list[str] = []
        self._index = 0
        self._turning = asyncio.Lock()

    @property
    def cursor(self) -> str | None:
        """The id of the last item delivered; a later list with `after=` it goes on there."""
        return self._ids[self._index - 1] if self._index else self._delivered

    async def __anext__(self) -> ItemT:
        while self._index == len(self._items):
            await self._turn_page()
        item = self._items[self._index]
        self._index += 1
        return item

    async def _turn_page(self) -> None:
        async with self._turning:
            if self._index < len(self._items):
                return  # another task turned it
            self._put_down()
            page = await self._walk.next_page()
            if page is None:
                raise StopAsyncIteration
            self._items, self._ids = page.data, page.ids

    def _put_down(self) -> None:
        """Let go of the page that was read, before another one comes."""
        self._delivered = self.cursor
        self._items, self._ids, self._index = [], [], 0

    async def aclose(self) -> None:
        """Stop fetching and give up what was not delivered. Any task of the loop may call it."""
        all_delivered = self._index == len(self._items)
        self._put_down()
        await self._walk.aclose(all_delivered=all_delivered)


class PageStream(ItemIterator[ItemT], Generic[ItemT, PageT]):
    """A list of the API, of which nothing is asked before it is awaited or iterated.

    `await stream` gives one page, `async for` every item of every page. Use `pages()` or `raw()`
    instead, not in between: a stream is read in one way.
    """

    def __init__(
        self,
        fetch: Fetch[PageT],
        *,
        fetch_one: Callable[[], Awaitable[PageT]],
        raw: Callable[[], "PageStream[bytes, Any]"],
        after: str | None = None,
        max_items: int | None = None,
        prefetch: bool = True,
    ) -> None:
        walk = Walk(fetch, after=after, max_items=max_items, prefetch=prefetch)
        super().__init__(walk, after=after)
        self._fetch_one = fetch_one
        self._raw = raw
        self._view: WalkIterator[Any] | None = None

    def __await__(self) -> Generator[Any, None, PageT]:
        return self._fetch_one().__await__()

    def pages(self) -> PageIterator[PageT]:
        """Return an iterator over whole pages.

        Raises RuntimeError once the stream was begun in another way.
        """
        return self._look_through(PageIterator(self._walk, after=self._delivered))

    def raw(self) -> "PageStream[bytes, Any]":
        """Return the same stream with each item as the exact bytes that the server sent.

        Raises RuntimeError once the stream was begun in another way.
        """
        return self._look_through(self._raw())

    def _look_through(self, view: ViewT) -> ViewT:
        self._refuse_second_reader()
        if self._walk.begun:
            raise RuntimeError("this stream is being read already; list anew with after=cursor")
        self._view = view
        return view

    def _refuse_second_reader(self) -> None:
        if self._view is not None:
            raise RuntimeError("this stream is being read through its pages() or raw()")

    @property
    def cursor(self) -> str | None:
        """The id of the last item delivered; a later list with `after=` it goes on there."""
        return super().cursor if self._view is None else self._view.cursor

    async def _turn_page(self) -> None:
        self._refuse_second_reader()
        await super()._turn_page()

    async def aclose(self) -> None:
        """Stop fetching and give up what was not delivered. Any task of the loop may call it."""
        await super().aclose()
        if self._view is not None:
            await self._view.aclose()
