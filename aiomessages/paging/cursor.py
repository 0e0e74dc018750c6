"""From page to page: what may follow what, and the plain way to go there.

Nothing here knows of HTTP. A `Trail` is where a walk stands, and refuses the page by which it would
lose items or never end; it performs no I/O. `OneByOne` goes along it in the caller's own task, for
whoever has no use for a page ahead of its need, as where many lists are read at once; `stream` goes
ahead of its reader, and survives what a reader does to it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, Protocol, TypeVar

from aiomessages.errors import APIError, PaginationError
from aiomessages.observe.logs import log
from aiomessages.values.redaction import shown


class AnyPage(Protocol):
    """What a walk asks of a page."""

    ids: list[str]
    attempts: int
    headers: Mapping[str, str]
    completion_id: str | None
    next_cursor: str | None
    says_more: bool
    remaining: int | None
    hang_up: Callable[[], object] | None

    def drop(self, repeated: Collection[str]) -> None:
        """Leave out the items with these ids."""

    def cut(self, count: int) -> None:
        """Leave out what is above `count` items."""


PageT = TypeVar("PageT", bound=AnyPage)
Fetch = Callable[[str | None, int | None, bool], Awaitable[PageT]]
"""From a cursor, the number of items wanted (None: all), and whether to ask on a connection that
carried no request before, to a page."""


class Trail:
    """Where a walk stands: the cursor to go on from, how many items are wanted, and its end.

    A server may begin a page with the item that the cursor names, and with some in front of it.
    These are dropped, and do not count. `promised` tells whether the page in front of the cursor
    said that there is more.
    """

    def __init__(self, *, after: str | None, max_items: int | None, promised: bool = False) -> None:
        self.cursor = after
        self.remaining = max_items
        self.ended = False
        # How to ask when `follow` did not take a page: on a connection of its own, and what was
        # sent in vain.
        self.fresh = False
        self.spent = 0
        self._promised = promised
        self._overlap = 0
        self._widened = False
        self._seen_cursors = {after}
        self._last_ids: frozenset[str] | None = None

    @property
    def wanted(self) -> int | None:
        """How many items to ask for; None is as many as a page holds."""
        if self.remaining is None or self._widened:
            return None
        return self.remaining + self._overlap

    def follow(self, page: AnyPage) -> bool:
        """Step onto the page at the cursor, and leave out of it what is not wanted.

        Return False where the page has to be asked for once again, as `wanted` and `fresh` say by
        then. Raises PaginationError for one that leads astray.
        """
        repeated = self._repeated(page)
        nothing_new = len(repeated) >= len(page.ids)
        if nothing_new and self._asks_again(page):
            self.spent += page.attempts
            return False
        if problem := self._contradiction(page, nothing_new=nothing_new):
            raise self._astray(page, problem)
        page.hang_up = None  # a page in the hands of a user holds no connection
        self._step(page, repeated)
        return True

    def count(self, error: Exception) -> None:
        """Add to an error what was sent for this page before the request that failed."""
        if isinstance(error, APIError):
            error.attempts += self.spent

    def _repeated(self, page: AnyPage) -> frozenset[str]:
        """Return the ids in the page that were there before."""
        if self._last_ids is None:  # nothing is known but the cursor: all up to it was there before
            if self.cursor is None or self.cursor not in page.ids:
                return _NOTHING
            return frozenset(page.ids[: page.ids.index(self.cursor) + 1])
        if self._last_ids.isdisjoint(page.ids):
            return _NOTHING
        return self._last_ids.intersection(page.ids)

    def _asks_again(self, page: AnyPage) -> bool:
        """Tell whether to ask once more for a page that brought nothing new."""
        if page.next_cursor is None:
            # The page before said that there is more: this may be the answer to somebody else.
            again = self._promised and not self.fresh and self._may_end(page)
            self.fresh = again
            if again and page.hang_up is not None:
                page.hang_up()
            return again
        # What repeats may have taken all the room that max_items had left.
        short = self.wanted is not None and len(page.ids) >= self.wanted
        self._widened = short
        return short

    def _contradiction(self, page: AnyPage, *, nothing_new: bool) -> str | None:
        """Say what is wrong with a page by which the walk would lose messages, or never end."""
        cursor = page.next_cursor
        if cursor is not None and cursor in self._seen_cursors:
            return f"the cursor {shown(cursor)} came a second time"
        if nothing_new and (cursor is not None or not self._may_end(page)):
            return "the page only repeats what came before it"
        return None

    def _may_end(self, page: AnyPage) -> bool:
        """Tell whether a page of nothing new may be all that stands behind the cursor.

        Not so where it is the whole page in front of it once more: then `after` was ignored.
        """
        if not page.ids or page.ids == [self.cursor]:
            return True
        shorter = self._last_ids is None or len(page.ids) < len(self._last_ids)
        return shorter and page.ids[-1] == self.cursor

    def _astray(self, page: AnyPage, problem: str) -> PaginationError:
        if page.hang_up is not None:
            page.hang_up()
        error = PaginationError(problem, status=200, headers=page.headers)
        if page.ids[-1] == self.cursor:
            error.hint = f"{error.hint} {_INCLUSIVE_HINT}"
        error.at(completion_id=page.completion_id, cursor=self.cursor, attempts=page.attempts)
        return error

    def _step(self, page: AnyPage, repeated: frozenset[str]) -> None:
        ids = page.ids
        page.attempts += self.spent
        if repeated:
            log.warning("a page repeats %d items that came before it", len(repeated))
            self._overlap = max(self._overlap, len(repeated))
            page.drop(repeated)
        if self.remaining is not None:
            page.cut(self.remaining)
            self.remaining -= len(page.ids)
        self.cursor = page.next_cursor
        self.ended = self.cursor is None or self.remaining == 0
        page.remaining = self.remaining
        if self.ended:
            page.next_cursor = None
            return
        self._seen_cursors.add(self.cursor)
        self._last_ids = frozenset(ids)
        self._promised = page.says_more
        self.fresh = self._widened = False
        self.spent = 0


_NOTHING: Final[frozenset[str]] = frozenset()
_INCLUSIVE_HINT: Final = (
    "Where a server begins each page with the message that `after` names, ask for a larger limit=."
)


async def step(trail: Trail, fetch: Fetch[PageT]) -> PageT:
    """Fetch the page at the cursor, once again where the trail wants that, and step onto it."""
    try:
        while not trail.follow(page := await fetch(trail.cursor, trail.wanted, trail.fresh)):
            pass
    except Exception as error:
        trail.count(error)
        raise
    return page
