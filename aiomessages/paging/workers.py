"""Work done by several tasks that pull from one shared source, results taken one by one.

Nothing here knows of HTTP, nor how the tasks share their work: that is `crew`'s matter.
"""

import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from aiomessages.errors import ClientClosedError

from .worker_group import Crew, End, each

__all__ = ["Results", "each"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Results(AsyncGenerator[ResultT, None]):
    """The results of work on each item, as they are done or in the order of the items.

    Nothing begins before the first is asked for. An error of the work is raised after the results
    that were ready, and every time from then on; all other work is cancelled at once. In order, it
    is raised in its turn: work on earlier items is let finish. An error of the items is raised
    after the results of all items before it. The cancellation of something that the items or the
    work waited for is such an error, too: MessagesError.

    The iterator over the items is closed when the results end, in whatever way.
    """

    def __init__(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        work: Callable[[ItemT], Awaitable[ResultT]],
        *,
        concurrency: int,
        ordered: bool = False,
    ) -> None:
        self._crew: Crew[Any, ResultT] = Crew(items, work, concurrency=concurrency, ordered=ordered)

    async def __anext__(self) -> ResultT:
        crew = self._crew
        if crew.to_be_started:
            crew.start()
            weakref.finalize(self, crew.abandon).atexit = False
        result = await crew.take()
        if isinstance(result, End):
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
