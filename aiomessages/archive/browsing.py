"""Lists of conversations for a person to browse: pages by cursor, snippets, and neighbours.

A cursor names the place of a conversation in the order, so that a page begins where the last one
ended, whatever was added or removed meanwhile. All of this runs in the thread of a
`ReadConnection`.
"""

import base64
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from .beginnings import beginning, characters
from .connection import snapshot
from .errors import ArchiveError
from .filters import Filters
from .found_rows import Place, in_parts, number_of, place_of
from .query import Term, parse
from .rows import MAX_INTEGER, repaired
from .search import Search
from .selection import Values
from .snippets import Snippet, snippet_of

_SNIPPETS: Final = 3  # of a conversation
_TEXT: Final = 300  # characters of a message in a list
_BATCH: Final = 1000  # ids
_FOUND: Final = 10_000  # the same with words: each batch is a search of its own
# A conversation is looked for among so many results, to know the one before it.
_NEAR_THE_BEGINNING: Final = 1000

_SUMMARY: Final = f"""
SELECT c.number, c.id, c.created, c.model, c.state, c.message_count, c.total_tokens,
    (SELECT {beginning("text", _TEXT)} FROM messages AS m
     WHERE m.completion = c.number AND choice IS NULL
     ORDER BY ifnull(role, '') != 'user', n LIMIT 1),
    (SELECT {beginning("text", _TEXT)} FROM messages AS m
     WHERE m.completion = c.number AND choice IS NOT NULL ORDER BY n LIMIT 1)
FROM completions AS c WHERE c.number IN"""  # noqa: S608 made of constants

_NO_LONGER: Final = "this page of the list is no longer there: begin at its first page"

# The queries (S608) are made of constants of this package; values are always bound.


class CursorError(ArchiveError, ValueError):
    """A cursor that belongs to no page of this list."""


class Summary(msgspec.Struct, frozen=True):
    """A conversation in a list. Of the model and both texts the first 300 characters are there.

    `first_text` is that of the first message of the user, `reply_text` that of the first reply;
    None if there is none. `created` is in Unix seconds.
    """

    id: str
    created: int | None
    model: str | None
    state: str
    message_count: int
    total_tokens: int | None
    first_text: str | None
    reply_text: str | None


class FoundMessage(msgspec.Struct, frozen=True):
    """A message or reply that matches the words: its number in the conversation, and a snippet."""

    n: int
    choice: int | None
    role: str | None
    snippet: Snippet


class Result(msgspec.Struct, frozen=True):
    """A conversation of a list; with words, the first messages in it that match."""

    summary: Summary
    messages: list[FoundMessage]


class ResultPage(msgspec.Struct, frozen=True):
    """A page of a list, and the cursors of the next and the previous page; None if there is none.

    With words the previous page is not known.
    """

    results: list[Result]
    next: str | None
    previous: str | None


# --- cursors --------------------------------------------------------------------------------------

Kind = Literal["after", "before", "ranked"]


class _Cursor(NamedTuple):
    kind: Kind
    place: tuple[Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)], str]

    def text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def _read_cursor(text: str, *, allowed: Sequence[Kind]) -> _Cursor:
    try:
        sent = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(sent, type=_Cursor)
    except ValueError:
        cursor = None
    if cursor is None or cursor.kind not in allowed:
        raise CursorError(_NO_LONGER)
    return cursor


# --- a page ---------------------------------------------------------------------------------------


def find(
    db: sqlite3.Connection,
    filters: Filters,
    *,
    best: bool = False,
    cursor: str | None = None,
    count: int = 20,
) -> ResultPage:
    """Return a page of the conversations, the newest first; with words, `best` sorts by rank.

    Raises SearchError for words that are no query, and CursorError.
    """
    if not filters.words:
        return _page(db, filters, cursor, count)
    search = search_of(filters, best=best)
    allowed: Kind = "ranked" if best else "after"
    start = None if cursor is None else _read_cursor(cursor, allowed=[allowed]).place
    terms = parse(filters.words).terms
    with snapshot(db):
        found = _searched(db, search, start, best=best, count=count)
        summaries = _summaries(db, list(found)[:count])
        results = [
            Result(summaries[number], _messages(db, found[number], terms)) for number in summaries
        ]
    following = None
    if len(found) > count and results:
        following = _Cursor(allowed, _place(results[-1].summary)).text()
    return ResultPage(results, following, None)


def search_of(filters: Filters, *, best: bool = False) -> Search:
    """Return the search for the words. Raises SearchError."""
    where, values = filters.condition()
    role = filters.role and repaired(filters.role)
    return Search(filters.words, where, values, role=role, best=best)


def _searched(
    db: sqlite3.Connection, search: Search, start: Place | None, *, best: bool, count: int
) -> dict[int, list[int]]:
    """Return the next completions, and one more, each with the first messages that match."""
    found: dict[int, list[int]] = {}
    passed: set[int] = set()  # completions of the pages before
    begin = number_of(db, start[1]) if best and start is not None else None
    if best and start is not None and begin is None:
        raise CursorError(_NO_LONGER)
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
        raise CursorError(_NO_LONGER)
    return found


def _page(db: sqlite3.Connection, filters: Filters, cursor: str | None, count: int) -> ResultPage:
    """Return a page of the list without words."""
    where, values = filters.condition()
    at = None if cursor is None else _read_cursor(cursor, allowed=["after", "before"])
    backwards = at is not None and at.kind == "before"
    place = at and at.place
    with snapshot(db):
        numbers = _next(db, where, values, place, count + 1, backwards=backwards)
        has_more = len(numbers) > count
        numbers = numbers[:count]
        if backwards:
            numbers.reverse()
        results = [Result(summary, []) for summary in _summaries(db, numbers).values()]
    if not results:
        return ResultPage([], None, None)
    first, last = _place(results[0].summary), _place(results[-1].summary)
    return ResultPage(
        results,
        _Cursor("after", last).text() if backwards or has_more else None,
        _Cursor("before", first).text() if (has_more if backwards else at is not None) else None,
    )


def _next(
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


def _place(summary: Summary) -> Place:
    return summary.created or 0, summary.id


def _summaries(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Summary]:
    """Return the summaries of those that are there, in the same order."""
    found: dict[int, Summary] = {}
    for number, id, created, model, state, count, tokens, first, reply in in_parts(
        db, _SUMMARY, numbers
    ):
        texts = (characters(first, _TEXT), characters(reply, _TEXT))
        cut = model and model[:_TEXT]
        found[number] = Summary(id, created, cut, state, count, tokens, *texts)
    return {number: found[number] for number in numbers if number in found}


def summary_of(db: sqlite3.Connection, number: int) -> Summary:
    """Return the summary of a completion that is there."""
    return _summaries(db, [number])[number]


def _messages(
    db: sqlite3.Connection, numbers: Sequence[int], terms: Sequence[Term]
) -> list[FoundMessage]:
    query = "SELECT n, choice, role, text FROM messages WHERE number IN"
    rows: list[tuple[Any, ...]] = sorted(in_parts(db, query, numbers))
    return [
        FoundMessage(n, choice, role, snippet_of(text or "", terms))
        for n, choice, role, text in rows
    ]


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
            numbers = _next(db, where, values, place, _BATCH)
            found = _ids_of(db, numbers)
            place = place_of(db, numbers[-1]) if numbers else None
        if found:
            yield found
        if place is None:
            return


def _found_ids(db: sqlite3.Connection, search: Search) -> Iterator[list[str]]:
    place: Place | None = None
    while True:
        with snapshot(db):
            numbers = list(_searched(db, search, place, best=False, count=_FOUND))
            found = _ids_of(db, numbers[:_FOUND])
            place = place_of(db, numbers[_FOUND - 1]) if len(numbers) > _FOUND else None
        if found:
            yield found
        if place is None:
            return


def found_numbers(db: sqlite3.Connection, filters: Filters) -> list[int]:
    """Return the numbers of all conversations that the words find. Raises SearchError."""
    batches = search_of(filters).owners(db, None, size=_BATCH)
    return list(dict.fromkeys(completion for hits in batches for _, completion, _ in hits))


def _ids_of(db: sqlite3.Connection, numbers: Sequence[int]) -> list[str]:
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
        before = _ids_of(db, _next(db, where, values, place, 1, backwards=True))
        behind = _ids_of(db, _next(db, where, values, place, 1))
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
    found = [_ids_of(db, order[n : n + 1]) if n >= 0 else [] for n in (at - 1, at + 1)]
    return next(iter(found[0]), None), next(iter(found[1]), None)
