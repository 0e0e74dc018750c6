"""A list of completions narrowed to those that were created in a span of time.

The API itself cannot select by time. Nothing here performs I/O of its own, or reads a clock.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Literal, TypeVar

import msgspec

from aiomessages.decoding import despite_lone_surrogates
from aiomessages.listing import CompletionStream

ItemT = TypeVar("ItemT")


class Span(msgspec.Struct, frozen=True):
    """A span of time in Unix seconds: `since` is in it, `until` is not; None is no bound."""

    since: float | None = None
    until: float | None = None

    def __bool__(self) -> bool:
        return self != Span()

    def holds(self, created: float | None) -> bool:
        """Tell whether a time is in the span; one that is not known is in none with bounds."""
        if created is None:
            return not self
        return not self.is_before(created) and not self.is_behind(created)

    def is_before(self, created: float | None) -> bool:
        """Tell whether a time is too early."""
        return created is not None and self.since is not None and created < self.since

    def is_behind(self, created: float | None) -> bool:
        """Tell whether a time is too late."""
        return created is not None and self.until is not None and created >= self.until


async def within(
    items: AsyncIterator[ItemT],
    created: Callable[[ItemT], float | None],
    span: Span,
    order: Literal["asc", "desc"] | None,
) -> AsyncIterator[ItemT]:
    """Yield the items of the span; where the order is known, end behind it without reading on."""
    over = {"asc": span.is_behind, "desc": span.is_before}.get(order or "", lambda _: False)
    async for item in items:
        if over(created(item)):
            return
        if span.holds(created(item)):
            yield item


class CreatedBetween:
    """A source for `export`: of a list of completions those created in a span of time.

    `since` (included) and `until` (excluded) are Unix seconds. `order` is the one that the list was
    asked for in: the list is then not read on behind the span. Without it all of the list is read.
    The replies that the list carries are used, as those of the list itself.
    """

    def __init__(
        self,
        completions: CompletionStream,
        *,
        since: float | None = None,
        until: float | None = None,
        order: Literal["asc", "desc"] | None = None,
    ) -> None:
        self._completions = completions
        self._span = Span(since, until)
        self._order = order

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield each completion as the bytes that the server sent."""
        async with self._completions.raw() as items:
            async for item in within(items, created_of, self._span, self._order):
                yield item


class _Created(msgspec.Struct):
    created: Any = None


_CREATED: Final = msgspec.json.Decoder(_Created)


def created_of(completion: bytes) -> float | None:
    """Return when a completion was created, in Unix seconds; None where it does not say."""
    try:
        found, _ = despite_lone_surrogates(_CREATED.decode, completion)
    except msgspec.ValidationError:  # a number that no float holds
        return None
    return found.created if isinstance(found.created, int | float) else None
