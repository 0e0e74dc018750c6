"""The way from page to page: which page may follow, and the plain step to the next one.

A `WalkState` is the position of a walk in its list. It makes a page of each content that is fetched
at its cursor, and refuses one that would make the walk lose items or never end. It performs no I/O.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Generic

from aiomessages.errors import APIError, PaginationError
from aiomessages.observe.logs import log
from aiomessages.values.redaction import shown
from aiomessages.wire.page_content import PageContent, PageT

Fetched = tuple[PageContent[PageT], int]
"""The content of a page, and the number of requests that were sent for it."""

Fetch = Callable[[str | None, int | None, bool], Awaitable[Fetched[PageT]]]
"""Fetch the page behind a cursor, of a number of items (None: as many as a page holds), and, if the
bool is true, on a connection that carried no request before."""

FetchNext = Callable[[str | None, int | None, bool], Awaitable[Any]]
"""Return the page behind a cursor as a walk of its own makes it: its arguments are the `after`,
`max_items` and `promised` of a WalkState."""


class WalkState(Generic[PageT]):
    """The position of a walk: its cursor, the number of items still wanted, and whether it ended.

    A server may begin a page with the item that the cursor names, and with some in front of it.
    These are left out of the page, and do not count. `promised` is whether the page in front of
    the cursor said that there is more. `fetch_next` is what `page.get_next_page()` calls.
    """

    def __init__(
        self,
        *,
        after: str | None = None,
        max_items: int | None = None,
        promised: bool = False,
        fetch_next: FetchNext | None = None,
    ) -> None:
        self.cursor = after
        self.remaining = max_items
        self.ended = False
        # The next request after `follow` refused a page: whether it goes on a connection of its
        # own, and how many were sent in vain.
        self.fresh = False
        self.spent = 0
        self._fetch_next = fetch_next
        self._promised = promised
        self._overlap = 0
        self._widened = False
        self._seen_cursors = {after}
        self._last_ids: frozenset[str] | None = None

    @property
    def wanted(self) -> int | None:
        """The number of items to ask for; None is as many as a page holds."""
        if self.remaining is None or self._widened:
            return None
        return self.remaining + self._overlap

    def follow(self, content: PageContent[PageT], attempts: int) -> PageT | None:
        """Step onto the page at the cursor, and return it without the items that are not wanted.

        Return None if the page has to be requested again, with the new values of `wanted` and
        `fresh`. Raises PaginationError for a page that would lose items or never end.
        """
        repeated = self._repeated(content.ids)
        nothing_new = len(repeated) >= len(content.ids)
        if nothing_new and self._asks_again(content):
            self.spent += attempts
            return None
        if problem := self._contradiction(content, nothing_new=nothing_new):
            raise self._astray(content, attempts, problem)
        return self._step(content, attempts, repeated)

    def count(self, error: Exception) -> None:
        """Add to an error the requests that were sent for this page before the one that failed."""
        if isinstance(error, APIError):
            error.attempts += self.spent

    def _repeated(self, ids: list[str]) -> frozenset[str]:
        """Return the ids that the walk has already delivered or passed."""
        if self._last_ids is None:  # only the cursor is known: all items up to it were passed
            if self.cursor is None or self.cursor not in ids:
                return _NOTHING
            return frozenset(ids[: ids.index(self.cursor) + 1])
        if self._last_ids.isdisjoint(ids):
            return _NOTHING
        return self._last_ids.intersection(ids)

    def _asks_again(self, content: PageContent[PageT]) -> bool:
        """Return whether to request a page again that brought nothing new."""
        if content.next_cursor is None:
            # The page before promised more: this may be the response to another request.
            again = self._promised and not self.fresh and self._may_end(content.ids)
            self.fresh = again
            if again and content.hang_up is not None:
                content.hang_up()
            return again
        # The repeated items may have filled the page that `max_items` left.
        short = self.wanted is not None and len(content.ids) >= self.wanted
        self._widened = short
        return short

    def _contradiction(self, content: PageContent[PageT], *, nothing_new: bool) -> str | None:
        """Return why the walk would lose items or never end with this page, or None."""
        cursor = content.next_cursor
        if cursor is not None and cursor in self._seen_cursors:
            return f"the cursor {shown(cursor)} is repeated"
        if nothing_new and (cursor is not None or not self._may_end(content.ids)):
            return "the page only repeats what came before it"
        return None

    def _may_end(self, ids: list[str]) -> bool:
        """Return whether a page without new items may be the end of the list.

        It is not if it repeats the whole page before it: then the server ignored `after`.
        """
        if not ids or ids == [self.cursor]:
            return True
        shorter = self._last_ids is None or len(ids) < len(self._last_ids)
        return shorter and ids[-1] == self.cursor

    def _astray(self, content: PageContent[PageT], attempts: int, problem: str) -> PaginationError:
        if content.hang_up is not None:
            content.hang_up()
        error = PaginationError(problem, status=200, headers=content.headers)
        if content.ids[-1] == self.cursor:
            error.hint = f"{error.hint} {_INCLUSIVE_HINT}"
        error.at(completion_id=content.completion_id, cursor=self.cursor, attempts=attempts)
        return error

    def _step(self, content: PageContent[PageT], attempts: int, repeated: frozenset[str]) -> PageT:
        ids, self.cursor = content.ids, content.next_cursor
        if repeated:
            log.warning("a page repeats %d items that came before it", len(repeated))
            self._overlap = max(self._overlap, len(repeated))
            content = content.without(repeated)
        if self.remaining is not None:
            content = content.first(self.remaining)
            self.remaining -= len(content.ids)
        self.ended = self.cursor is None or self.remaining == 0
        attempts, self.spent = attempts + self.spent, 0
        if self.ended:
            return content.page(next_cursor=None, attempts=attempts, fetch_next=None)
        self._seen_cursors.add(self.cursor)
        self._last_ids = frozenset(ids)
        self._promised = content.promised
        self.fresh = self._widened = False
        fetch_next = self._fetch_next and partial(
            self._fetch_next, self.cursor, self.remaining, self._promised
        )
        return content.page(next_cursor=self.cursor, attempts=attempts, fetch_next=fetch_next)


_NOTHING: Final[frozenset[str]] = frozenset()
_INCLUSIVE_HINT: Final = (
    "If the server begins each page with the message that `after` names, use a larger limit=."
)


async def step(state: WalkState[PageT], fetch: Fetch[PageT]) -> PageT:
    """Fetch the page at the cursor, again if the state requires it, and step onto it."""
    page = None
    try:
        while page is None:
            page = state.follow(*await fetch(state.cursor, state.wanted, state.fresh))
    except Exception as error:
        state.count(error)
        raise
    return page
