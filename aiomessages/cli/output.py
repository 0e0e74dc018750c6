"""The output of a command: standard output, or a file that is either complete or absent.

It moves bytes and knows no format. A `Screen` describes the destination to a format: whether it is
a terminal, its width, its colours.
"""

import asyncio
import os
import select
import shutil
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from .exits import CommandError, ReaderGone, UsageError

Write = Callable[[bytes], None]
STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, slots=True)
class Screen:
    """The destination as a format sees it; `width` is in character cells.

    Times are in UTC if `utc` is true, and local otherwise.
    """

    terminal: bool = False
    color: bool = False
    width: int = 80
    encoding: str = "utf-8"
    utc: bool = False

    @property
    def unicode(self) -> bool:
        """Whether the screen can show line-drawing characters."""
        return self.encoding.lower().replace("-", "") == "utf8"


def screen_for(path: Path, *, utc: bool = False) -> Screen:
    """Return the screen at a path. Only a terminal has colours."""
    if path != STANDARD_OUTPUT:
        return _screen(terminal=True, utc=utc) if _is_terminal(path) else Screen(utc=utc)
    if sys.stdout is None:
        return Screen(utc=utc)
    return _screen(terminal=sys.stdout.isatty(), utc=utc)


def _screen(*, terminal: bool, utc: bool) -> Screen:
    return Screen(
        utc=utc,
        terminal=terminal,
        color=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        width=shutil.get_terminal_size().columns,
        encoding=getattr(sys.stdout, "encoding", None) or "utf-8",
    )


def _is_terminal(path: Path) -> bool:
    """Return whether a path is a terminal, as /dev/tty and /dev/stdout may be."""
    try:
        if not path.is_char_device():
            return False
        descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    except OSError:  # opening it for writing reports the error
        return False
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def opened(path: Path) -> Iterator[Write]:
    """Open the path, ``-`` for standard output, and yield the function that writes to it.

    A regular file is written under a temporary name, readable by its owner alone, and renamed when
    the block ends without an error: an incomplete file never looks complete. A pipe or a device is
    written directly.

    Raises UsageError if the path cannot be opened, CommandError if it cannot be written, ReaderGone
    if the reader of standard output closed it.
    """
    if path == STANDARD_OUTPUT:
        yield _write_standard_output
    elif path.exists() and not path.is_file():
        with _direct(path) as write:
            yield write
    else:
        with _replaced(path.resolve()) as write:  # a link stays, its target is replaced
            yield write


def _write_standard_output(data: bytes) -> None:
    if sys.stdout is None:
        raise CommandError("standard output is closed", _TO_A_FILE)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _silence_standard_output()
        raise ReaderGone from None
    except OSError as error:
        _silence_standard_output()
        raise CommandError(
            f"cannot write to standard output: {error.strerror}", _TO_A_FILE
        ) from error


_TO_A_FILE: Final = "write to a file, by -o where the command has it"


class Reader:
    """The reader of standard output."""

    is_gone = False


@contextmanager
def reader_watched(stop: Callable[[], object]) -> Iterator[Reader]:
    """Call `stop` as soon as the reader of a pipe closes it, and not at the next write alone."""
    loop, reader = asyncio.get_running_loop(), Reader()
    descriptor = _pipe_of_standard_output()
    if descriptor is None:
        yield reader
        return
    poll = select.poll()
    poll.register(descriptor, 0)  # an error is always told

    def look() -> None:
        loop.remove_reader(descriptor)
        if poll.poll(0):  # else it is a pipe that can be read: it was opened to read and write
            reader.is_gone = True
            stop()

    loop.add_reader(descriptor, look)  # the end for writing is "readable" when it has an error
    try:
        yield reader
    finally:
        loop.remove_reader(descriptor)


def _pipe_of_standard_output() -> int | None:
    """Return the descriptor of standard output if it is a pipe whose end can be seen."""
    try:
        descriptor = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (AttributeError, OSError, ValueError):  # there is none, or a stand-in
        return None
    return descriptor if is_pipe and hasattr(select, "poll") else None


def _silence_standard_output() -> None:
    """Redirect the descriptor to nowhere: the interpreter flushes it once more at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def _direct(path: Path) -> Iterator[Write]:
    if path.is_dir():
        raise UsageError(f"-o {path} is a directory", "name a file in it")
    with _reported(path, UsageError):
        file = path.open("wb", buffering=0)
    with file:
        yield _writer(path, file)


@contextmanager
def _replaced(path: Path) -> Iterator[Write]:
    with _reported(path, UsageError):
        descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    unfinished = Path(name)
    try:
        with _gone_with_the_process(unfinished):
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                yield _writer(path, file)
                with _reported(path, CommandError):
                    file.flush()
                    os.fsync(file.fileno())
            with _reported(path, CommandError):
                unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def _gone_with_the_process(path: Path) -> Iterator[None]:
    """Remove a file if a signal ends the process, for which no `finally` runs."""

    def end(number: int, _: object) -> None:  # pragma: no cover - it ends before coverage is saved
        with suppress(OSError):
            path.unlink()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    ours = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    deadly = [number for number in _DEADLY if ours and signal.getsignal(number) is signal.SIG_DFL]
    for number in deadly:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in deadly:
            signal.signal(number, signal.SIG_DFL)


# Ctrl-C is an exception of Python's own. Windows has no SIGHUP.
_DEADLY = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


def _writer(path: Path, file: BinaryIO) -> Write:
    def write(data: bytes) -> None:
        with _reported(path, CommandError):
            file.write(data)

    return write


@contextmanager
def _reported(path: Path, kind: type[CommandError | UsageError]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise kind(
            f"cannot write {path}: {error.strerror}", "create its directory first"
        ) from error
    except OSError as error:
        raise kind(f"cannot write {path}: {error.strerror}", "name another file by -o") from error
