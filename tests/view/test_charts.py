"""The bars of the overview: where they stand, what they count and lead to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.archive.activity import Day
from aiomessages.view.charts import HEIGHT, WIDTH, Timeline, chart, timeline
from aiomessages.view.url_state import State


def day(name: str, conversations: int = 1, tokens: int = 0, model: str | None = "m") -> Day:
    """Return what the archive has of a model on a day."""
    return Day(day=name, model=model, conversations=conversations, tokens=tokens)


def names(found: Timeline) -> list[str]:
    """Return the names of the periods."""
    return [period.name for period in found.periods]


def test_days_without_conversations_have_a_place() -> None:
    """Between two days each other one has its place, also over the end of a month."""
    found = timeline([day("2024-02-28"), day("2024-03-02")], State())
    assert names(found) == ["2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02"]
    assert found.unit == "day"


@pytest.mark.parametrize(
    ("first", "last", "unit", "count"),
    [
        ("2026-01-01", "2026-04-09", "day", 99),
        ("2026-01-01", "2026-04-11", "month", 4),
        ("2025-11-30", "2026-11-01", "month", 13),
        ("2001-01-01", "2026-11-29", "year", 2),
        ("0001-01-01", "9999-12-31", "year", 2),
    ],
)
def test_long_times_are_shown_by_month_or_year(
    first: str, last: str, unit: str, count: int
) -> None:
    """There are never too many bars: a long time is shown in longer periods."""
    found = timeline([day(first), day(last)], State())
    assert found.unit == unit
    assert len(found.periods) == count


def test_the_newest_periods_are_shown_where_there_are_too_many() -> None:
    """Of more years than there is room for, the newest are shown, and the page says so."""
    found = timeline([day(f"{year}-01-01") for year in range(1000, 1200)], State())
    assert names(found)[-1] == "1199"
    assert len(found.periods) == 100
    assert found.is_cut


def test_periods_lead_to_what_they_count() -> None:
    """A day selects itself, a month or a year its days; the filters of the page stay."""
    state = State(role="user", at="x")
    (of_day,) = timeline([day("2026-11-29")], state).periods
    assert of_day.state == State(role="user", day="2026-11-29")
    months = timeline([day("2026-06-03"), day("2026-12-31")], state).periods
    assert (months[-1].state.since, months[-1].state.until) == ("2026-12-01", "2027-01-01")
    assert (months[0].state.since, months[0].state.until) == ("2026-06-01", "2026-07-01")
    years = timeline([day("0990-06-03"), day("2026-12-31")], state).periods
    assert (years[0].state.since, years[0].state.until) == ("0990-01-01", "0991-01-01")


def test_models_have_a_tone_by_their_number_of_conversations() -> None:
    """The most used models have a colour of their own; the rest and the unknown share one."""
    counts: dict[str | None, int] = {"a": 9, None: 8, "b": 7, "c": 6, "d": 5, "e": 4, "f": 3}
    found = timeline(
        [day("2026-11-29", count, model=model) for model, count in counts.items()], State()
    )
    shown = [(series.name, series.tone) for series in found.series]
    assert shown == [("a", 0), ("other models", 5), ("b", 1), ("c", 2), ("d", 3), ("e", 4)]
    (period,) = found.periods
    parts = {part.series.name: (part.conversations, part.state.model) for part in period.parts}
    assert parts["a"] == (9, "a")
    assert parts["other models"] == (11, None)


def test_bars_stand_on_each_other() -> None:
    """The bars of a period fill it from the bottom, each as high as what it counts."""
    found = timeline([day("2026-11-29", 6, model="a"), day("2026-11-29", 4, model="b")], State())
    lower, upper = chart(found, "conversations").bars
    assert (lower.y, lower.height) == (HEIGHT * 0.4, HEIGHT * 0.6)
    assert (upper.y, upper.height) == (0.0, HEIGHT * 0.4)
    assert lower.label == "2026-11-29, a: 6 conversations"
    assert lower.state == State(model="a", day="2026-11-29")


def test_the_axis_ends_at_a_round_number() -> None:
    """The axis has three round numbers, or two where the half is none."""
    tokens = timeline([day("2026-11-29", 1, 1_234_567)], State())
    assert [name for _, name in chart(tokens, "tokens").lines] == ["0", "1M", "2M"]
    assert [name for _, name in chart(tokens, "conversations").lines] == ["0", "1"]
    few = timeline([day("2026-11-29", 3, 30_000_000_000)], State())
    assert [name for _, name in chart(few, "conversations").lines] == ["0", "3"]
    assert [name for _, name in chart(few, "tokens").lines] == ["0", "15G", "30G"]
    some = timeline([day("2026-11-29", 1500, 0)], State())
    assert [name for _, name in chart(some, "conversations").lines] == ["0", "1k", "2k"]


def test_few_bars_are_no_walls() -> None:
    """A chart of one day has a narrow bar at its beginning, and its name below."""
    drawn = chart(timeline([day("2026-11-29")], State()), "conversations")
    (bar,) = drawn.bars
    assert bar.x + bar.width < WIDTH / 10
    assert drawn.names == [(pytest.approx(bar.x + bar.width / 2, abs=0.01), "2026-11-29")]


def test_nothing_has_no_bars() -> None:
    """An empty archive has no periods, and its charts no bars."""
    found = timeline([], State())
    assert (found.periods, chart(found, "tokens").bars) == ([], [])


@given(
    st.lists(
        st.builds(
            Day,
            day=st.dates().map(str),
            model=st.sampled_from([None, "", "a", "b", "c", "d", "e", "f"]),
            conversations=st.integers(1, 10**6),
            tokens=st.integers(0, 10**12),
        ),
        max_size=30,
    )
)
def test_bars_stay_in_the_drawing(days: list[Any]) -> None:
    """Whatever is counted, no bar leaves the drawing, and the last ones count all of theirs."""
    found = timeline(days, State())
    for measure in ("conversations", "tokens"):
        drawn = chart(found, measure)
        assert len(drawn.names) <= 9
        for bar in drawn.bars:
            assert 0 <= bar.x <= bar.x + bar.width <= WIDTH + 0.02
            assert -0.02 <= bar.y <= bar.y + bar.height <= HEIGHT + 0.02
    shown = sum(period.total("conversations") for period in found.periods)
    assert shown == sum(found.conversations for found in days)
