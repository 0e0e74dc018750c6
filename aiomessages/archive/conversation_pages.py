"""One conversation for a person to read: its data, and its messages by pages.

A message may have 50 MB, so a page has the JSON of those that are not too large, and of the others
the beginning of their text. All of this runs in the thread of a `ReadConnection`.
"""

import sqlite3
from collections.abc import Collection
from typing import Final

import msgspec

from .browsing import Summary, summary_of
from .connection import snapshot
from .errors import NotInArchiveError
from .found_rows import number_of
from .labels import tool_call_id_of
from .rows import MAX_INTEGER

_LARGE: Final = 256 * 1024  # bytes of the JSON of a message
_MOST: Final = 16 * 1024 * 1024  # bytes of the JSON of a page
_TEXT: Final = 20_001  # characters of a message whose JSON is left out
_ANSWERS: Final = 200  # messages behind a page that may answer its calls

# The queries (S608) are made of constants of this package; values are always bound.


class StoredMessage(msgspec.Struct, frozen=True):
    """A message or reply: its number in the conversation, derived columns, and its JSON.

    `choice` is the number of the choice of a reply, and None for a message. `size` is that of the
    JSON in bytes. If `body` is empty, the JSON was left out for its size, and `text` is cut.
    """

    n: int
    choice: int | None
    role: str | None
    name: str | None
    text: str | None
    size: int
    body: bytes


class ConversationPage(msgspec.Struct, frozen=True):
    """A conversation, and its messages from number `first` up to number `last`, of `total`.

    `total` counts messages and replies. `body` is the JSON of the completion; empty if it is large.
    Times are in Unix seconds.
    """

    summary: Summary
    metadata: list[tuple[str, str | None]]
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    service_tier: str | None
    first_seen: float
    last_seen: float
    gone_since: float | None
    body: bytes
    messages: list[StoredMessage]
    first: int
    last: int
    total: int


def conversation_page(
    db: sqlite3.Connection, completion_id: str, *, at: int = 0, count: int = 100
) -> ConversationPage:
    """Return the page with message number `at`, or the last page. Raises NotInArchiveError."""
    with snapshot(db):
        number = _number(db, completion_id)
        columns = db.execute(
            "SELECT prompt_tokens, completion_tokens, finish_reason, service_tier, first_seen,"
            " last_seen, gone_since,"
            " CASE WHEN length(body) > ? THEN x'' ELSE CAST(body AS BLOB) END"
            " FROM completions WHERE number = ?",
            (_LARGE, number),
        ).fetchone()
        metadata = db.execute(
            "SELECT name, value FROM metadata WHERE completion = ? ORDER BY name", (number,)
        ).fetchall()
        (total,) = db.execute(
            "SELECT count(*) FROM messages WHERE completion = ?", (number,)
        ).fetchone()
        first = max(min(at, total - 1), 0) // count * count
        messages = _messages(db, number, first, first + count)
        summary = summary_of(db, number)
    last = first + len(messages) - 1
    values = (summary, metadata, *columns, messages, first, last, total)
    return ConversationPage(*values)


def message(db: sqlite3.Connection, completion_id: str, n: int) -> StoredMessage:
    """Return one message, whole. Raises NotInArchiveError."""
    with snapshot(db):
        row = db.execute(
            "SELECT n, choice, role, name, text, 0, CAST(body AS BLOB) FROM messages"
            " WHERE completion = ? AND n = ?",
            (_number(db, completion_id), n if 0 <= n <= MAX_INTEGER else -1),
        ).fetchone()
    if row is None:
        raise NotInArchiveError(f"{completion_id}: the archive has no message {n} of it")
    size = {"size": len(row[-1])}
    return msgspec.structs.replace(StoredMessage(*row), **size)


def completion_json(db: sqlite3.Connection, completion_id: str) -> tuple[bytes, int]:
    """Return the JSON of a completion, whole, and the number of its messages and replies.

    Raises NotInArchiveError.
    """
    with snapshot(db):
        number = _number(db, completion_id)
        (body,) = db.execute(
            "SELECT CAST(body AS BLOB) FROM completions WHERE number = ?", (number,)
        ).fetchone()
        (total,) = db.execute(
            "SELECT count(*) FROM messages WHERE completion = ?", (number,)
        ).fetchone()
    return body, total


def answers(
    db: sqlite3.Connection, completion_id: str, call_ids: Collection[str], *, behind: int
) -> dict[str, int]:
    """Return the numbers of the messages behind number `behind` that answer calls, by their ids."""
    with snapshot(db):
        rows = db.execute(
            "SELECT n, CAST(body AS BLOB) FROM messages WHERE completion = ? AND n > ?"
            " AND role = 'tool' AND length(body) <= ? ORDER BY n LIMIT ?",
            (_number(db, completion_id), behind, _LARGE, _ANSWERS),
        ).fetchall()
    found: dict[str, int] = {}
    for n, body in rows:
        answered = tool_call_id_of(body) or ""
        if answered in call_ids:
            found.setdefault(answered, n)
    return found


def _number(db: sqlite3.Connection, completion_id: str) -> int:
    number = number_of(db, completion_id)
    if number is None:
        raise NotInArchiveError(f"{completion_id}: the archive has no such completion")
    return number


def _messages(db: sqlite3.Connection, number: int, first: int, end: int) -> list[StoredMessage]:
    rows = db.execute(
        "SELECT number, n, choice, role, name, text IS NULL FROM messages"
        " WHERE completion = ? AND n >= ? AND n < ? ORDER BY n",
        (number, first, end),
    ).fetchall()
    found = list[StoredMessage]()
    left = _MOST
    for row, n, choice, role, name, has_no_text in rows:
        with db.blobopen("messages", "body", row, readonly=True) as sent:
            size = len(sent)
            left -= size if size <= _LARGE else 0
            body = sent.read() if size <= _LARGE and left >= 0 else b""
        text = None if has_no_text else _text(db, row, whole=bool(body))
        found.append(StoredMessage(n, choice, role, name, text, size, body))
    return found


def _text(db: sqlite3.Connection, row: int, *, whole: bool) -> str:
    # SQL would have the whole of a large text in memory, to cut it.
    with db.blobopen("messages", "text", row, readonly=True) as text:
        if whole:
            return text.read().decode("utf-8", "replace")
        return text.read(_TEXT * 4).decode("utf-8", "ignore")[:_TEXT]
