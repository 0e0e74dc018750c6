"""The errors of an archive. Exit codes above 64 are those of sysexits.h."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from aiomessages.errors import MessagesError


class ArchiveError(MessagesError):
    """The archive cannot be read or written; the text says why and what to do."""

    exit_code: ClassVar[int] = 1
    """Exit code of the program for this error."""


class NotAnArchiveError(ArchiveError, ValueError):
    """The path is a directory, a file of another kind, or an archive of another version."""

    exit_code = 2


class OtherProjectError(ArchiveError):
    """The archive belongs to another server, organization or project."""

    exit_code = 2


class NotInArchiveError(ArchiveError, LookupError):
    """The archive has no completion with this id."""

    exit_code = 3


class IncompleteError(ArchiveError):
    """The messages of a completion changed while they were read; the archive has a part."""


class SearchError(ArchiveError, ValueError):
    """The words of a search are no query."""

    exit_code = 2


class ImportFileError(ArchiveError, ValueError):
    """A file to import has a line that is no conversation."""

    path: str
    """The file."""
    line: int
    """Number of the line, counted from 1."""
    reason: str
    """What the line is instead."""
    exit_code = 65

    def __init__(self, path: str, line: int, reason: str, *, hint: str = "") -> None:
        super().__init__(path, line, reason, hint=hint)
        self.path = path
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        said = f"{self.path}: line {self.line}: {self.reason}; nothing was imported"
        return f"{said}: {self.hint}" if self.hint else said


class CorruptError(ArchiveError):
    """The file is damaged."""

    exit_code = 65


class DiskFullError(ArchiveError):
    """There is no room left on the disk; what was committed stays."""

    exit_code = 74


class DiskError(ArchiveError):
    """The system could not read or write the file."""

    exit_code = 74


class LockedError(ArchiveError):
    """Another process is writing the archive."""

    exit_code = 75


_KINDS: Final[dict[int, tuple[type[ArchiveError], str, str]]] = {
    sqlite3.SQLITE_NOTADB: (NotAnArchiveError, "no SQLite database", ""),
    sqlite3.SQLITE_CORRUPT: (
        CorruptError,
        "the database is damaged",
        "restore a backup, or save what is readable (sqlite3: .recover)",
    ),
    sqlite3.SQLITE_FULL: (DiskFullError, "no room left on the disk", "free some and run it again"),
    sqlite3.SQLITE_IOERR: (DiskError, "the system cannot read or write it", ""),
    sqlite3.SQLITE_BUSY: (
        LockedError,
        "another process is writing it",
        "wait for its end",
    ),
    sqlite3.SQLITE_LOCKED: (LockedError, "another process is writing it", "try again later"),
    sqlite3.SQLITE_READONLY: (ArchiveError, "no permission to write it", ""),
    sqlite3.SQLITE_PERM: (ArchiveError, "no permission to use it", ""),
    sqlite3.SQLITE_CANTOPEN: (
        ArchiveError,
        "it cannot be opened",
        "check the permissions of the file and of its folder",
    ),
}
_NO_FTS5: Final = "no such module: fts5"


@contextlib.contextmanager
def sqlite_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise the ArchiveError that an error of SQLite means."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
        kind, meaning, hint = _KINDS.get(code, (ArchiveError, "the archive cannot be used", ""))
        if _NO_FTS5 in str(error):
            meaning = "this Python's SQLite was built without FTS5, which an archive needs"
        # SQLite calls most failures of a full disk an I/O error.
        if code == sqlite3.SQLITE_IOERR and not _has_room(Path(path).parent):
            kind, meaning, hint = _KINDS[sqlite3.SQLITE_FULL]
        raise kind(f"{os.fspath(path)}: {meaning} ({error})", hint=hint) from error


_ROOM_BYTES: Final = 1024 * 1024


def _has_room(directory: Path) -> bool:
    try:
        found = os.statvfs(directory)
    except OSError:
        return True
    return found.f_bavail * found.f_frsize >= _ROOM_BYTES
