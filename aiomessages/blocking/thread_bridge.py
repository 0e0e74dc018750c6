"""What crosses over between an event loop and the threads that wait for it.

A call goes over to the loop; what it asks of the thread that waits for it comes back meanwhile.

The thread that waits may be interrupted between any two steps: by Ctrl-C, or by the handler of a
signal, or a `__del__`, that makes a call of its own. So no lock that is written in Python is taken.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from aiomessages.errors import ClientClosedError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Work = Callable[[], Coroutine[Any, Any, ResultT]]


class Inbox:
    """What comes to a thread that waits: questions to answer, and that there is news.

    A question stays until it was answered, so that an interrupt loses none.
    """

    def __init__(self) -> None:
        self._questions: deque[Callable[[], object]] = deque()
        self._news: SimpleQueue[None] = SimpleQueue()

    def ask(self, question: Callable[[], object]) -> None:
        """Have it answered; it may be asked again where the answer was interrupted."""
        self._questions.append(question)
        self._news.put(None)

    def tell(self) -> None:
        """Say that there is news."""
        self._news.put(None)

    def wait(self) -> None:
        """Wait until there is news."""
        self._news.get()

    def answer(self) -> None:
        """Answer what was asked."""
        while self._questions:
            self._questions[0]()
            self._questions.popleft()


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
        self._inbox.tell()

    def wait(self) -> None:
        """Wait until it is finished, and answer what it asks meanwhile."""
        self._inbox.answer()  # what an interrupt has left
        while not self._finished:
            self._inbox.wait()
            self._inbox.answer()

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
        self.inbox = Inbox()

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        """Yield each item, as soon as the thread that waits has answered with it."""
        while True:
            question = _Question(self._items)
            self.inbox.ask(question)
            item = await question.answer
            if isinstance(item, _End):
                return
            yield item


class _Question(Generic[ItemT]):
    """What the next item is, asked in the loop and answered in the thread that waits."""

    def __init__(self, items: Iterator[ItemT]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._read = False
        self.answer: asyncio.Future[ItemT | _End] = self._loop.create_future()

    def __call__(self) -> None:
        if self.answer.cancelled():
            return  # nobody wants to know any more
        if self._read:  # Ctrl-C: that thread was told itself, and the loop is in its own terms
            problem = ClientClosedError("reading the ids was interrupted")
            self._settle(self.answer.set_exception, problem)
            return
        self._read = True
        try:
            item = next(self._items, _END)
        except Exception as error:  # noqa: BLE001 whoever takes the results is told
            self._settle(self.answer.set_exception, error)
        else:
            self._settle(self.answer.set_result, item)

    def _settle(self, how: Callable[[Any], None], what: object) -> None:
        def settle() -> None:
            if not self.answer.done():
                how(what)

        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(settle)
