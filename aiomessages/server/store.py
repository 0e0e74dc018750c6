"""Stored completions in SQLite: one file, or memory.

What lives here knows tables, cursors and order, and nothing of HTTP. Bodies are stored and given
back as the bytes they came as: nothing on the reading side parses JSON. A store is one
connection; it may move between threads, and must not be used by two at once.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .records import Record, Source, read_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Order = Literal["asc", "desc"]

# "aiom" in ASCII: marks the file as ours, so that another program's database stays untouched.
_APPLICATION_ID = 0x61696F6D
_SCHEMA_VERSION = 1
_SCHEMA = f"""
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
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_SCHEMA_VERSION};
"""
# For each order: what comes after a cursor, and how the rows are sorted.
_ORDERS: dict[Order, tuple[str, str]] = {"asc": (">", "ASC"), "desc": ("<", "DESC")}
# SQLite counts rows in 64 bits; one is added to a limit to learn whether more follow.
_MOST_ROWS = 2**63 - 2


class UnknownCompletionError(LookupError):
    """Report a completion id that is not stored, or not visible yet."""


class UnknownCursorError(LookupError):
    """Report an `after` that is the id of nothing in the list."""


class Rows(NamedTuple):
    """One page: pairs of id and body, in order, and whether more follow."""

    items: list[tuple[str, bytes]]
    has_more: bool


class Store:
    """Keep completions and their messages in the SQLite database `database`.

    With a `visibility_delay` (seconds), what was imported less than that ago is not found.
    Raises ValueError for a database that another program, or a later version, has written.
    """

    def __init__(
        self,
        database: str = ":memory:",
        *,
        visibility_delay: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._visibility_delay = visibility_delay
        self._clock = clock
        self._db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the database; a file is then complete in itself."""
        self._db.close()

    def load(self, source: Source) -> int:
        """Store every record of `source` in one transaction and return how many there were.

        A completion that is stored already is replaced, messages and all.
        Raises RecordError; nothing of the source is kept then.
        """
        now = self._clock()
        with self._transaction("IMMEDIATE"):
            return sum(self._put(record, now) for record in read_records(source))

    def completion(self, completion_id: str) -> bytes:
        """Return the JSON text of one completion. Raises UnknownCompletionError."""
        row = self._one(
            "SELECT body FROM completions WHERE id = ? AND imported <= ?",
            (completion_id, self._horizon()),
        )
        if row is None:
            raise UnknownCompletionError(completion_id)
        body: bytes = row[0]
        return body

    def messages(self, completion_id: str, *, after: str | None, limit: int, order: Order) -> Rows:
        """Return a page of one completion's messages.

        Raises UnknownCompletionError and UnknownCursorError.
        """
        beyond, direction = _ORDERS[order]
        with self._transaction("DEFERRED"):
            number = self._number(completion_id)
            where = "completion = ?"
            values: list[Any] = [number]
            if after is not None:
                where += f" AND n {beyond} ?"
                values.append(self._position(number, after))
            return self._rows(f"messages WHERE {where} ORDER BY n {direction}", values, limit)

    def completions(
        self,
        *,
        after: str | None,
        limit: int,
        order: Order,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Rows:
        """Return a page of the completions that match all filters. Raises UnknownCursorError.

        They are sorted by creation time; within one second by id, which stays when a completion
        is imported again.
        """
        beyond, direction = _ORDERS[order]
        with self._transaction("DEFERRED"):
            where = "imported <= ?"
            values: list[Any] = [self._horizon()]
            if after is not None:
                where += f" AND (created, id) {beyond} (?, ?)"
                values += self._moment(after)
            if model is not None:
                where += " AND model = ?"
                values.append(model)
            for pair in (metadata or {}).items():
                where += (
                    " AND number IN (SELECT completion FROM metadata WHERE (name, value) = (?, ?))"
                )
                values += pair
            sort = f"ORDER BY created {direction}, id {direction}"
            return self._rows(f"completions WHERE {where} {sort}", values, limit)

    def _prepare(self) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            # Readers go on while another process imports; in memory this changes nothing.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        marks = tuple(
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        if marks != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise ValueError("the database was written by another program or another version")

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _put(self, record: Record, now: float) -> int:
        self._db.execute("DELETE FROM completions WHERE id = ?", (record.id,))
        number = self._db.execute(
            "INSERT INTO completions (id, created, model, imported, body) VALUES (?, ?, ?, ?, ?)",
            (record.id, record.created, record.model, now, record.body),
        ).lastrowid
        self._db.executemany(
            "INSERT INTO metadata VALUES (?, ?, ?)",
            ((number, name, value) for name, value in record.metadata.items()),
        )
        self._db.executemany(
            "INSERT INTO messages VALUES (?, ?, ?, ?)",
            ((number, n, message.id, message.body) for n, message in enumerate(record.messages)),
        )
        return 1

    def _horizon(self) -> float:
        """Return the time of import from which on completions are not visible yet."""
        return self._clock() - self._visibility_delay

    def _number(self, completion_id: str) -> int:
        row = self._one(
            "SELECT number FROM completions WHERE id = ? AND imported <= ?",
            (completion_id, self._horizon()),
        )
        if row is None:
            raise UnknownCompletionError(completion_id)
        number: int = row[0]
        return number

    def _position(self, number: int, after: str) -> int:
        row = self._one("SELECT n FROM messages WHERE completion = ? AND id = ?", (number, after))
        if row is None:
            raise UnknownCursorError(after)
        position: int = row[0]
        return position

    def _moment(self, after: str) -> tuple[int, str]:
        row = self._one(
            "SELECT created, id FROM completions WHERE id = ? AND imported <= ?",
            (after, self._horizon()),
        )
        if row is None:
            raise UnknownCursorError(after)
        created, id = row
        return created, id

    def _one(self, query: str, values: Iterable[Any]) -> Any:
        return self._db.execute(query, tuple(values)).fetchone()

    def _rows(self, query: str, values: list[Any], limit: int) -> Rows:
        """Read one row more than the page holds: that row says whether more follow."""
        limit = min(limit, _MOST_ROWS)
        found = self._db.execute(
            f"SELECT id, body FROM {query} LIMIT ?",  # noqa: S608 - all of the query is ours
            (*values, limit + 1),
        ).fetchall()
        return Rows(found[:limit], len(found) > limit)


def import_records(database: str, source: Source) -> int:
    """Import the records of `source` into the file `database`; return the number of completions.

    `source` is the path of a `.jsonl` or `.jsonl.gz` file, or an iterable of dicts. Blocks; in an
    event loop use LocalServer.import_records. Raises RecordError, and keeps nothing then.
    """
    store = Store(database)
    try:
        return store.load(source)
    finally:
        store.close()
