"""Stored completions in SQLite: one file, or memory.

This module knows tables, cursors and order, and nothing of HTTP. It stores and returns JSON texts
as bytes; reading parses no JSON. A store is one connection. It may move between threads, but two
threads must not use it at the same time.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .records import Record, Source, read_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Order = Literal["asc", "desc"]

# "aiom" in ASCII marks the file as ours, so that the database of another program stays untouched.
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
# For each order: the comparison that selects rows after a cursor, and the sort direction.
_ORDERS: dict[Order, tuple[str, str]] = {"asc": (">", "ASC"), "desc": ("<", "DESC")}
# SQLite counts rows in signed 64 bits, and a page reads one row more than its limit.
_MAX_LIMIT = 2**63 - 2


class UnknownCompletionError(LookupError):
    """No visible completion has this id."""


class UnknownCursorError(LookupError):
    """No item of the list has the id given as `after`."""


class Rows(NamedTuple):
    """A page: its (id, JSON text) pairs in order, and whether more follow."""

    items: list[tuple[str, bytes]]
    has_more: bool


class Store:
    """Store completions and their messages in the SQLite database at path `database`.

    A completion is not found until `visibility_delay` seconds after its import; `clock` returns
    the time in seconds. Raises ValueError for a database of another program or another version.
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
        """Close the database; its one file then holds everything."""
        self._db.close()

    def load(self, source: Source) -> int:
        """Store all records of `source` in one transaction, and return their number.

        A record replaces a stored completion of the same id with all its messages.
        Raises RecordError for an invalid record, and stores nothing then.
        """
        now = self._clock()
        with self._transaction("IMMEDIATE"):
            return sum(self._insert(record, now) for record in read_records(source))

    def completion(self, completion_id: str) -> bytes:
        """Return the JSON text of one completion. Raises UnknownCompletionError."""
        body: bytes
        (body,) = self._visible("body", completion_id, UnknownCompletionError)
        return body

    def messages(self, completion_id: str, *, after: str | None, limit: int, order: Order) -> Rows:
        """Return a page of at most `limit` messages of a completion, those behind the id `after`.

        Raises UnknownCompletionError or UnknownCursorError.
        """
        comparison, direction = _ORDERS[order]
        with self._transaction("DEFERRED"):
            (number,) = self._visible("number", completion_id, UnknownCompletionError)
            where = "completion = ?"
            values: list[Any] = [number]
            if after is not None:
                where += f" AND n {comparison} ?"
                values += self._one(
                    UnknownCursorError(after),
                    "SELECT n FROM messages WHERE completion = ? AND id = ?",
                    (number, after),
                )
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

        The order is by creation time, and within one second by id: unlike the row number, an id
        stays the same when a completion is imported again.
        """
        comparison, direction = _ORDERS[order]
        with self._transaction("DEFERRED"):
            where = "imported <= ?"
            values: list[Any] = [self._latest_visible()]
            if after is not None:
                where += f" AND (created, id) {comparison} (?, ?)"
                values += self._visible("created, id", after, UnknownCursorError)
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
            # WAL lets readers go on while another process imports; it has no effect in memory.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        header = tuple(
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        if header != (_APPLICATION_ID, _SCHEMA_VERSION):
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

    def _insert(self, record: Record, now: float) -> int:
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
            ((number, n, *message) for n, message in enumerate(record.messages)),
        )
        return 1

    def _latest_visible(self) -> float:
        """Return the latest time of import at which a completion is visible by now."""
        return self._clock() - self._visibility_delay

    def _visible(self, columns: str, completion_id: str, missing: type[LookupError]) -> Any:
        """Return columns of a completion; raise `missing` if no visible one has the id."""
        return self._one(
            missing(completion_id),
            f"SELECT {columns} FROM completions WHERE id = ? AND imported <= ?",  # noqa: S608
            (completion_id, self._latest_visible()),
        )

    def _one(self, missing: LookupError, query: str, values: tuple[Any, ...]) -> Any:
        """Return the first row of a query; raise `missing` without one."""
        row = self._db.execute(query, values).fetchone()
        if row is None:
            raise missing
        return row

    def _rows(self, query: str, values: list[Any], limit: int) -> Rows:
        """Return the first `limit` rows of a query; one more row shows whether others follow."""
        limit = min(limit, _MAX_LIMIT)
        found = self._db.execute(
            f"SELECT id, body FROM {query} LIMIT ?",  # noqa: S608 - the query holds no input
            (*values, limit + 1),
        ).fetchall()
        return Rows(found[:limit], len(found) > limit)


def import_records(database: str, source: Source) -> int:
    """Import the records of `source` into the file `database`; return the number of completions.

    `source` is the path of a `.jsonl` or `.jsonl.gz` file, or an iterable of dicts. The call
    blocks; in an event loop use LocalServer.import_records. Raises RecordError for an invalid
    record, and stores nothing then.
    """
    store = Store(database)
    try:
        return store.load(source)
    finally:
        store.close()
