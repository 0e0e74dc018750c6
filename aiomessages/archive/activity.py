"""What went on over time: conversations and tokens a day, by model; tools, and what is gone.

All of this runs in the thread of a `ReadConnection`.
"""

import sqlite3
from typing import Final

import msgspec

from .browsing import ids
from .connection import snapshot
from .facets import Count
from .filters import Filters
from .selection import Values

_TOOLS: Final = 20

# The queries (S608) are made of constants of this package; values are always bound.


class Day(msgspec.Struct, frozen=True):
    """The conversations of a model on a day (YYYY-MM-DD), and their tokens."""

    day: str
    model: str | None
    conversations: int
    tokens: int


class Activity(msgspec.Struct, frozen=True):
    """What went on over time.

    `tools` are the most frequent ones, each with the number of conversations that called it.
    `waiting` is the number of completions that could not be read so far, and `unknown_time` that of
    the conversations without a time.
    """

    days: list[Day]
    tools: list[Count]
    states: list[Count]
    waiting: int
    unknown_time: int


def activity(db: sqlite3.Connection, filters: Filters, *, utc: bool) -> Activity:
    """Count the conversations of a list by day, model, tool and state.

    Days are those of UTC, or else of the local time zone. Raises SearchError.
    """
    where, values = filters.condition()
    if filters.words:
        where, values = _with_words(db, filters)
    zone = "" if utc else ", 'localtime'"
    with snapshot(db):
        days = db.execute(
            f"SELECT date(c.created, 'unixepoch'{zone}) AS day, c.model, count(*),"  # noqa: S608
            f" sum(ifnull(c.total_tokens, 0)) FROM completions AS c WHERE {where}"
            " GROUP BY day, c.model ORDER BY day, c.model",
            values,
        ).fetchall()
        states = db.execute(
            f"SELECT c.state, count(*) FROM completions AS c WHERE {where}"  # noqa: S608
            " GROUP BY c.state ORDER BY count(*) DESC, c.state",
            values,
        ).fetchall()
        tools = db.execute(
            "SELECT l.value, count(*) FROM labels AS l WHERE l.kind = 'tool' AND l.completion IN"  # noqa: S608
            f" (SELECT c.number FROM completions AS c WHERE {where})"
            " GROUP BY l.value ORDER BY count(*) DESC, l.value LIMIT ?",
            (*values, _TOOLS),
        ).fetchall()
        (waiting,) = db.execute("SELECT count(*) FROM waiting").fetchone()
    return Activity(
        [Day(*row) for row in days if row[0] is not None],
        [Count(*row) for row in tools],
        [Count(*row) for row in states],
        waiting,
        sum(row[2] for row in days if row[0] is None),
    )


def _with_words(db: sqlite3.Connection, filters: Filters) -> tuple[str, Values]:
    """Return the condition that selects the conversations with a message that matches."""
    found = [completion_id for batch in ids(db, filters) for completion_id in batch]
    return "c.id IN (SELECT value FROM json_each(?))", [msgspec.json.encode(found).decode()]
