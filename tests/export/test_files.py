"""The file layer: its effects on the disk, their order, and its error for a full disk."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from aiomessages.export import CorruptError, DiskFullError, LockedError
from aiomessages.export.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Recorded(Files):
    """The operations, in their order, and optionally an error in place of the last one."""

    def __init__(self, fail_at: str = "", code: int = errno.EIO) -> None:
        self.done: list[str] = []
        self._fail_at = fail_at
        self._code = code

    def _note(self, what: str) -> None:
        self.done.append(what)
        if what == self._fail_at:
            raise OSError(self._code, os.strerror(self._code))

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write three bytes at most."""
        self._note("write")
        return super().write(descriptor, data[:3])

    def fsync(self, descriptor: int) -> None:
        """Note whether it was a file or a directory."""
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        self._note("fsync directory" if is_directory else "fsync")
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Note the operation."""
        self._note("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Note the operation."""
        self._note("link")
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        """Note the operation."""
        self._note("unlink")
        super().unlink(path)


def test_appending(tmp_path: Path) -> None:
    """Bytes are appended in full, then the file and its new name are made durable."""
    files = Recorded()
    files.append(tmp_path / "a", b"12345")
    assert files.done == ["write", "write", "fsync", "fsync directory"]
    files.append(tmp_path / "a", b"678")
    assert files.done[4:] == ["write", "fsync"]
    assert (tmp_path / "a").read_bytes() == b"12345678"


def test_appending_many_pieces(tmp_path: Path) -> None:
    """All pieces are made durable together."""
    files = Recorded()
    (tmp_path / "a").write_bytes(b"12")
    files.append_all(tmp_path / "a", [b"3", b"4"], at=2)
    assert files.done == ["write", "write", "fsync"]
    assert (tmp_path / "a").read_bytes() == b"1234"


def test_appending_to_a_file_of_another_size(tmp_path: Path) -> None:
    """A file of an unexpected size is left unchanged."""
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(CorruptError, match="was changed"):
        Files().append(tmp_path / "a", b"1", at=0)
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_creating(tmp_path: Path) -> None:
    """A file is created empty and durable, and never replaces another one."""
    files = Recorded()
    files.create(tmp_path / "a")
    assert (files.done, (tmp_path / "a").read_bytes()) == (["fsync directory"], b"")
    with pytest.raises(CorruptError, match="belongs to another program"):
        files.create(tmp_path / "a")


def test_naming(tmp_path: Path) -> None:
    """A file gets its new name before it loses the old one."""
    files = Recorded()
    (tmp_path / "a").write_bytes(b"1")
    files.publish(tmp_path / "a", tmp_path / "b")
    assert files.done == ["link", "unlink", "fsync directory"]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_naming_without_hard_links(tmp_path: Path, code: int) -> None:
    """On a file system without hard links, the name is looked up and the file renamed."""
    (tmp_path / "a").write_bytes(b"1")
    files = Recorded("link", code)
    files.publish(tmp_path / "a", tmp_path / "b")
    assert files.done == ["link", "rename", "fsync directory"]
    (tmp_path / "a").write_bytes(b"2")
    with pytest.raises(CorruptError, match="belongs to another program"):
        Recorded("link", code).publish(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"1"


@pytest.mark.parametrize("what", ["file", "directory", "link", "link to nothing"])
def test_a_name_that_is_taken(tmp_path: Path, what: str) -> None:
    """A file with the name is not replaced, and the new file keeps its old name."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    put_there(b, what)
    with pytest.raises(CorruptError, match="belongs to another program"):
        Files().publish(a, b)
    assert a.read_bytes() == b"1"


def test_another_error_while_naming(tmp_path: Path) -> None:
    """Another error while linking does not lead to a rename."""
    (tmp_path / "a").touch()
    files = Recorded("link")
    with pytest.raises(OSError, match="Input/output"):
        files.publish(tmp_path / "a", tmp_path / "b")
    assert files.done == ["link"]


# --- a directory that others write to -------------------------------------------------------------


def put_there(path: Path, what: str) -> None:
    """Create something under a name."""
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "file":
        path.write_bytes(b"mine")
    elif what == "second name":
        path.with_name("first").write_bytes(b"mine")
        os.link(path.with_name("first"), path)
    else:
        if what == "link":
            path.with_name("linked").write_bytes(b"mine")
        path.symlink_to("linked")


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "append": lambda path: Files().append(path, b"1"),
    "truncate": lambda path: Files().truncate(path, 0),
    "create": lambda path: Files().create(path),
    "lock": lambda path: Files().lock(path).__enter__(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("link", "is a symbolic link"),
        ("link to nothing", "is a symbolic link"),
        ("directory", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("second name", "has a second name"),
    ],
)
def test_a_path_that_is_no_regular_file(
    tmp_path: Path, operation: str, what: str, expected: str
) -> None:
    """A path that is not a regular file is neither followed, written nor waited for."""
    put_there(tmp_path / "a", what)
    expected = "belongs to another program" if operation == "create" else expected
    with pytest.raises(CorruptError, match=f"{expected}.*: move it away"):
        OPERATIONS[operation](tmp_path / "a")
    for name in ("linked", "first"):
        if (tmp_path / name).exists():
            assert (tmp_path / name).read_bytes() == b"mine"
    assert (tmp_path / "linked").exists() == (what == "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_file_of_another_user(tmp_path: Path, operation: str) -> None:
    """A file of another user is not used, even if it is writable."""
    (tmp_path / "a").write_bytes(b"mine")
    os.chown(tmp_path / "a", 65534, 65534)
    expected = "belongs to another program" if operation == "create" else "belongs to another user"
    with pytest.raises(CorruptError, match=expected):
        OPERATIONS[operation](tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_a_mount_with_one_owner_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a mount where every new file has one owner, as on vfat, such a file is used."""
    (tmp_path / "a").write_bytes(b"1")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    Files().append(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"12"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A failure that has nothing to do with the owner is the system's own error."""
    with pytest.raises(FileNotFoundError):
        Files().truncate(tmp_path / "a", 0)


def test_writing_atomically(tmp_path: Path) -> None:
    """A file is durable under a temporary name before it replaces the existing one."""
    (tmp_path / "a").write_bytes(b"half")
    files = Recorded()
    files.write_atomically(tmp_path / "a", b"12345")
    assert files.done == ["write", "write", "fsync", "rename", "fsync directory"]
    assert (tmp_path / "a").read_bytes() == b"12345"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [tmp_path / "a"]


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_writing_atomically_after_a_failure(tmp_path: Path, step: str) -> None:
    """After any failure the file is unchanged, and no temporary file is left."""
    (tmp_path / "a").write_bytes(b"half")
    with pytest.raises(DiskFullError):
        Recorded(step, errno.ENOSPC).write_atomically(tmp_path / "a", b"12345")
    assert ([*tmp_path.iterdir()], (tmp_path / "a").read_bytes()) == ([tmp_path / "a"], b"half")


def test_a_file_is_private(tmp_path: Path) -> None:
    """Appended files, whole files and the lock are readable by their owner only."""
    files = Files()
    files.append(tmp_path / "a", b"1")
    files.write_atomically(tmp_path / "b", b"2")
    with files.lock(tmp_path / "c"):
        modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
    assert modes == [0o600] * 3


def test_truncating(tmp_path: Path) -> None:
    """A file is cut, durably."""
    files = Recorded()
    (tmp_path / "a").write_bytes(b"12345")
    files.truncate(tmp_path / "a", 2)
    assert ((tmp_path / "a").read_bytes(), files.done) == (b"12", ["fsync"])


def test_removing(tmp_path: Path) -> None:
    """A file is removed durably; a missing file is no error."""
    files = Recorded()
    (tmp_path / "a").touch()
    files.remove(tmp_path / "a")
    files.remove(tmp_path / "a")
    assert (list(tmp_path.iterdir()), files.done) == ([], ["unlink", "fsync directory"])


def test_making_directories(tmp_path: Path) -> None:
    """Each missing directory is created durably; existing ones stay."""
    files = Recorded()
    files.make_directory(tmp_path / "a" / "b", mode=0o700)
    files.make_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert files.done == ["fsync directory"] * 2


def test_the_size_of_nothing(tmp_path: Path) -> None:
    """A file that is not there has no size."""
    assert Files().size(tmp_path / "a") is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk(tmp_path: Path, code: int) -> None:
    """A full disk, quota or size limit is reported as a full disk, with its exit code."""
    with pytest.raises(DiskFullError, match="free some room") as caught:
        Recorded("write", code).append(tmp_path / "a", b"1")
    assert caught.value.exit_code == 74


def test_another_error_of_the_disk(tmp_path: Path) -> None:
    """Any other error is the system's own error."""
    with pytest.raises(OSError, match="Input/output"):
        Recorded("rename").write_atomically(tmp_path / "a", b"1")


def test_a_lock_that_is_held(tmp_path: Path) -> None:
    """A held lock is refused at once with its exit code, and can be taken once it is released."""
    with Files().lock(tmp_path / "a.lock"):
        with (
            pytest.raises(LockedError, match="writing to a: wait") as caught,
            Files().lock(tmp_path / "a.lock"),
        ):
            pytest.fail("two hold it")
        with pytest.raises(LockedError), Files().lock(tmp_path / "a.lock"):
            pytest.fail("refusing gave it away")
    assert caught.value.exit_code == 75
    with Files().lock(tmp_path / "a.lock"):
        pass


def test_where_a_system_takes_no_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a system does not take advice on its cache, a file is written all the same."""
    monkeypatch.setattr("aiomessages.export.files._ADVISE", None)
    Files().append(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"
