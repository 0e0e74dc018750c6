"""Open the file of an archive: to read it, or to write it.

Bad input (a directory, another program's database, a file of JSON Lines) is refused before anything
is changed. `schema.py` has the tables.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .errors import ArchiveError, NotAnArchiveError, sqlite_errors
from .migration import migrate
from .schema import VERSION, check_sqlite, version_of

MEMORY: Final = ":memory:"
# Seconds to wait for the transaction of another process.
_BUSY_SECONDS: Final = 30.0


def open_to_read(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Open an archive that exists, also while another process writes it.

    Raises NotAnArchiveError for any other file and for an archive of another version, and another
    ArchiveError where it cannot be read.
    """
    path = Path(path)
    check_sqlite()
    if not path.exists():
        raise ArchiveError(f"{path}: there is no such archive")
    with _opened(path, "ro") as db:
        version = version_of(db)
        if version == 0:
            raise NotAnArchiveError("an empty database: `aiomessages sync` fills it")
        if version < VERSION:
            raise NotAnArchiveError(
                f"an archive of an earlier version ({version}, and this is {VERSION}):"
                " `aiomessages sync`, `import` or `serve` brings it up to date"
            )
    return db


def open_to_write(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Open an archive, created (for this user alone) if missing, and migrated if older.

    Raises NotAnArchiveError for any other file, and another ArchiveError where it cannot be
    written.
    """
    check_sqlite()
    if os.fspath(path) == MEMORY:
        db = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
        _prepare(db)
        return db
    path = Path(path)
    try:
        # A file that exists is not opened here: closing it would release the locks that another
        # connection of this process holds on it (https://sqlite.org/howtocorrupt.html, 2.2).
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be created: {error.strerror}") from error
    with _opened(path, "rw") as db:
        _prepare(db)
    return db


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Open a database, and close it if the block fails. Name the path in each error."""
    if path.is_dir():
        raise NotAnArchiveError(f"{path}: a directory; name a file in it")
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with sqlite_errors(path):
        db = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
        )
        try:
            yield db
        except BaseException as error:
            db.close()
            if isinstance(error, NotAnArchiveError):
                raise NotAnArchiveError(f"{path}: {error}") from None
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise NotAnArchiveError(f"{path}: no SQLite database{_hint(path)}") from None
            raise


def _prepare(db: sqlite3.Connection) -> None:
    version_of(db)  # nothing is changed in a database of another program
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA journal_mode = WAL")  # it can be read while it is written
    # FULL makes each commit durable before it returns.
    db.execute("PRAGMA synchronous = FULL")
    migrate(db)


def _hint(path: Path) -> str:
    """Return what to do with a file that seems to hold JSON Lines, compressed or not."""
    with path.open("rb") as file:
        begin = file.read(4)
    if begin.startswith((b"{", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return f"; if it holds conversations: aiomessages import {path} ARCHIVE"
    return ""
