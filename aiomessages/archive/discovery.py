"""Find the completions that are new: list behind the anchor, or as much as is needed.

This module sends the requests; `listing.py` decides what their answers prove.
"""

import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from aiomessages.calls.attempts import Attempts
from aiomessages.client import AsyncMessagesClient
from aiomessages.errors import APIError
from aiomessages.export.created_between import EndOfRange, Order, TimeRange, created_of
from aiomessages.export.writer import run_to_end
from aiomessages.paging.stream import bulk_pages
from aiomessages.values.json_lines import on_one_line
from aiomessages.wire.errors import is_about_cursor
from aiomessages.wire.retry_after import date_of

from .changes import anchors_of, prepare_to_list
from .listing import Anchor, AnchorTracker, Listed, NewestPair, Place
from .sync_selection import Selection

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
        self._is_first_page = True
        self._tracker = AnchorTracker()
        prepare_to_list(db)
        self._newest = NewestPair()
        self._written: Anchor | None = None
        self._confirmed: Anchor | None = None

    def now(self) -> float:
        """Return the time in Unix seconds by the server's clock; it never goes back."""
        return self._clock() if self._now is None else self._now

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

    async def _all(self) -> Pages:
        """Read the whole list, oldest first: what expires next comes first."""
        async with aclosing(self._list("asc", None)) as pages:
            async for page in pages:
                self._newest.follow(page, self.now())
                yield self._placed(page)

    async def _newest_first(self, latest: float) -> Pages:
        """Read the list newest first, until the rest lies behind the latest anchor."""
        end = EndOfRange(TimeRange(since=latest), "desc")
        async with aclosing(self._list("desc", None)) as pages:
            async for page in pages:
                self._newest.follow(page, self.now())
                yield [(item, Place(item)) for item in page]
                if end.is_reached([item.created for item in page]):
                    return

    async def _list(self, order: Order, after: str | None) -> AsyncGenerator[list[Listed], None]:
        wanted = self._selection
        stream = self._client.completions(
            model=wanted.model, metadata=wanted.metadata or None, order=order, after=after
        )
        async with bulk_pages(stream, self._attempts) as pages:
            async for page in pages:
                self._hear(page.headers)
                lines = map(on_one_line, page.data)
                yield [
                    Listed(completion_id, body, created_of(body))
                    for completion_id, body in zip(page.ids, lines, strict=True)
                ]

    def _hear(self, headers: Mapping[str, str]) -> None:
        """Take the time and, once, the project from an answer."""
        sent = date_of(headers)
        time = self._clock() if sent is None else sent
        if self._is_first_page:
            self._is_first_page = False
            self._on_first_page(headers)
        self._now = max(time, self.now() if self._now is not None else time)

    def _placed(self, page: list[Listed]) -> list[tuple[Listed, Place]]:
        return [(item, self._tracker.add(item)) for item in page]

    # --- the anchor -------------------------------------------------------------------------------

    def moved_anchor(self) -> Anchor | None:
        """Return the anchor if it has moved since the last call."""
        anchor = self._tracker.advance(self.now())
        if anchor == self._written:
            return None
        self._written = anchor
        return anchor

    def final_anchor(self) -> Anchor | None:
        """Return the anchor after a list that was read as far as needed; None if it has none."""
        anchor = self._tracker.advance(self.now()) or self._newest.at_the_end()
        return self._confirmed if anchor is None else anchor
