"""Create the tables of an archive, or bring an older file to the schema of today."""

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final

from .errors import NotAnArchiveError
from .insert import insert_conversation
from .labels import Labels
from .schema import SCHEMA, VERSION, version_of
from .text import searchable

_INDEXES_OF_1: Final = ("completions_by_time", "completions_by_model", "metadata_by_value")
_NEW_IN_3: Final = (
    "CREATE TABLE labels",
    "CREATE INDEX labels_by_value",
    "CREATE INDEX completions_by_time",
    "CREATE INDEX messages_by_role",
)
_TABLES_OF_1: Final = ("metadata", "messages", "completions")  # those that refer to another first


def migrate(db: sqlite3.Connection) -> None:
    """Bring a database to the schema of today, in one transaction: all or nothing.

    Raises NotAnArchiveError as `version_of` does, and if an older file holds other things than the
    local server wrote.
    """
    if version_of(db) == VERSION:  # a look needs no lock
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(db)  # another process may have migrated it meanwhile
        if version == 0:
            _create(db)
        elif version == 1:
            _from_1(db)
        elif version < VERSION:
            _from_2(db)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _from_2(db: sqlite3.Connection) -> None:
    """Fill the index with all texts again, for some letters had another form; add the labels."""
    db.execute("INSERT INTO words (words) VALUES ('delete-all')")
    texts = db.execute("SELECT number, text FROM messages WHERE text != ''")
    db.executemany(
        "INSERT INTO words (rowid, text) VALUES (?, ?)",
        ((number, searchable(text)) for number, text in texts),
    )
    db.execute("DROP INDEX IF EXISTS completions_by_time")
    for statement in SCHEMA:
        if statement.startswith(_NEW_IN_3):
            db.execute(statement)
    messages = db.execute(
        "SELECT completion, role, CAST(body AS BLOB) FROM messages ORDER BY completion, n"
    )
    for completion, rows in groupby(messages, key=itemgetter(0)):
        labels = Labels()
        for _, role, body in rows:
            labels.add(role, body)
        labels.insert(db, completion)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _create(db: sqlite3.Connection) -> None:
    # Not by `executescript`, which commits the transaction before it begins.
    for statement in SCHEMA:
        db.execute(statement)


def _from_1(db: sqlite3.Connection) -> None:
    """Copy the completions of version 1, the local server's: it had few of the columns."""
    for name in _INDEXES_OF_1:
        db.execute(f"DROP INDEX IF EXISTS {name}")
    for name in _TABLES_OF_1:
        db.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    _create(db)
    completions = db.execute(
        "SELECT number, id, imported, CAST(body AS BLOB) FROM old_completions ORDER BY number"
    )
    for number, id, imported, body in completions:
        try:
            insert_conversation(db, body, _messages_of_1(db, number), seen=imported)
        except ValueError as error:
            raise NotAnArchiveError(f"its completion {id!r} cannot be read: {error}") from error
    for name in _TABLES_OF_1:
        db.execute(f"DROP TABLE old_{name}")


def _messages_of_1(db: sqlite3.Connection, completion: int) -> Iterator[bytes]:
    rows = db.execute(
        "SELECT CAST(body AS BLOB) FROM old_messages WHERE completion = ? ORDER BY n", (completion,)
    )
    return (body for (body,) in rows)
