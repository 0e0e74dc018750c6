"""The conversations of a list in their order: the next ones, the ids of all, and neighbours.

All of this runs in the thread of a `ReadConnection`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .connection import snapshot
from .cursors import NO_LONGER, CursorError
from .filters import Filters
from .found_rows import Place, in_parts, number_of, place_of
from .rows import repaired
from .search import Search
from .selection import Values

_SNIPPETS: Final = 3  # messages of a conversation
_BATCH: Final = 1000  # ids
_FOUND: Final = 2000  # the same with words: each batch is a search of its own
# A conversation is looked for among so many results, to know the one before it.
_NEAR_THE_BEGINNING: Final = 1000

# The queries (S608) are made of constants of this package; values are always bound.


def search_of(filters: Filters, *, best: bool = False, quick: bool = False) -> Search:
    """Return the search for the words. Raises SearchError."""
    where, values = filters.condition()
    role = filters.role and repaired(filters.role)
    return Search(filters.words, where, values, role=role, best=best, quick=quick)


def searched(
    db: sqlite3.Connection, search: Search, start: Place | None, *, best: bool, count: int
) -> dict[int, list[int]]:
    """Return the next completions, and one more, each with the first messages that match."""
    found: dict[int, list[int]] = {}
    passed: set[int] = set()  # completions of the pages before
    begin = number_of(db, start[1]) if best and start is not None else None
    if best and start is not None and begin is None:
        raise CursorError(NO_LONGER)
    for hits in search.owners(db, None if best else start, size=count):
        for number, completion, _ in hits:
            if begin is not None:
                passed.add(completion)
                if completion == begin:
                    begin = None
            elif completion not in passed:
                messages = found.setdefault(completion, [])
                if len(found) > count:
                    return found
                if len(messages) < _SNIPPETS:
                    messages.append(number)
    if begin is not None:
        raise CursorError(NO_LONGER)
    return found


def next_numbers(
    db: sqlite3.Connection,
    where: str,
    values: Values,
    place: Place | None,
    count: int,
    *,
    backwards: bool = False,
) -> list[int]:
    """Return the numbers of the completions behind a place, or in front of it."""
    sign, direction = (">", "ASC") if backwards else ("<", "DESC")
    if place is not None:
        # The first term is what SQLite finds in the index.
        where = (
            f"ifnull(c.created, 0) {sign}= ? AND (ifnull(c.created, 0), c.id) {sign} (?, ?)"
            f" AND {where}"
        )
        values = [place[0], *place, *values]
    rows = db.execute(
        f"SELECT c.number FROM completions AS c WHERE {where}"  # noqa: S608
        f" ORDER BY ifnull(c.created, 0) {direction}, c.id {direction} LIMIT ?",
        (*values, count),
    )
    return [number for (number,) in rows]


# --- the whole list -------------------------------------------------------------------------------


def ids(db: sqlite3.Connection, filters: Filters) -> Iterator[list[str]]:
    """Yield the ids of all conversations of a list. Between two batches no transaction is open.

    Raises SearchError at once.
    """
    if filters.words:
        return _found_ids(db, search_of(filters))
    return _listed_ids(db, *filters.condition())


def _listed_ids(db: sqlite3.Connection, where: str, values: Values) -> Iterator[list[str]]:
    place: Place | None = None
    while True:
        with snapshot(db):
            numbers = next_numbers(db, where, values, place, _BATCH)
            found = ids_of(db, numbers)
            place = place_of(db, numbers[-1]) if numbers else None
        if found:
            yield found
        if place is None:
            return


def _found_ids(db: sqlite3.Connection, search: Search) -> Iterator[list[str]]:
    place: Place | None = None
    while True:
        with snapshot(db):
            numbers = list(searched(db, search, place, best=False, count=_FOUND))
            found = ids_of(db, numbers[:_FOUND])
            place = place_of(db, numbers[_FOUND - 1]) if len(numbers) > _FOUND else None
        if found:
            yield found
        if place is None:
            return


class Newest(NamedTuple):
    """The newest conversations that words find, each with the roles of the messages that match.

    If `bounded`, older ones were not looked for.
    """

    roles: dict[int, set[str | None]]
    bounded: bool


def newest_found(db: sqlite3.Connection, filters: Filters, most: int) -> Newest:
    """Return the newest conversations that words find, `most` at most. Raises SearchError.

    There are fewer where they would take long to find.
    """
    search = search_of(filters, quick=True)
    found: dict[int, set[str | None]] = {}
    for hits in search.owners(db, None, size=_BATCH):
        for _, completion, role in hits:
            if len(found) == most and completion not in found:
                return Newest(found, bounded=True)
            found.setdefault(completion, set()).add(role)
    return Newest(found, search.was_cut)


def ids_of(db: sqlite3.Connection, numbers: Sequence[int]) -> list[str]:
    """Return the ids of those completions that are there."""
    query = "SELECT number, id FROM completions WHERE number IN"
    found = dict(in_parts(db, query, numbers))
    return [found[number] for number in numbers if number in found]


# --- neighbours -----------------------------------------------------------------------------------


def neighbours(
    db: sqlite3.Connection, filters: Filters, completion_id: str, *, best: bool = False
) -> tuple[str | None, str | None]:
    """Return the ids of the conversations before and behind one in a list.

    With words, those far from the beginning of the list are not known. Raises SearchError.
    """
    search = search_of(filters, best=best) if filters.words else None
    where, values = filters.condition()
    number = number_of(db, completion_id)
    if number is None:
        return None, None
    if search is not None:
        with snapshot(db):
            return _found_neighbours(db, search, number)
    with snapshot(db):
        place = place_of(db, number)
        before = ids_of(db, next_numbers(db, where, values, place, 1, backwards=True))
        behind = ids_of(db, next_numbers(db, where, values, place, 1))
    return next(iter(before), None), next(iter(behind), None)


def _found_neighbours(
    db: sqlite3.Connection, search: Search, number: int
) -> tuple[str | None, str | None]:
    order = list[int]()
    seen = set[int]()
    for hits in search.owners(db, None, size=_BATCH):
        for _, completion, _ in hits:
            if completion not in seen:
                seen.add(completion)
                order.append(completion)
        if number in seen and order[-1] != number:
            break
        if len(order) > _NEAR_THE_BEGINNING:
            break
    if number not in seen:
        return None, None
    at = order.index(number)
    found = [ids_of(db, order[n : n + 1]) if n >= 0 else [] for n in (at - 1, at + 1)]
    return next(iter(found[0]), None), next(iter(found[1]), None)
