"""The protocol of an async generator, for iterators that are classes of their own."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

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
