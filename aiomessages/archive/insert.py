"""Write one whole conversation into an archive: its completion, messages, replies and words.

The caller holds the transaction. A conversation that the archive has already is replaced.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from .labels import Labels
from .replies import unlisted_replies
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
# The last rows of both tables, and the row of a completion, if there is one.
_NUMBERS: Final = """
SELECT (SELECT ifnull(max(number), 0) FROM completions),
    (SELECT ifnull(max(number), 0) FROM messages), number, first_seen
FROM (SELECT 1) LEFT JOIN completions ON id = ?
"""


def insert_conversation(
    db: sqlite3.Connection,
    body: bytes,
    messages: Iterable[bytes],
    *,
    seen: float,
    state: str = "complete",
) -> int:
    """Store a completion with all of its messages and replies; return the number of messages.

    `body` and `messages` are JSON on one line, as the server sent it; `seen` is the time in Unix
    seconds at which the completion was listed. Raises ValueError for JSON that is no completion.
    """
    row, metadata = completion_row(body)
    last, last_message, known, first_seen = db.execute(_NUMBERS, (row.id,)).fetchone()
    if known is not None:
        _remove(db, known)
    rows = _MessageRows(db, last + 1, last_message)
    replies = replies_of(body)
    end = deque[bytes](maxlen=len(replies))
    for message in messages:
        rows.add(message)
        end.append(message)
    count = rows.n
    for choice, reply in unlisted_replies(replies, [*end], count, body):
        rows.add(reply, choice)
    rows.flush()
    first_seen = seen if first_seen is None else first_seen
    # sqlite3 looks for an adapter of each `bytes` and None, which takes longer than the rest.
    values = (last + 1, *row, state, count, first_seen, seen, seen, bytearray(body))
    db.execute(_COMPLETION, values)
    _insert_metadata(db, last + 1, metadata)
    rows.labels.insert(db, last + 1)
    return count


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


def _remove(db: sqlite3.Connection, number: int) -> None:
    """Remove a conversation."""
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


# The rows in memory at a time, and their JSON: a conversation may be larger than memory.
_ROWS: Final = 500
_BYTES: Final = 4 * 1024 * 1024


class _MessageRows:
    """The messages and replies of a completion, written behind row `last` of the table."""

    def __init__(self, db: sqlite3.Connection, completion: int, last: int) -> None:
        self._db = db
        self._completion = completion
        self._first = last + 1
        self.n = 0  # of the next message
        self.labels = Labels()
        self._rows: list[tuple[object, ...]] = []
        self._words: list[tuple[int, str]] = []
        self._size = 0

    def add(self, body: bytes, choice: int = -1) -> None:
        """Add a message, or the reply of a choice."""
        row, number = message_row(body), self._first + self.n
        name = 0 if row.name is None else row.name  # an adapter is searched for None as well
        columns = (row.id, row.role, name, row.text, bytearray(body))
        self._rows.append((number, self._completion, self.n, choice, *columns))
        self.labels.add(row.role, body)
        if row.text:
            self._words.append((number, searchable(row.text)))
        self.n += 1
        self._size += len(body)
        if len(self._rows) == _ROWS or self._size > _BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows in memory."""
        self._db.executemany(_MESSAGE, self._rows)
        self._db.executemany(_WORDS, self._words)
        self._rows.clear()
        self._words.clear()
        self._size = 0
