"""The tables of a ledger, the values that they hold, and the queries that only read them.

The ledger and `read_status` share these queries; each passes its own connection.
"""

import json
import sqlite3
from typing import Any, Final, Literal

import msgspec

VERSION: Final = 2

# One transaction, so that a killed process leaves no half of a schema. A ledger is known by this
# very text (see `check_schema`): a change, even of a comment, needs another VERSION.
SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE completions (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    messages INTEGER NOT NULL,
    reason TEXT
) WITHOUT ROWID;
CREATE TABLE parts (
    number INTEGER PRIMARY KEY,
    committed INTEGER NOT NULL,   -- bytes
    crc32 INTEGER NOT NULL,       -- of these bytes, running
    rows INTEGER NOT NULL,
    closed INTEGER NOT NULL
);
CREATE TABLE made (
    kind TEXT NOT NULL,           -- manifest or columns
    sha256 TEXT NOT NULL,         -- of a file that may be there; empty while one is being made
    bytes INTEGER NOT NULL,
    PRIMARY KEY (kind, sha256)
) WITHOUT ROWID;
COMMIT;
"""

State = Literal["done", "skipped", "gone", "pending", "lost", "failed"]
"""The state of a completion.

- `done`: it is in the output, whole.
- `skipped`: the layout cannot express it.
- `gone`: the server no longer has it.
- `pending`: the server lists it and does not show it yet.
- `lost`: it changed while it was read, so that only a part of it was read.
- `failed`: it could not be read.
"""

# The states of completions that are missing in the output, by the fields that list their ids.
NAMED: Final[dict[str, State]] = {
    "gone": "gone",
    "pending": "pending",
    "lost": "lost",
    "failed_ids": "failed",
}

REFUSED: Final = "ConfigurationError"
"""The reason of a permanent failure: an id that this client sends to no server."""


class Entry(msgspec.Struct, frozen=True):
    """The state of one completion and the number of its messages; `reason` explains the state."""

    completion_id: str
    state: State
    messages: int = 0
    reason: str | None = None


class Part(msgspec.Struct, frozen=True):
    """The committed extent of one part of the output; `part_files` explains the numbers.

    `closed` means that the file has its final name. For the second part of a single file it means
    that its bytes are being appended to the first part.
    """

    number: int
    committed: int = 0
    crc32: int = 0
    rows: int = 0
    closed: bool = False


def read_settings(db: sqlite3.Connection) -> dict[str, Any]:
    """Return the settings of the export by name, with `finished` if it is finished."""
    rows = db.execute("SELECT name, value FROM settings")
    return {name: json.loads(value) for name, value in rows}


def count_states(db: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Return, by state, the number of completions and of their messages."""
    rows = db.execute("SELECT state, count(*), sum(messages) FROM completions GROUP BY state")
    return {state: (number, messages) for state, number, messages in rows}


def count_reasons(db: sqlite3.Connection, state: State) -> dict[str, int]:
    """Return, by reason, the number of completions in a state."""
    query = "SELECT reason, count(*) FROM completions WHERE state = ? GROUP BY reason"
    return dict(db.execute(query, (state,)))


def describe_missing(db: sqlite3.Connection) -> dict[str, Any]:
    """Return the fields of a report or status about completions that are not in the output."""
    ids = {name: list_ids(db, state) for name, state in NAMED.items()}
    return {"skipped": count_reasons(db, "skipped"), "failed": count_reasons(db, "failed"), **ids}


def list_ids(db: sqlite3.Connection, state: State) -> list[str]:
    """Return the ids of the completions in a state, sorted."""
    rows = db.execute("SELECT id FROM completions WHERE state = ? ORDER BY id", (state,))
    return [completion_id for (completion_id,) in rows]
