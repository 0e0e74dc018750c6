"""Work done by several tasks that pull from one shared source, with results taken one by one.

How the tasks share the work is decided in `worker_group`.
"""

import weakref
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aiomessages.errors import ClientClosedError

from .closable import ClosableIterator
from .worker_group import WorkerGroup

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Results(ClosableIterator[ResultT]):
    """The results of work on each item, as they are done or in the order of the items.

    No work begins before the first result is requested. An error of the work is raised after the
    results that were ready, and again at each further call; all other work is cancelled at once. In
    order, the work on earlier items finishes first. An error of the items is raised after the
    results of all items before it. If something that the items or the work waited for was
    cancelled, a MessagesError is raised.

    The iterator over the items is always closed when the results end.
    """

    def __init__(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        work: Callable[[ItemT], Awaitable[ResultT]],
        *,
        concurrency: int,
        ordered: bool = False,
    ) -> None:
        self._workers: WorkerGroup[Any, ResultT] = WorkerGroup(
            items, work, concurrency=concurrency, ordered=ordered
        )
        self._returned: deque[ResultT] = deque()  # read by a collect() that did not end

    async def __anext__(self) -> ResultT:
        if self._returned:
            return self._returned.popleft()
        workers = self._workers
        if workers.start():
            weakref.finalize(self, workers.abandon).atexit = False
        return await workers.take()

    async def collect(self) -> list[ResultT]:
        """Return all results that are left, as a list.

        Raise what iterating raises. If it raises or is cancelled, what was read is kept: the next
        to iterate gets it first.
        """
        collected: list[ResultT] = []
        try:
            async for result in self:
                collected.append(result)  # noqa: PERF401 an error keeps them
        except BaseException:
            self._returned.extendleft(reversed(collected))
            raise
        return collected

    async def aclose(self) -> None:
        """Stop the work and drop the results not taken. Any task of the loop may call it."""
        self._returned.clear()
        await self._workers.stop(ClientClosedError("the results were closed before their end"))
