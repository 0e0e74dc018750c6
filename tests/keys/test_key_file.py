"""The key in a file: how it may change, and what happens while it has none."""

import asyncio
import logging
import os
import time
from pathlib import Path

import pytest

from aiomessages import ConfigurationError
from aiomessages.keys import KeyFile

FIRST, SECOND = "sk-canary-first-01", "sk-canary-other-02"
LONG_AGO = time.time_ns() - 3_600_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file with the first key, written an hour ago."""
    path = tmp_path / "key"
    path.write_text(FIRST, "utf-8")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


@pytest.mark.parametrize(
    "content", [FIRST, f"{FIRST}\n", f" \t{FIRST}\r\n\n", f"\ufeff{FIRST}\r\n"], ids=ascii
)
def test_white_space_around_the_key(path: Path, content: str) -> None:
    """Line breaks, spaces and a byte order mark around the key are no part of it."""
    path.write_text(content, "utf-8")
    assert asyncio.run(KeyFile(str(path))()) == FIRST


def test_a_file_that_is_overwritten(path: Path) -> None:
    """A file with another content gives the other key."""
    key = KeyFile(path)
    assert key.read() == FIRST
    path.write_text(SECOND, "utf-8")
    assert key.read() == SECOND


def test_two_changes_within_a_tick_of_the_clock(path: Path) -> None:
    """A file that was just written is read each time: its time may not show the next change."""
    key, now = KeyFile(path), time.time_ns()
    for content in (FIRST, SECOND):
        path.write_text(content, "utf-8")
        os.utime(path, ns=(now, now))
        assert key.read() == content


def test_a_file_that_does_not_change(path: Path) -> None:
    """A file is not read again while its identity, size and time are the same."""
    key = KeyFile(path)
    key.read()
    path.write_text(SECOND, "utf-8")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    assert key.read() == FIRST
    key.refused(SECOND)
    assert key.read() == FIRST
    key.refused(FIRST)
    assert key.read() == SECOND


def test_a_secret_of_kubernetes(tmp_path: Path) -> None:
    """A mounted secret changes by a symbolic link that is replaced, and the key with it."""
    for version, content in (("v1", FIRST), ("v2", SECOND)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "key").write_text(content, "utf-8")
        os.utime(tmp_path / version / "key", ns=(LONG_AGO, LONG_AGO))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "key").symlink_to("..data/key")
    key = KeyFile(tmp_path / "key")
    assert key.read() == FIRST
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert key.read() == SECOND


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no key"),
        (b" \n", "holds no key"),
        (b"\xff\xfe", "is not text"),
        (b"sk-one\nsk-two", "line breaks"),
        (None, "No such file"),
    ],
    ids=repr,
)
def test_a_file_without_a_key(
    path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, reason: str
) -> None:
    """Without a key at the start the file is an error; later on the last key stays in use."""
    key = KeyFile(path)
    key.read()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        KeyFile(path).read()
    assert "sk-" not in str(caught.value)
    with caplog.at_level(logging.WARNING, "aiomessages"):
        assert [key.read(), key.read()] == [FIRST, FIRST]
    assert len(caplog.messages) == 1
    assert reason in caplog.text
    assert "sk-" not in caplog.text
    path.write_text(SECOND, "utf-8")
    assert key.read() == SECOND
    path.unlink()
    assert key.read() == SECOND
    assert len(caplog.messages) == 2


def test_a_refused_key_of_a_file_that_is_gone(path: Path) -> None:
    """A key that was refused is not used again, even if the file has no other one."""
    key = KeyFile(path)
    key.read()
    path.unlink()
    key.refused(FIRST)
    with pytest.raises(ConfigurationError, match="No such file"):
        key.read()


def test_a_pipe_and_a_folder(tmp_path: Path) -> None:
    """A pipe, which would block the event loop, is refused, and so is a folder."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigurationError, match="no regular file"):
            KeyFile(path).read()


def test_a_large_file(path: Path) -> None:
    """Of a large file only the beginning is read, and it is no key."""
    path.write_bytes(b"sk-canary " * 1_000_000)
    with pytest.raises(ConfigurationError, match="spaces"):
        KeyFile(path).read()


def test_the_repr_of_a_file(path: Path) -> None:
    """A repr shows the path of a file and no key, also if the key was passed as the path."""
    key = KeyFile(path)
    asyncio.run(key())
    assert repr(key) == f"KeyFile({str(path)!r})"
    assert repr(KeyFile(FIRST)) == "KeyFile(…)"
    assert FIRST not in repr(vars(key))
