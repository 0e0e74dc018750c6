"""The schema of an archive: its tables, and its version.

`docs/archive-schema.md` documents every table and column for people who query an archive.
"""

import sqlite3
from typing import Final

from .errors import NotAnArchiveError
from .text import TOKENIZER

# SQLite's own mark of a file: "aiom" in ASCII, so that the database of another program stays
# untouched.
APPLICATION_ID: Final = 0x61696F6D
# Version 1 is that of the local server; the index of version 2 had another form of some letters.
VERSION: Final = 3
# Row values need 3.15, `remove_diacritics 2` needs 3.27.
LOWEST_SQLITE: Final = (3, 27, 0)

# The index of words has no text of its own: `messages` has it.
WORDS: Final = f"""\
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = '', tokenize = "{TOKENIZER}"
)"""
# `body` is the JSON as the server sent it, on one line: the archive's source of truth. The columns
# beside it are derived from it; a value that no column can hold is NULL there and whole in `body`.
# Tables are created without any check that could refuse a completion.
_TABLES: Final = f"""\
CREATE TABLE completions (
    number            INTEGER PRIMARY KEY,
    id                TEXT    NOT NULL UNIQUE,
    created           INTEGER,
    model             TEXT,
    service_tier      TEXT,
    finish_reason     TEXT,
    prompt_tokens     INTEGER,
    completion_tokens INTEGER,
    total_tokens      INTEGER,
    state             TEXT    NOT NULL,
    message_count     INTEGER NOT NULL,
    first_seen        REAL    NOT NULL,
    last_seen         REAL    NOT NULL,
    gone_since        REAL,
    imported          REAL    NOT NULL,
    body              TEXT    NOT NULL
);
CREATE INDEX completions_by_time ON completions
    (ifnull(created, 0), id, created, model, state, finish_reason, total_tokens);
CREATE INDEX completions_by_model ON completions (model, ifnull(created, 0), id);
CREATE TABLE metadata (
    completion INTEGER NOT NULL REFERENCES completions ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    value      TEXT,
    PRIMARY KEY (completion, name)
) WITHOUT ROWID;
CREATE INDEX metadata_by_value ON metadata (name, value, completion);
CREATE TABLE messages (
    number     INTEGER PRIMARY KEY,
    completion INTEGER NOT NULL REFERENCES completions ON DELETE CASCADE,
    n          INTEGER NOT NULL,
    choice     INTEGER,
    id         TEXT,
    role       TEXT,
    name       TEXT,
    text       TEXT,
    body       TEXT    NOT NULL,
    UNIQUE (completion, n)
);
CREATE INDEX messages_by_id ON messages (completion, id);
CREATE INDEX messages_by_role ON messages (role);
CREATE TABLE labels (
    completion INTEGER NOT NULL REFERENCES completions ON DELETE CASCADE,
    kind       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (completion, kind, value)
) WITHOUT ROWID;
CREATE INDEX labels_by_value ON labels (kind, value, completion, count);
CREATE TABLE waiting (
    id       TEXT    PRIMARY KEY,
    state    TEXT    NOT NULL,
    error    TEXT,
    since    REAL    NOT NULL,
    attempts INTEGER NOT NULL,
    next     REAL    NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
    number    INTEGER PRIMARY KEY,
    kind      TEXT    NOT NULL,
    selection TEXT    NOT NULL,
    begin     REAL    NOT NULL,
    "end"     REAL,
    result    TEXT,
    new       INTEGER NOT NULL DEFAULT 0,
    changed   INTEGER NOT NULL DEFAULT 0,
    gone      INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    requests  INTEGER NOT NULL DEFAULT 0,
    refused   INTEGER NOT NULL DEFAULT 0,
    anchor    TEXT
);
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT
) WITHOUT ROWID;
{WORDS};
CREATE VIEW conversations AS
SELECT id, created, model, state, message_count, prompt_tokens, completion_tokens, total_tokens,
    (SELECT text FROM messages WHERE completion = completions.number AND choice IS NULL
     ORDER BY n LIMIT 1) AS first_message,
    (SELECT text FROM messages WHERE completion = completions.number AND choice IS NOT NULL
     ORDER BY n LIMIT 1) AS reply
FROM completions;
"""  # noqa: S608 made of constants
# The statements that create an archive, in order.
SCHEMA: Final = (
    *_TABLES.removesuffix(";\n").split(";\n"),
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


def check_sqlite() -> None:
    """Raise NotAnArchiveError if this Python's SQLite cannot hold an archive."""
    if sqlite3.sqlite_version_info < LOWEST_SQLITE:
        lowest = ".".join(map(str, LOWEST_SQLITE))
        raise NotAnArchiveError(
            f"an archive needs SQLite {lowest} or later, and this Python has"
            f" {sqlite3.sqlite_version}"
        )


def version_of(db: sqlite3.Connection) -> int:
    """Return the version of the schema; 0 for a database without any table.

    Raises NotAnArchiveError for the database of another program and for a later version.
    """
    (mark,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not mark and db.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
        return 0
    if mark != APPLICATION_ID or version < 1:
        raise NotAnArchiveError("this database was written by another program")
    if version > VERSION:
        raise NotAnArchiveError(
            f"this archive was written by a later version of aiomessages (schema {version}, and"
            f" this version knows {VERSION})",
            hint="update aiomessages",
        )
    return int(version)
