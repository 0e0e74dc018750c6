"""The plain walk: pages in the order of their cursors, each fetched as it is asked for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, Self

from aiomessages.calls.cancellation import unless_ours
from aiomessages.observe.operation import Operation

from .cursor import Fetch, PageT, Trail, step


class OneByOne(AsyncIterator[PageT], Generic[PageT]):
    """The pages of a list, each fetched as it is asked for; being cancelled gives that fetch up.

    Leave it as a context manager. After an error there is nothing more to ask for.
    """

    def __init__(
        self, fetch: Fetch[PageT], *, after: str | None, max_items: int | None, watch: Operation
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
        except Exception as error:
            self._watch.over(error)
            raise
        self._watch.page(len(page.ids), last=trail.ended)
        return page

    async def _next_page(self, trail: Trail) -> PageT:
        try:
            with self._watch.current():
                return await step(trail, self._fetch)
        except asyncio.CancelledError as cancelled:
            error = unless_ours(cancelled)
        raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.over()
