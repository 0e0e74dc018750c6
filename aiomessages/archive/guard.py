"""Guard the file of an archive during a sync: one at a time, and the same file to its end."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from aiomessages.export import DiskFullError as ExportDiskFullError
from aiomessages.export import LockedError as ExportLockedError
from aiomessages.export.files import Files

from .errors import ArchiveError, DiskFullError, LockedError, sqlite_errors


def lock_of(path: Path) -> Path:
    """Return the path of the lock of an archive."""
    file = path.resolve()  # a symbolic link is one more name of the same archive
    return file.with_name(file.name + ".lock")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of an archive. Raises LockedError if another sync holds it."""
    lock = lock_of(path)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(Files().lock(lock))
        except ExportLockedError:
            raise LockedError(
                f"{path}: another sync of this archive is running",
                hint="wait for it, or look for it in ps",
            ) from None
        except OSError as error:
            raise ArchiveError(f"{lock}: cannot be created: {error.strerror}") from error
        yield


@contextlib.contextmanager
def unreplaced(path: Path) -> Iterator[None]:
    """Raise ArchiveError at the end if the file is no longer the one of the begin."""
    before = _identity(path)
    yield
    if _identity(path) != before:
        raise ArchiveError(
            f"{path}: the file was removed or replaced while it was written",
            hint="run the sync again",
        )


@contextlib.contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    """Raise an ArchiveError for an error of the database, and for a disk that is full."""
    try:
        with sqlite_errors(path):
            yield
    except ExportDiskFullError as error:  # for a large conversation, while it is read
        raise DiskFullError(
            f"{path}: no room left on the disk", hint="free some and run it again"
        ) from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
