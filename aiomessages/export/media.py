"""Media out of messages: pictures, sounds and files become files, named by what is in them.

The API delivers them as base64 inside the JSON of messages and, where the model spoke, of replies.
`extract` writes each one under the sha256 of its bytes, and puts that name in its place. Nothing is
ever written outside the directory, and a name is made of nothing that the server sent.

Several processes may write to one directory. No file is written to once it has its name: it is
written under a name of its own first, and then renamed. And no name is trusted: what stands under
it is read, and replaced where it is something else.
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
from .errors import ExportError
from .files import Files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The age in seconds at which a temporary file is removed. Its process was killed: nobody writes
# to one file for so long (see Files.write_atomically).
LEFT_SECONDS: Final = 3600.0
_LEFT: Final = re.compile(r"\.[0-9a-f]{64}\.\w+\.[0-9a-f]{16}\.tmp")

# Names known to be durable: of any other one that is there the directory is synced once more.
_MOST_KNOWN: Final = 65_536

# Nothing there; a symbolic link (ELOOP, for O_NOFOLLOW); a socket.
_NO_FILE: Final = frozenset({ENOENT, ELOOP, ENXIO})

# What is to be told with its place, for somebody to do something about it; of a name or of a place.
_IN_THE_WAY: Final = frozenset(
    {ENOENT, EEXIST, EISDIR, ENOTDIR, EACCES, EPERM, EROFS, ENAMETOOLONG, ELOOP}
)


class MediaStore:
    """A directory of media, each file named by the sha256 of its bytes, and private.

    Threads may share a store, and processes a directory.
    """

    def __init__(self, directory: Path, *, files: Files | None = None) -> None:
        self._directory = directory.absolute()  # what the current one is later does not matter
        self._files = files or Files()
        self._lock = threading.Lock()  # two threads may come with the same picture
        self._settled = False  # whether all that is there is known to be durable
        self._durable: set[str] = set()

    def extract(self, item: bytes) -> bytes:
        """Write the blobs of an item to files, and return it with their names in place of them.

        An item is the JSON of a message, or of a stored completion with its replies. Names are
        relative to the directory. Everything else in an item keeps its bytes; one without blobs is
        returned as it is. Each file is durable before this returns. Raises ExportError where a file
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
        """Have a file with its name, both durable."""
        path = self._directory / name
        is_there = _holds(path, digest)
        if not self._settled:
            self._settle()
        elif is_there and name not in self._durable:
            self._files.fsync_directory(self._directory)  # another process may just have named it
        if not is_there:
            self._settled = False  # an error may leave a name that is not durable
            self._files.write_atomically(path, data)
        self._settled = True
        if len(self._durable) >= _MOST_KNOWN:
            self._durable.clear()
        self._durable.add(name)

    def _settle(self) -> None:
        """Make the names durable that are there: who gave them may have been killed before that."""
        self._durable.clear()
        self._files.make_directory(self._directory, mode=0o700)
        self._remove_left()
        self._files.fsync_directory(self._directory)
        self._files.fsync_directory(self._directory.parent)

    def _remove_left(self) -> None:
        """Remove what killed processes left, long after that."""
        oldest = time.time() - LEFT_SECONDS
        for path in self._directory.iterdir():
            if _LEFT.fullmatch(path.name):
                with suppress(OSError):  # it may be gone by now; where it stays it does no harm
                    if path.lstat().st_mtime < oldest:
                        path.unlink()


def _holds(path: Path, digest: str) -> bool:
    """Return whether a file of its own, and no link to one, has the bytes of this sha256."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NO_FILE:
            return False
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        with open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise ExportError for what stands in the way of a file."""
    try:
        yield
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
        place = path if os.path.isdir(path.parent) else path.parent  # noqa: PTH112 - never raises
        raise ExportError(
            f"{place} cannot be written: {error.strerror}; move what stands there out of the way,"
            " or choose another directory for the media, and run the same export again"
        ) from error
