"""Search an archive: the messages and replies that match, the newest first or by rank.

The rows of the index are in the order in which completions were stored, which is nearly that of
their creation. So a search for a frequent word does not sort all of its hits: it takes completions
by time of creation, the newest first, in growing groups, and asks the index for the rows of each
group. What the index answers slowly, the beginnings of words and the rank of many hits, is looked
for in a number of texts themselves: those of the newest completions, or of the newest hits. The
rows of messages are large, so the completion and the role of many hits come from indexes. All of
this runs in the thread of a `ReadConnection`.
"""

import sqlite3
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final, NamedTuple

from .connection import snapshot
from .found_rows import (
    Place,
    data_version,
    in_parts,
    of_role,
    owned,
    place_of,
    texts_in,
    texts_of,
)
from .hits import Hit, hits_of
from .index_rows import expected_rows, index_rows, last_rows, rows_near
from .matching import MOST, Text, matching
from .query import parse
from .selection import Values

# So many hits are sorted at once. More of them are looked for group by group.
_FEW: Final = 1000
# So many hits are ranked by the index. Of more of them, some of the newest are.
_RANKED: Final = 10_000
_NEWEST: Final = 250
_FIRST_TEXTS: Final = 10  # completions whose texts are looked through
# Where the index would collect more rows of words that begin so, a quick search looks through so
# many further texts: some 50 milliseconds, for 100 or more.
_COLLECTED: Final = 100_000
_QUICK_TEXTS: Final = 3 * MOST
_FIRST_GROUP: Final = 100  # completions
_LARGEST_GROUP: Final = 20_000
_BATCH: Final = 20  # hits at a time: each has a whole message

_HAS_ROLE: Final = (
    "EXISTS (SELECT 1 FROM labels AS l"
    " WHERE l.completion = c.number AND l.kind = 'role' AND l.value = ?)"
)
_OWNERS_OF: Final = "SELECT number, completion FROM messages WHERE number IN"

# The queries (S608) are made of constants of this package; values are always bound.


class _Looked(NamedTuple):
    """Up to which completion texts were looked through, and which part of them matched."""

    place: Place | None
    has_more: bool
    frequency: float


class Search:
    """A search, checked: it raises SearchError for words that are no query.

    `where` is a condition on `completions AS c`, with its values. A `quick` search by time may stop
    in front of hits that would take long to find; `was_cut` is true then.
    """

    def __init__(
        self,
        words: str,
        where: str,
        values: Values,
        *,
        role: str | None,
        best: bool = False,
        quick: bool = False,
    ) -> None:
        self._query = parse(words)
        if role is not None:  # of a role that few conversations have, few messages are looked at
            where = f"{where} AND {_HAS_ROLE}"
            values = [*values, role]
        self._where = where
        self._values = values
        self._role = role
        self._best = best
        self._quick = quick
        self.was_cut = False

    def owners(
        self, db: sqlite3.Connection, after: Place | None, *, size: int
    ) -> Iterator[list[tuple[int, int, str | None]]]:
        """Yield the numbers of the hits in order, each with its completion and its role.

        Those up to the completion at the place `after` are left out; by rank there is no place.
        """
        version = data_version(db)
        query = "SELECT number, completion, role FROM messages WHERE number IN"
        for numbers in self._best_first(db) if self._best else self._newest_first(db, after):
            for begin in range(0, len(numbers), size):
                with snapshot(db):
                    some = self._still_matching(db, numbers[begin : begin + size], version)
                    found = {row[0]: row for row in in_parts(db, query, some)}
                yield [found[number] for number in some if number in found]

    def batches(self, db: sqlite3.Connection) -> Iterator[list[Hit]]:
        """Yield the hits in order, a few at a time. Between two of them no transaction is open."""
        version = data_version(db)
        for numbers in self._best_first(db) if self._best else self._newest_first(db):
            for begin in range(0, len(numbers), _BATCH):
                with snapshot(db):
                    some = self._still_matching(db, numbers[begin : begin + _BATCH], version)
                    rows = self._rows(db, some)
                yield hits_of(rows, self._query.terms)

    def _best_first(self, db: sqlite3.Connection) -> Iterator[Sequence[int]]:
        """Yield the hits by rank. Of many, the newest are ranked, and the others follow them."""
        if not self._query.has_prefix:
            with snapshot(db):
                few = index_rows(db, self._query.match, "LIMIT ?", _RANKED + 1)
                ranked = self._ranked(db) if len(few) <= _RANKED else None
            if ranked is not None:
                yield ranked
                return
        newest, left = list[Text](), MOST
        others: Sequence[int] = ()
        hits = self._newest_first(db)
        for found in hits:
            with snapshot(db):
                texts, left = texts_of(db, found[: _NEWEST - len(newest)], left)
            newest += texts
            if left < 0 or len(newest) == _NEWEST:
                others = found[len(texts) :]
                break
        yield matching(newest, self._query.match)
        yield others
        yield from hits

    def _ranked(self, db: sqlite3.Connection) -> Sequence[int]:
        numbers = index_rows(db, self._query.match, "ORDER BY rank")
        if self._where == "TRUE" and self._role is None:
            return numbers
        selected = frozenset(self._sorted(db, numbers))
        return [number for number in numbers if number in selected]

    def _newest_first(
        self, db: sqlite3.Connection, place: Place | None = None
    ) -> Iterator[Sequence[int]]:
        """Yield the hits behind a place."""
        if self._query.has_prefix:
            matched = self._with_needed(db, place)
            if matched is not None:
                yield matched
                return
            looked = yield from self._from_texts(db, place, MOST)
            if not looked.has_more:
                return
            place = looked.place
            if self._quick and expected_rows(db, looked.frequency) > _COLLECTED:
                looked = yield from self._from_texts(db, place, _QUICK_TEXTS)
                self.was_cut = looked.has_more
                return
        with snapshot(db):
            version = data_version(db)
            every = None
            if self._query.has_prefix:  # the index collects all words with it for each query
                few = every = index_rows(db, self._query.match, "ORDER BY rowid")
            else:
                few = last_rows(db, self._query.match, self._role, _FEW + 1)
            first = self._sorted(db, few, place) if len(few) <= _FEW else None
            # No later completion matches. Without this bound, a word that is no longer used would
            # be looked for in all of them.
            newest = dict(in_parts(db, _OWNERS_OF, [max(few)])) if first is None else {}
        if first is not None:
            yield first
            return
        size = _FIRST_GROUP
        while True:
            with snapshot(db):
                last = max(newest.values()) if data_version(db) == version else sys.maxsize
                group, place = self._group(db, last, place, size)
                found = self._of_group(db, group, every)
            yield found
            if place is None:
                return
            size = min(size * 2, _LARGEST_GROUP)

    def _group(
        self, db: sqlite3.Connection, last: int, place: Place | None, size: int
    ) -> tuple[dict[int, int], Place | None]:
        """Return the next completions, each with its position, and the place of the last one."""
        where, values = self._behind(place)
        rows = db.execute(
            f"SELECT c.number FROM completions AS c WHERE c.number <= ? AND {where}"  # noqa: S608
            " ORDER BY ifnull(c.created, 0) DESC, c.id DESC LIMIT ?",
            (last, *values, size),
        ).fetchall()
        end = place_of(db, rows[-1][0]) if len(rows) == size else None
        return {number: position for position, (number,) in enumerate(rows)}, end

    def _behind(self, place: Place | None) -> tuple[str, Values]:
        """Return the condition on the completions behind a place."""
        if place is None:
            return self._where, self._values
        # The first term is what SQLite finds in the index.
        where = "ifnull(c.created, 0) <= ? AND (ifnull(c.created, 0), c.id) < (?, ?)"
        return f"{where} AND {self._where}", [place[0], *place, *self._values]

    def _with_needed(self, db: sqlite3.Connection, place: Place | None) -> list[int] | None:
        """Return the hits if few messages have the words that are no beginnings; else None."""
        if not self._query.needed:
            return None
        with snapshot(db):
            few = index_rows(db, self._query.needed, "LIMIT ?", _FEW + 1)
            if len(few) > _FEW:
                return None
            numbers = self._sorted(db, few, place)
            texts, left = texts_of(db, numbers, MOST)
        if left < 0:
            return None
        matched = frozenset(matching(texts, self._query.match))
        return [number for number in numbers if number in matched]

    def _from_texts(
        self, db: sqlite3.Connection, place: Place | None, left: int
    ) -> Generator[Sequence[int], None, _Looked]:
        """Yield the hits in the next completions, whose texts are looked through.

        `left` is the weight of the texts.
        """
        size, looked_at, matches = _FIRST_TEXTS, 0, 0
        while True:
            texts = list[Text]()
            with snapshot(db):
                group, end = self._group(db, sys.maxsize, place, size)
                for number in group:
                    more, left = texts_in(db, number, self._role, left)
                    if left < 0:
                        break
                    texts += more
                    place = place_of(db, number)
            matched = frozenset(matching(texts, self._query.match))
            yield [number for number, _ in texts if number in matched]
            looked_at += len(texts)
            matches += len(matched)
            if left < 0 or end is None:
                return _Looked(place, left < 0, matches / max(looked_at, 1))
            size *= 2

    def _of_group(
        self, db: sqlite3.Connection, group: dict[int, int], every: Sequence[int] | None
    ) -> list[int]:
        """Return the rows that match in the completions of a group, in their order."""
        found = rows_near(db, self._query.match, group, every)
        owners = owned(db, of_role(db, found, self._role), group)
        return [number for _, number in sorted((group[owner], number) for owner, number in owners)]

    def _sorted(
        self, db: sqlite3.Connection, numbers: Sequence[int], place: Place | None = None
    ) -> list[int]:
        """Return those of the rows that are selected and behind a place, in their order."""
        query = (
            "SELECT ifnull(c.created, 0), c.id, m.number FROM messages AS m"
            " CROSS JOIN completions AS c ON c.number = m.completion WHERE m.number IN"
        )
        role, values = self._of_role()
        where, more = self._behind(place)
        found = list(in_parts(db, query, numbers, f"{role} AND {where}", [*values, *more]))
        found.sort(key=lambda row: row[2])
        found.sort(key=lambda row: row[:2], reverse=True)
        return [number for *_, number in found]

    def _still_matching(
        self, db: sqlite3.Connection, numbers: Sequence[int], version: int
    ) -> list[int]:
        """Return those that match now: a message may have the number of another one."""
        if data_version(db) == version:
            return list(numbers)
        return [number for number in numbers if self._matches(db, number)]

    def _matches(self, db: sqlite3.Connection, number: int) -> bool:
        return bool(index_rows(db, self._query.match, "AND rowid = ?", number))

    def _rows(self, db: sqlite3.Connection, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        query = (
            "SELECT m.number, c.id, m.n, m.choice, m.text, c.created, c.model,"
            " CAST(m.body AS BLOB), CASE WHEN m.choice IS NULL THEN NULL"
            " ELSE CAST(c.body AS BLOB) END FROM messages AS m"
            " CROSS JOIN completions AS c ON c.number = m.completion WHERE m.number IN"
        )
        role, values = self._of_role()
        found = in_parts(db, query, numbers, f"{role} AND {self._where}", [*values, *self._values])
        row_of = {row[0]: row for row in found}
        return [row_of[number] for number in numbers if number in row_of]

    def _of_role(self) -> tuple[str, Values]:
        return ("", []) if self._role is None else (" AND role = ?", [self._role])
