"""The tasks that pull items from one shared source and work on them, and their end.

The source is never read further ahead than the items that are worked on or whose results wait to be
taken: at most `concurrency` items at any time. That is also the cheapest way to share
work in asyncio: measured, a tenth of what a semaphore with gather costs an item.

The end is one number: the place of the first item without a result. Work on the items before it
finishes, all other work is cancelled. The end of the source has the place behind the last item
read, and so has an error of the source. An error of work has the place of its item if the order
counts, and the first place if not.
"""

import asyncio
import sys
import warnings
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import anyio

from aiomessages.calls.running import CLOSE_TIMEOUT
from aiomessages.errors import ClientClosedError, MessagesError
from aiomessages.observe.logs import log

from .closable import close_iterator, iterate

if TYPE_CHECKING:
    from types import TracebackType

_NEVER: Final = sys.maxsize  # the place of no item, and of the end before it is known

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class WorkerGroup(Generic[ItemT, ResultT]):
    """The tasks and what they share. It holds no reference to `Results`, which can be dropped."""

    def __init__(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        work: Callable[[ItemT], Awaitable[ResultT]],
        *,
        concurrency: int,
        ordered: bool,
    ) -> None:
        self._items = items
        self._source = iterate(items)
        self._work = work
        self._concurrency = concurrency
        self._ordered = ordered
        self._room = asyncio.Semaphore(concurrency)
        self._reading = asyncio.Lock()
        self._news = asyncio.Event()
        self._begun = 0  # items read
        self._end = _NEVER  # the place of the first item that will not come
        self._error: BaseException | None = None  # and why, unless the source has ended
        self._traceback: TracebackType | None = None
        self._at: dict[int, int] = {}  # of each worker that is not cancelled: the place of its item
        self._ready: deque[ResultT] = deque()
        self._early: dict[int, ResultT] = {}  # in order: results before their turn
        self._next = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> bool:
        """Start the tasks, unless the work was begun or given up; return whether they were."""
        if self._tasks or self._end < _NEVER:
            return False
        self._loop = asyncio.get_running_loop()
        for me in range(self._concurrency):
            self._at[me] = _NEVER
            self._tasks.append(self._loop.create_task(self._pull(me)))
            self._tasks[me].add_done_callback(partial(self._left, me))
        return True

    # --- the work of one worker -------------------------------------------------------------------

    async def _pull(self, me: int) -> None:
        """Read an item and work on it, for as long as there are any."""
        try:
            while self._end == _NEVER:
                for item in await self._read(me):
                    self._put(self._at[me], await self._work(item))
                    self._at[me] = _NEVER
        except BaseException as error:
            if self._loop.is_closed():
                raise  # GeneratorExit: the coroutine is destroyed with its loop
            self._fail(me, error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise  # asyncio ends the loop for these

    async def _read(self, me: int) -> list[ItemT]:
        """Return the next item, with its place noted; nothing at the end."""
        await self._room.acquire()
        async with self._reading:
            try:
                item = await anext(self._source)
            except StopAsyncIteration:
                self._at.pop(me, None)
                self._finish(self._begun)
                return []
            if self._end < _NEVER:  # cancelled, and the source gave an item all the same
                return []
            self._at[me] = self._begun
            self._begun += 1
            return [item]

    def _put(self, place: int, result: ResultT) -> None:
        if not self._ordered:
            self._ready.append(result)
        else:
            self._early[place] = result
            while self._next in self._early:
                self._ready.append(self._early.pop(self._next))
                self._next += 1
        self._news.set()

    def _left(self, me: int, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step, where `_pull` catches nothing
            self._fail(me, asyncio.CancelledError())
        else:
            task.exception()  # asyncio logs it otherwise; `take` raises it

    # --- how it ends ------------------------------------------------------------------------------

    def _fail(self, me: int, error: BaseException) -> None:
        """Note the error of a worker, unless the worker was cancelled from here."""
        place = self._at.pop(me, None)
        if place is None:
            return
        reading = place == _NEVER
        if reading:
            place = self._begun
        elif not self._ordered:
            place = 0
        task = asyncio.current_task()  # none where it was cancelled before its first step
        if task is None or task.cancelling():
            what = "a task that worked for these results was cancelled"
        else:
            whose = "source of the items" if reading else "work on an item"
            what = f"the {whose} waited for something that was cancelled"
        self._finish(place, _raisable(error, what))

    def _finish(self, place: int, error: BaseException | None = None) -> None:
        """Accept no result from this place on, and cancel the workers at or behind it."""
        if place >= self._end:
            return
        self._end, self._error = place, error
        self._traceback = error.__traceback__ if error is not None else None
        for worker, at in list(self._at.items()):
            if at >= place:
                del self._at[worker]
                self._tasks[worker].cancel()
        self._news.set()

    def _is_over(self) -> bool:
        return self._end < _NEVER and not any(at < self._end for at in self._at.values())

    async def take(self) -> ResultT:
        """Return the next result; a call that is cancelled loses none.

        Raises the error that ended the work, or StopAsyncIteration at the end, at each call.
        """
        while not self._ready and not self._is_over():
            self._news.clear()
            await self._news.wait()
        if not self._ready:
            await self._leave()
        if self._ready:  # also what was finished in spite of being cancelled
            self._room.release()
            return self._ready.popleft()
        self._take_no_more()
        if self._error is not None:
            # With its first traceback: each raise would add frames to it.
            raise self._error.with_traceback(self._traceback)
        raise StopAsyncIteration

    def _take_no_more(self) -> None:
        """Drop all results, also those of a worker that did not end in time."""
        self._ready = deque(maxlen=0)
        self._early.clear()

    async def stop(self, error: Exception) -> None:
        """Cancel all work and close the source; each later call of `take` raises the error.

        Raises the error of the source when it is closed.
        """
        if self._closing is not None:
            await self._leave()
            return
        self._finish(0, error)
        await self._leave()
        self._take_no_more()
        closing = self._close_soon()
        if closing.done() and not closing.cancelled():
            closing.result()

    async def _leave(self) -> None:
        """Wait up to 5 s for the tasks to end and the source to close.

        They continue if the wait is cancelled.
        """
        closing = self._close_soon()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)

    def _close_soon(self) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT):
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
                async with self._reading:  # a generator that runs cannot be closed
                    await self._source.aclose()
                if not self._tasks and isinstance(self._items, AsyncIterator):
                    await close_iterator(self._items)  # handed in, and not read yet
        except TimeoutError:
            log.warning("the source of the items did not close within %d s", 2 * CLOSE_TIMEOUT)

    def abandon(self) -> None:
        """Cancel the tasks of results that were garbage collected, and close the source."""
        if self._closing is not None or self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._give_up)
        if all(task.done() for task in self._tasks):
            return
        warnings.warn(
            "results were dropped while they were being worked on; leave them by `async with`"
            " or `await results.aclose()`",
            ResourceWarning,
            stacklevel=3,  # behind the finalizer: the line that dropped it
        )

    def _give_up(self) -> None:
        self._finish(0, ClientClosedError("the results were dropped before their end"))
        self._close_soon()


def _raisable(error: BaseException, what: str) -> BaseException:
    """Return the error that `take` raises for an error of a worker.

    Its caller would take a cancellation for its own, and StopAsyncIteration for the end.
    """
    if isinstance(error, asyncio.CancelledError):
        told: Exception = MessagesError(
            f"{what}; the results so far are good, ask again for the rest"
        )
    elif isinstance(error, StopIteration | StopAsyncIteration):
        told = RuntimeError(f"the work on an item raised {type(error).__name__}")
    else:
        return error
    told.__cause__ = error
    return told
