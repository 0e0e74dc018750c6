"""What crosses over between an event loop and the threads that wait for it.

A call goes over to the loop; what it asks of the thread that waits for it comes back meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from aiomessages.errors import ClientClosedError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Work = Callable[[], Coroutine[Any, Any, ResultT]]
Inbox = SimpleQueue[Callable[[], object] | None]
"""What comes to a thread that waits: a question to answer, or None: look whether it is done."""


class Call(Generic[ResultT]):
    """Work in the loop, and the thread that waits for it."""

    def __init__(self, work: Work[ResultT], inbox: Inbox) -> None:
        self._work = work
        self._inbox = inbox
        self._task: asyncio.Task[ResultT] | None = None
        self._finished = False

    def begin(self) -> None:
        """Begin, in the loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Cancel, in the loop; this may come instead of the begin."""
        if self._task is None:
            self.finish()
        else:
            self._task.cancel()

    def _end(self, task: "asyncio.Task[ResultT]") -> None:
        task.cancelled() or task.exception()  # looked at, also where nobody waits any more
        self.finish()

    def finish(self) -> None:
        """Let the thread that waits go."""
        self._finished = True
        self._inbox.put(None)

    def wait(self) -> None:
        """Wait until it is finished, and answer what it asks meanwhile."""
        while not self._finished:
            question = self._inbox.get()
            if question is not None:
                question()

    def result(self) -> ResultT:
        """Return what the work gave, or raise what it raised, or that it was cancelled."""
        if self._task is None or not self._task.done():
            raise asyncio.CancelledError
        return self._task.result()


class _End:
    """What follows the last item."""


_END: Final = _End()


class OutsideItems(Generic[ItemT]):
    """An iterable for the loop to iterate over, read by the thread that waits in `run`.

    So it is read where it was made, as a cursor of a database must be, and may block.
    """

    def __init__(self, items: Iterable[ItemT]) -> None:
        self._items = iter(items)
        self.inbox: Inbox = SimpleQueue()

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        """Yield each item, as soon as the thread that waits has answered with it."""
        while True:
            answer: Future[ItemT | _End] = Future()
            self.inbox.put(partial(self._answer, answer))
            item = await asyncio.wrap_future(answer)
            if isinstance(item, _End):
                return
            yield item

    def _answer(self, answer: "Future[ItemT | _End]") -> None:
        if not answer.set_running_or_notify_cancel():
            return  # nobody wants to know any more
        try:
            answer.set_result(next(self._items, _END))
        except Exception as error:  # noqa: BLE001 whoever takes the results is told
            answer.set_exception(error)
        except BaseException:  # Ctrl-C: this thread is told, and the loop in its own terms
            answer.set_exception(ClientClosedError("reading the ids was interrupted"))
            raise
