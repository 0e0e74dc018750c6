"""Data arrives whole in its file, or the file does not exist."""

import errno
import os
import pty
import signal
import stat
import threading
from pathlib import Path

import pytest

from aiomessages.cli import output
from aiomessages.cli.exits import CommandError, UsageError


def test_a_file(tmp_path: Path) -> None:
    """The file has the data, is its owner's alone, and nothing else is left beside it."""
    path = tmp_path / "out"
    with output.opened(path) as write:
        write(b"one")
        write(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"onetwo"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_in_the_middle(tmp_path: Path) -> None:
    """The file that was there before stays, and no part of a new one does."""
    path = tmp_path / "out"
    path.write_bytes(b"before")

    def interrupted() -> None:
        with output.opened(path) as write:
            write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be made durable does not get its name."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def written() -> None:
        with output.opened(tmp_path / "out") as write:
            write(b"one")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CommandError, match=r"out: Input/output error"):
        written()
    assert list(tmp_path.iterdir()) == []


def test_signals_are_as_they_were(tmp_path: Path) -> None:
    """An ignored signal stays ignored, and no handler of ours is left afterwards."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with output.opened(tmp_path / "out"):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_thread(tmp_path: Path) -> None:
    """A thread that may not handle signals can write as well."""

    def write_there() -> None:
        with output.opened(tmp_path / "out") as write:
            write(b"x")

    thread = threading.Thread(target=write_there)
    thread.start()
    thread.join()
    assert (tmp_path / "out").read_bytes() == b"x"


def test_a_directory(tmp_path: Path) -> None:
    """A directory is refused in words before anything is written."""
    with pytest.raises(UsageError, match="is a directory"), output.opened(tmp_path):
        pytest.fail("it was opened")


def test_a_missing_directory(tmp_path: Path) -> None:
    """A file in no directory is refused in words."""
    with (
        pytest.raises(UsageError, match="No such file or directory"),
        output.opened(tmp_path / "nowhere" / "out"),
    ):
        pytest.fail("it was opened")


def test_a_link(tmp_path: Path) -> None:
    """A link stays a link; what it points to is replaced."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with output.opened(link) as write:
        write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_named_pipe(tmp_path: Path) -> None:
    """A path that is not a regular file is written to, and never replaced."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with output.opened(pipe) as write:
        write(b"data")
    reader.join()
    assert got == [b"data"]
    assert pipe.is_fifo()


def test_a_full_device() -> None:
    """A device that takes no more is an error in words."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with (
        pytest.raises(CommandError, match="/dev/full: No space left"),
        output.opened(Path("/dev/full")) as write,
    ):
        write(b"data")


def test_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The name - is standard output, and its bytes are there at once."""
    with output.opened(output.STANDARD_OUTPUT) as write:
        write(b"\xff")
        assert capsysbinary.readouterr().out == b"\xff"


def test_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program started without standard output says so."""
    monkeypatch.setattr("sys.stdout", None)
    assert output.screen_for(output.STANDARD_OUTPUT) == output.Screen()
    with pytest.raises(CommandError, match="closed"), output.opened(Path("-")) as write:
        write(b"data")


def test_the_screen_of_a_file(tmp_path: Path) -> None:
    """A file is no terminal, whatever standard output is."""
    assert output.screen_for(tmp_path / "out") == output.Screen()


@pytest.mark.parametrize(
    ("environment", "color"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_the_screen_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, color: bool
) -> None:
    """A terminal gets colour unless NO_COLOR or a dumb terminal forbids it."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment | {"COLUMNS": "72"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    screen = output.screen_for(output.STANDARD_OUTPUT)
    assert (screen.terminal, screen.color, screen.width) == (True, color, 72)


def test_a_terminal_by_its_path() -> None:
    """A path that leads to a terminal, as /dev/tty does, is written to as one."""
    ours, its = pty.openpty()
    try:
        assert output.screen_for(Path(os.ttyname(its))).terminal
    finally:
        os.close(its)
        os.close(ours)


@pytest.mark.parametrize("path", ["/dev/null", "/nowhere/at/all", "."])
def test_no_terminal_by_its_path(path: str) -> None:
    """A device that is none, a path to nothing and a directory are no terminals."""
    assert output.screen_for(Path(path)) == output.Screen()


def test_a_terminal_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot be opened for writing fails when it is opened."""

    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr("os.open", refused)
    assert output.screen_for(Path("/dev/null")) == output.Screen()
