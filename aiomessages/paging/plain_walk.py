"""The plain walk: the pages of a list in order, each fetched on request.

It is for readers of many lists at once, who need no prefetching; `stream` prefetches, and survives
the cancellation of a wait.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, Self

from aiomessages.calls.running import translate_cancellation
from aiomessages.observe.operation import Operation
from aiomessages.wire.page_content import PageT

from .cursor import Fetch, WalkState, step


class PlainWalk(AsyncIterator[PageT], Generic[PageT]):
    """The pages of a list. A fetch runs in the reader's task: cancelling the reader gives it up.

    Use it as a context manager. After an error it has no further page.
    """

    def __init__(
        self, fetch: Fetch[PageT], state: WalkState[PageT], *, operation: Operation
    ) -> None:
        self._fetch = fetch
        self._state = state
        self._operation = operation

    async def __anext__(self) -> PageT:
        if self._state.ended:
            raise StopAsyncIteration
        try:
            page = await self._next_page()
        except Exception as error:
            self._operation.over(error)
            raise
        self._operation.page(len(page.ids), last=self._state.ended)
        return page

    async def _next_page(self) -> PageT:
        try:
            with self._operation.current():
                return await step(self._state, self._fetch)
        except asyncio.CancelledError as cancelled:
            error = translate_cancellation(cancelled)
        raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._operation.over()
