"""The ledger: what an export has committed, in a SQLite file beside its output.

A file of the output is worth what the ledger says of it: its bytes up to `committed`, no more. One
transaction records a batch whole, after its bytes are durable, and never before.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec

from .errors import ChangedError
from .sqlite_files import check_same, check_schema, explained, own

VERSION: Final = 2

# Rows of one statement. At each step of one, another thread may take the interpreter away, so many
# rows by one step cost a fifth less CPU time a page than each by its own. (SQLite before 3.32 has
# at most 999 values in a statement.)
MANY: Final = 100

# In one transaction: a process that is killed in the middle leaves no ledger that is half made.
_SCHEMA: Final = """
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
"""What became of a completion.

`done`: it is in the output, whole. `skipped`: the layout cannot express it. `gone`: the server has
it no longer. `pending`: listed, and not visible yet. `lost`: it changed while it was read, so that
only a part of it was read. `failed`: it could not be read.
"""

REFUSED: Final = "ConfigurationError"
"""The reason of what failed for good: an id that this client sends to no server."""


class Entry(msgspec.Struct, frozen=True):
    """What became of one completion, and how many messages it has. `reason` explains the state."""

    completion_id: str
    state: State
    messages: int = 0
    reason: str | None = None


class Part(msgspec.Struct, frozen=True):
    """How far one file of the output is; number 0 has lines that are in no finished conversation.

    `closed` tells that a file has its final name; of the second part of a single file, that its
    bytes are being added to the first one's.
    """

    number: int
    committed: int = 0
    crc32: int = 0
    rows: int = 0
    closed: bool = False


class Ledger:
    """The ledger of one destination; opening it makes it where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        identity = own(path)
        check_schema(path, _SCHEMA, json.dumps(VERSION))
        # Two connections: while a thread commits, the event loop goes on reading. FULL makes each
        # commit durable before it returns, and with the log's name the ledger's own.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._reader = sqlite3.connect(path, isolation_level=None)
        # What this run has seen: a file without a name, so that a run that changes nothing leaves
        # the ledger as it is, and that grows on the disk and not in memory.
        self._seen = sqlite3.connect("", isolation_level=None, uri=True)
        try:
            with explained(path):
                self._prepare()
            check_same(path, identity)
        except BaseException:
            self._close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if not self._db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            self._db.executescript(_SCHEMA)
        self._finished = self._has_finished()
        self._seen.execute("PRAGMA journal_mode = OFF")  # nothing of it outlives this process
        self._seen.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._seen.execute("ATTACH ? AS ledger", (self._path.absolute().as_uri(),))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._seen.close()
        self._reader.close()
        self._db.close()

    def _read(self, query: str, *arguments: object) -> list[Any]:
        with explained(self._path):
            return self._reader.execute(query, arguments).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Record all of something, durably, or nothing of it."""
        with explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # some errors end it by themselves
                    self._db.execute("ROLLBACK")

    # --- what the export is -----------------------------------------------------------------------

    def agree(self, settings: Mapping[str, Any], selection: Mapping[str, Any] | None) -> None:
        """Record what the export is, or raise ChangedError where the ledger records another one.

        `selection` is what narrows a list of completions; None where ids are given, which may be
        others in each run. An export that holds nothing yet takes new options.
        """
        known = dict(self._read("SELECT name, value FROM settings WHERE name != 'finished'"))
        given = {**settings, "version": VERSION}
        if selection is not None:
            given["selection"] = selection
        wanted = {name: json.dumps(value, sort_keys=True) for name, value in given.items()}
        # A list may follow ids, and ids a list: selections are compared where both have one.
        compared = (known.keys() | wanted) - ({"selection"} - (known.keys() & wanted))
        differing = sorted(n for n in compared if known and known.get(n) != wanted.get(n))
        if differing and not self._is_empty():
            before, now = _apart(known, differing), _apart(wanted, differing)
            told = ", ".join(_differences(before, now))
            raise ChangedError(
                f"this destination holds an export with other options: {told};"
                " give it another destination, or delete that one with its ledger"
            )
        if differing or wanted.keys() - known.keys():
            self._record_settings(wanted, anew=bool(differing))

    def _is_empty(self) -> bool:
        query = (
            "SELECT 1 FROM completions WHERE state IN ('done', 'skipped', 'lost')"
            " UNION ALL SELECT 1 FROM parts WHERE rows > 0"
        )
        return not self._read(query)

    def _record_settings(self, wanted: Mapping[str, str], *, anew: bool) -> None:
        with self._transaction():
            if anew:
                self._db.execute("DELETE FROM settings")
                self._db.execute("DELETE FROM completions")
            self._db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", wanted.items())
        self._finished = self._has_finished()

    def settings(self) -> dict[str, Any]:
        """Return what the export is."""
        rows = self._read("SELECT name, value FROM settings")
        return {name: json.loads(value) for name, value in rows}

    @property
    def finished(self) -> bool:
        """Tell whether the output has its final name."""
        return self._finished

    def _has_finished(self) -> bool:
        return self.finished_at() is not None

    def finished_at(self) -> float | None:
        """Return when the output got its final name, in Unix seconds; None where it has it not."""
        rows = self._read("SELECT value FROM settings WHERE name = 'finished'")
        return float(json.loads(rows[0][0])) if rows else None

    def finish(self) -> None:
        """Record that the output has its final name, and since when."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO settings VALUES ('finished', ?)", (json.dumps(time.time()),)
            )
        self._finished = True

    def reopen(self) -> None:
        """Record that there is more to come."""
        with self._transaction():
            self._db.execute("DELETE FROM settings WHERE name = 'finished'")
        self._finished = False

    # --- how far it is ----------------------------------------------------------------------------

    def entries(self, completion_ids: Collection[str]) -> dict[str, Entry]:
        """Return how far these are, at most MANY of them; what is not known yet is left out."""
        if not completion_ids:
            return {}
        query = "SELECT id, state, messages, reason FROM completions WHERE id IN (VALUES ...)"
        found = self._read(_for_many(query, "(?)", completion_ids), *completion_ids)
        return {row[0]: Entry(*row) for row in found}

    def parts(self) -> list[Part]:
        """Return the files of the output, in order."""
        rows = self._read(
            "SELECT number, committed, crc32, rows, closed FROM parts ORDER BY number"
        )
        return [Part(number, size, crc, count, bool(end)) for number, size, crc, count, end in rows]

    def commit(self, parts: Iterable[Part], entries: Iterable[Entry]) -> None:
        """Record a batch whose bytes are durable: the files' new extent and its completions."""
        with self._transaction():
            self._put(parts)
            rows = map(msgspec.structs.astuple, entries)
            while some := list(islice(rows, MANY)):
                statement = "INSERT OR REPLACE INTO completions VALUES ..."
                statement = _for_many(statement, "(?, ?, ?, ?)", some)
                self._db.execute(statement, list(chain.from_iterable(some)))

    def _put(self, parts: Iterable[Part]) -> None:
        statement = "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)"
        self._db.executemany(statement, map(msgspec.structs.astuple, parts))

    def forget(self, number: int) -> None:
        """Record that a part is none."""
        with self._transaction():
            self._db.execute("DELETE FROM parts WHERE number = ?", (number,))

    def join(self, part: Part) -> None:
        """Record that a part holds what those behind it held, which are parts no longer."""
        with self._transaction():
            self._put([part])
            self._db.execute("DELETE FROM parts WHERE number > ?", (part.number,))

    def made(self, kind: str) -> dict[str, int]:
        """Return the SHA-256 and the size of each file of a kind that may be there."""
        with explained(self._path):  # by the connection that is not the event loop's own
            return dict(self._db.execute("SELECT sha256, bytes FROM made WHERE kind = ?", (kind,)))

    def record_made(self, kind: str, files: Mapping[str, int]) -> None:
        """Record which files of a kind may be there from now on, by SHA-256, with their sizes."""
        with self._transaction():
            self._db.execute("DELETE FROM made WHERE kind = ?", (kind,))
            rows = [(kind, sha256, size) for sha256, size in files.items()]
            self._db.executemany("INSERT INTO made VALUES (?, ?, ?)", rows)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return, by state, the number of completions and of their messages."""
        query = "SELECT state, count(*), sum(messages) FROM completions GROUP BY state"
        rows = self._read(query)
        return {state: (number, messages) for state, number, messages in rows}

    def reasons(self, state: State) -> dict[str, int]:
        """Return how many completions are in a state, by reason."""
        query = "SELECT reason, count(*) FROM completions WHERE state = ? GROUP BY reason"
        return dict(self._read(query, state))

    def ids(self, state: State) -> list[str]:
        """Return the ids of the completions in a state, sorted."""
        rows = self._read("SELECT id FROM completions WHERE state = ? ORDER BY id", state)
        return [completion_id for (completion_id,) in rows]

    # --- what this run has seen -------------------------------------------------------------------

    def first_sights(self, completion_ids: Sequence[str]) -> set[str]:
        """Note that the source named these, at most MANY; return those that are new in this run."""
        names = list(dict.fromkeys(completion_ids))
        query = _for_many("SELECT id FROM seen WHERE id IN (VALUES ...)", "(?)", names)
        note = _for_many("INSERT OR IGNORE INTO seen VALUES ...", "(?)", names)
        with explained(self._path):
            known = self._seen.execute(query, names).fetchall()
            self._seen.execute(note, names)
        return set(names).difference(chain.from_iterable(known))

    def unseen(self, state: State) -> list[str]:
        """Return the ids in a state that the source has not named in this run, sorted."""
        query = "SELECT id FROM ledger.completions WHERE state = ? AND id NOT IN seen ORDER BY id"
        with explained(self._path):
            return [completion_id for (completion_id,) in self._seen.execute(query, (state,))]

    def removed(self) -> int:
        """Return how many completions of the output were not named in this run."""
        return self._count(
            "SELECT count(*) FROM ledger.completions WHERE state = 'done' AND id NOT IN seen"
        )

    def to_be_tried_again(self) -> int:
        """Return how many completions failed that were named in this run and may yet be read."""
        return self._count(
            "SELECT count(*) FROM ledger.completions"
            " WHERE state = 'failed' AND reason IS NOT ? AND id IN seen",
            REFUSED,
        )

    def _count(self, query: str, *arguments: object) -> int:
        with explained(self._path):
            ((number,),) = self._seen.execute(query, arguments)
        return int(number)


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | now):
        if before.get(name) != now.get(name):
            yield f"{name} was {before.get(name, 'not set')} and is now {now.get(name, 'not set')}"


def _apart(settings: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the settings of these names, in JSON, with each part of a selection by itself."""
    chosen = {name: settings[name] for name in names if name in settings}
    selection = json.loads(chosen.pop("selection", "{}"))
    return chosen | {name: json.dumps(part, sort_keys=True) for name, part in selection.items()}


def _for_many(statement: str, row: str, rows: Collection[object]) -> str:
    """Put a row of question marks into a statement, as often as there are rows."""
    return statement.replace("...", ", ".join([row] * len(rows)))
