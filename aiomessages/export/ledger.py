"""The ledger: the record of an export's commits, in a SQLite file beside its output.

Of a file of the output only the first `committed` bytes count. One transaction records a whole
batch, after its bytes are durable, and never before.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NoReturn, Self, TypeVar

import msgspec

from .errors import ChangedError
from .ledger_schema import (
    REFUSED,
    SCHEMA,
    VERSION,
    Entry,
    Part,
    State,
)
from .sqlite_files import check_same, check_schema, create_private, sqlite_errors

T = TypeVar("T")

# Rows of one statement. At each step of a statement another thread may take the interpreter lock,
# so that many rows in one step cost a fifth less CPU time per page than a step for each row.
# (SQLite before 3.32 takes at most 999 values in a statement.)
MAX_ROWS: Final = 100


class Ledger:
    """The ledger of one destination; opening it creates a missing file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        identity = create_private(path)
        check_schema(path, SCHEMA, json.dumps(VERSION))
        # Two connections: while a thread commits with the first, the event loop reads with the
        # second. The second one's own database holds the ids that this run has seen. It is a file
        # without a name: it grows on the disk, not in memory, and a run that changes nothing leaves
        # the ledger unchanged.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._reader = sqlite3.connect("", isolation_level=None, uri=True)
        try:
            with sqlite_errors(path):
                self._prepare()
            check_same(path, identity)
        except BaseException:
            self._close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        # FULL makes each commit durable before it returns; NORMAL would sync the log only at a
        # checkpoint, so that a power cut could take back a batch that was reported as committed.
        self._db.execute("PRAGMA synchronous = FULL")
        if not self._db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            self._db.executescript(SCHEMA)
        self._reader.execute("PRAGMA journal_mode = OFF")  # its own database ends with the process
        self._reader.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._reader.execute("ATTACH ? AS ledger", (self._path.absolute().as_uri(),))
        finished = self._reader.execute("SELECT 1 FROM settings WHERE name = 'finished'")
        self._finished = finished.fetchone() is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        self._reader.close()
        self._db.close()

    def _read(self, query: str, *arguments: object) -> list[Any]:
        with sqlite_errors(self._path):
            return self._reader.execute(query, arguments).fetchall()

    def query(self, query: Callable[..., T], *arguments: object) -> T:
        """Return the result of a query of `ledger_schema` with its arguments."""
        with sqlite_errors(self._path):
            return query(self._reader, *arguments)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Record all changes of a block durably, or none of them."""
        with sqlite_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # some errors roll back by themselves
                    self._db.execute("ROLLBACK")

    # --- the settings of the export ---------------------------------------------------------------

    def agree(self, settings: Mapping[str, Any], selection: Mapping[str, Any] | None) -> None:
        """Record the settings of the export; raise ChangedError if the ledger records others.

        `selection` narrows a list of completions; it is None for ids, which may differ in each run.
        An export that holds nothing yet takes new settings.
        """
        known, wanted, differing = self.query(agreement, settings, selection)
        if differing or wanted.keys() - known.keys():
            with self._transaction():
                if differing:
                    self._db.execute("DELETE FROM settings")
                    self._db.execute("DELETE FROM completions")
                self._db.executemany(
                    "INSERT OR REPLACE INTO settings VALUES (?, ?)", wanted.items()
                )
            self._finished = self._finished and not differing

    @property
    def finished(self) -> bool:
        """Whether the output has its final name and holds all that is recorded."""
        return self._finished

    def finish(self) -> None:
        """Record that the output is finished, and the time."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO settings VALUES ('finished', ?)", (json.dumps(time.time()),)
            )
        self._finished = True

    def reopen(self) -> None:
        """Record that the output is not finished, if it was."""
        if not self._finished:
            return
        with self._transaction():
            self._db.execute("DELETE FROM settings WHERE name = 'finished'")
        self._finished = False

    def begin_run(self, total: int | None) -> None:
        """Record that a run begins, and how many completions its source names, if it knows."""
        with self._transaction():
            found = self._db.execute("SELECT value FROM settings WHERE name = 'run'").fetchone()
            number = json.loads(found[0])["number"] + 1 if found else 1
            value = json.dumps({"number": number, "total": total})
            self._db.execute("INSERT OR REPLACE INTO settings VALUES ('run', ?)", (value,))

    # --- committed batches ------------------------------------------------------------------------

    def entries(self, completion_ids: Collection[str]) -> dict[str, Entry]:
        """Return the entries of at most MAX_ROWS ids; ids without an entry are left out."""
        if not completion_ids:
            return {}
        query = "SELECT id, state, messages, reason FROM completions WHERE id IN (VALUES ...)"
        found = self._read(_for_many(query, "(?)", completion_ids), *completion_ids)
        return {row[0]: Entry(*row) for row in found}

    def parts(self) -> list[Part]:
        """Return the parts of the output, in order."""
        rows = self._read(
            "SELECT number, committed, crc32, rows, closed FROM parts ORDER BY number"
        )
        return [Part(number, size, crc, count, bool(end)) for number, size, crc, count, end in rows]

    def commit(self, parts: Iterable[Part], entries: Iterable[Entry]) -> None:
        """Record a batch whose bytes are durable: the new extent of parts, and completions."""
        with self._transaction():
            self._put(parts)
            rows = map(msgspec.structs.astuple, entries)
            while some := list(islice(rows, MAX_ROWS)):
                statement = "INSERT OR REPLACE INTO completions VALUES ..."
                statement = _for_many(statement, "(?, ?, ?, ?)", some)
                self._db.execute(statement, list(chain.from_iterable(some)))

    def _put(self, parts: Iterable[Part]) -> None:
        statement = "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)"
        self._db.executemany(statement, map(msgspec.structs.astuple, parts))

    def forget(self, number: int) -> None:
        """Remove a part from the record."""
        with self._transaction():
            self._db.execute("DELETE FROM parts WHERE number = ?", (number,))

    def join(self, part: Part) -> None:
        """Record that a part holds the bytes of all parts after it, and remove those."""
        with self._transaction():
            self._put([part])
            self._db.execute("DELETE FROM parts WHERE number > ?", (part.number,))

    def generated(self, kind: str) -> dict[str, int]:
        """Return the size of each generated file of a kind that may exist, by SHA-256."""
        # A thread calls this, so it reads with the connection that is not the event loop's.
        with sqlite_errors(self._path):
            return dict(self._db.execute("SELECT sha256, bytes FROM made WHERE kind = ?", (kind,)))

    def record_generated(self, kind: str, files: Mapping[str, int]) -> None:
        """Record which generated files of a kind may exist: their sizes by SHA-256."""
        with self._transaction():
            self._db.execute("DELETE FROM made WHERE kind = ?", (kind,))
            rows = [(kind, sha256, size) for sha256, size in files.items()]
            self._db.executemany("INSERT INTO made VALUES (?, ?, ?)", rows)

    # --- ids seen by this run ---------------------------------------------------------------------

    def first_sights(self, completion_ids: Sequence[str]) -> set[str]:
        """Record that the source named at most MAX_ROWS ids; return those new in this run."""
        names = list(dict.fromkeys(completion_ids))
        query = _for_many("SELECT id FROM seen WHERE id IN (VALUES ...)", "(?)", names)
        known = self._read(query, *names)
        self._read(_for_many("INSERT OR IGNORE INTO seen VALUES ...", "(?)", names), *names)
        return set(names).difference(chain.from_iterable(known))

    def unseen(self, state: State) -> list[str]:
        """Return the ids in a state that the source has not named in this run, sorted."""
        query = "SELECT id FROM completions WHERE state = ? AND id NOT IN seen ORDER BY id"
        return [completion_id for (completion_id,) in self._read(query, state)]

    def removed(self) -> int:
        """Return the number of completions in the output that this run's source did not name."""
        query = "SELECT count(*) FROM completions WHERE state = 'done' AND id NOT IN seen"
        return int(self._read(query)[0][0])

    def to_be_tried_again(self) -> int:
        """Return the number of failed completions that were named in this run, not REFUSED ones."""
        query = (
            "SELECT count(*) FROM completions"
            " WHERE state = 'failed' AND reason IS NOT ? AND id IN seen"
        )
        return int(self._read(query, REFUSED)[0][0])


def agreement(
    db: sqlite3.Connection, settings: Mapping[str, Any], selection: Mapping[str, Any] | None
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return the recorded settings, those to record, and the names of those that differ.

    The values are JSON. Raises ChangedError, as `Ledger.agree` does; changes nothing.
    """
    known = dict(db.execute("SELECT name, value FROM settings"))
    for name in ("finished", "run"):  # they are no options
        known.pop(name, None)
    given = {**settings, "version": VERSION}
    if selection is not None:
        given["selection"] = selection
    wanted = {name: json.dumps(value, sort_keys=True) for name, value in given.items()}
    if known and "layout_version" in wanted:
        known.setdefault("layout_version", "1")  # early versions recorded none
    # A list may follow ids, and ids a list: selections are compared where both have one.
    compared = (known.keys() | wanted) - ({"selection"} - (known.keys() & wanted))
    differing = sorted(n for n in compared if known and known.get(n) != wanted.get(n))
    if differing and db.execute(_HOLDS_SOMETHING).fetchone():
        _refuse(known, wanted, differing)
    return known, wanted, differing


_HOLDS_SOMETHING: Final = (
    "SELECT 1 FROM completions WHERE state IN ('done', 'skipped', 'lost')"
    " UNION ALL SELECT 1 FROM parts WHERE rows > 0"
)


def _refuse(known: Mapping[str, str], wanted: Mapping[str, str], differing: list[str]) -> NoReturn:
    if differing == ["layout_version"]:
        layout = json.loads(known["layout"])
        raise ChangedError(_OTHER_LAYOUT.format(layout=layout), hint=_KEEP_OR_DELETE)
    if "layout" in differing:  # its version says nothing more
        differing = [name for name in differing if name != "layout_version"]
    before, now = _flattened(known, differing), _flattened(wanted, differing)
    differences = [
        f"{name} was {before.get(name, 'not set')} and is now {now.get(name, 'not set')}"
        for name in sorted(before.keys() | now)
        if before.get(name) != now.get(name)
    ]
    raise ChangedError(
        f"this destination holds an export with other options: {', '.join(differences)}",
        hint="give it another destination, or delete that one with its ledger",
    )


_OTHER_LAYOUT: Final = (
    "another version of this program began this destination, and wrote the layout {layout!r} in"
    " another form; a file has one form"
)
_KEEP_OR_DELETE: Final = (
    "give this export another destination, and keep that one with its ledger, or delete both"
)


def _flattened(settings: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the settings of these names as JSON, each part of a selection as one of its own."""
    chosen = {name: settings[name] for name in names if name in settings}
    selection = json.loads(chosen.pop("selection", "{}"))
    return chosen | {name: json.dumps(part, sort_keys=True) for name, part in selection.items()}


def _for_many(statement: str, row: str, rows: Collection[object]) -> str:
    """Replace "..." in a statement by one row of question marks for each of the rows."""
    return statement.replace("...", ", ".join([row] * len(rows)))
