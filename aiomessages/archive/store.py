"""The pages of an archive, as the API lists them: the store behind the local server.

This module knows cursors and order, and nothing of HTTP. It returns JSON texts as bytes; reading
parses no JSON. A store is one connection. It may move between threads, but two threads must not use
it at the same time.

A completion whose messages could not be read whole (`lost`) is not listed: its list would look
complete.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .database import MEMORY, is_outdated, open_to_serve, steady
from .errors import sqlite_errors
from .insert import insert_conversation
from .records import Source, read_records

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping

Order = Literal["asc", "desc"]

# The queries (S608) are made of constants of this module; values are always bound.
_VISIBLE = "imported <= ? AND state != 'lost'"
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
    the time in seconds. An older database is migrated; one that this user may not write is read.
    Raises NotAnArchiveError for a database of another program or of a later version, and each
    method another ArchiveError where the file is damaged or cannot be used.
    """

    def __init__(
        self,
        database: str = MEMORY,
        *,
        visibility_delay: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._visibility_delay = visibility_delay
        self._clock = clock
        self._path = database
        self._db = open_to_serve(database)

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
            count = 0
            for record in read_records(source):
                messages = [body for _, body in record.messages]
                insert_conversation(self._db, record.body, messages, seen=now)
                count += 1
            return count

    def completion(self, completion_id: str) -> bytes:
        """Return the JSON text of one completion. Raises UnknownCompletionError."""
        with self._transaction("DEFERRED"):
            body: bytes
            columns = "CAST(body AS BLOB)"
            (body,) = self._visible(columns, completion_id, UnknownCompletionError)
            return body

    def messages(self, completion_id: str, *, after: str | None, limit: int, order: Order) -> Rows:
        """Return a page of at most `limit` messages of a completion, those behind the id `after`.

        Raises UnknownCompletionError or UnknownCursorError.
        """
        comparison, direction = _ORDERS[order]
        with self._transaction("DEFERRED"):
            (number,) = self._visible("number", completion_id, UnknownCompletionError)
            where = "completion = ? AND choice IS NULL"
            values: list[Any] = [number]
            if after is not None:
                where += f" AND n {comparison} ?"
                values += self._one(
                    UnknownCursorError(after),
                    "SELECT n FROM messages WHERE completion = ? AND id = ? AND choice IS NULL"
                    " ORDER BY n",
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
            where = _VISIBLE
            values: list[Any] = [self._latest_visible()]
            if after is not None:
                created, id = self._visible("ifnull(created, 0), id", after, UnknownCursorError)
                # The first term is what SQLite finds in the index; without it, it reads all rows.
                where += (
                    f" AND ifnull(created, 0) {comparison}= ?"
                    f" AND (ifnull(created, 0), id) {comparison} (?, ?)"
                )
                values += [created, created, id]
            if model is not None:
                where += " AND model = ?"
                values.append(model)
            for pair in (metadata or {}).items():
                where += (
                    " AND number IN (SELECT completion FROM metadata WHERE (name, value) = (?, ?))"
                )
                values += pair
            sort = f"ORDER BY ifnull(created, 0) {direction}, id {direction}"
            return self._rows(f"completions WHERE {where} {sort}", values, limit)

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        with sqlite_errors(self._path), steady(self._renewed(), self._path):
            self._db.execute(f"BEGIN {kind}")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                # SQLite itself ends a transaction for which the disk has no room.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _renewed(self) -> sqlite3.Connection:
        """Return the connection, opened anew if it is outdated."""
        if is_outdated(self._db):
            self._db.close()
            self._db = open_to_serve(self._path)
        return self._db

    def _latest_visible(self) -> float:
        """Return the latest time of import at which a completion is visible by now."""
        return self._clock() - self._visibility_delay

    def _visible(self, columns: str, completion_id: str, missing: type[LookupError]) -> Any:
        """Return columns of a completion; raise `missing` if no visible one has the id."""
        return self._one(
            missing(completion_id),
            f"SELECT {columns} FROM completions WHERE id = ? AND {_VISIBLE}",  # noqa: S608
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
            f"SELECT id, CAST(body AS BLOB) FROM {query} LIMIT ?",  # noqa: S608
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
