"""A list that may change while it is read, and one play of a walk that looks ahead on it.

A `Play` holds everything: the list and its ids, the pages and errors of the server, the changes and
their times, and the steps of the consumer. `plain` and `looking_ahead` play it on virtual time and
return the `Outcome`, without a network and without randomness.
"""

import asyncio
import itertools
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pytest
from schedules import items_of
from virtual_time import now, run

from aiomessages.errors import APIConnectionError
from aiomessages.pages import Page
from aiomessages.paging import stream
from aiomessages.paging.cursor import Fetched, WalkState
from aiomessages.paging.lookahead import Numbering
from aiomessages.paging.prediction import Prediction
from aiomessages.wire.page_content import PageContent

COMPLETION: Final = "chatcmpl-1"
LONG: Final = 1000.0  # seconds in which every play is over

# The forms of ids, by the place of a message in the initial list.
SCHEMES: Final[dict[str, Callable[[int], str]]] = {
    "numbered": lambda n: f"{COMPLETION}-{n}",
    "numbered from 95": lambda n: f"{COMPLETION}-{n + 95}",
    "in steps of two": lambda n: f"{COMPLETION}-{2 * n}",
    "with a hole": lambda n: f"{COMPLETION}-{n + (n > 9)}",
    "with leading zeros": lambda n: f"{COMPLETION}-{n:03}",
    "with a stranger": lambda n: "stranger" if n == 17 else f"{COMPLETION}-{n - (n > 17)}",
    "of another list": lambda n: f"chatcmpl-2-{n}",
    "without a number": lambda n: f"{COMPLETION}-{n * 7919 % 9973:x}z",
    "swapped in pairs": lambda n: f"{COMPLETION}-{n ^ 1}",
    "turned back in the middle": lambda n: f"{COMPLETION}-{n if not 8 <= n < 16 else 23 - n}",
}


@dataclass(frozen=True)
class Change:
    """A change of the list at a moment: a message vanishes from a place, or appears there.

    A place of None is the end of the list.
    """

    at: float
    appears: bool
    place: int | None


@dataclass(frozen=True)
class Play:
    """One play: the seconds that requests take and the consumer's steps repeat."""

    # the list, and the server
    count: int = 20
    scheme: str = "numbered"
    most: int = 100  # items of a page, whatever the limit is
    says_more: bool = True  # whether pages have has_more
    obeys_order: bool = True
    # how many items a page begins with that are not behind the cursor, and whether they count
    overlap: int = 0
    counted: bool = False
    forgets: bool = False  # the former places of vanished messages; an unknown cursor is an error
    takes: tuple[int, ...] = (1,)
    changes: tuple[Change, ...] = ()
    # requests that fail: those for these pages, and the one for the end of the list
    faults: frozenset[int] = frozenset()
    end_fails: bool = False
    once: bool = False  # whether a request that failed succeeds the next time
    # the walk
    limit: int = 3
    order: int = 1
    behind: int | None = None
    max_items: int | None = None
    window: int = 5
    # the consumer: seconds after which a take is given up, or 0 for none; and of work after each
    patience: tuple[int, ...] = (0,)
    work: tuple[int, ...] = (0,)


@dataclass
class Outcome:
    """The outcome of a play."""

    got: list[str]
    error: Exception | None
    seconds: float
    requests: int
    held: int
    # ids by when they were there, in the order of the walk and behind where it began
    ever: list[str] = field(default_factory=list)
    always: list[str] = field(default_factory=list)
    at_the_end: list[str] = field(default_factory=list)


class _Ids(list[str]):
    """The ids of a page, in a list whose lifetime can be observed."""

    __slots__ = ("__weakref__",)


class Server:
    """Answers for the list as it is at the moment of the request."""

    def __init__(self, play: Play) -> None:
        self._play = play
        name = SCHEMES[play.scheme]
        # A message's rank is its permanent place; a message that appears between two has one in
        # between.
        self._ranks: dict[str, float] = {name(n): n for n in range(play.count)}
        self._there = dict(self._ranks)
        self._changes = sorted(play.changes, key=lambda change: change.at)
        self._began = now()
        self._always = set(self._there)
        self._takes = itertools.cycle(play.takes)
        self._failed: set[tuple[int, str | None]] = set()
        self._pages: list[weakref.ref[_Ids]] = []
        self.requests = 0
        self.held = 0
        ids = list(self._ranks)
        self.after = None if play.behind is None or not ids else ids[play.behind % len(ids)]

    async def fetch(
        self, after: str | None, remaining: int | None = None, _: bool = False
    ) -> Fetched[Page[str]]:
        """Answer in plain order."""
        return await self._answer(self._play.order, after, remaining)

    async def fetch_end(self) -> list[str]:
        """Return the last ids, in the order of the walk."""
        page, _ = await self._answer(-self._play.order, None, 2)
        if self._play.end_fails:
            raise APIConnectionError("lost, at the end")
        return page.ids[::-1]

    async def _answer(
        self, order: int, after: str | None, remaining: int | None
    ) -> Fetched[Page[str]]:
        self.requests += 1
        seconds = next(self._takes)
        await asyncio.sleep(seconds / 2)
        self._let_happen()
        page = self._page(order, after, remaining) if self._knows(after) else None
        await asyncio.sleep(seconds / 2)
        if page is None:
            raise APIConnectionError(f"no {after} is there")
        self._fail_perhaps(order, after)
        self._pages = [ref for ref in self._pages if ref() is not None] + [
            weakref.ref(cast("_Ids", page.ids))
        ]
        self.held = max(self.held, len(self._pages))
        return page, 1

    def _fail_perhaps(self, order: int, after: str | None) -> None:
        if order != self._play.order or not self._play.faults:
            return
        rank = -1.0 if after is None else self._ranks[after]
        if int(rank) not in self._play.faults or (
            self._play.once and (order, after) in self._failed
        ):
            return
        self._failed.add((order, after))
        raise APIConnectionError(f"lost behind {after}")

    def _knows(self, after: str | None) -> bool:
        return after is None or after in (self._there if self._play.forgets else self._ranks)

    def _page(self, order: int, after: str | None, remaining: int | None) -> PageContent[Page[str]]:
        order = order if self._play.obeys_order else 1
        behind = self._behind(after, order)
        limit = self._play.limit if remaining is None else min(self._play.limit, remaining)
        limit = min(limit, self._play.most)
        again = self._again(after, order, limit)
        counted = len(again) if self._play.counted else 0
        ids = [*again, *behind[: max(limit - counted, 0)]][: limit + len(again) - counted]
        promised = bool(self._play.says_more or again)
        more = len(again) + len(behind) > len(ids) if promised else bool(ids)
        data = [item.upper() for item in ids]
        return PageContent(Page, data, _Ids(ids), has_more=more, promised=promised and more)

    def _again(self, after: str | None, order: int, limit: int) -> list[str]:
        """Return the items that a page repeats: the one at the cursor, and those in front of it.

        The one at the cursor is in the first page, because the repetition could not be detected
        without it.
        """
        count = self._play.overlap
        if after is None or not count:
            return []
        if self._play.counted:
            count = min(count, min(self._play.limit, self._play.most) - 1)
            count = min(count, limit) if after == self.after else count
        if not self._play.says_more:
            # After its last page it gives one more page. A full repetition of the last page would
            # look like a server that ignores cursors.
            count = min(count, 1)
        ids = sorted(self._there, key=self._there.__getitem__)[::order]
        rank = self._ranks[after]
        front = [each for each in ids if (self._there[each] - rank) * order <= 0]
        return front[max(len(front) - count, 0) :]

    def _behind(self, after: str | None, order: int) -> list[str]:
        ids = sorted(self._there, key=self._there.__getitem__)[::order]
        if after is None:
            return ids
        rank = self._ranks[after]
        return [each for each in ids if (self._there[each] - rank) * order > 0]

    def _let_happen(self) -> None:
        while self._changes and self._changes[0].at <= now() - self._began:
            change = self._changes.pop(0)
            ids = sorted(self._there, key=self._there.__getitem__)
            place = len(ids) if change.place is None else change.place % (len(ids) + 1)
            if change.appears:
                self._appear(ids, place)
            elif ids:
                self._always.discard(ids[place - 1])
                del self._there[ids[place - 1]]

    def _appear(self, ids: list[str], place: int) -> None:
        front = self._there[ids[place - 1]] if place else -1.0
        back = self._there[ids[place]] if place < len(ids) else front + 2
        rank = (front + back) / 2
        at_the_end = place == len(ids) and rank == int(rank)
        name = SCHEMES[self._play.scheme](int(rank)) if at_the_end else f"new-{len(self._ranks)}"
        if name not in self._ranks:
            self._ranks[name] = self._there[name] = rank

    def add_existing(self, outcome: Outcome) -> Outcome:
        """Add the items that exist now, in the order of the walk and behind its start."""
        order = self._play.order if self._play.obeys_order else 1
        start = None if self.after is None else self._ranks[self.after] * order
        ids = sorted(self._ranks, key=lambda each: self._ranks[each] * order)
        outcome.ever = [i for i in ids if start is None or self._ranks[i] * order > start]
        outcome.always = [i for i in outcome.ever if i in self._always]
        outcome.at_the_end = [i for i in outcome.ever if i in self._there]
        return outcome


# --- playing --------------------------------------------------------------------------------------


def plain(play: Play) -> Outcome:
    """Walk without lookahead."""
    return run(_read(play, ahead=None))


def looking_ahead(play: Play, ahead: Any = Prediction) -> Outcome:
    """Walk with lookahead, as `ahead` does it."""
    return run(_read(play, ahead))


async def _read(play: Play, ahead: Any) -> Outcome:
    server = Server(play)
    state: WalkState[Any] = WalkState(after=server.after, max_items=play.max_items)
    options: dict[str, Any] = {}
    fetch: Any = server.fetch
    if ahead is not None:
        fetch = options["ahead"] = ahead(
            server.fetch,
            server.fetch,
            server.fetch_end,
            window=play.window,
            page_size=play.limit,
            numbering=Numbering(COMPLETION, play.order),
        )
    items = items_of(stream.Walk(fetch, state, **options), after=server.after)
    outcome = Outcome([], None, 0, 0, 0)
    try:
        async with asyncio.timeout(LONG):
            await _consume(items, play, outcome)
    except APIConnectionError as error:
        outcome.error = error
    outcome.seconds, outcome.requests, outcome.held = now(), server.requests, server.held
    assert items.cursor == (outcome.got[-1] if outcome.got else server.after)
    await _check_end(items, outcome)
    return server.add_existing(outcome)


async def _consume(items: Any, play: Play, outcome: Outcome) -> None:
    patience, work = itertools.cycle(play.patience), itertools.cycle(play.work)
    while True:
        seconds = next(patience)
        try:
            async with asyncio.timeout(seconds or None):
                item = await anext(items)
        except StopAsyncIteration:
            return
        except TimeoutError:
            continue
        outcome.got.append(item.lower())
        if pause := next(work):
            await asyncio.sleep(pause)


async def _check_end(items: Any, outcome: Outcome) -> None:
    """Check that the end is the same every time, and leaves no task."""
    kind = StopAsyncIteration if outcome.error is None else type(outcome.error)
    for _ in range(2):
        with pytest.raises(kind) as caught:
            await anext(items)
        assert outcome.error in (None, caught.value)
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
