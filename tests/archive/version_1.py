"""Databases as the local server wrote them before there were archives: version 1 of the schema."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# The statements of that server, unchanged.
SCHEMA = """
CREATE TABLE completions (
    number   INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    created  INTEGER NOT NULL,
    model    TEXT    NOT NULL,
    imported REAL    NOT NULL,
    body     BLOB    NOT NULL
);
CREATE INDEX completions_by_time  ON completions (created, id);
CREATE INDEX completions_by_model ON completions (model, created, id);
CREATE TABLE metadata (
    completion INTEGER NOT NULL REFERENCES completions ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (completion, name)
) WITHOUT ROWID;
CREATE INDEX metadata_by_value ON metadata (name, value, completion);
CREATE TABLE messages (
    completion INTEGER NOT NULL REFERENCES completions ON DELETE CASCADE,
    n          INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    PRIMARY KEY (completion, n),
    UNIQUE (completion, id)
);
PRAGMA application_id = 1634299757;
PRAGMA user_version = 1;
"""


def make(path: Path, records: Iterable[dict[str, Any]], *, imported: float = 1000.0) -> Path:
    """Write a file of version 1 with these records, as that server stored them."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
    db.execute("BEGIN IMMEDIATE")
    for record in records:
        completion = record["completion"]
        body = compact(completion)
        values = (completion["id"], completion["created"], completion["model"], imported, body)
        number = db.execute(
            "INSERT INTO completions (id, created, model, imported, body) VALUES (?, ?, ?, ?, ?)",
            values,
        ).lastrowid
        db.executemany(
            "INSERT INTO metadata VALUES (?, ?, ?)",
            [(number, *pair) for pair in (completion.get("metadata") or {}).items()],
        )
        db.executemany(
            "INSERT INTO messages VALUES (?, ?, ?, ?)",
            [(number, n, m["id"], compact(m)) for n, m in enumerate(record["messages"])],
        )
    db.execute("COMMIT")
    db.close()
    return path


def compact(value: Any) -> bytes:
    """Return JSON without spaces, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
