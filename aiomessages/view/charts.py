"""Bars over time, stacked by model: where each of them stands, what it counts and leads to.

Everything is computed here, so that a page needs no script and no style of its own: a template
writes it down as SVG, and as a table. Places across are percents, since the window decides the
width: a chart fits a telephone, and its letters stay legible. Nothing here performs I/O.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final, Literal, NamedTuple

from aiomessages.archive.activity import Day

from .url_state import State

Measure = Literal["conversations", "tokens"]
_TONES: Final = 5  # models with a colour of their own; the others share one
_MOST: Final = 100  # bars side by side
_FEWEST: Final = 12  # places for bars: a single one would be a wall
WIDTH: Final = 100.0  # percent
HEIGHT: Final = 200.0  # pixels
_GAP: Final = 0.18  # of a bar's width
_NAMES: Final = 8  # below the bars
_DIGITS: Final = (1, 2, 3, 4, 5, 6, 8)  # with which an axis ends


class Series(NamedTuple):
    """A model, or all the others. `state` selects its conversations, if there is a way to."""

    name: str
    tone: int
    state: State | None


class Part(NamedTuple):
    """What a model has in a period."""

    series: Series
    conversations: int
    tokens: int
    state: State

    def of(self, measure: Measure) -> int:
        """Return the conversations or the tokens."""
        return self.conversations if measure == "conversations" else self.tokens


class Period(NamedTuple):
    """A day, a month or a year, with its conversations and their models."""

    name: str
    state: State
    parts: list[Part]

    def total(self, measure: Measure) -> int:
        """Return the conversations or tokens of all models."""
        return sum(part.of(measure) for part in self.parts)


class Bar(NamedTuple):
    """A rectangle, what it counts, and the state that selects that.

    `x` and `width` are percents, `y` and `height` pixels.
    """

    x: float
    y: float
    width: float
    height: float
    tone: int
    label: str
    state: State


class Chart(NamedTuple):
    """The bars of one measure. `lines` are heights with their numbers, `names` places of dates."""

    measure: Measure
    bars: list[Bar]
    lines: list[tuple[float, str]]
    names: list[tuple[float, str]]


class Timeline(NamedTuple):
    """The periods in order, the models by their number of conversations."""

    unit: str
    series: list[Series]
    periods: list[Period]
    is_cut: bool  # there are earlier periods


class _Unit(NamedTuple):
    """A day, a month or a year: how many characters of a date name it."""

    name: str
    length: int
    days: int  # at least


_UNITS: Final = (_Unit("day", 10, 1), _Unit("month", 7, 28), _Unit("year", 4, 365))


def timeline(days: Sequence[Day], state: State) -> Timeline:
    """Return the days as they are, or as months or years where they are many."""
    days = [found for found in days if found.day >= "0001"]  # the first year of Python's calendar
    series = _series(days, state)
    unit = _unit_of(days)
    groups: dict[str, list[Day]] = defaultdict(list)
    for found in days:
        groups[found.day[: unit.length]].append(found)
    names = _names(groups, unit)
    shown = names[-_MOST:]
    periods = [_period(name, groups.get(name, ()), series, state) for name in shown]
    return Timeline(unit.name, list(dict.fromkeys(series.values())), periods, len(names) > _MOST)


def chart(found: Timeline, measure: Measure) -> Chart:
    """Return the bars of a measure."""
    top = _round_up(max([1, *(period.total(measure) for period in found.periods)]))
    places = max(_FEWEST, len(found.periods))
    step = WIDTH / places
    bars: list[Bar] = []
    for place, period in enumerate(found.periods):
        bars += _stack(period, measure, place * step, step, HEIGHT / top)
    lines = [(HEIGHT - HEIGHT * part / 2, _short(top * part // 2)) for part in (0, 1, 2)]
    every = -(-places // _NAMES)
    names = [
        (round((place + 0.5) * step, 3), period.name)
        for place, period in enumerate(found.periods)
        if place % every == 0
    ]
    return Chart(measure, bars, [lines[0], lines[2]] if top % 2 else lines, names)


def _stack(period: Period, measure: Measure, x: float, step: float, scale: float) -> Iterator[Bar]:
    y = HEIGHT
    for part in period.parts:
        height = part.of(measure) * scale
        if height:
            y -= height
            yield Bar(
                x=round(x + step * _GAP / 2, 3),
                y=round(y, 2),
                width=round(step * (1 - _GAP), 3),
                height=round(height, 2),
                tone=part.series.tone,
                label=f"{period.name}, {part.series.name}: {part.of(measure):,} {measure}",
                state=part.state,
            )


def _series(days: Sequence[Day], state: State) -> dict[str | None, Series]:
    """Return what each model is shown as, the most used one first."""
    counts = Counter[str | None]()
    for found in days:
        counts[found.model] += found.conversations
    others = Series("other models", _TONES, None)
    known = [model for model, _ in counts.most_common() if model is not None]
    own = {
        model: Series(model, tone, state.with_(model=model))
        for tone, model in enumerate(known[:_TONES])
    }
    return {
        model: others if model is None else own.get(model, others)
        for model, _ in counts.most_common()
    }


def _period(
    name: str, days: Sequence[Day], series: dict[str | None, Series], state: State
) -> Period:
    own = _state_of(name, state)
    conversations, tokens = Counter[Series](), Counter[Series]()
    for found in days:
        conversations[series[found.model]] += found.conversations
        tokens[series[found.model]] += found.tokens
    parts = [
        Part(
            one,
            conversations[one],
            tokens[one],
            own.with_(model=one.state.model) if one.state else own,
        )
        for one in dict.fromkeys(series.values())
        if one in conversations
    ]
    return Period(name, own, parts)


def _state_of(name: str, state: State) -> State:
    """Return the state that selects a period, and what was selected before."""
    if len(name) == _UNITS[0].length:
        return state.with_(day=name)
    year, month = int(name[:4]), int(name[5:] or 1)
    next_year, next_month = (year + 1, month) if len(name) == 4 else _month_after(year, month)
    return state.with_(since=f"{year:04}-{month:02}-01", until=f"{next_year:04}-{next_month:02}-01")


def _month_after(year: int, month: int) -> tuple[int, int]:
    return (year, month + 1) if month < 12 else (year + 1, 1)


def _unit_of(days: Sequence[Day]) -> _Unit:
    """Return the shortest unit of which there is room for all."""
    if not days:
        return _UNITS[0]
    names = [found.day for found in days]
    length = (date.fromisoformat(max(names)) - date.fromisoformat(min(names))).days
    return next((unit for unit in _UNITS if length < unit.days * _MOST), _UNITS[-1])


def _names(groups: Iterable[str], unit: _Unit) -> list[str]:
    """Return the names of all periods from the first to the last, the empty ones included."""
    found = sorted(groups)
    if not found or unit is _UNITS[-1]:  # of years, those with conversations: a time may be wrong
        return found
    first, last = (
        date.fromisoformat(f"{name}-01"[:10]).toordinal() for name in (found[0], found[-1])
    )
    days = (date.fromordinal(number).isoformat() for number in range(first, last + 1))
    return list(dict.fromkeys(day[: unit.length] for day in days))


def _round_up(number: int) -> int:
    """Return the number, or the next one above it of one digit and zeros, as an axis has it."""
    power: int = 10 ** (len(str(number)) - 1)
    return next((power * digit for digit in _DIGITS if power * digit >= number), power * 10)


def _short(number: int) -> str:
    """Return a number with few digits: 1.5k, 20M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return str(number)
