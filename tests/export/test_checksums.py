"""Checksums of files, and whether one file holds another's bytes."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

import pytest

from aiomessages.export.checksums import (
    CHUNK,
    Checksums,
    are_equal,
    checksums_of,
    chunks,
    ends_with,
)

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * (CHUNK // 256) + b"and more than a chunk"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file of more than one chunk."""
    (tmp_path / "a").write_bytes(DATA)
    return tmp_path / "a"


@pytest.mark.parametrize("count", [None, 0, 5, CHUNK, CHUNK + 5, 2 * CHUNK])
def test_of_a_file(path: Path, count: int | None) -> None:
    """Checksums cover the whole file, or its first bytes."""
    sums, data = checksums_of(path, count), DATA[:count]
    assert (sums.size, sums.crc32) == (len(data), zlib.crc32(data))
    assert sums.sha256 == hashlib.sha256(data).hexdigest()


def test_of_pieces_on_their_way(path: Path) -> None:
    """Each piece that passes through is counted."""
    sums = Checksums()
    assert b"".join(map(bytes, sums.adding(chunks(path)))) == DATA
    assert sums.sha256 == checksums_of(path).sha256


@pytest.mark.parametrize(
    ("tail", "holds"),
    [(b"", True), (b"chunk", True), (DATA[5:], True), (b"junk", False), (b"x" + DATA, False)],
    ids=["none", "short", "long", "other", "longer"],
)
def test_the_end_of_a_file(path: Path, tmp_path: Path, tail: bytes, *, holds: bool) -> None:
    """A file ends with another one if its last bytes are all of that one's."""
    (tmp_path / "b").write_bytes(tail)
    assert ends_with(path, tmp_path / "b") == holds


def test_two_files(path: Path, tmp_path: Path) -> None:
    """Two files are equal if both exist and have the same bytes."""
    other = tmp_path / "b"
    found = [are_equal(path, other), are_equal(other, path)]
    for data in (DATA[5:], DATA, DATA[::-1]):
        other.write_bytes(data)
        found.append(are_equal(path, other))
    assert found == [False, False, False, True, False]
