"""Write one whole conversation into an archive: its completion, messages, replies and words.

The caller holds the transaction. A conversation that the archive has already is replaced.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from typing import Final

from .labels import Labels
from .rows import completion_row, message_row, replies_of
from .text import searchable

_COMPLETION: Final = """
INSERT INTO completions
    (number, id, created, model, service_tier, finish_reason, prompt_tokens, completion_tokens,
     total_tokens, state, message_count, first_seen, last_seen, imported, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT))
"""
_UPDATE: Final = """
UPDATE completions SET created = ?, model = ?, service_tier = ?, finish_reason = ?,
    prompt_tokens = ?, completion_tokens = ?, total_tokens = ?, last_seen = ?,
    body = CAST(? AS TEXT), state = 'complete', gone_since = NULL
WHERE id = ?
"""
_MESSAGE: Final = """
INSERT INTO messages (number, completion, n, choice, id, role, name, text, body)
VALUES (?, ?, ?, nullif(?, -1), ?, ?, nullif(?, 0), ?, CAST(? AS TEXT))
"""
_WORDS: Final = "INSERT INTO words (rowid, text) VALUES (?, ?)"
# The last rows of both tables.
_LAST: Final = """
SELECT (SELECT max(number) FROM completions), (SELECT max(number) FROM messages)
"""


def insert_conversation(
    db: sqlite3.Connection,
    body: bytes,
    messages: Iterable[bytes],
    *,
    replies: Iterable[tuple[int, bytes]] | None = None,
    seen: float,
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
    last_completion, last_message = db.execute(_LAST).fetchone()
    number = (last_completion or 0) + 1
    sent = chain(zip(repeat(None), messages), replies_of(body) if replies is None else replies)
    labels = Labels()
    inputs = _insert_messages(db, number, last_message or 0, sent, labels)
    db.execute(_COMPLETION, (number, *row, state, inputs, first_seen, seen, seen, body))
    _insert_metadata(db, number, metadata)
    labels.insert(db, number)
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
    last: int,
    messages: Iterable[tuple[int | None, bytes]],
    labels: Labels,
) -> int:
    """Insert the messages and the replies of a completion behind row `last` of the table.

    Return the number of messages: a reply has a choice, a message has None.
    """
    rows: list[tuple[object, ...]] = []
    words: list[tuple[int, str]] = []
    inputs = size = 0
    for n, (choice, body) in enumerate(messages):
        number = last + 1 + n
        row = message_row(body)
        # sqlite3 looks for an adapter of each None and bytes, which takes longer than the rest.
        rows.append(
            (
                *(number, completion, n, -1 if choice is None else choice),
                *(row.id, row.role, 0 if row.name is None else row.name, row.text, bytearray(body)),
            )
        )
        labels.add(row.role, body)
        if row.text:
            words.append((number, searchable(row.text)))
        inputs += choice is None
        size += len(body)
        if len(rows) == _ROWS or size > _BYTES:
            _flush(db, rows, words)
            size = 0
    _flush(db, rows, words)
    return inputs


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
