"""Search an archive: the messages and replies that match, the newest first or by rank.

The rows of the index are in the order in which completions were stored, which is nearly that of
their creation. So a search for a frequent word does not sort all of its hits: it takes completions
by time of creation, the newest first, in growing groups, and asks the index for the rows of each
group. All of this runs in the thread of a `ReadConnection`.
"""

import sqlite3
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from aiomessages.models import Message, Reply
from aiomessages.wire.decoding import MESSAGES

from .connection import snapshot
from .query import parse
from .selection import Values
from .snippets import Snippet, snippet_of
from .values import read_items, read_reply

# So many hits are sorted at once. More of them are looked for group by group.
_FEW: Final = 1000
_FIRST_GROUP: Final = 100  # completions
_LARGEST_GROUP: Final = 20_000
# Two completions of a group with fewer others between them are asked for in one query.
_NEAR: Final = 200
_BATCH: Final = 20  # hits at a time: each has a whole message
_VARIABLES: Final = 500  # of one statement; old versions of SQLite allow 999

_OWNERS_OF: Final = "SELECT number, completion FROM messages WHERE number IN"

# The queries (S608) are made of constants of this package; values are always bound.


class Hit(msgspec.Struct, frozen=True):
    """A message that matches a search: a Message, or the Reply of a choice.

    `n` is its place among the messages of its completion, counted from 0, replies last. `choice` is
    None for a message that was sent to the model, and the number of the choice for a reply.
    `created` (Unix seconds) and `model` are those of the completion.
    """

    completion_id: str
    n: int
    choice: int | None
    message: Message | Reply
    snippet: Snippet
    created: int | None
    model: str | None


class Search:
    """A search, checked: it raises SearchError for words that are no query.

    `where` is a condition on `completions AS c`, with its values.
    """

    def __init__(
        self, words: str, where: str, values: Values, *, role: str | None, best: bool
    ) -> None:
        self._query = parse(words)
        self._where = where
        self._values = values
        self._role = role
        self._best = best

    def batches(self, db: sqlite3.Connection) -> Iterator[list[Hit]]:
        """Yield the hits in order, a few at a time. Between two of them no transaction is open."""
        version = _version(db)
        for numbers in self._by_rank(db) if self._best else self._newest_first(db):
            for begin in range(0, len(numbers), _BATCH):
                some = list(numbers[begin : begin + _BATCH])
                with snapshot(db):
                    if _version(db) != version:  # a message may have the number of another one now
                        some = [number for number in some if self._matches(db, number)]
                    rows = self._rows(db, some)
                yield self._hits(rows)

    def _by_rank(self, db: sqlite3.Connection) -> Iterator[Sequence[int]]:
        yield self._index_rows(db, "ORDER BY rank")

    def _newest_first(self, db: sqlite3.Connection) -> Iterator[Sequence[int]]:
        with snapshot(db):
            version = _version(db)
            every = None
            if self._query.has_prefix:  # the index collects all words with it for each query
                few = every = self._index_rows(db, "ORDER BY rowid")
            else:
                few = self._index_rows(db, "ORDER BY rowid DESC LIMIT ?", _FEW + 1)
            first = self._sorted(db, few) if len(few) <= _FEW else None
            # No later completion matches. Without this bound, a word that is no longer used would
            # be looked for in all of them.
            newest = dict(_in_parts(db, _OWNERS_OF, [max(few)])) if first is None else {}
        if first is not None:
            yield first
            return
        place: tuple[int, str] | None = None
        size = _FIRST_GROUP
        while True:
            with snapshot(db):
                last = max(newest.values()) if _version(db) == version else sys.maxsize
                group, place = self._group(db, last, place, size)
                found = self._of_group(db, group, every)
            yield found
            if place is None:
                return
            size = min(size * 2, _LARGEST_GROUP)

    def _group(
        self, db: sqlite3.Connection, last: int, place: tuple[int, str] | None, size: int
    ) -> tuple[dict[int, int], tuple[int, str] | None]:
        """Return the next completions, each with its position, and the place of the last one."""
        where, values = f"c.number <= ? AND {self._where}", [last, *self._values]
        if place is not None:
            # The first term is what SQLite finds in the index.
            where += " AND ifnull(c.created, 0) <= ? AND (ifnull(c.created, 0), c.id) < (?, ?)"
            values += [place[0], *place]
        rows = db.execute(
            f"SELECT c.number FROM completions AS c WHERE {where}"  # noqa: S608
            " ORDER BY ifnull(c.created, 0) DESC, c.id DESC LIMIT ?",
            (*values, size),
        ).fetchall()
        end = None
        if len(rows) == size:
            end = db.execute(
                "SELECT ifnull(created, 0), id FROM completions WHERE number = ?", rows[-1]
            ).fetchone()
        return {number: position for position, (number,) in enumerate(rows)}, end

    def _of_group(
        self, db: sqlite3.Connection, group: dict[int, int], every: "array[int] | None"
    ) -> list[int]:
        """Return the rows that match in the completions of a group, in their order."""
        found = array("q")
        for first, last in _neighbours(sorted(group)):
            # Messages are numbered in the order of their completions.
            begin = _one(db, "completion >= ? ORDER BY completion, n", first)
            end = _one(db, "completion <= ? ORDER BY completion DESC, n DESC", last)
            if every is not None:
                found += every[bisect_left(every, begin) : bisect_right(every, end)]
            else:
                found += self._index_rows(db, "AND rowid BETWEEN ? AND ?", begin, end)
        owners = _in_parts(db, _OWNERS_OF, found, *self._of_role())
        hits = [(group[owner], number) for number, owner in owners if owner in group]
        return [number for _, number in sorted(hits)]

    def _sorted(self, db: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
        query = (
            "SELECT ifnull(c.created, 0), c.id, m.number FROM messages AS m"
            " JOIN completions AS c ON c.number = m.completion WHERE m.number IN"
        )
        role, values = self._of_role()
        found = list(
            _in_parts(db, query, numbers, f"{role} AND {self._where}", [*values, *self._values])
        )
        found.sort(key=lambda row: row[2])
        found.sort(key=lambda row: row[:2], reverse=True)
        return [number for *_, number in found]

    def _index_rows(self, db: sqlite3.Connection, rest: str, *values: int) -> "array[int]":
        found = db.execute(
            f"SELECT rowid FROM words WHERE words MATCH ? {rest}",  # noqa: S608
            (self._query.match, *values),
        )
        return array("q", (number for (number,) in found))  # 8 bytes a hit

    def _matches(self, db: sqlite3.Connection, number: int) -> bool:
        return bool(self._index_rows(db, "AND rowid = ?", number))

    def _rows(self, db: sqlite3.Connection, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        query = (
            "SELECT m.number, c.id, m.n, m.choice, m.text, c.created, c.model,"
            " CAST(m.body AS BLOB), CASE WHEN m.choice IS NULL THEN NULL"
            " ELSE CAST(c.body AS BLOB) END FROM messages AS m"
            " JOIN completions AS c ON c.number = m.completion WHERE m.number IN"
        )
        role, values = self._of_role()
        found = _in_parts(db, query, numbers, f"{role} AND {self._where}", [*values, *self._values])
        row_of = {row[0]: row for row in found}
        return [row_of[number] for number in numbers if number in row_of]

    def _hits(self, rows: list[tuple[Any, ...]]) -> list[Hit]:
        sent = iter(read_items(MESSAGES.fresh(), [row[7] for row in rows if row[3] is None]))
        hits = []
        for _, completion_id, n, choice, text, created, model, _, completion in rows:
            message = next(sent) if choice is None else read_reply(completion, choice)
            snippet = snippet_of(text, self._query.terms)
            hits.append(Hit(completion_id, n, choice, message, snippet, created, model))
        return hits

    def _of_role(self) -> tuple[str, Values]:
        return ("", []) if self._role is None else (" AND role = ?", [self._role])


def _version(db: sqlite3.Connection) -> int:
    """Return a number that changes when another connection has written the archive."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    return int(version)


def _one(db: sqlite3.Connection, where: str, completion: int) -> int:
    """Return the number of the first message that the condition finds; 0 if there is none."""
    row = db.execute(
        f"SELECT number FROM messages WHERE {where} LIMIT 1",  # noqa: S608
        (completion,),
    ).fetchone()
    return row[0] if row else 0


def _neighbours(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
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


def _in_parts(
    db: sqlite3.Connection,
    query: str,
    numbers: Sequence[int],
    rest: str = "",
    values: Sequence[Any] = (),
) -> Iterator[tuple[Any, ...]]:
    """Run a query that ends in IN for the numbers, some of them at a time."""
    parts = (numbers[n : n + _VARIABLES] for n in range(0, len(numbers), _VARIABLES))
    return chain.from_iterable(
        db.execute(f"{query} ({','.join('?' * len(part))}){rest}", (*part, *values))
        for part in parts
    )
