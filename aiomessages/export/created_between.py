"""Lists of completions, narrowed to those created in a range of time.

The API cannot select by time. Nothing here performs I/O of its own, or reads a clock.
"""

import math
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec

from aiomessages.calls.attempts import Attempts
from aiomessages.errors import ConfigurationError
from aiomessages.models import Json
from aiomessages.pages import RawPage
from aiomessages.paging.stream import CompletionStream, bulk_pages
from aiomessages.wire.decoding import despite_lone_surrogates

Order = Literal["asc", "desc"]

# A server that sorts by the time of storage lists a call later than its `created` says, by the
# duration of the call. An hour is far above the time limits of such calls.
MARGIN: Final = 3600
# In a list without any order, eleven items are in the requested order once in 40 million times.
STEPS: Final = 10
# A later `created` is in milliseconds, as some servers send it: in seconds it is the year 5138, and
# in milliseconds 1973.
_LATEST: Final = 100_000_000_000


class TimeRange(msgspec.Struct, frozen=True):
    """A range of time in Unix seconds, `since` included and `until` excluded; None: no bound."""

    since: float | None = None
    until: float | None = None

    def __bool__(self) -> bool:
        return self != TimeRange()

    def contains(self, created: float | None) -> bool:
        """Return whether a time is in the range; None is only in the range without bounds."""
        if created is None:
            return not self
        early = self.since is not None and created < self.since
        late = self.until is not None and created >= self.until
        return not early and not late


class EndOfRange:
    """Decide after each page whether the rest of the list lies outside the range.

    Servers differ: some sort by the time of storage, some ignore `order`. So a list ends early only
    when all of this holds; otherwise it is read to its end:

    - each item of the page lies beyond the edge of the range by `MARGIN` or more, and so do the
      last `STEPS` items if pages are smaller;
    - no item so far contradicts the requested order (equal times do not);
    - the items so far show that order: the time moved in its direction in `STEPS` places or more,
      and by more than `MARGIN` in all, which delays of storage cannot cause in a list of the
      opposite order.

    Items whose time is unknown prove nothing.
    """

    def __init__(self, wanted: TimeRange, order: Order | None) -> None:
        edge = {"asc": wanted.until, "desc": wanted.since}.get(order or "")
        # Negated times turn a descending list into an ascending one.
        self._sign = -1 if order == "desc" else 1
        self._edge = None if edge is None else self._sign * edge + MARGIN
        self._first = self._last = math.nan  # unknown, and neither later nor earlier than any time
        self._steps = 0
        self._outside = 0  # the number of last items beyond the edge
        self._contradicted = False

    def is_reached(self, page: Iterable[float | None]) -> bool:
        """Add the times of the next page; return whether the list can end with it."""
        known = [self._sign * created for created in page if created is not None]
        for time in known:
            self._follow(time)
        is_behind = bool(known) and self._outside >= max(len(known), STEPS)
        is_shown = self._steps >= STEPS and self._last > self._first + MARGIN
        return is_behind and is_shown and not self._contradicted

    def _follow(self, time: float) -> None:
        self._first = time if math.isnan(self._first) else self._first
        self._contradicted = self._contradicted or time < self._last
        self._steps += time > self._last
        self._last = time
        is_outside = self._edge is not None and time >= self._edge
        self._outside = self._outside + 1 if is_outside else 0


class CreatedBetween:
    """A source for `export`: the completions of a list that were created in a range of time.

    `since` (included) and `until` (excluded) are Unix seconds. `order` is the order in which the
    list was requested: reading ends early if the items prove that the rest lies outside the range.
    Without it the whole list is read. The replies that the list carries are exported, as with the
    list itself.

    `selection` replaces the two times in the export's ledger, for a range that moves with the
    clock: `{"since": "30d"}`.

    Raises ConfigurationError for a range or an order that cannot be used.
    """

    def __init__(
        self,
        completions: CompletionStream,
        *,
        since: float | None = None,
        until: float | None = None,
        order: Order | None = None,
        selection: Mapping[str, Json] | None = None,
    ) -> None:
        check_range(since, until, order)
        self._completions = completions
        self._range = TimeRange(since, until)
        self._order = order
        bounds = {"since": since, "until": until}
        moments = {name: moment for name, moment in bounds.items() if moment is not None}
        self._selection = moments if selection is None else dict(selection)

    @property
    def selection(self) -> dict[str, Json]:
        """The selection of the list, and the range."""
        return {**self._completions.selection, **self._selection}

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield each completion as the bytes that the server sent."""
        async with aclosing(pages_between(self)) as pages:
            async for page in pages:
                for _, completion in page:
                    yield completion


async def pages_between(
    source: CreatedBetween, attempts: Attempts | None = None
) -> AsyncGenerator[list[tuple[str, bytes]], None]:
    """Yield, for each page, the id and the JSON of each completion in the range.

    A page that is too large is requested again in smaller ones. The requests pass through the queue
    of `attempts`, if it is given.
    """
    wanted = source._range  # noqa: SLF001 of this module
    end = EndOfRange(wanted, source._order)  # noqa: SLF001 as above
    async with bulk_pages(source._completions, attempts) as pages:  # noqa: SLF001 as above
        async for page in pages:
            chosen, times = _chosen(page, wanted)
            del page  # release it before the next one is fetched
            yield chosen
            del chosen
            if end.is_reached(times):
                return


def _chosen(page: RawPage, wanted: TimeRange) -> tuple[list[tuple[str, bytes]], list[float | None]]:
    """Return the items in the range, and the times of all items (none for the range of all)."""
    items = list(zip(page.ids, page.data, strict=True))
    if not wanted:
        return items, []
    times = [*map(created_of, page.data)]
    return [items[n] for n, time in enumerate(times) if wanted.contains(time)], times


def check_range(since: float | None, until: float | None = None, order: object = None) -> None:
    """Raise ConfigurationError for a range or an order that cannot be used."""
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and (_number(moment) is None or moment != moment):  # noqa: PLR0124 NaN
            raise ConfigurationError(
                f"{name} must be a number of Unix seconds, such as datetime.timestamp() returns,"
                f" not {moment!r}"
            )
    if since is not None and until is not None and since >= until:
        raise ConfigurationError(f"since must be earlier than until, not {since!r} and {until!r}")
    if order not in (None, "asc", "desc"):
        raise ConfigurationError(f"order must be 'asc', 'desc' or None, not {order!r}")


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


class _Created(msgspec.Struct):
    created: Any = None


_CREATED: Final = msgspec.json.Decoder(_Created)


def created_of(completion: bytes) -> float | None:
    """Return the creation time of a completion in Unix seconds, or None.

    One in milliseconds is converted.
    """
    try:
        found, _ = despite_lone_surrogates(_CREATED.decode, completion)
    except msgspec.ValidationError:  # a number that neither float nor int holds
        return None
    created = _number(found.created)
    return created // 1000 if created is not None and created > _LATEST else created
