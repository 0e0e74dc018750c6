"""Open the file of an archive: to read it, or to write it.

Bad input (a directory, another program's database, a file of JSON Lines) is refused before anything
is changed, and leaves no file behind. `schema.py` has the tables.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from .errors import ArchiveError, NotAnArchiveError, sqlite_errors
from .migration import migrate
from .schema import VERSION, check_sqlite, version_of

MEMORY: Final = ":memory:"
# Seconds to wait for the transaction of another process.
BUSY_SECONDS: Final = 30.0


def open_to_read(
    path: str | os.PathLike[str], *, seconds: float = BUSY_SECONDS
) -> sqlite3.Connection:
    """Open an archive that exists, also while another process writes it.

    A process that has locked it is waited for, `seconds` at most. Raises NotAnArchiveError for any
    other file and for an archive of another version, and another ArchiveError where it cannot be
    read.
    """
    path = Path(path)
    check_sqlite()
    if not _exists(path):
        raise ArchiveError(f"{path}: there is no such archive", hint="`aiomessages sync` makes one")
    with _opened(path, _reading(path), seconds=seconds) as db:
        version = version_of(db)
        if version == 0:
            raise NotAnArchiveError("an empty database", hint="`aiomessages sync` fills it")
        if version < VERSION:
            raise NotAnArchiveError(
                f"an archive of an earlier version ({version}, and this is {VERSION})",
                hint="`aiomessages sync`, `import` or `serve` brings it up to date",
            )
    return db


def open_to_write(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Open an archive, created (for this user alone) if missing, and migrated if older.

    Raises NotAnArchiveError for any other file, and another ArchiveError where it cannot be
    written.
    """
    check_sqlite()
    if os.fspath(path) == MEMORY:
        db = _connected(MEMORY)
        _prepare(db)
        return db
    path = Path(path)
    if not _exists(path):
        _create(path)
    _refuse_second_name(path)
    with _opened(path, "mode=rw" if _is_writable(path) else _reading(path)) as db:
        version_of(db)  # nothing is changed in a database of another program
        if not _is_writable(path):  # SQLite would open it to read, and say so at the first change
            raise ArchiveError(f"{path}: no permission to write it and files beside it")
        _prepare(db)
    return db


def open_to_serve(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Open an archive to write it, or to read it if this user may not write it."""
    if os.fspath(path) != MEMORY and _exists(Path(path)) and not _is_writable(Path(path)):
        return open_to_read(path)
    return open_to_write(path)


def is_outdated(db: sqlite3.Connection) -> bool:
    """Return whether somebody writes a database that was opened as one that nobody writes.

    SQLite would not notice, and mix what it has read before with what it reads now.
    """
    if not isinstance(db, _Connection) or db.immutable is None:
        return False
    path, stamp = db.immutable
    return _has_wal(path) or _stamp(path) != stamp


@contextmanager
def steady(db: sqlite3.Connection, path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise ArchiveError, and no other error, if the database is outdated at the end."""
    try:
        yield
    finally:
        if is_outdated(db):
            raise ArchiveError(
                f"{os.fspath(path)}: it changed while it was read", hint="read it again"
            )


def _exists(path: Path) -> bool:
    """Return whether there is a file. Raise for anything else: to open a FIFO would wait."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        raise ArchiveError(f"{path}: cannot be opened: {reason}") from error
    if stat.S_ISDIR(mode):
        raise NotAnArchiveError(f"{path}: a directory", hint="name a file in it")
    if not stat.S_ISREG(mode):
        raise NotAnArchiveError(f"{path}: a device or a pipe, and no file")
    return True


def _create(path: Path) -> None:
    # A file that exists is not opened here: closing it would release the locks that another
    # connection of this process holds on it (https://sqlite.org/howtocorrupt.html, 2.2).
    try:
        with suppress(FileExistsError):  # another process was faster
            # A symbolic link may name a file that is still to be made.
            os.close(os.open(path.resolve(), os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be created: {error.strerror}") from error


def _refuse_second_name(path: Path) -> None:
    # SQLite finds the -wal file by the name: under another one, what a killed writer has committed
    # is not seen, and is overwritten (https://sqlite.org/howtocorrupt.html, 2.5).
    if path.stat().st_nlink > 1:
        raise ArchiveError(
            f"{path}: the file has a second name (a hard link), and writers under both names damage"
            " it",
            hint="copy the file, or remove one of the names",
        )


def _is_writable(path: Path) -> bool:
    # A writer makes files beside the database.
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)


def _has_wal(path: Path) -> bool:
    return os.path.exists(f"{path.resolve()}-wal")  # noqa: PTH110 no error for a name too long


def _reading(path: Path) -> str:
    """Return how to open a database for reading, as parameters of its URI.

    SQLite needs the files -wal and -shm for each database in WAL mode, and cannot make them here,
    unless it is told that no one writes the database: every writer has a -wal file.
    """
    return "mode=ro" if _is_writable(path) or _has_wal(path) else "mode=ro&immutable=1"


_Stamp = tuple[int, int, int] | None


def _stamp(path: Path) -> _Stamp:
    """Return a value that changes when the file is written or replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class _Connection(sqlite3.Connection):
    """A connection that leaves no files behind; SQLite's own does so if it may only read.

    `immutable` has the file that SQLite was told nobody writes, as it was then.
    """

    path: Path | None = None
    immutable: "tuple[Path, _Stamp] | None" = None

    def close(self) -> None:
        """Close the connection, and let SQLite remove the files if it was the last one."""
        super().close()
        if self.path is not None:
            _settle(self.path)


def _connected(
    path: Path | str, parameters: str = "", *, seconds: float = BUSY_SECONDS
) -> _Connection:
    name = f"{path.absolute().as_uri()}?{parameters}" if isinstance(path, Path) else path
    return sqlite3.connect(
        name,
        uri=isinstance(path, Path),
        isolation_level=None,
        check_same_thread=False,
        timeout=seconds,
        factory=_Connection,
    )


@contextmanager
def _opened(path: Path, parameters: str, *, seconds: float = BUSY_SECONDS) -> Iterator[_Connection]:
    """Open a database, and close it if the block fails. Name the path in each error."""
    with _named_errors(path):
        _refuse_others(path)
        immutable = (path, _stamp(path)) if "immutable" in parameters else None
        db = _connected(path, parameters, seconds=seconds)
        db.immutable = immutable
        if parameters == "mode=ro" and _is_writable(path):
            db.path = path
        try:
            yield db
        except BaseException:
            db.close()
            raise


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    with sqlite_errors(path):
        try:
            yield
        except NotAnArchiveError as error:
            raise NotAnArchiveError(f"{path}: {error.args[0]}", hint=error.hint) from None
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise NotAnArchiveError(f"{path}: no SQLite database", hint=_hint(path)) from None
            raise


def _refuse_others(path: Path) -> None:
    """Raise NotAnArchiveError for another program's database, and leave it as it was.

    A connection that may write would finish what its writer left undone.
    """
    if not _is_writable(path):
        return  # nothing that follows can change it
    had_wal = _has_wal(path)
    db = _connected(path, "mode=ro", seconds=0.0)
    try:
        version_of(db)
    except NotAnArchiveError:
        db.close()
        if not had_wal:
            _settle(path)
        raise
    except sqlite3.OperationalError:
        # A journal may have to be rolled back before anyone can read, or the database is locked.
        db.close()
        _settle(path)
    finally:
        db.close()


def _settle(path: Path) -> None:
    """Let SQLite finish what a killed writer or a reader has left: it knows who else is there."""
    # Who comes next is told of a failure.
    with suppress(sqlite3.Error), closing(_connected(path, "mode=rw", seconds=0.0)) as db:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()


def _prepare(db: sqlite3.Connection) -> None:
    # Of a new file: a commit writes fewer pages, and rows of a kilobyte leave less of each empty.
    db.execute("PRAGMA page_size = 8192")
    _use_wal(db)
    # FULL makes each commit durable before it returns.
    db.execute("PRAGMA synchronous = FULL")
    migrate(db)


def _use_wal(db: sqlite3.Connection) -> None:
    """Let the database be read while it is written."""
    try:
        db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        # Another process has just made the file. The switch waits for nobody, a transaction does.
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
        _use_wal(db)


def _hint(path: Path) -> str:
    """Return what to do with a file that seems to hold JSON Lines, compressed or not."""
    with path.open("rb") as file:
        begin = file.read(4)
    if begin.startswith((b"{", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return f"if it holds conversations: aiomessages import {path} ARCHIVE"
    return ""
