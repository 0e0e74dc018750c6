"""What the two ends of a list tell of its middle: where two walks meet, and what is missing.

A second walk, in the opposite order, brings the end of a list first. Its pages are the `Tail`. It
is no more than a store of what stands behind some cursor: the walk in plain order goes its way, and
is served from the tail once its cursor is found there. Where messages are numbered, one page of
each end tells which are missing in between: the `Gap`.

Nothing here waits or performs I/O. Ids are compared, and but for a gap nothing is assumed of them.
"""

import re
from collections.abc import Mapping
from typing import Final, Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from aiomessages.errors import ConfigurationError

from .cursor import AnyPage

# One id says nothing of the order, and some servers ignore what they are asked for. Two that follow
# each other in both walks show that it is the opposite one, and are less likely the same by chance.
_IDS_NEEDED: Final = 2

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")


class LookAhead(NamedTuple):
    """How to look ahead, and how many pages to hold or have under way beyond those of a walk."""

    guesses: bool
    window: int

    @classmethod
    def checked(cls, mode: object, window: object, *, prefetch: bool) -> Self:
        """Return what was asked for, or raise ConfigurationError."""
        if mode is not True and mode not in ("both-ends", "predict"):
            raise ConfigurationError(
                f"lookahead must be True, 'predict', 'both-ends' or None, not {mode!r}"
            )
        if not isinstance(window, int) or isinstance(window, bool) or window < 1:
            raise ConfigurationError(
                f"lookahead_window must be an int of 1 or more, not {window!r}"
            )
        if not prefetch:
            raise ConfigurationError("lookahead fetches ahead, and prefetch=False forbids it")
        return cls(mode != "both-ends", window)


def opposite(query: Mapping[str, str | None]) -> Literal["asc", "desc"]:
    """Return the other order than that of a list of messages, which is `asc` if it says nothing.

    Raises ConfigurationError where extra_query asks for one that has no opposite.
    """
    order = query.get("order") or "asc"
    if order not in ("asc", "desc"):
        raise ConfigurationError(f"lookahead knows no opposite of the order {order!r}")
    return "desc" if order == "asc" else "asc"


class TwoWayPage(AnyPage, Protocol):
    """A page that may come from the other end."""

    def turn_round(self, count: int, *, has_more: bool) -> None:
        """Leave the first items, as many as `count`, in the opposite order."""


PageT = TypeVar("PageT", bound=TwoWayPage)


class Tail(Generic[PageT]):
    """The end of a list, as pages of a walk in the opposite order.

    `cursor` is where that walk goes on, and `open` tells whether there may be use in it.
    """

    def __init__(self) -> None:
        self._pages: list[PageT] = []  # the list's last one first, as they came
        self._ids: list[str] = []  # the same; those that are behind the walk are left out
        self._places: dict[str, int] = {}  # where each of them stands, or stood
        self.cursor: str | None = None
        self.open = True

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def ids(self) -> list[str]:
        """The ids of its messages, in plain order."""
        return self._ids[::-1]

    def add(self, page: PageT, recent: list[str]) -> bool:
        """Put a page in front, if that is of use still; tell whether it was.

        `recent` is where the walk in plain order has come to: see `joins`.
        """
        if not self.open:
            return False
        fresh = {each: place for place, each in enumerate(page.ids, len(self._ids))}
        if len(fresh) < len(page.ids) or not self._places.keys().isdisjoint(fresh):
            self.drop()  # where an id repeats, its place means nothing
            return False
        self._places |= fresh
        self._ids += page.ids
        if page.ids:
            self._pages.append(page)
        self.cursor = page.next_cursor
        self.open = self.cursor is not None and self._places.keys().isdisjoint(recent)
        return True

    def joins(self, recent: list[str], *, numbered: bool) -> bool:
        """Tell whether the list surely goes on here behind `recent`.

        Those are the ids that the walk in plain order came by, up to its cursor. As far as the tail
        reaches, it must have the same. If not, as where a message has vanished meanwhile, what is
        in front of the cursor is left out, and may be joined one page later. One message in common
        is enough where both are `numbered` alike, which shows the order.
        """
        place = self._places.get(recent[-1], len(self._ids))
        if place >= len(self._ids):
            return False
        self.open = False  # the walks have met: another page of it would be delivered already
        here = self._ids[place:][::-1]
        agreed = here == recent[-len(here) :]
        if agreed and len(here) < _IDS_NEEDED and not numbered:
            return False
        self._cut(place)
        return agreed and place > 0

    def take(self) -> PageT:
        """Give the first page in plain order, and give it away."""
        page = self._pages.pop()
        start = self._start_of(len(self._pages))
        page.turn_round(len(self._ids) - start, has_more=start > 0)
        self._cut(start)
        return page

    def drop(self) -> None:
        """Give everything up."""
        self._cut(0)
        self.open = False

    def _cut(self, place: int) -> None:
        """Leave out what is in front of a place."""
        del self._ids[place:]
        while self._pages and self._start_of(len(self._pages) - 1) >= place:
            self._pages.pop()

    def _start_of(self, number: int) -> int:
        return sum(len(page.ids) for page in self._pages[:number])


class Numbering(NamedTuple):
    """How the live API numbers messages: `{completion_id}-{n}`, in steps of 1 or, back, of -1."""

    completion_id: str
    step: int

    def id(self, first: int, steps: int) -> str:
        """Return the id that is so many steps behind a number."""
        return f"{self.completion_id}-{first + self.step * steps}"

    def ids(self, first: int, count: int) -> list[str]:
        """Return so many ids, from a number on."""
        return [self.id(first, steps) for steps in range(count)]

    def first_of(self, ids: list[str]) -> int | None:
        """Return the number of the first id if others follow it, one by one, else None."""
        owner, _, number = ids[0].rpartition("-")
        if owner != self.completion_id or not _NUMBER.fullmatch(number) or len(ids) < _IDS_NEEDED:
            return None
        return int(number) if ids == self.ids(int(number), len(ids)) else None


class Guess(NamedTuple):
    """Messages that should be there, numbered from `first` on."""

    numbering: Numbering
    first: int
    length: int

    @property
    def after(self) -> str:
        """The id in front of them, by which to ask for them."""
        return self.numbering.id(self.first, -1)

    @property
    def last(self) -> str:
        """The id of the last of them; where there are none, of what is in front."""
        return self.numbering.id(self.first, self.length - 1)

    def fits(self, page: AnyPage) -> bool:
        """Tell whether a page is these, no more and no less, and leads to what is behind them."""
        ids = self.numbering.ids(self.first, self.length)
        return page.ids == ids and page.next_cursor == self.last


class Gap:
    """The messages from one end to the other, to be taken as pages of a size."""

    def __init__(self, missing: Guess, *, size: int) -> None:
        self._rest = missing
        self._size = size

    def __len__(self) -> int:
        return self._rest.length

    @property
    def cursor(self) -> str:
        """The `after` of what is not taken yet, or was taken last."""
        return self._rest.after

    def take(self) -> Guess:
        """Return the next page, which is as long as the others unless it is the last one."""
        numbering, first, left = self._rest
        length = min(self._size, left)
        self._rest = Guess(numbering, first + numbering.step * length, left - length)
        return Guess(numbering, first, length)

    def limit(self, count: int) -> None:
        """Leave out what is above `count` items."""
        self._rest = self._rest._replace(length=min(count, self._rest.length))


def between(head: list[str], tail: list[str], numbering: Numbering) -> Gap | None:
    """Return what is missing between two pages of ids; None where they are not so numbered.

    Its pages are taken to be as long as the head. The last one ends with the first message of the
    tail: only a page with both shows that nothing stands in between, such as without a number.
    """
    first, end = numbering.first_of(head), numbering.first_of(tail)
    if first is None or end is None:
        return None
    first += numbering.step * len(head)
    missing = (end - first) * numbering.step
    return Gap(Guess(numbering, first, missing + 1), size=len(head)) if missing >= 0 else None
