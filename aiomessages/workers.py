"""Work done by several tasks that pull from one shared source, results taken one by one.

Nothing here knows of HTTP. The source is never read further ahead than what is being worked on or
waits to be taken: at most `concurrency` items at any time. That is also the cheapest way to share
work in asyncio: measured, a tenth of what a semaphore with gather costs an item.

How results end is one number: the place of the first item that will not come. Work on items before
it is let finish, everything else is cancelled. The end of the source has the place behind the last
item, and so has an error of the source; an error of work has the place of its item where order
counts, and the first place where it does not.
"""

import asyncio
import sys
import warnings
import weakref
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Self, TypeVar

import anyio

from .errors import ClientClosedError, MessagesError

CLOSE_TIMEOUT: Final = 5.0  # as long as a stream waits for its fetch

_NEVER: Final = sys.maxsize  # the place of no item, and of the end before it is known

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


async def each(items: Iterable[ItemT] | AsyncIterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    """Iterate over any iterable, one item at a time, as it is asked for.

    An async iterator is closed at the end, whichever end that is, and also where the caller made
    it: items that were read ahead are lost to everybody else, so nobody can go on with it.
    """
    if isinstance(items, AsyncIterable):
        iterator = aiter(items)
        try:
            async for item in iterator:
                yield item
        finally:
            await _close_iterator(iterator)
    else:
        for item in items:
            yield item


async def _close_iterator(iterator: object) -> None:
    """Close an async iterator that can be closed."""
    aclose: Callable[[], Awaitable[object]] | None = getattr(iterator, "aclose", None)
    if aclose is not None:
        await aclose()


class _Crew(Generic[ItemT, ResultT]):
    """The tasks and what they share. It does not know whom it works for, who can be dropped."""

    def __init__(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        work: Callable[[ItemT], Awaitable[ResultT]],
        *,
        concurrency: int,
        ordered: bool,
    ) -> None:
        self._items = items
        self._source = each(items)
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
        self._at: dict[int, int] = {}  # by worker that is not sent away: the place of its item
        self._ready: deque[ResultT] = deque()
        self._early: dict[int, ResultT] = {}  # in order: results before their turn
        self._next = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None

    @property
    def to_be_started(self) -> bool:
        """Tell whether work was neither begun nor given up."""
        return not self._tasks and self._end == _NEVER

    def start(self) -> None:
        """Set the tasks to work."""
        self._loop = asyncio.get_running_loop()
        for me in range(self._concurrency):
            self._at[me] = _NEVER
            self._tasks.append(self._loop.create_task(self._pull(me)))
            self._tasks[me].add_done_callback(partial(self._left, me))

    # --- what a worker does -----------------------------------------------------------------------

    async def _pull(self, me: int) -> None:
        try:
            while self._end == _NEVER:
                item = await self._read(me)
                if isinstance(item, _End):
                    break
                self._put(self._at[me], await self._work(item))
                self._at[me] = _NEVER
        except BaseException as error:
            if self._loop.is_closed():  # the coroutine is thrown away with its loop
                raise
            self._fail(me, error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise  # these end the loop, whoever waits in it
        self._at.pop(me, None)

    async def _read(self, me: int) -> "ItemT | _End":
        """Return the next item, whose place is noted; or the end."""
        await self._room.acquire()
        async with self._reading:
            item = await anext(self._source, _END)
            if self._end < _NEVER:  # sent away, and the source has answered all the same
                return _END
            if isinstance(item, _End):
                del self._at[me]
                self._finish(self._begun)
            else:
                self._at[me] = self._begun
                self._begun += 1
            return item

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
        if task.cancelled():  # before its first step: nothing in it could say so
            self._fail(me, asyncio.CancelledError())
        else:
            task.exception()  # is told by whoever takes the results

    # --- how it ends ------------------------------------------------------------------------------

    def _fail(self, me: int, error: BaseException) -> None:
        """Note the error of a worker, unless it was sent away and has only said so."""
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
            what = "a task that worked for these results"
        else:
            what = f"what the {'source of the items' if reading else 'work on an item'} waited for"
        self._finish(place, _to_be_told(error, what))

    def _finish(self, place: int, error: BaseException | None = None) -> None:
        """Have no item come from this place on, and cancel the workers that are of no use then."""
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

    async def take(self) -> "ResultT | _End":
        """Return a result, or the end, or raise the error. Being cancelled loses nothing."""
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
            # Where it came from, and not, at each call once more, where it was raised again.
            raise self._error.with_traceback(self._traceback)
        return _END

    def _take_no_more(self) -> None:
        """Give up all results, also those of a worker that has not left in time."""
        self._ready = deque(maxlen=0)
        self._early.clear()

    async def stop(self, error: Exception) -> None:
        """Cancel all work, close the source, and let every taker be told.

        Raises what the source raises when it is closed.
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
        """Wait up to 5 s for the tasks to be gone and the source closed.

        This goes on by itself if the wait for it is cancelled.
        """
        closing = self._close_soon()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)

    def _close_soon(self) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await self._source.aclose()
            if not self._tasks and isinstance(self._items, AsyncIterator):
                await _close_iterator(self._items)  # handed in, and not looked at yet

    def abandon(self) -> None:
        """Cancel the tasks of somebody who is gone, and have the source closed."""
        if self._closing is not None or self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._give_up)
        if all(task.done() for task in self._tasks):
            return
        warnings.warn(
            "results were dropped while they were being worked on; leave them by `async with`"
            " or `await results.aclose()`",
            ResourceWarning,
            stacklevel=2,
        )

    def _give_up(self) -> None:
        self._finish(0, ClientClosedError("the results were dropped before their end"))
        self._close_soon()


def _to_be_told(error: BaseException, what: str) -> BaseException:
    """Return what a taker can be told.

    A cancellation would be taken for one of its own, and the end of an iterator for the end.
    """
    if isinstance(error, asyncio.CancelledError):
        told: Exception = MessagesError(
            f"{what} was cancelled; the results so far are good, run it again for the rest"
        )
    elif isinstance(error, StopIteration | StopAsyncIteration):
        told = RuntimeError(f"the work on an item raised {type(error).__name__}")
    else:
        return error
    told.__cause__ = error
    return told


class _End:
    """What follows the last result."""


_END: Final = _End()


class Results(AsyncGenerator[ResultT, None]):
    """The results of work on each item, as they are done or in the order of the items.

    Nothing begins before the first is asked for. An error of the work, or of the items, is raised
    after the results that were ready, and every time from then on.
    """

    def __init__(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        work: Callable[[ItemT], Awaitable[ResultT]],
        *,
        concurrency: int,
        ordered: bool = False,
    ) -> None:
        self._crew: _Crew[Any, ResultT] = _Crew(
            items, work, concurrency=concurrency, ordered=ordered
        )

    async def __anext__(self) -> ResultT:
        crew = self._crew
        if crew.to_be_started:
            crew.start()
            weakref.finalize(self, crew.abandon).atexit = False
        result = await crew.take()
        if isinstance(result, _End):
            raise StopAsyncIteration
        return result

    async def aclose(self) -> None:
        """Stop the work and give up what was not taken. Any task of the loop may call it."""
        await self._crew.stop(ClientClosedError("the results were closed before their end"))

    async def asend(self, value: None) -> ResultT:
        """Return the next result: nothing can be sent in."""
        if value is not None:
            raise TypeError("nothing can be sent into results")
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> NoReturn:
        """Stop the work and raise the exception."""
        await self.aclose()
        error = typ if isinstance(typ, BaseException) else typ(*(() if val is None else (val,)))
        raise error.with_traceback(tb) if tb else error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
