"""The lock of an export: its file goes with its holder, and two never hold it."""

import fcntl
import os
from pathlib import Path

import pytest

from aiomessages.export import LockedError
from aiomessages.export.files import Files
from aiomessages.export.locks import is_locked, is_named


def test_the_file_of_a_lock(tmp_path: Path) -> None:
    """The file is there while the lock is held, and gone after that, also after an error."""
    path = tmp_path / "lock"
    with Files().lock(path):
        assert path.is_file()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), Files().lock(path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_removed_while_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gets the lock of a file that has lost its name takes that of the next file."""
    path = tmp_path / "lock"
    removed: list[int] = []
    opened = os.open

    def open_and_lose(name: "os.PathLike[str] | str", *words: int) -> int:
        descriptor = opened(name, *words)
        if not removed:
            removed.append(descriptor)
            path.unlink()
        return descriptor

    monkeypatch.setattr("os.open", open_and_lose)
    with Files().lock(path):
        monkeypatch.undo()
        assert path.is_file()
        with pytest.raises(LockedError), Files().lock(path):
            pytest.fail("two hold it")
    assert len(removed) == 1


def test_a_look_at_a_lock(tmp_path: Path) -> None:
    """A look tells whether somebody holds the lock, creates nothing, and takes nothing away."""
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert list(tmp_path.iterdir()) == []
    with Files().lock(path):
        assert is_locked(path)
    path.touch()
    assert not is_locked(path)
    with path.open() as file:
        assert is_named(file.fileno(), path)
        path.unlink()
        assert not is_named(file.fileno(), path)


def test_a_lock_that_is_free_in_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only looks at a lock keeps nobody from taking it."""
    path = tmp_path / "lock"
    with path.open("w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        monkeypatch.setattr("time.sleep", lambda _: fcntl.flock(look, fcntl.LOCK_UN))
        with Files().lock(path):
            assert is_locked(path)


def test_a_lock_whose_file_was_replaced(tmp_path: Path) -> None:
    """A file that somebody put in its place stays at the end."""
    path = tmp_path / "lock"
    with Files().lock(path):
        path.unlink()
        path.write_text("somebody's")
    assert path.read_text() == "somebody's"
