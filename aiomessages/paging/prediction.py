"""Tasks of lookahead: pages are requested before the walk arrives at their cursors.

A `Prediction` is a function that fetches one page, between a walk and the function that sends
requests. Its requests are sent in the walk's own order and from predicted cursors (`lookahead`). A
page that has arrived already is returned in place of a request; a request ahead that failed is
repeated. So only errors of the walk's own requests count, and a wrong prediction costs only
requests and time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from typing import Any, Generic, TypeVar

from aiomessages.calls.retry import asks_all_to_wait
from aiomessages.errors import APIError
from aiomessages.observe.logs import log
from aiomessages.wire.page_content import PageContent, PageT

from .cursor import Fetch, Fetched
from .lookahead import Numbering, Predicted, predict

ResultT = TypeVar("ResultT")
FetchEnd = Callable[[], Awaitable[list[str]]]
"""Return the last ids of the list, two or more where it has as many, in the order of the walk."""


class Prediction(Generic[PageT]):
    """Fetch the pages of a numbered list, most of them ahead of their need.

    At most `window` pages are held or under way in advance. The first page and the end of the list
    are requested at the same time; once both have arrived, the cursors in between are predicted,
    once. Nothing is fetched ahead if a page of `page_size` items is enough, after the first page
    that does not end with a predicted cursor, and once the server has asked to wait.
    """

    def __init__(
        self,
        fetch: Fetch[PageT],
        fetch_ahead: Fetch[PageT],
        fetch_end: FetchEnd,
        *,
        window: int,
        page_size: int,
        numbering: Numbering,
    ) -> None:
        self._fetch = fetch
        self._fetch_ahead = fetch_ahead
        self._fetch_end = fetch_end
        self._window = window
        self._page_size = page_size
        self._numbering = numbering
        self.tasks: set[asyncio.Task[Any]] = set()
        self._begun = False
        # The walk: the ids of its last page, the items wanted behind it, its request under way.
        self._page: list[str] = []
        self._wanted: int | None = None
        self._requested: str | None = None
        # The prediction: the end of the list until it is used, requests to send, pages by cursor.
        self._end: list[str] = []
        self._expected: deque[Predicted] = deque()
        self._early: dict[str, asyncio.Task[Fetched[PageT] | None]] = {}

    async def __call__(
        self, after: str | None, remaining: int | None, fresh: bool = False
    ) -> Fetched[PageT]:
        """Return the page behind `after`; raise the error of its request. For one caller at a time.

        A page on a `fresh` connection is always requested.
        """
        if not self._begun:
            self._begun = True
            if remaining is None or remaining > self._page_size:
                self._spawn(self._find_end())
        fetched = None if fresh else await self._take_early(after)
        if fetched is None:
            self._requested = after
            try:
                fetched = await self._fetch(after, remaining, fresh)
            finally:
                self._requested = None
        self._follow(fetched[0], remaining)
        return fetched

    def give_up(self) -> None:
        """Cancel the requests under way, and drop the pages that are held."""
        for task in self.tasks:
            task.cancel()
        self._drop()

    async def _take_early(self, after: str | None) -> Fetched[PageT] | None:
        if after is None or after not in self._early:
            return None
        task = self._early[after]
        await asyncio.wait({task})
        del self._early[after]
        return None if task.cancelled() else task.result()

    def _follow(self, page: PageContent[PageT], remaining: int | None) -> None:
        """Note the position of the walk, and give up a prediction that it has left."""
        cursor, count = page.next_cursor, len(page.ids)
        if cursor is None or (remaining is not None and remaining <= count):
            return  # it is at its end
        self._page, self._wanted = page.ids, None if remaining is None else remaining - count
        predicted = {*self._early, *(expected.after for expected in islice(self._expected, 1))}
        if predicted and cursor not in predicted:
            log.info("the list is not numbered as predicted: the rest is walked page by page")
            self._drop()
        self._predict()
        self._send()

    def _predict(self) -> None:
        """Predict, once, as soon as the end of the list and a page of the walk have arrived."""
        if not self._end or not self._page:
            return
        end, self._end = self._end, []
        self._expected = predict(self._page, end, self._numbering, wanted=self._wanted)
        if self._expected and self._expected[0].after == self._requested:
            self._expected.popleft()

    def _send(self) -> None:
        while self._expected and len(self._early) < self._window:
            expected = self._expected.popleft()
            self._early[expected.after] = self._spawn(self._fetch_early(expected))

    async def _fetch_early(self, expected: Predicted) -> Fetched[PageT] | None:
        try:
            return await self._fetch_ahead(expected.after, expected.remaining, False)
        except Exception as error:  # noqa: BLE001 whatever it is, the walk sends a request itself
            self._heed(error)
            return None

    async def _find_end(self) -> None:
        try:
            self._end = await self._fetch_end()
        except Exception as error:  # noqa: BLE001 whatever it is, the walk goes on without
            self._heed(error)
        self._predict()
        self._send()

    def _heed(self, error: Exception) -> None:
        log.info("a page that was requested ahead failed: %s", type(error).__name__)
        if isinstance(error, APIError) and asks_all_to_wait(error):
            self._expected.clear()  # what was not sent yet is left to the walk

    def _drop(self) -> None:
        for task in self._early.values():
            task.cancel()
        self._early.clear()
        self._expected.clear()

    def _spawn(self, coroutine: Coroutine[Any, Any, ResultT]) -> "asyncio.Task[ResultT]":
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
