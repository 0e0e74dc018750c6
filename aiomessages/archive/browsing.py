"""Lists of conversations for a person to browse: pages by cursor, with snippets.

A cursor names the place of a conversation in the order, so that a page begins where the last one
ended, whatever was added or removed meanwhile. All of this runs in the thread of a
`ReadConnection`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from .beginnings import beginning, characters
from .connection import snapshot
from .conversation_order import next_numbers, search_of, searched
from .cursors import Cursor, Kind, read_cursor
from .filters import Filters
from .found_rows import Place, in_parts
from .query import Term, parse
from .snippets import Snippet, snippet_of

_TEXT: Final = 300  # characters of a message in a list

_SUMMARY: Final = f"""
SELECT c.number, c.id, c.created, c.model, c.state, c.message_count, c.total_tokens,
    (SELECT {beginning("text", _TEXT)} FROM messages AS m
     WHERE m.completion = c.number AND choice IS NULL
     ORDER BY ifnull(role, '') != 'user', n LIMIT 1),
    (SELECT {beginning("text", _TEXT)} FROM messages AS m
     WHERE m.completion = c.number AND choice IS NOT NULL ORDER BY n LIMIT 1)
FROM completions AS c WHERE c.number IN"""  # noqa: S608 made of constants

# The queries (S608) are made of constants of this package; values are always bound.


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
    start = None if cursor is None else read_cursor(cursor, allowed=[allowed]).place
    terms = parse(filters.words).terms
    with snapshot(db):
        found = searched(db, search, start, best=best, count=count)
        summaries = _summaries(db, list(found)[:count])
        results = [
            Result(summaries[number], _messages(db, found[number], terms)) for number in summaries
        ]
    following = None
    if len(found) > count and results:
        following = Cursor(allowed, _place(results[-1].summary)).text()
    return ResultPage(results, following, None)


def _page(db: sqlite3.Connection, filters: Filters, cursor: str | None, count: int) -> ResultPage:
    """Return a page of the list without words."""
    where, values = filters.condition()
    at = None if cursor is None else read_cursor(cursor, allowed=["after", "before"])
    backwards = at is not None and at.kind == "before"
    place = at and at.place
    with snapshot(db):
        numbers = next_numbers(db, where, values, place, count + 1, backwards=backwards)
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
        Cursor("after", last).text() if backwards or has_more else None,
        Cursor("before", first).text() if (has_more if backwards else at is not None) else None,
    )


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
