"""The file that keeps the key of the local server."""

import os
import stat
from pathlib import Path

import pytest

from aiomessages.cli.exits import UsageError
from aiomessages.cli.key_file import read_or_create


def test_a_new_file(tmp_path: Path) -> None:
    """A missing file is created for its owner alone, and has the same key the next time."""
    path = tmp_path / "key"
    key = read_or_create(path)
    assert path.read_text("ascii") == f"{key}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.startswith("sk-local-")
    assert read_or_create(path) == key
    assert read_or_create(tmp_path / "other") != key


def test_a_key_of_ones_own(tmp_path: Path) -> None:
    """A key that the user wrote is taken without the spaces around it."""
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text("my-own-key\r\n")
    assert read_or_create(path) == "my-own-key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    """A file that others can use is refused, with the command that mends it."""
    path = tmp_path / "key"
    path.write_text("key")
    path.chmod(mode)
    with pytest.raises(UsageError, match=f"others can read it: chmod 600 {path}"):
        read_or_create(path)


@pytest.mark.parametrize("text", ["", "two words", "ü", "a\nb"])
def test_a_file_without_a_key(tmp_path: Path, text: str) -> None:
    """A file of something else is refused, and stays as it is."""
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match="holds no key"):
        read_or_create(path)
    assert path.read_text("utf-8") == text


def test_what_is_no_file(tmp_path: Path) -> None:
    """A directory, a pipe, and a place where no file can be made are refused at once."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, said in (
        (tmp_path, "no regular file|Is a directory"),
        (tmp_path / "pipe", "no regular file"),
        (tmp_path / "none" / "key", "No such file"),
    ):
        with pytest.raises(UsageError, match=said):
            read_or_create(path)
