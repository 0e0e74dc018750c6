"""The queries of a search by numbers of rows: they know no words. None of them is slow."""

import sqlite3
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from .matching import Text, weight
from .rows import repaired

Place = tuple[int, str]  # of a completion in the order
# Two completions of a group with fewer others between them are asked for in one query.
_NEAR: Final = 200
_VARIABLES: Final = 500  # of one statement; old versions of SQLite allow 999

# The queries (S608) are made of constants of this package; values are always bound.


def data_version(db: sqlite3.Connection) -> int:
    """Return a number that changes when another connection has written the archive."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)


def number_of(db: sqlite3.Connection, completion_id: str) -> int | None:
    """Return the number of the completion with this id."""
    query = "SELECT number FROM completions WHERE id = ?"
    row = db.execute(query, (repaired(completion_id),)).fetchone()
    return row[0] if row else None


def place_of(db: sqlite3.Connection, completion: int) -> Place:
    """Return the place of a completion."""
    query = "SELECT ifnull(created, 0), id FROM completions WHERE number = ?"
    place: Place = db.execute(query, (completion,)).fetchone()
    return place


def texts_of(db: sqlite3.Connection, numbers: Sequence[int], left: int) -> tuple[list[Text], int]:
    """Return the first texts, and what is left of a weight: < 0 for too many."""
    texts = list[Text]()
    for number in numbers:
        row = db.execute("SELECT text FROM messages WHERE number = ?", (number,)).fetchone()
        text = (row and row[0]) or ""  # a sync may have replaced it
        left -= weight(text)
        if left < 0:
            break
        texts.append((number, text))
    return texts, left


def texts_in(
    db: sqlite3.Connection, completion: int, role: str | None, left: int
) -> tuple[list[Text], int]:
    """Return the texts of a completion, and what is left of a weight: < 0 for too many."""
    texts = list[Text]()
    rows = db.execute(
        "SELECT number, text FROM messages"
        " WHERE completion = ? AND text != '' AND (? IS NULL OR role = ?) ORDER BY n",
        (completion, role, role),
    )
    for number, text in rows:
        left -= weight(text)
        if left < 0:
            break
        texts.append((number, text))
    rows.close()  # else it would keep its view of the archive
    return texts, left


def first_number(db: sqlite3.Connection, where: str, completion: int) -> int:
    """Return the number of the first message that the condition finds; 0 if there is none."""
    row = db.execute(
        f"SELECT number FROM messages WHERE {where} LIMIT 1",  # noqa: S608
        (completion,),
    ).fetchone()
    return row[0] if row else 0


_OWNERS: Final = "SELECT completion, number FROM messages WHERE number IN"
_SPANS: Final = """
SELECT c.number, (SELECT number FROM messages WHERE completion = c.number ORDER BY n LIMIT 1),
    (SELECT number FROM messages WHERE completion = c.number ORDER BY n DESC LIMIT 1)
FROM completions AS c WHERE c.number IN"""


def owned(
    db: sqlite3.Connection, messages: "array[int]", completions: Collection[int]
) -> Iterator[tuple[int, int]]:
    """Yield those of the messages that belong to one of the completions, behind its number.

    The messages come in ascending order. Each of many is not looked up: the messages of a
    completion are numbered one after the other.
    """
    if len(messages) < len(completions):
        found = in_parts(db, _OWNERS, messages)
        yield from ((owner, number) for owner, number in found if owner in completions)
        return
    for completion, first, last in in_parts(db, _SPANS, sorted(completions)):
        if first is not None:
            begin, end = bisect_left(messages, first), bisect_right(messages, last)
            yield from ((completion, number) for number in messages[begin:end])


def of_role(db: sqlite3.Connection, messages: "array[int]", role: str | None) -> "array[int]":
    """Return those of the messages that have a role, in ascending order; None: any."""
    if role is None:
        return messages
    # The index of roles, where a row is found without its text and its JSON.
    query = "SELECT number FROM messages INDEXED BY messages_by_role WHERE role = ? AND number IN"
    found = in_parts(db, query, messages, before=[role])
    return array("q", (number for (number,) in found))


def is_frequent(db: sqlite3.Connection, role: str, few: int) -> bool:
    """Return whether more than a few conversations have messages of a role."""
    query = "SELECT 1 FROM labels WHERE kind = 'role' AND value = ? LIMIT 1 OFFSET ?"
    return db.execute(query, (role, few)).fetchone() is not None


def neighbours(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of numbers that are near each other."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = number
        elif number - last > _NEAR:
            yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last


def in_parts(
    db: sqlite3.Connection,
    query: str,
    numbers: Sequence[int],
    rest: str = "",
    values: Sequence[Any] = (),
    *,
    before: Sequence[Any] = (),
) -> Iterator[tuple[Any, ...]]:
    """Run a query that ends in IN for the numbers, some of them at a time.

    `before` are the values in front of the IN, `values` those behind it.
    """
    parts = (numbers[n : n + _VARIABLES] for n in range(0, len(numbers), _VARIABLES))
    return chain.from_iterable(
        db.execute(f"{query} ({','.join('?' * len(part))}){rest}", (*before, *part, *values))
        for part in parts
    )
