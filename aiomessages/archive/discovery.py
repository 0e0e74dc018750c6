"""Find the completions that are new: list behind the anchor, or as much as is needed.

This module sends the requests; `listing.py` decides what their answers prove.
"""

import math
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

from aiomessages.calls.attempts import Attempts
from aiomessages.client import AsyncMessagesClient
from aiomessages.errors import APIError
from aiomessages.export.created_between import MARGIN, EndOfRange, Order, TimeRange, created_of
from aiomessages.export.writer import run_to_end
from aiomessages.paging.stream import bulk_pages
from aiomessages.values.json_lines import on_one_line
from aiomessages.wire.errors import is_about_cursor
from aiomessages.wire.retry_after import date_of

from .changes import RETENTION, anchors_of, prepare_to_list
from .listing import Anchor, AnchorTracker, Listed, NewestPair, Place
from .sync_selection import Selection

_RESTARTS: Final = 10  # of one list: a server may refuse every cursor

Pages = AsyncGenerator[list[tuple[Listed, Place]], None]


class Discovery:
    """The list of one sync.

    `on_first_page` is called with the headers of the first answer.
    """

    def __init__(
        self,
        client: AsyncMessagesClient,
        attempts: Attempts,
        db: sqlite3.Connection,
        selection: Selection,
        *,
        recheck: bool,
        on_first_page: Callable[[Mapping[str, str]], None],
        clock: Callable[[], float],
    ) -> None:
        self.db = db
        self.recheck = recheck
        self._client = client
        self._attempts = attempts
        self._selection = selection
        self._on_first_page = on_first_page
        self._clock = clock
        self._now: float | None = None
        self._listed = -math.inf  # the server's time at which the last page was listed
        self._newest_created = -math.inf
        self._oldest_created = math.inf
        self._is_dated = True
        self._is_first_page = True
        self._tracker = AnchorTracker()
        prepare_to_list(db)
        self._newest = NewestPair()
        self._confirmed: Anchor | None = None

    def now(self) -> float:
        """Return the time in Unix seconds by the server's clock; it never goes back."""
        return self._clock() if self._now is None else self._now

    def keeps_longer(self) -> bool:
        """Return whether the server has listed a completion that the API would have deleted."""
        return self._oldest_created < self.now() - RETENTION - MARGIN

    async def pages(self) -> Pages:
        """Yield the pages of the list, each completion with its place.

        Raises APIError where the list cannot be read.
        """
        anchors = [] if self.recheck else await run_to_end(anchors_of, self.db, self._selection)
        for anchor in anchors:
            async with aclosing(self._list("asc", anchor.after)) as pages:
                try:
                    first: list[Listed] = await anext(pages, [])
                except APIError as error:
                    if is_about_cursor(error):  # expired or deleted: an older one may stand
                        continue
                    raise
                if not anchor.is_confirmed(first):
                    break
                self._tracker.is_confirmed, self._confirmed = True, anchor
                yield self._placed(first)
                del first
                async for page in pages:
                    yield self._placed(page)
                return
        latest = max((anchor.created for anchor in anchors), default=None)
        async with aclosing(self._all() if latest is None else self._newest_first(latest)) as rest:
            async for placed in rest:
                yield placed

    def pages_from_the_head(self) -> Pages:
        """Yield pages, newest first, to what `pages` has listed; they move no anchor."""
        return self._newest_first(self._newest_created)

    async def _all(self) -> Pages:
        """Read the whole list, oldest first: what expires next comes first."""
        async with aclosing(self._list("asc", None)) as pages:
            async for page in pages:
                self._newest.follow(page, self._bounded())
                yield self._placed(page)

    async def _newest_first(self, latest: float) -> Pages:
        """Read the list newest first, until the rest lies behind the latest anchor."""
        end = EndOfRange(TimeRange(since=latest), "desc")
        async with aclosing(self._list("desc", None)) as pages:
            async for page in pages:
                self._newest.follow(page, self._bounded())
                yield [(item, Place(item, self._listed)) for item in page]
                if end.is_reached([item.created for item in page]):
                    return

    async def _list(self, order: Order, after: str | None) -> AsyncGenerator[list[Listed], None]:
        """Yield the pages of the list behind `after`.

        The cursor of a page may be deleted before the next page is requested. Then the list goes on
        behind the completion before it, or from its begin: what is listed again costs little.
        """
        left, begun, start, before = _RESTARTS, False, after, after
        while True:
            try:
                async with aclosing(self._list_from(order, start)) as pages:
                    async for items in pages:
                        begun = True
                        before = items[-2].completion_id if len(items) > 1 else after
                        yield items
            except APIError as error:
                if not (begun and left and is_about_cursor(error)):
                    raise
                left, start, before = left - 1, before, after
            else:
                return

    async def _list_from(
        self, order: Order, after: str | None
    ) -> AsyncGenerator[list[Listed], None]:
        wanted = self._selection
        stream = self._client.completions(
            model=wanted.model, metadata=wanted.metadata or None, order=order, after=after
        )
        async with bulk_pages(stream, self._attempts) as pages:
            async for page in pages:
                self._hear(page.headers)
                lines = map(on_one_line, page.data)
                items = [
                    Listed(completion_id, body, created_of(body))
                    for completion_id, body in zip(page.ids, lines, strict=True)
                ]
                times = [item.created for item in items if item.created is not None]
                self._newest_created = max([self._newest_created, *times])
                self._oldest_created = min([self._oldest_created, *times])
                yield items

    def _hear(self, headers: Mapping[str, str]) -> None:
        """Take the time and, once, the project from an answer."""
        sent = date_of(headers)
        time = self._clock() if sent is None else sent
        if self._is_first_page:
            self._is_first_page = False
            self._on_first_page(headers)
        self._now = time if self._now is None else max(time, self._now)
        self._is_dated = self._is_dated and sent is not None
        # Either clock may be ahead, this machine's or that of a gateway.
        self._listed = min(time, self._clock())

    def _placed(self, page: list[Listed]) -> list[tuple[Listed, Place]]:
        return [(item, self._tracker.add(item, self._listed)) for item in page]

    def _bounded(self) -> float:
        """Return the time at which the last page was listed, or an earlier one."""
        return min(self._listed, self._bound())

    def _bound(self) -> float:
        """Return a time that the server has reached for certain, for answers without a Date."""
        return math.inf if self._is_dated else self._newest_created

    # --- the anchor -------------------------------------------------------------------------------

    def moved_anchor(self) -> Anchor | None:
        """Return the anchor as far as it has moved; None if it has not, or there is none."""
        return self._tracker.advance(self._bound())

    def final_anchor(self) -> Anchor | None:
        """Return the anchor after a list that was read as far as needed; None if it has none."""
        anchor = self.moved_anchor() or self._newest.at_the_end()
        return self._confirmed if anchor is None else anchor
