"""SQLite files opened with care: none is changed before it is known to be a ledger.

A name may be taken by a link, by another user's file or by a database of another kind. And whoever
only looks must neither leave a file behind nor take what is being written for damage.
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

from .errors import ChangedError, CorruptError, DiskFullError, ExportError
from .files import Files, Stamp, open_to_read, refuse_unknown, told_of_full_disk

T = TypeVar("T")

# What SQLite reads with a database, whoever wrote it, and how it begins when SQLite wrote it: see
# https://sqlite.org/fileformat.html and walformat.html. Whatever else is there SQLite removes.
_BEGINS: Final = {
    "-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"),
    "-shm": ((3_007_000).to_bytes(4, sys.byteorder),),
    "-journal": (b"\xd9\xd5\x05\xf9",),
}
_LOOKS: Final = 20  # at a ledger that changes meanwhile: an export begins or ends a few times a run
_TRIAL_BYTES: Final = 64 * 1024  # more than SQLite asks for at once: a -shm grows by 32 KiB


def own(path: Path) -> tuple[int, int]:
    """Make a database's file if there is none, private and durable; return its device and inode.

    Raises CorruptError where it, or a file that SQLite would read with it, is not this user's.
    """
    files = Files()
    _check(path, files)
    for ending, begins in _BEGINS.items():
        beside = path.with_name(path.name + ending)
        if not _begins_with(beside, begins):
            refuse_unknown(beside)
    files.append(path, b"")
    return _identity(path)


def _begins_with(path: Path, begins: Collection[bytes]) -> bool:
    """Tell whether a file, if there is one, begins so; one that lost its begin has zeros there.

    A shorter file is compared as far as it goes: SQLite cuts a `-shm` to three bytes when it opens
    it, and a process may be killed just then.
    """
    try:
        with os.fdopen(open_to_read(path), "rb") as file:
            found = file.read(4)
    except FileNotFoundError:
        return True
    return any(begin.startswith(found) for begin in begins) or not any(found)


def check_same(path: Path, identity: tuple[int, int]) -> None:
    """Raise CorruptError if a file was replaced since: SQLite opens by name, and follows links.

    Nothing is opened here: to close it again would give away the locks that SQLite has on it.
    """
    _check(path, Files())
    if _identity(path) != identity:
        raise CorruptError(f"{path} was replaced while it was opened; run the same export again")


def _check(path: Path, files: Files) -> None:
    for ending in ("", *_BEGINS):
        files.check(path.with_name(path.name + ending), alone=True)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def check_schema(path: Path, schema: str, version: str) -> None:
    """Raise ExportError for a database of other tables, without changing it; an empty one is right.

    ChangedError tells of a ledger of another version, which is in its table of settings.
    """
    with explained(path):
        found = look(path, _tables)
        if not found:
            return
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            db.executescript(schema)
            if found.items() >= _tables(db).items():
                return
        known = look(path, _version) if "settings" in found else None
    if known is None or known == version:
        raise CorruptError(f"{path}: not a ledger of an export: move it away")
    raise ChangedError(
        f"{path} is of another version of this program ({known} and not {version}), which alone can"
        " go on with it: keep its files, and give this export another destination"
    )


def _tables(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def _version(db: sqlite3.Connection) -> str | None:
    rows = db.execute("SELECT value FROM settings WHERE name = 'version'").fetchone()
    return None if rows is None else str(rows[0])


# --- looking --------------------------------------------------------------------------------------


def look(path: Path, read: Callable[[sqlite3.Connection], T]) -> T:
    """Return what `read` finds in a database at one moment; leave every file as it is.

    A log beside it (`-wal`) may hold what it has not yet. Without one nobody is writing, and the
    database is read as one that never changes, from where nothing can be written, too. If that was
    not so after all, what was read is not used, nor the error that it led to, and it is read again.
    """
    for left in reversed(range(_LOOKS)):
        before = _moment(path)
        try:
            with _opened(path) as (db, is_safe):
                found = read(db)
        except (sqlite3.Error, OSError):
            if not left or _moment(path) == before:
                raise
        else:
            if is_safe or _moment(path) == before:
                return found
    raise ExportError(f"{path} changes all the time: try it again")


def _moment(path: Path) -> tuple[Stamp | None, Stamp | None]:
    """Return what changes when a database is written to."""
    files, log = Files(), _log(path)
    return files.stamp(path), files.stamp(log) if files.size(log) else None


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Open a database, and tell whether SQLite's locks keep it from being changed meanwhile."""
    if not Files().size(_log(path)):
        with _connected(path, "immutable=1") as db:
            yield db, False
    elif _can_write(path.parent):  # else SQLite cannot make the -shm that a log needs
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
def _connected(path: Path, how: str) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?{how}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
        db.execute("BEGIN")
        yield db


# --- errors ---------------------------------------------------------------------------------------

_KINDS: Final[dict[int, tuple[type[ExportError], str]]] = {
    sqlite3.SQLITE_FULL: (DiskFullError, "no room left on the disk; free some and run it again"),
    sqlite3.SQLITE_NOTADB: (CorruptError, "not a ledger"),
    sqlite3.SQLITE_CORRUPT: (CorruptError, "the ledger is damaged"),
    sqlite3.SQLITE_ERROR: (CorruptError, "not a ledger of an export"),  # such as tables that lack
}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say what SQLite's errors mean for an export."""
    try:
        yield
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF  # the rest of an extended code says where
        if code == sqlite3.SQLITE_IOERR:
            _try_to_write(path)
        kind, meaning = _KINDS.get(code, (ExportError, "the ledger cannot be used"))
        raise kind(f"{path}: {meaning} ({error})") from error


def _try_to_write(path: Path) -> None:
    """Raise DiskFullError if nothing can be written: SQLite calls most of that an I/O error.

    It is written as far behind the begin of a file as the ledger would be: files may have a limit.
    """
    files = Files()
    size = max(files.size(path) or 0, files.size(_log(path)) or 0)
    with told_of_full_disk(path), tempfile.TemporaryFile(dir=path.parent, buffering=0) as file:
        file.seek(size)
        file.write(bytes(_TRIAL_BYTES))
