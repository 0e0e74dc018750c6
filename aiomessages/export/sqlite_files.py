"""Safe access to SQLite files: nothing is changed before it is known to be a ledger.

The path may hold a link, another user's file, or a database of another program. A process that
only reads must neither leave a file behind nor mistake a write in progress for damage.
"""

import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, TypeVar

from .errors import ChangedError, CorruptError, DiskFullError, ExportError, has_room, refuse_unknown
from .files import Files, Stamp, open_to_read

T = TypeVar("T")

# The files that SQLite reads with a database, and their first bytes where
# SQLite wrote them: https://sqlite.org/fileformat.html and walformat.html. SQLite removes a file
# that begins otherwise.
_MAGIC: Final = {
    "-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"),
    "-shm": ((3_007_000).to_bytes(4, sys.byteorder),),
    "-journal": (b"\xd9\xd5\x05\xf9",),
}
_ATTEMPTS: Final = 20  # at a ledger that changes: an export begins or ends a few times per run
_TRIAL_BYTES: Final = 64 * 1024  # more than SQLite asks for at once: a -shm grows by 32 KiB


def create_private(path: Path) -> Stamp | None:
    """Create a missing file of a database, private and durable, and return its stamp.

    Raises CorruptError if it, or a file that SQLite would read with
    it, is not this user's.
    """
    files = Files()
    _check(path, files)
    for ending, magic in _MAGIC.items():
        companion = path.with_name(path.name + ending)
        if not _has_magic(companion, magic):
            refuse_unknown(companion)
    files.append(path, b"")
    return files.stamp(path)


def _has_magic(path: Path, magic: Collection[bytes]) -> bool:
    """Return whether a file is missing, begins with one of these, or has zeros in their place.

    A shorter file is compared as far as it goes: SQLite cuts a `-shm` to three bytes when it opens
    the database, and a process may be killed just then. A lost beginning reads as zeros.
    """
    try:
        with os.fdopen(open_to_read(path), "rb") as file:
            found = file.read(4)
    except FileNotFoundError:
        return True
    return any(begin.startswith(found) for begin in magic) or not any(found)


def check_same(path: Path, created: Stamp | None) -> None:
    """Raise CorruptError if the file was replaced since `create_private`.

    SQLite opens by name, and follows links. This function opens nothing: closing any descriptor of
    the file would release the POSIX locks that SQLite holds on it.
    """
    files = Files()
    _check(path, files)
    found = files.stamp(path)
    if not found or not created or found[:2] != created[:2]:  # another device or inode
        raise CorruptError(
            f"{path} was replaced while it was opened", hint="run the same export again"
        )


def _check(path: Path, files: Files) -> None:
    for ending in ("", *_MAGIC):
        files.check(path.with_name(path.name + ending), alone=True)


def check_schema(path: Path, schema: str, version: str) -> None:
    """Raise ExportError for a database with other tables, and leave it unchanged.

    An empty database passes. ChangedError means a ledger of another version, which its table of
    settings records.
    """
    with sqlite_errors(path):
        found, known = read_snapshot(path, _tables_and_version)
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            db.executescript(schema)
            expected, _ = _tables_and_version(db)
        if not found or found.items() >= expected.items():
            return
    if known is None or known == version:
        raise CorruptError(f"{path}: not a ledger of an export", hint="move it away")
    raise ChangedError(
        f"{path} is of another version of this program ({known} and not {version}), which alone can"
        " go on with it",
        hint="keep its files, and give this export another destination",
    )


def _tables_and_version(db: sqlite3.Connection) -> tuple[dict[str, str], str | None]:
    tables = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    if "settings" not in tables:
        return tables, None
    version = db.execute("SELECT value FROM settings WHERE name = 'version'").fetchone()
    return tables, None if version is None else str(version[0])


# --- reading without a trace ----------------------------------------------------------------------


def read_snapshot(path: Path, read: Callable[[sqlite3.Connection], T]) -> T:
    """Return the result of `read` for a database at one moment; leave every file unchanged.

    With a log beside the database (`-wal`), SQLite's locks give a snapshot. Without one nobody is
    writing, and the database is opened as immutable, which also works where nothing can be written.
    If the files have changed meanwhile, the result or the error does not count, and the database is
    read again.
    """
    for left in reversed(range(_ATTEMPTS)):
        before = _stamps(path)
        try:
            with _opened(path) as (db, is_locked):
                found = read(db)
        except (sqlite3.Error, OSError):
            if not left or _stamps(path) == before:
                raise
        else:
            if is_locked or _stamps(path) == before:
                return found
    raise ExportError(f"{path} keeps changing", hint="try again")


def _stamps(path: Path) -> tuple[Stamp | None, Stamp | None]:
    """Return stamps that differ after every write to a database."""
    files, log = Files(), _log(path)
    return files.stamp(path), files.stamp(log) if files.size(log) else None


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Open a database; give the connection, and whether SQLite's locks protect the snapshot."""
    if not Files().size(_log(path)):
        with _connected(path, "immutable=1") as db:
            yield db, False
    elif _can_write(path.parent):  # SQLite has to create the -shm that a log needs
        with _connected(path, "mode=ro") as db:
            yield db, True
    else:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / "copy"
            shutil.copyfile(path, copy)
            shutil.copyfile(_log(path), _log(copy))
            with _connected(copy, "mode=rw") as db:
                yield db, False


def _can_write(directory: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(directory, os.W_OK, effective_ids=effective)


@contextlib.contextmanager
def _connected(path: Path, options: str) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?{options}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
        db.execute("BEGIN")
        yield db


# --- errors ---------------------------------------------------------------------------------------

_FULL: Final = (DiskFullError, "no room left on the disk; free some and run it again")
_KINDS: Final[dict[int, tuple[type[ExportError], str]]] = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_NOTADB: (CorruptError, "not a ledger"),
    sqlite3.SQLITE_CORRUPT: (CorruptError, "the ledger is damaged"),
    sqlite3.SQLITE_ERROR: (CorruptError, "not a ledger of an export"),  # such as missing tables
}


@contextlib.contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Raise the ExportError that an error of SQLite means for an export."""
    try:
        yield
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF  # the primary code of an extended one
        kind, meaning = _KINDS.get(code, (ExportError, "the ledger cannot be used"))
        # SQLite calls most failures of a full disk an I/O error, so try to write, as far into a
        # file as the ledger would: a limit on the size of files is met only there.
        end = max(Files().size(path) or 0, Files().size(_log(path)) or 0)
        if code == sqlite3.SQLITE_IOERR and not has_room(path.parent, _TRIAL_BYTES, at=end):
            kind, meaning = _FULL
        raise kind(f"{path}: {meaning} ({error})") from error
