"""Ids from a file."""

import io
import os
import sys
from pathlib import Path

import pytest

from aiomessages.cli.exits import UsageError
from aiomessages.cli.ids import read_ids


def test_a_file(tmp_path: Path) -> None:
    """One id a line; blank lines, comments, blanks, a BOM and Windows line ends do not count."""
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbfchatcmpl-1\r\n\r\n# chatcmpl-no\r\n  chatcmpl-2\t\nchatcmpl-3")
    with read_ids(str(path)) as ids:
        assert len(ids) == 3
        assert [*ids] == [*ids] == ["chatcmpl-1", "chatcmpl-2", "chatcmpl-3"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash is standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"chatcmpl-1\n")))
    with read_ids("-") as ids:
        assert [*ids] == ["chatcmpl-1"]


def test_a_pipe() -> None:
    """A pipe can be read but once; its ids still can be counted first."""
    reading, writing = os.pipe()
    os.write(writing, b"chatcmpl-1\nchatcmpl-2\n")
    os.close(writing)
    with read_ids(f"/dev/fd/{reading}") as ids:
        assert len(ids) == 2
    os.close(reading)


@pytest.mark.parametrize("line", [b"a b", b"a/b", b"\xff"])
def test_an_invalid_id(tmp_path: Path, line: bytes) -> None:
    """A line that cannot be an id is refused with its number."""
    (tmp_path / "ids.txt").write_bytes(b"# mine\nchatcmpl-1\n" + line)
    with (
        pytest.raises(UsageError, match=r"ids\.txt, line 3: "),
        read_ids(str(tmp_path / "ids.txt")),
    ):
        pass


def test_ids_in_quotes(tmp_path: Path) -> None:
    """Ids as jq prints them without -r are refused with that advice."""
    (tmp_path / "ids.txt").write_text('"chatcmpl-1"\n')
    with (
        pytest.raises(UsageError, match=r"ids\.txt, line 1: .* jq -r"),
        read_ids(str(tmp_path / "ids.txt")),
    ):
        pass


def test_no_file(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    with pytest.raises(UsageError, match="No such file"), read_ids(str(tmp_path / "none")):
        pass
