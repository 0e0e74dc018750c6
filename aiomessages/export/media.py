"""Media: images, sounds and files in messages become files, named by the SHA-256 of their bytes.

The API sends them as base64 inside the JSON of messages and spoken replies. `extract` writes each
one, and puts the file's name in its place. No name contains anything that the server sent, so that
nothing is written outside the directory.

Several processes may write to one directory. Each file is written under a temporary name and then
renamed. An existing file is read, and replaced if its bytes do not match its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import time
from contextlib import contextmanager, suppress
from errno import EACCES, EEXIST, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO, EPERM, EROFS
from typing import TYPE_CHECKING, Final

from .blobs import find_blobs
from .checksums import checksums_of
from .errors import ExportError
from .files import Files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The age in seconds at which a temporary file is removed. Its process was killed: nobody writes
# to one file for so long (see Files.write_atomically).
LEFT_SECONDS: Final = 3600.0
_LEFT: Final = re.compile(r"\.[0-9a-f]{64}\.\w+\.[0-9a-f]{16}\.tmp")

# Names known to be durable. For another existing one the directory is synced once more.
_MOST_KNOWN: Final = 65_536

# A missing file; a symbolic link (ELOOP, because of O_NOFOLLOW); a socket.
_NO_FILE: Final = frozenset({ENOENT, ELOOP, ENXIO})

# Errors that a user can mend by moving a file away or choosing another directory.
_IN_THE_WAY: Final = frozenset(
    {ENOENT, EEXIST, EISDIR, ENOTDIR, EACCES, EPERM, EROFS, ENAMETOOLONG, ELOOP}
)


class MediaStore:
    """A directory of private media files; threads may share a store, and processes a directory."""

    def __init__(self, directory: Path, *, files: Files | None = None) -> None:
        self._directory = directory.absolute()  # the current directory may change
        self._files = files or Files()
        self._lock = threading.Lock()  # two threads may have the same image
        self._settled = False  # whether all existing names are durable
        self._durable: set[str] = set()

    def extract(self, item: bytes) -> bytes:
        """Write the blobs of an item to files, durably; return the item with names in their place.

        An item is the JSON of a message, or of a stored completion with its replies. Names are
        relative to the directory. All other bytes of the item stay. Raises ExportError if a file
        cannot have its name.
        """
        pieces, end = [], 0
        for blob in find_blobs(item):
            digest = hashlib.sha256(blob.data).hexdigest()
            name = digest + blob.ending
            with self._lock, _explained(self._directory / name):
                self._keep(name, digest, blob.data)
            pieces += [item[end : blob.start], b'"%b"' % name.encode()]
            end = blob.end
        return b"".join([*pieces, item[end:]]) if pieces else item

    def _keep(self, name: str, digest: str, data: bytes) -> None:
        """Write the file if it is missing or differs; make it and its name durable."""
        path = self._directory / name
        is_there = _holds(path, digest)
        if not self._settled:
            self._settle()
        elif is_there and name not in self._durable:
            self._files.fsync_directory(self._directory)  # another process may have just named it
        if not is_there:
            self._settled = False  # an error may leave a name that is not durable
            self._files.write_atomically(path, data)
        self._settled = True
        if len(self._durable) >= _MOST_KNOWN:
            self._durable.clear()
        self._durable.add(name)

    def _settle(self) -> None:
        """Make the existing names durable: a process may have been killed before it did that."""
        self._durable.clear()
        self._files.make_directory(self._directory, mode=0o700)
        self._remove_left()
        self._files.fsync_directory(self._directory)
        self._files.fsync_directory(self._directory.parent)

    def _remove_left(self) -> None:
        """Remove old temporary files of killed processes."""
        oldest = time.time() - LEFT_SECONDS
        for path in self._directory.iterdir():
            if _LEFT.fullmatch(path.name):
                with suppress(OSError):  # it may be gone; if it stays, it does no harm
                    if path.lstat().st_mtime < oldest:
                        path.unlink()


def _holds(path: Path, digest: str) -> bool:
    """Return whether the path is a regular file, not a link, whose bytes have this SHA-256."""
    try:
        return stat.S_ISREG(path.lstat().st_mode) and checksums_of(path).sha256 == digest
    except OSError as error:
        if error.errno in _NO_FILE:
            return False
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise ExportError for an error of `_IN_THE_WAY`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
        place = path if os.path.isdir(path.parent) else path.parent  # noqa: PTH112 - never raises
        raise ExportError(
            f"{place} cannot be written: {error.strerror}",
            hint="move it out of the way, or choose another directory for the media, and run the"
            " same export again",
        ) from error
