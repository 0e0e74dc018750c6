"""Async iterators that are closed at their end: a base class, and any iterable as one."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

ItemT = TypeVar("ItemT")
YieldT = TypeVar("YieldT")


class ClosableIterator(AsyncGenerator[YieldT, None]):
    """An async iterator that takes nothing in, and is closed when it is left by `async with`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the iterator."""

    async def asend(self, value: None) -> YieldT:
        """Return the next element. Raises TypeError for a value other than None."""
        if value is not None:
            raise TypeError("nothing can be sent into this iterator")
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> NoReturn:
        """Close the iterator and raise the exception."""
        await self.aclose()
        error = typ if isinstance(typ, BaseException) else typ(*(() if val is None else (val,)))
        raise error.with_traceback(tb) if tb else error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def iterate(items: Iterable[ItemT] | AsyncIterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    """Iterate over any iterable, one item at a time.

    An async iterator is closed when this ends, however it ends, also one that the caller made: some
    of its items were read ahead, so nobody could continue with it without missing some.
    """
    if isinstance(items, AsyncIterable):
        iterator = aiter(items)
        try:
            async for item in iterator:
                yield item
        finally:
            await close_iterator(iterator)
    else:
        for item in items:
            yield item


async def close_iterator(iterator: object) -> None:
    """Close an async iterator that can be closed."""
    aclose: Callable[[], Awaitable[object]] | None = getattr(iterator, "aclose", None)
    if aclose is not None:
        await aclose()
