"""Where a sync begins to list, what a page proves, and how far the anchor may move.

Nothing here performs I/O or reads a clock.

The list is read in ascending order behind an anchor. What it promises is not taken for granted:

- A completion becomes visible some seconds after its creation, and some servers sort by the time of
  storage. So the anchor was at least MARGIN old when it was listed: whatever was created before it
  was visible by then, and listed as well.
- A server may ignore `order`, or a cursor that it does not know, and answer with a page that looks
  like the end. So the anchor has a witness: the completion that follows it in the list. A page that
  has the witness shows that the server understood both. Without it, the list is read newest first
  until it is certain that the rest lies behind the anchor.
- A list that has shown no order has no anchor: it is read to its end each time.
- The anchor moves only over completions that are in the archive, or recorded there as waiting.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from aiomessages.export.created_between import MARGIN, STEPS


class Listed(NamedTuple):
    """A completion of a list: its id, its JSON on one line, its time of creation if it has one."""

    completion_id: str
    body: bytes
    created: float | None


class Anchor(msgspec.Struct, frozen=True):
    """A place in the list: all completions up to `witness`, which follows `after`, are known.

    `created` is the creation time of the witness in Unix seconds.
    """

    after: str
    witness: str
    created: int | float  # no int becomes a float: the same place has the same JSON

    def is_confirmed(self, page: Collection[Listed]) -> bool:
        """Return whether a page begins behind the anchor, in ascending order."""
        earliest = min((item.created for item in page if item.created is not None), default=None)
        return (
            any(item.completion_id == self.witness for item in page)
            and earliest is not None
            and earliest >= self.created - MARGIN
        )


class OrderShown:
    """What the creation times of a list's items show of its order.

    A list that is sorted by the time of storage may fall and rise by less than MARGIN, the duration
    of a call. Few items, or items of one hour, show nothing.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._last = self._highest = self._lowest = 0.0
        self._steps = 0
        self.falls = self._rises = False  # by more than MARGIN, somewhere

    def follow(self, created: float) -> None:
        """Follow the next item."""
        if self._first is None:
            self._first = self._last = self._highest = self._lowest = created
        self._steps += created != self._last
        self.falls = self.falls or created < self._highest - MARGIN
        self._rises = self._rises or created > self._lowest + MARGIN
        self._highest, self._lowest = max(created, self._highest), min(created, self._lowest)
        self._last = created

    def ascends(self) -> bool:
        """Return whether the list ascends for certain, as far as it was read."""
        return self._steps >= STEPS and self._rises and not self.falls

    def descends(self) -> bool:
        """Return whether the list descends for certain, as far as it was read."""
        return self._steps >= STEPS and self.falls and not self._rises


class AnchorTracker:
    """Follow the completions of a list that should ascend, and keep the anchor up to date.

    Memory grows with the work in progress, and with the completions of the last hour.
    """

    def __init__(self) -> None:
        self.is_confirmed = False
        self._anchor: Anchor | None = None
        self._last: str | None = None
        self._open: deque[Place] = deque()
        self._order = OrderShown()

    def add(self, item: Listed, listed: float) -> "Place":
        """Add the next completion of the list, and return its place, to be marked as done.

        `listed` is the server's time at which it was listed, in Unix seconds.
        """
        if item.created is not None:
            self._order.follow(item.created)
        place = Place(item, listed)
        if self.is_confirmed or not self._order.falls:  # else there is never an anchor
            self._open.append(place)
        return place

    def advance(self, bound: float = math.inf) -> Anchor | None:
        """Move over all completions that are done, and return the anchor if there is one.

        The anchor never moves over a completion that was younger than MARGIN when it was listed, or
        at `bound`, a time in Unix seconds: one stored before it may become visible yet. It is None
        until the list has shown that it ascends, or an earlier anchor was confirmed.
        """
        while self._open and self._open[0].done and not self._open[0].is_young(bound):
            place = self._open.popleft()
            before, self._last = self._last, place.completion_id
            if before is not None and place.created is not None:
                self._anchor = Anchor(before, place.completion_id, place.created)
        return self._anchor if self.is_confirmed or self._order.ascends() else None


class Place:
    """The place of a completion in the list."""

    __slots__ = ("_listed", "completion_id", "created", "done")

    def __init__(self, item: Listed, listed: float) -> None:
        self.completion_id = item.completion_id
        self.created = item.created
        self.done = False
        self._listed = listed

    def finish(self) -> None:
        """Mark the completion as done: in the archive, or recorded there as waiting."""
        self.done = True

    def is_young(self, bound: float) -> bool:
        """Return whether one created before it may have been invisible when it was listed."""
        return self.created is not None and self.created > min(self._listed, bound) - MARGIN


class NewestPair:
    """Follow a list that descends; its anchor is the newest pair of completions old enough."""

    def __init__(self) -> None:
        self._anchor: Anchor | None = None
        self._newer: Listed | None = None
        self._order = OrderShown()

    def follow(self, page: Iterable[Listed], now: float) -> None:
        """Follow the next page. `now` is the server's time in Unix seconds."""
        for item in page:
            newer, self._newer = self._newer, item
            if item.created is not None:
                self._order.follow(item.created)
            if self._anchor is not None or newer is None or newer.created is None:
                continue
            if _is_old(newer, now) and _is_old(item, now):
                self._anchor = Anchor(item.completion_id, newer.completion_id, newer.created)

    def at_the_end(self) -> Anchor | None:
        """Return the anchor; None if the list has not shown that it descends."""
        return self._anchor if self._order.descends() else None


def _is_old(item: Listed, now: float) -> bool:
    """Return whether a completion is so old that all created before it are visible by now."""
    return item.created is not None and item.created <= now - MARGIN
