"""Completion ids from a file of any length, without holding them in memory."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from aiomessages.errors import ConfigurationError
from aiomessages.wire.requests import check_completion_id

from .archive_names import is_archive
from .exits import UsageError

STANDARD_INPUT = "-"
_ONE_ID: Final = "write one id a line, as `aiomessages completions | jq -r .id` does"


class Ids:
    """Checked and counted ids, which each iteration reads from a temporary file."""

    def __init__(self, file: IO[bytes], count: int) -> None:
        self._file = file
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        return (line.decode().rstrip("\n") for line in self._file)


@contextmanager
def read_ids(source: str) -> Iterator[Ids]:
    """Read a file of ids, `-` for standard input; it may be a pipe.

    One id per line; blank lines and lines that begin with # are skipped. Raises UsageError, which
    names the line of an invalid id.
    """
    with tempfile.TemporaryFile() as copy:
        try:
            if source == STANDARD_INPUT:
                count = _copy("standard input", sys.stdin.buffer, copy)
            else:
                with Path(source).open("rb") as file:
                    count = _copy(source, file, copy)
        except OSError as error:
            raise UsageError(
                f"--ids-file {source}: {error.strerror}", "name a file with one id a line, or -"
            ) from None
        yield Ids(copy, count)


def check_no_archive(*completion_ids: str) -> None:
    """Raise UsageError for the name of an archive in the place of an id."""
    for word in completion_ids:
        if is_archive(word):
            raise UsageError(
                f"{word} is a file, and no id", f"write --local {word} to read an archive"
            )


def _copy(name: str, lines: IO[bytes], copy: IO[bytes]) -> int:
    count = 0
    for number, line in enumerate(lines, 1):
        completion_id = _id(line, f"{name}, line {number}")
        if completion_id:
            copy.write(f"{completion_id}\n".encode())
            count += 1
    return count


def _id(line: bytes, place: str) -> str:
    """Return the id on a line, "" if there is none."""
    try:
        text = line.decode("utf-8-sig").strip()
        if text.startswith('"'):
            raise UsageError(f"{place}: the id is in quotes", "jq -r prints ids without quotes")
        return "" if not text or text.startswith("#") else check_completion_id(text)
    except UnicodeDecodeError:
        raise UsageError(f"{place}: it is not UTF-8 text", _ONE_ID) from None
    except ConfigurationError as error:
        raise UsageError(f"{place}: {error}", _ONE_ID) from None
