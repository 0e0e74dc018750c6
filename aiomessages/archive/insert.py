"""Write one whole conversation into an archive: its completion, messages, replies and words.

The caller holds the transaction. A conversation that the archive has already is replaced.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from .labels import Labels
from .rows import completion_row, message_row, replies_of
from .text import searchable

_COMPLETION: Final = """
INSERT INTO completions
    (id, created, model, service_tier, finish_reason, prompt_tokens, completion_tokens,
     total_tokens, state, message_count, first_seen, last_seen, imported, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, CAST(? AS TEXT))
"""
_UPDATE: Final = """
UPDATE completions SET created = ?, model = ?, service_tier = ?, finish_reason = ?,
    prompt_tokens = ?, completion_tokens = ?, total_tokens = ?, last_seen = ?,
    body = CAST(? AS TEXT), state = 'complete', gone_since = NULL
WHERE id = ?
"""
_MESSAGE: Final = """
INSERT INTO messages (number, completion, n, choice, id, role, name, text, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT))
"""
_WORDS: Final = "INSERT INTO words (rowid, text) VALUES (?, ?)"


def insert_conversation(
    db: sqlite3.Connection,
    body: bytes,
    messages: Iterable[bytes],
    *,
    replies: Iterable[tuple[int, bytes]] | None = None,
    seen: float,
    imported: float | None = None,
    state: str = "complete",
) -> int:
    """Store a completion with all of its messages, and return the number of messages.

    `body` and `messages` are JSON on one line, as the server sent it; `replies` are pairs of a
    choice's number and its message (None: all that `body` has). `seen` is the time in Unix seconds
    at which the completion was listed. Raises ValueError for JSON that is no completion.
    """
    row, metadata = completion_row(body)
    first_seen = remove(db, row.id)
    first_seen = seen if first_seen is None else first_seen
    imported = seen if imported is None else imported
    values = (*row, state, first_seen, seen, imported, body)
    number = db.execute(_COMPLETION, values).lastrowid or 0  # an INSERT has one
    _insert_metadata(db, number, metadata)
    labels = Labels()
    inputs = _insert_messages(db, number, 0, ((None, message) for message in messages), labels)
    sent = iter(replies_of(body) if replies is None else replies)
    _insert_messages(db, number, inputs, sent, labels)
    labels.insert(db, number)
    db.execute("UPDATE completions SET message_count = ? WHERE number = ?", (inputs, number))
    return inputs


def update_completion(db: sqlite3.Connection, body: bytes, *, seen: float) -> None:
    """Replace the JSON of a completion and its derived columns; its messages stay.

    Raises ValueError for JSON that is no completion.
    """
    (completion_id, *columns), metadata = completion_row(body)
    db.execute(_UPDATE, (*columns, seen, body, completion_id))
    (number,) = db.execute(
        "SELECT number FROM completions WHERE id = ?", (completion_id,)
    ).fetchone()
    db.execute("DELETE FROM metadata WHERE completion = ?", (number,))
    _insert_metadata(db, number, metadata)


def _insert_metadata(
    db: sqlite3.Connection, number: int, metadata: Mapping[str, str | None]
) -> None:
    rows = [(number, name, value) for name, value in metadata.items()]
    db.executemany("INSERT INTO metadata VALUES (?, ?, ?)", rows)


def remove(db: sqlite3.Connection, completion_id: str) -> float | None:
    """Remove a conversation, and return when it was first seen; None if there is none."""
    found = db.execute(
        "SELECT number, first_seen FROM completions WHERE id = ?", (completion_id,)
    ).fetchone()
    if found is None:
        return None
    number, first_seen = found
    # The index has no text of its own: it forgets what it is told that it holds.
    texts = db.execute(
        "SELECT number, text FROM messages WHERE completion = ? AND text != ''", (number,)
    ).fetchall()
    db.executemany(
        "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)",
        [(message, searchable(text)) for message, text in texts],
    )
    db.execute("DELETE FROM messages WHERE completion = ?", (number,))
    db.execute("DELETE FROM metadata WHERE completion = ?", (number,))
    db.execute("DELETE FROM labels WHERE completion = ?", (number,))
    db.execute("DELETE FROM completions WHERE number = ?", (number,))
    return float(first_seen)


def _insert_messages(
    db: sqlite3.Connection,
    completion: int,
    n: int,
    messages: Iterator[tuple[int | None, bytes]],
    labels: Labels,
) -> int:
    """Insert messages from number `n` on, and return the number of the next one."""
    (number,) = db.execute("SELECT ifnull(max(number), 0) FROM messages").fetchone()
    rows: list[tuple[object, ...]] = []
    words: list[tuple[int, str]] = []
    size = 0
    for choice, body in messages:
        number += 1
        row = message_row(body)
        rows.append((number, completion, n, choice, *row, body))
        labels.add(row.role, body)
        if row.text:
            words.append((number, searchable(row.text)))
        n += 1
        size += len(body)
        if len(rows) == _ROWS or size > _BYTES:
            _flush(db, rows, words)
            size = 0
    _flush(db, rows, words)
    return n


# The rows in memory at a time, and their JSON: a conversation may be larger than memory.
_ROWS: Final = 500
_BYTES: Final = 4 * 1024 * 1024


def _flush(
    db: sqlite3.Connection, rows: list[tuple[object, ...]], words: list[tuple[int, str]]
) -> None:
    db.executemany(_MESSAGE, rows)
    db.executemany(_WORDS, words)
    rows.clear()
    words.clear()
