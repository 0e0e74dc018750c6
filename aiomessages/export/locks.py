"""The lock of an export or an archive: a file that one process holds, and removes when it ends.

A process that opened the file before its removal may get the lock of a file without a name. So a
holder looks whether its file still has the name, and begins again if not.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from .errors import LockedError

# `is_locked` holds a lock for much less than that.
_LOOK_SECONDS: Final = 0.05


def take(descriptor: int, path: Path) -> None:
    """Take the lock of an open file. Raises LockedError if another process holds it."""
    if not _try(descriptor, fcntl.LOCK_EX):
        time.sleep(_LOOK_SECONDS)
        if not _try(descriptor, fcntl.LOCK_EX):
            raise LockedError(
                f"another process is writing to {path.stem}",
                hint="wait for it, or look for it in ps",
            )


def is_named(descriptor: int, path: Path) -> bool:
    """Return whether the path is still the name of an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock at a path. Nothing is created."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
