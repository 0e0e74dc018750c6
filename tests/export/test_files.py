"""The file layer: what it leaves on the disk, in which order, and what it says of a full one."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from aiomessages.export import DiskFullError, LockedError
from aiomessages.export.files import Files

if TYPE_CHECKING:
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
        """Note it."""
        self._note("rename")
        super().rename(source, target)


def test_appending(tmp_path: Path) -> None:
    """Bytes are added however little a write takes, then the file and its new name are durable."""
    files = Recorded()
    files.append(tmp_path / "a", b"12345")
    assert files.done == ["write", "write", "fsync", "fsync directory"]
    files.append(tmp_path / "a", b"678")
    assert files.done[4:] == ["write", "fsync"]
    assert (tmp_path / "a").read_bytes() == b"12345678"


def test_putting_what_others_put(tmp_path: Path) -> None:
    """It is durable under a name of its own before it replaces what is there, and then its name."""
    (tmp_path / "a").write_bytes(b"half")
    files = Recorded()
    files.put_shared(tmp_path / "a", b"12345")
    assert files.done == ["write", "write", "fsync", "rename", "fsync directory"]
    assert (tmp_path / "a").read_bytes() == b"12345"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [tmp_path / "a"]


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_putting_what_others_put_leaves_nothing_half(tmp_path: Path, step: str) -> None:
    """Whatever fails, the file is as it was, and nothing stands beside it."""
    (tmp_path / "a").write_bytes(b"half")
    with pytest.raises(DiskFullError):
        Recorded(step, errno.ENOSPC).put_shared(tmp_path / "a", b"12345")
    assert ([*tmp_path.iterdir()], (tmp_path / "a").read_bytes()) == ([tmp_path / "a"], b"half")


def test_a_file_is_private(tmp_path: Path) -> None:
    """Nobody else can read what is appended or put, or the lock."""
    files = Files()
    files.append(tmp_path / "a", b"1")
    files.put(tmp_path / "b", b"2")
    with files.lock(tmp_path / "c"):
        modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
    assert modes == [0o600] * 3


def test_putting(tmp_path: Path) -> None:
    """A file has its bytes before its name, and what an earlier try has left is gone."""
    (tmp_path / "a.tmp").write_bytes(b"left behind")
    files = Recorded()
    files.put(tmp_path / "a", b"123")
    assert files.done == ["write", "fsync", "rename", "fsync directory"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"123"}


def test_truncating(tmp_path: Path) -> None:
    """A file is cut, durably."""
    files = Recorded()
    (tmp_path / "a").write_bytes(b"12345")
    files.truncate(tmp_path / "a", 2)
    assert ((tmp_path / "a").read_bytes(), files.done) == (b"12", ["fsync"])


def test_removing(tmp_path: Path) -> None:
    """A file is removed durably; where there is none, nothing is done."""
    files = Recorded()
    (tmp_path / "a").touch()
    files.remove(tmp_path / "a")
    files.remove(tmp_path / "a")
    assert (list(tmp_path.iterdir()), files.done) == ([], ["fsync directory"])


def test_making_directories(tmp_path: Path) -> None:
    """Each directory that is missing is made, and its name made durable; the rest is left."""
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
    """A disk, a quota or a limit that is reached is told as a full disk, with its exit code."""
    with pytest.raises(DiskFullError, match="free some room") as caught:
        Recorded("write", code).append(tmp_path / "a", b"1")
    assert caught.value.exit_code == 74


def test_another_error_of_the_disk(tmp_path: Path) -> None:
    """Everything else is the system's own error."""
    with pytest.raises(OSError, match="Input/output"):
        Recorded("rename").put(tmp_path / "a", b"1")


def test_a_lock_that_is_held(tmp_path: Path) -> None:
    """It is refused at once, with its exit code, and left as it was; then it can be had again."""
    with Files().lock(tmp_path / "a.lock"):
        with (
            pytest.raises(LockedError, match="writing to a;") as caught,
            Files().lock(tmp_path / "a.lock"),
        ):
            pytest.fail("two hold it")
        with pytest.raises(LockedError), Files().lock(tmp_path / "a.lock"):
            pytest.fail("refusing gave it away")
    assert caught.value.exit_code == 75
    with Files().lock(tmp_path / "a.lock"):
        pass


def test_where_a_system_takes_no_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is written all the same."""
    monkeypatch.setattr("aiomessages.export.files._ADVISE", None)
    Files().append(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"
