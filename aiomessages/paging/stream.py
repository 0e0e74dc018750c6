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
import warnings
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from operator import length_hint
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Protocol, Self, TypeVar

import anyio

from aiomessages.errors import ClientClosedError
from aiomessages.observe.operation import UNWATCHED, Watch

from .cursor import Fetch, PageT, Trail, unless_ours

# A fetch that was cancelled needs a moment to give its connection back; one that does not end by
# then must not hold up whoever closes the stream.
CLOSE_TIMEOUT: Final = 5.0


ItemT = TypeVar("ItemT")


class Ahead(Protocol):
    """What fetches further ahead on behalf of a walk, in tasks that end with it."""

    tasks: set[asyncio.Task[Any]]

    def give_up(self) -> None:
        """Cancel the tasks, and let go of what is held."""


class _Fetcher(Generic[PageT]):
    """Fetches pages in a task, and hands them to the walk that holds it.

    The task knows the fetcher and the fetcher does not know the walk, so that a walk can be dropped
    while its task runs. The task goes on for as long as there is room for a page, and then ends.
    """

    def __init__(
        self,
        fetch: Fetch[PageT],
        *,
        after: str | None,
        max_items: int | None,
        prefetch: bool,
        watch: Watch,
        ahead: Ahead | None,
    ) -> None:
        self._fetch = fetch
        self._watch = watch
        self._ahead = ahead
        self._prefetch = prefetch
        self._trail = Trail(after=after, max_items=max_items)
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._stopped = False
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None
        # What the walk hands out: pages, then the error or the end.
        self.pages: deque[PageT] = deque()
        # Whether the walk takes a page now, so that the one after it may come as well.
        self.taking = False

    @property
    def ended(self) -> bool:
        """Tell whether the last page has come."""
        return self._trail.ended

    @property
    def running(self) -> bool:
        """Tell whether a page is being fetched."""
        return self._task is not None and not self._task.done()

    def start(self) -> bool:
        """Fetch, if there is room and it is not being done; tell whether it was begun."""
        if self.running or not self._has_room():
            return False
        context = self._watch.context()
        self._task = asyncio.get_running_loop().create_task(self._run(), context=context)
        self._task.add_done_callback(self._wake)
        return True

    def _has_room(self) -> bool:
        if self.ended or self._stopped or self._error is not None:
            return False
        if self._prefetch:
            return len(self.pages) < 1 + self.taking
        return self.taking and not self.pages

    async def _run(self) -> None:
        trail = self._trail
        while self._has_room():
            try:
                # Nothing awaits once the page is here, so that no cancellation comes in between;
                # and no variable keeps the page while the next one is fetched.
                self._accept(await self._fetch(trail.cursor, trail.wanted, trail.fresh))
            except asyncio.CancelledError as cancelled:
                self._fail(unless_ours(cancelled))
            except Exception as error:  # noqa: BLE001 whatever it is, the consumer is told
                self._fail(error)
            self._wake()
        if self._ahead is not None and (self.ended or self._error is not None):
            self._ahead.give_up()

    def _fail(self, error: Exception) -> None:
        self._trail.count(error)
        self._watch.over(error)
        self._error, self._traceback = error, error.__traceback__

    def raise_error(self) -> None:
        """Raise what the fetch raised, if it did."""
        if self._error is not None:
            # Where it came from, and not, at each call once more, where it was raised again: those
            # frames would pile up, and hold what they hold.
            raise self._error.with_traceback(self._traceback)

    def arrival(self) -> "asyncio.Future[None]":
        """Return what is done at the next news: a page, an error, a task that was cancelled."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def _wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _accept(self, page: PageT) -> None:
        if self._stopped or not self._trail.follow(page):
            return  # a page that is not taken is asked for again in the next turn
        self.pages.append(page)
        self._watch.page(len(page.ids), last=self.ended)

    async def stop(self) -> None:
        """Cancel the task, and wait for it to leave, for a bounded time."""
        self._stopped = True
        self._watch.over()
        self.pages.clear()
        self._wake()
        if self._ahead is not None:
            self._ahead.give_up()
        running = self._running_tasks()
        for task in running:
            task.cancel()
        if running:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(running, timeout=CLOSE_TIMEOUT)

    def _running_tasks(self) -> "set[asyncio.Task[Any]]":
        tasks = {self._task} if self._ahead is None else {self._task, *self._ahead.tasks}
        return {task for task in tasks if task is not None and not task.done()}

    def abandon(self) -> None:
        """Cancel the task of a walk that nobody holds any more, and warn."""
        self._stopped = True
        self.pages.clear()
        if self._task is None:
            return
        self._watch.dropped(self._task.get_loop())
        running = self._running_tasks()
        # Whatever runs behind the end was given up, and is about to notice.
        over = self.ended or self._error is not None
        if over or not running or any(task.get_loop().is_closed() for task in running):
            return
        for task in running:
            task.get_loop().call_soon_threadsafe(task.cancel)  # the collector runs in any thread
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
        watch: Watch = UNWATCHED,
        ahead: Ahead | None = None,
    ) -> None:
        self._fetcher = _Fetcher(
            fetch,
            after=after,
            max_items=max_items,
            prefetch=prefetch,
            watch=watch,
            ahead=ahead,
        )
        self._all_delivered = True
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
        fetcher = self._fetcher
        while not fetcher.pages:
            if self._is_over():
                return None
            fetcher.taking = True
            arrival = fetcher.arrival()  # before the start: a fetch may be done at once
            fetcher.start()
            await arrival
        fetcher.taking = True
        if fetcher.start():
            # One turn of the loop sends the request, also for a consumer that never awaits. Being
            # cancelled here leaves the page where it is.
            await asyncio.sleep(0)
        fetcher.taking = False
        return fetcher.pages.popleft() if fetcher.pages else await self.next_page()

    def _is_over(self) -> bool:
        self._fetcher.raise_error()
        if self._fetcher.ended and self._all_delivered:
            return True
        if self._closed:
            raise ClientClosedError(
                "the stream was closed before its end; list the rest with after=stream.cursor"
            )
        return False

    def _stay_in_one_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            weakref.finalize(self, self._fetcher.abandon).atexit = False
        elif self._loop is not loop:
            raise RuntimeError(
                "this stream belongs to another event loop; list the rest in this one"
                " with after=stream.cursor"
            )

    async def aclose(self, *, all_delivered: bool = True) -> None:
        """Cancel the fetch that is under way, and wait up to 5 s for it to leave."""
        # A walk whose last page was not delivered whole must not say that it reached its end.
        if not self._closed:
            self._all_delivered = all_delivered and not self._fetcher.pages
        self._closed = True
        await self._fetcher.stop()


YieldT = TypeVar("YieldT")
ViewT = TypeVar("ViewT", bound="WalkIterator[Any]")


class WalkIterator(AsyncGenerator[YieldT, None]):
    """An iterator over a walk; leaving it as an async context manager closes the walk."""

    def __init__(self, walk: Walk[Any], *, after: str | None = None) -> None:
        self._walk = walk
        self._delivered = after
        self._turning = asyncio.Lock()  # for tasks that share the iterator

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
        async with self._turning:
            page: PageT | None = await self._walk.next_page()
        if page is None:
            raise StopAsyncIteration
        self._delivered = page.ids[-1] if page.ids else self._delivered
        return page


class ItemIterator(WalkIterator[ItemT]):
    """The items of a walk's pages, one after another. Several tasks may share one iterator."""

    def __init__(self, walk: Walk[Any], *, after: str | None = None) -> None:
        super().__init__(walk, after=after)
        self._ids: list[str] = []
        self._unread: Iterator[ItemT] = iter(())

    @property
    def cursor(self) -> str | None:
        """The id of the last item delivered; a later list with `after=` it goes on there."""
        read = len(self._ids) - length_hint(self._unread)
        return self._ids[read - 1] if read else self._delivered

    async def __anext__(self) -> ItemT:
        while True:
            for item in self._unread:  # goes on where it was left: the cheapest way to take one
                return item
            await self._turn_page()

    async def _turn_page(self) -> None:
        async with self._turning:
            if length_hint(self._unread):
                return  # another task turned it
            self._put_down()
            page = await self._walk.next_page()
            if page is None:
                raise StopAsyncIteration
            self._ids, self._unread = page.ids, iter(page.data)

    def _put_down(self) -> None:
        """Let go of the page that was read, before another one comes."""
        self._delivered = self.cursor
        self._ids, self._unread = [], iter(())

    async def aclose(self) -> None:
        """Stop fetching and give up what was not delivered. Any task of the loop may call it."""
        all_delivered = not length_hint(self._unread)
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
        watch: Watch = UNWATCHED,
        ahead: Ahead | None = None,
    ) -> None:
        walk = Walk(
            fetch,
            after=after,
            max_items=max_items,
            prefetch=prefetch,
            watch=watch,
            ahead=ahead,
        )
        super().__init__(walk, after=after)
        self._fetch_one = fetch_one
        self._raw = raw
        self._view: WalkIterator[Any] | None = None
        self._bulk: Callable[[Any], PageIterator[Any]]  # whoever makes the stream knows how

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

    def _bulk_pages(self, like: Any = None) -> PageIterator[Any]:
        """Return an iterator over whole pages, of raw items, as an export reads them.

        A page that is too large is asked for in smaller ones. `like` are the Attempts in whose
        turns the pages are asked for, and by whose rules they are tried again; without it, by those
        of the stream. Raises RuntimeError once the stream was begun in another way.
        """
        return self._look_through(self._bulk(like))

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
