"""The rows of the index of words that match a query of FTS5: each is the number of a message.

All of this runs in the thread of a `ReadConnection`.
"""

import sqlite3
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from .found_rows import first_number, is_frequent, neighbours

_OF_ROLE: Final = (
    "CROSS JOIN messages AS m INDEXED BY messages_by_role ON m.number = words.rowid AND m.role = ?"
)

# The queries (S608) are made of constants of this package; values are always bound.


def index_rows(db: sqlite3.Connection, match: str, rest: str, *values: int) -> "array[int]":
    """Return the rows that match, as the rest of the query says."""
    found = db.execute(
        f"SELECT rowid FROM words WHERE words MATCH ? {rest}",  # noqa: S608
        (match, *values),
    )
    return array("q", chain.from_iterable(found))  # 8 bytes a hit


def last_rows(db: sqlite3.Connection, match: str, role: str | None, most: int) -> "array[int]":
    """Return the last rows that match: the number `most` of them, or all if there are fewer.

    Those of another role may be left out. They are not where few conversations have the role: to
    look for the words in these alone is faster.
    """
    join, values = "", list[Any]()
    if role is not None and is_frequent(db, role, most):
        join, values = _OF_ROLE, [role]
    found = db.execute(
        f"SELECT words.rowid FROM words {join} WHERE words MATCH ?"  # noqa: S608
        " ORDER BY words.rowid DESC LIMIT ?",
        (*values, match, most),
    )
    return array("q", chain.from_iterable(found))


def rows_near(
    db: sqlite3.Connection, match: str, completions: Iterable[int], every: Sequence[int] | None
) -> "array[int]":
    """Return the rows that match in completions and in some between them, in ascending order.

    `every` are all rows that match, if they are known.
    """
    found = array("q")
    for first, last in neighbours(sorted(completions)):
        # Messages are numbered in the order of their completions.
        begin = first_number(db, "completion >= ? ORDER BY completion, n", first)
        end = first_number(db, "completion <= ? ORDER BY completion DESC, n DESC", last)
        if every is not None:
            found.extend(every[bisect_left(every, begin) : bisect_right(every, end)])
        else:
            found += index_rows(db, match, "AND rowid BETWEEN ? AND ?", begin, end)
    return found


def expected_rows(db: sqlite3.Connection, frequency: float) -> float:
    """Return how many rows match, if all texts do so as often as those that were looked at."""
    (last,) = db.execute("SELECT max(number) FROM messages").fetchone()
    return frequency * (last or 0)
