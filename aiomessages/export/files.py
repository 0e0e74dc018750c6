"""Files that keep what they were given: every write, fsync and rename of an export goes here.

All that is durable depends on these few operations and on their order, so they stand in one class,
which a test can replace by one that fails at any of them.
"""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .errors import DiskFullError, LockedError

PRIVATE: Final = 0o600  # conversations are nobody else's business
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Stamp(NamedTuple):
    """What changes when anybody writes to a file; `time` is in nanoseconds."""

    inode: int
    size: int
    time: int


class Files:
    """The operating system's file operations, as an export uses them."""

    def append(self, path: Path, data: bytes | bytearray) -> None:
        """Write at the end of a file, which is made if it is not there, and make it durable."""
        with told_of_full_disk(path):
            is_new = self.size(path) is None
            self._append(path, data)
            if is_new:
                self.fsync_directory(path.parent)  # without its name a file is lost

    def _append(self, path: Path, data: bytes | bytearray) -> None:
        with self._open(path) as descriptor:
            view = memoryview(data)
            while view:
                view = view[self.write(descriptor, view) :]
            self.fsync(descriptor)
            forget(descriptor)

    @contextlib.contextmanager
    def _open(self, path: Path) -> Iterator[int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, PRIVATE)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write, and return how many bytes were taken."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Make what was written durable."""
        os.fsync(descriptor)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to its committed bytes."""
        with told_of_full_disk(path), self._open(path) as descriptor:
            os.ftruncate(descriptor, size)
            self.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file its final name, durably: the rename, then the directory that holds it."""
        with told_of_full_disk(target):
            self.rename(source, target)
            self.fsync_directory(target.parent)

    def rename(self, source: Path, target: Path) -> None:
        """Rename within a directory, in one step."""
        source.rename(target)

    def fsync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(descriptor)
        finally:
            os.close(descriptor)

    def put(self, path: Path, data: bytes) -> None:
        """Write a whole small file so that it is there whole or not at all."""
        partial = path.with_name(path.name + ".tmp")
        partial.unlink(missing_ok=True)
        with told_of_full_disk(path):
            self._append(partial, data)
        self.replace(partial, path)

    def put_shared(self, path: Path, data: bytes) -> None:
        """Write a whole file as `put` does, where other processes may be writing the same one.

        Until it is whole it has a name of its own, `.NAME.….tmp`, which nobody else writes to. What
        stood under its name, be it a link, is replaced and not followed; a directory is not.
        """
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # and no link is followed
        with told_of_full_disk(path), contextlib.ExitStack() as undo:
            descriptor = os.open(partial, flags, PRIVATE)
            undo.callback(partial.unlink, missing_ok=True)
            try:
                view = memoryview(data)
                while view:
                    view = view[self.write(descriptor, view) :]
                self.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.rename(partial, path)
            undo.pop_all()
        self.fsync_directory(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file, durably, if it is there."""
        if self.size(path) is not None:
            path.unlink()
            self.fsync_directory(path.parent)

    def make_directory(self, path: Path, mode: int = 0o777) -> None:
        """Make a directory, durably, and those above it that are missing."""
        if not path.is_dir():
            with told_of_full_disk(path):
                self.make_directory(path.parent)
                path.mkdir(mode, exist_ok=True)
                self.fsync_directory(path.parent)

    def size(self, path: Path) -> int | None:
        """Return a file's size in bytes, or None where there is none."""
        stamp = self.stamp(path)
        return None if stamp is None else stamp.size

    def stamp(self, path: Path) -> Stamp | None:
        """Return a file's stamp, or None where there is none."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)

    @contextlib.contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Hold a file's lock: one writer at a time, until its process ends in whatever way.

        Raises LockedError at once where another one holds it.
        """
        with told_of_full_disk(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            _take(descriptor, path)
            yield
        finally:
            os.close(descriptor)


def forget(descriptor: int) -> None:
    """Let the system drop what memory it holds of a file that is durable.

    An export would else fill the page cache with what is read once more at the end, if ever. The
    pages are used again for the next batch, which costs a write a half to a tenth of its CPU time.
    """
    if _ADVISE is not None:
        _ADVISE(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


_ADVISE: Final = getattr(os, "posix_fadvise", None)  # macOS has none


def _take(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(
            f"another process is writing to {path.stem}; wait for it, or look for it in ps"
        ) from None


@contextlib.contextmanager
def told_of_full_disk(path: Path) -> Iterator[None]:
    """Raise DiskFullError for what the system says when there is no room for a file."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFullError(
                f"no room left on the disk of {path.parent}: what was committed is safe;"
                " free some room and run the same export again"
            ) from error
        raise
