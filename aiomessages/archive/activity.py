"""What went on over time: conversations and tokens a day, by model; tools, and what is gone.

All of this runs in the thread of a `ReadConnection`.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from .connection import snapshot
from .conversation_order import newest_found
from .facets import Count, most_frequent
from .filters import Filters
from .found_rows import in_parts

_TOOLS: Final = 20
_BOUND: Final = 5000  # conversations that words find: each is found by its messages
_BY_DAY: Final = "GROUP BY day, c.model, c.state"

# The queries (S608) are made of constants of this package; values are always bound.


class Day(msgspec.Struct, frozen=True):
    """The conversations of a model on a day (YYYY-MM-DD), and their tokens."""

    day: str
    model: str | None
    conversations: int
    tokens: int


class Activity(msgspec.Struct, frozen=True):
    """What went on over time.

    Of the conversations that words find, only the newest are counted: with `bounded` none that is
    older than the `total` of them.

    `tools` are the most frequent ones, each with the number of conversations that called it.
    `waiting` is the number of completions that could not be read so far, and `unknown_time` that of
    the conversations without a time.
    """

    total: int
    bounded: bool
    days: list[Day]
    tools: list[Count]
    states: list[Count]
    waiting: int
    unknown_time: int


def activity(
    db: sqlite3.Connection, filters: Filters, *, utc: bool, bound: int = _BOUND
) -> Activity:
    """Count the conversations of a list by day, model, tool and state.

    With words the newest are counted, at most `bound` of them. Days are those of UTC, or else of
    the local time zone. Raises SearchError.
    """
    zone = "" if utc else ", 'localtime'"
    # `sum` fails where the tokens that a server claims pass 64 bits; `total` is a float.
    days = (
        f"SELECT date(c.created, 'unixepoch'{zone}) AS day, c.model, c.state, count(*),"  # noqa: S608
        " total(c.total_tokens) FROM completions AS c WHERE"
    )
    tools = "SELECT l.value, count(*) FROM labels AS l WHERE l.kind = 'tool' AND l.completion IN"
    bounded = False
    with snapshot(db):
        if filters.words:
            found, bounded = newest_found(db, filters, bound)
            numbers = list(found)
            rows = in_parts(db, f"{days} c.number IN", numbers, _BY_DAY)
            called = in_parts(db, tools, numbers, " GROUP BY l.value")
        else:
            where, values = filters.condition()
            rows = db.execute(f"{days} {where} {_BY_DAY}", values)
            selected = f"(SELECT c.number FROM completions AS c WHERE {where})"  # noqa: S608
            called = db.execute(f"{tools} {selected} GROUP BY l.value", values)
        (waiting,) = db.execute("SELECT count(*) FROM waiting").fetchone()
        return _added_up(rows, called, waiting, bounded=bounded)


def _added_up(
    rows: Iterable[tuple[Any, ...]],
    called: Iterable[tuple[str, int]],
    waiting: int,
    *,
    bounded: bool,
) -> Activity:
    conversations, tokens = Counter[tuple[str, str | None]](), Counter[tuple[str, str | None]]()
    states, tools = Counter[str](), Counter[str]()
    unknown_time = 0
    for day, model, state, count, sum_of_tokens in rows:
        states[state] += count
        if day is None:
            unknown_time += count
        else:
            conversations[day, model] += count
            tokens[day, model] += int(sum_of_tokens)
    for tool, count in called:
        tools[tool] += count
    in_order = sorted(conversations, key=lambda key: (key[0], key[1] or ""))
    return Activity(
        sum(states.values()),
        bounded,
        [Day(*key, conversations[key], tokens[key]) for key in in_order],
        most_frequent(tools)[:_TOOLS],
        most_frequent(states),
        waiting,
        unknown_time,
    )
