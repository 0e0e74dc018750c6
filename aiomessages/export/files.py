"""Durable file operations: every write, fsync and rename of an export.

Durability depends on these few operations and on their order, so they are in one class, which a
test can replace by one that fails at any of them. None of them follows a symbolic link at the end
of a path, or writes to a file of another user: a directory may be shared.
"""

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .errors import disk_full_errors, refuse, refuse_changed, refuse_taken
from .locks import is_named, take

PRIVATE: Final = 0o600  # only the owner may read conversations
# The errors of file systems without hard links (vfat, exfat, many of FUSE), or of a system that
# forbids them.
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)
# Somebody else may have put a link or a pipe there. Opening a pipe would wait for its other end.
_GUARDED: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Buffer = bytes | bytearray | memoryview


class Stamp(NamedTuple):
    """Values that change when anybody writes to a file; `time` is in nanoseconds."""

    device: int
    inode: int
    size: int
    time: int


class Files:
    """The operating system's file operations, as an export uses them."""

    def append(self, path: Path, data: Buffer, *, at: int | None = None) -> None:
        """Append to a file, or create it, and make it durable.

        Raises CorruptError if the file has another size than `at`.
        """
        self.append_all(path, [data], at=at)

    def append_all(self, path: Path, pieces: Iterable[Buffer], *, at: int | None) -> None:
        """Append many pieces as `append` does, and make them durable together."""
        with disk_full_errors(path):
            is_new = self.size(path) is None
            with self._open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as descriptor:
                if at not in (None, os.fstat(descriptor).st_size):
                    refuse_changed(path)
                for piece in pieces:
                    self._write_all(descriptor, piece)
                self.fsync(descriptor)
                drop_cached_pages(descriptor)
            if is_new:
                self.fsync_directory(path.parent)  # the name has to be durable as well

    def _write_all(self, descriptor: int, data: Buffer) -> None:
        left = memoryview(data)
        while left:
            left = left[self.write(descriptor, left) :]

    def create(self, path: Path) -> None:
        """Create an empty file durably. Raises CorruptError if the path exists."""
        with disk_full_errors(path):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _GUARDED, PRIVATE))
            except FileExistsError:
                refuse_taken(path)
            self.fsync_directory(path.parent)

    @contextlib.contextmanager
    def _open(self, path: Path, flags: int) -> Iterator[int]:
        """Open a file for writing. Raises CorruptError as `check` with `alone` does."""
        try:
            descriptor = os.open(path, flags | _GUARDED, PRIVATE)
        except OSError:
            self.check(path)  # the kind of file explains more than the error
            raise
        try:
            _check(os.fstat(descriptor), path, alone=True)
            yield descriptor
        finally:
            os.close(descriptor)

    def check(self, path: Path, *, alone: bool = False) -> None:
        """Raise CorruptError if the path exists and is not a regular file of this user.

        A link is refused, whatever its target. With `alone` a file with a second name is refused
        as well: writing would change it under the other name, too.
        """
        with contextlib.suppress(FileNotFoundError):
            _check(path.lstat(), path, alone=alone)

    def check_link(self, path: Path) -> None:
        """Raise CorruptError for a symbolic link of another user."""
        if path.is_symlink() and _is_foreign(path.lstat(), path):
            refuse(path, "is a symbolic link of another user")

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write, and return the number of bytes written."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Make a file or directory durable."""
        os.fsync(descriptor)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to a size, durably."""
        with disk_full_errors(path), self._open(path, os.O_WRONLY) as descriptor:
            os.ftruncate(descriptor, size)
            self.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename over an existing file, durably: the rename, then the fsync of the directory."""
        with disk_full_errors(target):
            self.rename(source, target)
            self.fsync_directory(target.parent)

    def rename(self, source: Path, target: Path) -> None:
        """Rename within a directory atomically; an existing target is replaced."""
        source.rename(target)

    def publish(self, source: Path, target: Path) -> None:
        """Give a file its final name, durably. Raises CorruptError if the target exists.

        A hard link is never made over a file, so the link comes first, then the unlink of the old
        name; after a kill in between, the file has both names. On a file system without hard links
        the target is looked up before the rename: a file created in between is overwritten.
        """
        with disk_full_errors(target):
            try:
                self.link(source, target)
            except FileExistsError:
                refuse_taken(target)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if self.size(target) is not None:
                    refuse_taken(target)
                self.rename(source, target)
            else:
                self.unlink(source)
            self.fsync_directory(target.parent)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        os.link(source, target, follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        """Remove a name of a file."""
        path.unlink()

    def fsync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write_atomically(self, path: Path, data: bytes) -> None:
        """Write a whole file that exists complete or not at all, even if others write the same one.

        Until it is complete it has a name of its own, `.NAME.….tmp`, which nobody else writes to.
        An existing file or link is replaced, and a link is not followed; a directory is an error.
        """
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # O_EXCL follows no link
        with disk_full_errors(path), contextlib.ExitStack() as undo:
            descriptor = os.open(partial, flags, PRIVATE)
            undo.callback(partial.unlink, missing_ok=True)
            try:
                self._write_all(descriptor, data)
                self.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.rename(partial, path)
            undo.pop_all()
        self.fsync_directory(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file durably, if it exists."""
        if self.size(path) is not None:
            self.unlink(path)
            self.fsync_directory(path.parent)

    def make_directory(self, path: Path, mode: int = 0o777) -> None:
        """Create a directory and its missing parents, durably."""
        if not path.is_dir():
            with disk_full_errors(path):
                self.make_directory(path.parent)
                path.mkdir(mode, exist_ok=True)
                self.fsync_directory(path.parent)

    def size(self, path: Path) -> int | None:
        """Return a file's size in bytes, or None if it does not exist."""
        stamp = self.stamp(path)
        return None if stamp is None else stamp.size

    def stamp(self, path: Path) -> Stamp | None:
        """Return a file's stamp, or None if it does not exist; the stamp of a link is its own."""
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    @contextlib.contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Hold a file's lock: one writer at a time, until its process ends in any way.

        The file is removed at the end. Raises LockedError at once if another process holds it.
        """
        with contextlib.ExitStack() as held:
            while True:
                with contextlib.ExitStack() as attempt:
                    attempt.enter_context(disk_full_errors(path))
                    descriptor = attempt.enter_context(self._open(path, os.O_RDWR | os.O_CREAT))
                    take(descriptor, path)
                    if is_named(descriptor, path):
                        held.push(attempt.pop_all())
                        break  # else its last holder has just removed it, and the next one is new
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    if is_named(descriptor, path):
                        path.unlink()


def _is_foreign(found: os.stat_result, path: Path) -> bool:
    return found.st_uid != os.geteuid() and found.st_uid != _owner_in(path.parent)


def open_to_read(path: Path) -> int:
    """Open a file for reading without following a link; return its descriptor."""
    return os.open(path, os.O_RDONLY | _GUARDED)


def _check(found: os.stat_result, path: Path, *, alone: bool) -> None:
    if stat.S_ISLNK(found.st_mode):
        refuse(path, "is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        refuse(path, "is not a regular file")
    if _is_foreign(found, path):
        refuse(path, "belongs to another user")
    if alone and found.st_nlink > 1:
        refuse(path, "has a second name (a hard link), and writing would change both")


def _owner_in(directory: Path) -> int:
    """Return the owner of a new file: some mounts give all files the same owner."""
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_uid


def drop_cached_pages(descriptor: int) -> None:
    """Let the system drop the cached pages of a durable file.

    An export would fill the page cache with bytes that are read once more at the end, if ever. The
    freed pages serve the next batch, whose write then takes a half to a tenth of the CPU time.
    """
    if _ADVISE is not None:
        _ADVISE(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


_ADVISE: Final = getattr(os, "posix_fadvise", None)  # macOS has none
