"""Files that keep what they were given: every write, fsync and rename of an export goes here.

All that is durable depends on these few operations and on their order, so they stand in one class,
which a test can replace by one that fails at any of them. None of them follows a symbolic link at
the end of a path, or writes to a file of another user: a directory may be shared.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .errors import LockedError
from .file_errors import disk_full_errors, refuse, refuse_changed, refuse_taken

PRIVATE: Final = 0o600  # conversations are nobody else's business
# File systems without hard links (vfat, exfat, many of FUSE) say so, or the system forbids them.
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)
# Somebody else may have put a link or a pipe there; to open a pipe would wait for its other end.
_GUARDED: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Buffer = bytes | bytearray | memoryview


class Stamp(NamedTuple):
    """What changes when anybody writes to a file; `time` is in nanoseconds."""

    device: int
    inode: int
    size: int
    time: int


class Files:
    """The operating system's file operations, as an export uses them."""

    def append(self, path: Path, data: Buffer, *, at: int | None = None) -> None:
        """Write at the end of a file, which is made if it is not there, and make it durable.

        Raises CorruptError where the file has another size than `at`, if that is given.
        """
        with disk_full_errors(path):
            is_new = self.size(path) is None
            self._append(path, [data], at=at)
            if is_new:
                self.fsync_directory(path.parent)  # without its name a file is lost

    def append_all(self, path: Path, pieces: Iterable[Buffer], *, at: int) -> None:
        """Write many pieces at the end of a file of `at` bytes, and make them durable together."""
        with disk_full_errors(path):
            self._append(path, pieces, at=at)

    def _append(self, path: Path, pieces: Iterable[Buffer], *, at: int | None) -> None:
        with self._open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as descriptor:
            if at not in (None, os.fstat(descriptor).st_size):
                refuse_changed(path)
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[self.write(descriptor, view) :]
            self.fsync(descriptor)
            drop_cached_pages(descriptor)

    def create(self, path: Path) -> None:
        """Make an empty file, durably. Raises CorruptError where something has that name."""
        with disk_full_errors(path):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _GUARDED, PRIVATE))
            except FileExistsError:
                refuse_taken(path)
            self.fsync_directory(path.parent)

    @contextlib.contextmanager
    def _open(self, path: Path, flags: int) -> Iterator[int]:
        """Open a file that is to be written to, and is of nobody else and has no second name."""
        try:
            descriptor = os.open(path, flags | _GUARDED, PRIVATE)
        except OSError:
            self.check(path)  # what is there says more than the error
            raise
        try:
            _check(os.fstat(descriptor), path, alone=True)
            yield descriptor
        finally:
            os.close(descriptor)

    def check(self, path: Path, *, alone: bool = False) -> None:
        """Raise CorruptError for what is there and is no file of this user.

        A link is none, whatever it leads to. With `alone` a file with a second name is refused:
        it would be changed under the other name, too.
        """
        with contextlib.suppress(FileNotFoundError):
            _check(path.lstat(), path, alone=alone)

    def check_link(self, path: Path) -> None:
        """Raise CorruptError for a link that another user has made."""
        if path.is_symlink() and _is_foreign(path.lstat(), path):
            refuse(path, "is a symbolic link of another user")

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write, and return how many bytes were taken."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Make what was written durable."""
        os.fsync(descriptor)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to its committed bytes."""
        with disk_full_errors(path), self._open(path, os.O_WRONLY) as descriptor:
            os.ftruncate(descriptor, size)
            self.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Put a file in another one's place, durably: the rename, then the directory of both."""
        with disk_full_errors(target):
            self.rename(source, target)
            self.fsync_directory(target.parent)

    def rename(self, source: Path, target: Path) -> None:
        """Rename within a directory, in one step, over a file that has that name."""
        source.rename(target)

    def publish(self, source: Path, target: Path) -> None:
        """Give a file its final name, durably. Raises CorruptError where something has that name.

        A hard link is never made over a file, so it comes first, and then the old name goes: killed
        in between, the file has both. Where a file system has no links, the name is looked at and
        then the file renamed: what comes in between is overwritten.
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
        """Take a name away."""
        path.unlink()

    def fsync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write_atomically(self, path: Path, data: bytes) -> None:
        """Write a whole file as `put` does, where other processes may be writing the same one.

        Until it is whole it has a name of its own, `.NAME.….tmp`, which nobody else writes to. What
        stood under its name, be it a link, is replaced and not followed; a directory is not.
        """
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # and no link is followed
        with disk_full_errors(path), contextlib.ExitStack() as undo:
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
            self.unlink(path)
            self.fsync_directory(path.parent)

    def make_directory(self, path: Path, mode: int = 0o777) -> None:
        """Make a directory, durably, and those above it that are missing."""
        if not path.is_dir():
            with disk_full_errors(path):
                self.make_directory(path.parent)
                path.mkdir(mode, exist_ok=True)
                self.fsync_directory(path.parent)

    def size(self, path: Path) -> int | None:
        """Return a file's size in bytes, or None where there is none."""
        stamp = self.stamp(path)
        return None if stamp is None else stamp.size

    def stamp(self, path: Path) -> Stamp | None:
        """Return a file's stamp, or None where there is none; of a link it is the link's own."""
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    @contextlib.contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Hold a file's lock: one writer at a time, until its process ends in whatever way.

        Raises LockedError at once where another one holds it.
        """
        with disk_full_errors(path), self._open(path, os.O_RDWR | os.O_CREAT) as descriptor:
            _take(descriptor, path)
            yield


def _is_foreign(found: os.stat_result, path: Path) -> bool:
    return found.st_uid != os.geteuid() and found.st_uid != _owner_in(path.parent)


def open_to_read(path: Path) -> int:
    """Open a file for reading, unbuffered, and follow no link to it."""
    return os.open(path, os.O_RDONLY | _GUARDED)


def _check(found: os.stat_result, path: Path, *, alone: bool) -> None:
    if stat.S_ISLNK(found.st_mode):
        refuse(path, "is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        refuse(path, "is no regular file")
    if _is_foreign(found, path):
        refuse(path, "belongs to another user")
    if alone and found.st_nlink > 1:
        refuse(path, "has a second name, a hard link, and is to be written to")


def _owner_in(directory: Path) -> int:
    """Return the owner of a new file: some mounts know only one, whoever makes a file."""
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_uid


def drop_cached_pages(descriptor: int) -> None:
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
