"""From page to page: what may follow what, and the plain way to go there.

Nothing here knows of HTTP. A `Trail` is where a walk stands, and refuses the page by which it would
lose items or never end; it performs no I/O. `OneByOne` goes along it in the caller's own task, for
whoever has no use for a page ahead of its need, as where many lists are read at once; `stream` goes
ahead of its reader, and survives what a reader does to it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from .errors import APIConnectionError, PaginationError
from .logs import log
from .redaction import shown
from .telemetry import Watch


class AnyPage(Protocol):
    """What a walk asks of a page."""

    data: list[Any]
    ids: list[str]
    attempts: int
    headers: Mapping[str, str]
    completion_id: str | None

    @property
    def next_cursor(self) -> str | None:
        """The `after` of the page behind it, None at the end."""
        ...


PageT = TypeVar("PageT", bound=AnyPage)
Fetch = Callable[[str | None, int | None], Awaitable[PageT]]
"""From a cursor, and the number of items still wanted (None: all), to a page."""


class Trail:
    """Where a walk stands: the cursor to go on from, how many items are wanted, and its end."""

    def __init__(self, *, after: str | None, max_items: int | None) -> None:
        self.cursor = after
        self.remaining = max_items
        self.ended = False
        self._seen_cursors = {after}
        self._last_ids: frozenset[str] = frozenset()

    def follow(self, page: AnyPage) -> None:
        """Step onto the page at the cursor, and leave out of it what is not wanted.

        Raises PaginationError for one that leads astray.
        """
        repeated = self._repeated(page)
        if problem := self._contradiction(page, repeated):
            raise PaginationError(problem, status=200, headers=page.headers).at(
                completion_id=page.completion_id, cursor=self.cursor, attempts=page.attempts
            )
        ids = page.ids
        if repeated:
            _drop(page, repeated)
        self._count(page)
        self.cursor = page.next_cursor
        self._seen_cursors.add(self.cursor)
        self.ended = self.cursor is None or self.remaining == 0
        if not self.ended:
            self._last_ids = frozenset(ids)

    def _repeated(self, page: AnyPage) -> frozenset[str]:
        if not self._last_ids or self._last_ids.isdisjoint(page.ids):
            return frozenset()
        return self._last_ids.intersection(page.ids)

    def _contradiction(self, page: AnyPage, repeated: frozenset[str]) -> str | None:
        """Say what is wrong with a page by which the walk would lose messages, or never end."""
        cursor = page.next_cursor
        if cursor is not None and cursor in self._seen_cursors:
            return f"the cursor {shown(cursor)} came a second time"
        if repeated and len(repeated) == len(page.ids):
            return "the page only repeats the one before it"
        return None

    def _count(self, page: AnyPage) -> None:
        if self.remaining is not None:
            del page.data[self.remaining :], page.ids[self.remaining :]
            self.remaining -= len(page.ids)


def _drop(page: AnyPage, repeated: frozenset[str]) -> None:
    """Leave out what the page before had already, as when a list grew in between."""
    log.warning("a page repeats %d items of the one before it", len(repeated))
    fresh = [n for n, item in enumerate(page.ids) if item not in repeated]
    page.data = [page.data[n] for n in fresh]
    page.ids = [page.ids[n] for n in fresh]


def unless_ours(cancelled: asyncio.CancelledError) -> APIConnectionError:
    """Return what it is to a walk that something which its fetch waited for was cancelled.

    It would be so the next time, too. Raises the cancellation where this task was meant.
    """
    if cast("asyncio.Task[object]", asyncio.current_task()).cancelling():
        raise cancelled
    return APIConnectionError("what the fetch of a page waited for was cancelled")


class OneByOne(AsyncIterator[PageT], Generic[PageT]):
    """The pages of a list, each fetched as it is asked for; being cancelled gives that fetch up.

    Leave it as a context manager. After an error there is nothing more to ask for.
    """

    def __init__(
        self, fetch: Fetch[PageT], *, after: str | None, max_items: int | None, watch: Watch
    ) -> None:
        self._fetch = fetch
        self._trail = Trail(after=after, max_items=max_items)
        self._watch = watch

    async def __anext__(self) -> PageT:
        trail = self._trail
        if trail.ended:
            raise StopAsyncIteration
        try:
            page = await self._next_page(trail)
            trail.follow(page)
        except Exception as error:
            self._watch.over(error)
            raise
        self._watch.page(len(page.ids), last=trail.ended)
        return page

    async def _next_page(self, trail: Trail) -> PageT:
        try:
            with self._watch.current():
                return await self._fetch(trail.cursor, trail.remaining)
        except asyncio.CancelledError as cancelled:
            error = unless_ours(cancelled)
        raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.over()
