"""The prefetching walk, over any function that fetches one page."""

import asyncio
import warnings
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Generic

import anyio

from aiomessages.calls.running import CLOSE_TIMEOUT, translate_cancellation
from aiomessages.errors import ClientClosedError
from aiomessages.observe.operation import Operation
from aiomessages.wire.page_content import PageT

from .cursor import Fetch, Fetched, WalkState

if TYPE_CHECKING:
    from types import TracebackType

    from .prediction import Prediction


class _Fetcher(Generic[PageT]):
    """Fetches pages in a task, and hands them to the walk that holds it.

    The task refers to the fetcher, and the fetcher not to the walk, so that a walk can be dropped
    while its task runs. The task continues while there is room for a page, and then ends.
    """

    def __init__(
        self,
        fetch: Fetch[PageT],
        state: WalkState[PageT],
        *,
        prefetch: bool,
        operation: Operation | None,
        ahead: "Prediction[PageT] | None",
    ) -> None:
        self._fetch = fetch
        self._operation = operation or Operation()
        self._ahead = ahead
        self._prefetch = prefetch
        self._state = state
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._stopped = False
        self.error: Exception | None = None
        self._traceback: TracebackType | None = None
        # Pages that the walk has not delivered yet; the error or the end comes after them.
        self.pages: deque[PageT] = deque()
        # Whether the walk is taking a page now, so that the one after it may be fetched as well.
        self.taking = False

    @property
    def ended(self) -> bool:
        """Whether the last page has come."""
        return self._state.ended

    def start(self) -> bool:
        """Start to fetch if there is room and no fetch runs; return whether one was started."""
        is_running = self._task is not None and not self._task.done()
        if is_running or not self._has_room():
            return False
        context = self._operation.context()
        self._task = asyncio.get_running_loop().create_task(self._run(), context=context)
        self._task.add_done_callback(self._wake)
        return True

    def _has_room(self) -> bool:
        if self.ended or self._stopped or self.error is not None:
            return False
        if self._prefetch:
            return len(self.pages) < 1 + self.taking
        return self.taking and not self.pages

    async def _run(self) -> None:
        state = self._state
        while self._has_room():
            try:
                # Nothing awaits once the page is here, so that no cancellation comes in between;
                # and no variable keeps the page while the next one is fetched.
                self._accept(await self._fetch(state.cursor, state.wanted, state.fresh))
            except asyncio.CancelledError as cancelled:
                self._fail(translate_cancellation(cancelled))
            except Exception as error:  # noqa: BLE001 any error is raised to the reader
                self._fail(error)
            self._wake()
        if self._ahead is not None and (self.ended or self.error is not None):
            self._ahead.give_up()

    def _fail(self, error: Exception) -> None:
        self._state.count(error)
        self._operation.over(error)
        self.error, self._traceback = error, error.__traceback__

    def raise_error(self) -> None:
        """Raise the error of the fetch, if it failed."""
        if self.error is not None:
            # With its first traceback: each raise would add frames, and keep their locals alive.
            raise self.error.with_traceback(self._traceback)

    def arrival(self) -> "asyncio.Future[None]":
        """Return a future that is done at the next page or error, or the task's cancellation."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def _wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _accept(self, fetched: Fetched[PageT]) -> None:
        page = None if self._stopped else self._state.follow(*fetched)
        if page is None:
            return  # it is requested again in the next turn
        self.pages.append(page)
        self._operation.page(len(page.ids), last=self.ended)

    async def stop(self) -> None:
        """Cancel the task, and wait up to CLOSE_TIMEOUT seconds for it to end."""
        self._stopped = True
        self._operation.over()
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
        """Cancel the task of a walk that was garbage collected, and warn."""
        self._stopped = True
        self.pages.clear()
        if self._task is None:
            return
        self._operation.dropped(self._task.get_loop())
        running = self._running_tasks()
        # Tasks that run after the end were cancelled, and are about to finish.
        over = self.ended or self.error is not None
        if over or not running or any(task.get_loop().is_closed() for task in running):
            return
        for task in running:
            task.get_loop().call_soon_threadsafe(task.cancel)  # the collector runs in any thread
        warnings.warn(
            "a message stream was dropped while it was fetching a page;"
            " leave it by `async with` or `await stream.aclose()`",
            ResourceWarning,
            stacklevel=3,  # behind the finalizer: the line that dropped it
        )


class Walk(Generic[PageT]):
    """Go from page to page with one fetch at a time, which prefetches the next page."""

    def __init__(
        self,
        fetch: Fetch[PageT],
        state: WalkState[PageT],
        *,
        prefetch: bool = True,
        operation: Operation | None = None,
        ahead: "Prediction[PageT] | None" = None,
    ) -> None:
        self._fetcher = _Fetcher(
            fetch,
            state,
            prefetch=prefetch,
            operation=operation,
            ahead=ahead,
        )
        self._all_delivered = True
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def begun(self) -> bool:
        """Whether anything was fetched yet."""
        return self._loop is not None

    @property
    def state(self) -> str:
        """The state in one or two words, for a repr."""
        if not self.begun:
            return "closed" if self._closed else "not started"
        if self._fetcher.pages:
            return "reading"
        if self._fetcher.error is not None:
            return "failed"
        if self._fetcher.ended and self._all_delivered:
            return "ended"
        return "closed" if self._closed else "reading"

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
            # One turn of the loop sends the request, also for a reader that never awaits. A
            # cancellation here leaves the page in the queue.
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
        """Cancel the fetch that is under way, and wait up to 5 s for it to end."""
        # A walk whose last page was not delivered whole must not say that it reached its end.
        if not self._closed:
            self._all_delivered = all_delivered and not self._fetcher.pages
        self._closed = True
        await self._fetcher.stop()
