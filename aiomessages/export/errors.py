"""The errors of an export besides those of its requests, and functions that raise them for files.

Exit codes above 64 are those of sysexits.h.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from aiomessages.errors import MessagesError


class ExportError(MessagesError):
    """An export cannot begin, continue or be finished; committed batches are safe."""

    exit_code: ClassVar[int] = 1
    """Exit code of `aiomessages export` for this error."""


class ChangedError(ExportError):
    """The destination holds an export with other options, or of another server: exit code 2."""

    exit_code = 2


class CorruptError(ExportError):
    """A file differs from its record in the ledger, or belongs to others: exit code 65."""

    exit_code = 65


class DiskFullError(ExportError):
    """The disk is full: exit code 74. Free some room and run the same export again."""

    exit_code = 74


class LockedError(ExportError):
    """Another process is writing to this destination: exit code 75."""

    exit_code = 75


# --- errors about files ---------------------------------------------------------------------------

# By error number, the text that the system has for a full disk, quota or file size limit.
DISK_FULL: Final = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}


def refuse(path: Path, why: str) -> NoReturn:
    """Raise CorruptError for a path with a reason, such as "is a symbolic link"."""
    raise CorruptError(f"{path} {why}", hint="move it away, and run the same export again")


def refuse_taken(path: Path) -> NoReturn:
    """Raise CorruptError for a file of somebody else at a path that is needed."""
    refuse(path, "belongs to another program, and this export needs that name")


def refuse_unknown(path: Path) -> NoReturn:
    """Raise CorruptError for a file that the ledger does not record."""
    raise CorruptError(
        f"{path} exists, but the ledger has no record of it",
        hint="move it away, or export to another destination",
    )


def refuse_changed(path: Path) -> NoReturn:
    """Raise CorruptError for a file whose bytes are not those that were written."""
    raise CorruptError(
        f"{path} was changed since it was written, or is another file",
        hint="move it away; then delete the export with its ledger and start again",
    )


@contextlib.contextmanager
def disk_full_errors(path: Path) -> Iterator[None]:
    """Raise DiskFullError in place of an OSError that means a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DiskFullError(
                f"no room left on the disk of {path.parent}",
                hint="what was committed is safe; free some room and run the same export again",
            ) from error
        raise


def has_room(directory: Path, size: int, *, at: int = 0) -> bool:
    """Return whether a file in a directory takes `size` more bytes behind the first `at`.

    Return true as well if the write fails for another reason than a full disk.
    """
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.seek(at)
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno not in DISK_FULL
    return True
