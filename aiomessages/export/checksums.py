"""Checksums: they show whether a file holds exactly the bytes that were written."""

import hashlib
import os
import zlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Final

from .files import Buffer, Stamp, drop_cached_pages, open_to_read

CHUNK: Final = 1024 * 1024


class Checksums:
    """The CRC-32, the SHA-256 and the number of bytes that were added so far.

    `stamp` is that of the file after the last addition, if its writer keeps it.
    """

    def __init__(self, stamp: Stamp | None = None) -> None:
        self.stamp = stamp
        self.crc32 = 0
        self.size = 0
        self._sha256 = hashlib.sha256()

    def add(self, data: Buffer) -> None:
        """Add the next bytes."""
        self.crc32 = zlib.crc32(data, self.crc32)
        self.size += len(data)
        self._sha256.update(data)

    def adding(self, pieces: Iterable[Buffer]) -> Iterator[Buffer]:
        """Yield pieces, and add each."""
        for piece in pieces:
            self.add(piece)
            yield piece

    @property
    def sha256(self) -> str:
        """The SHA-256 so far, in hexadecimal."""
        return self._sha256.hexdigest()


def chunks(path: Path, count: int | None = None) -> Generator[memoryview]:
    """Yield a file's bytes, at most the first `count`; each piece reuses the memory of the last."""
    chunk = memoryview(bytearray(CHUNK))  # a new one for each piece costs 256 page faults
    left = count
    with os.fdopen(open_to_read(path), "rb", buffering=0) as file:
        while left is None or left:
            size = file.readinto(chunk if left is None else chunk[: min(left, CHUNK)])
            if not size:
                break
            left = left if left is None else left - size
            yield chunk[:size]
        drop_cached_pages(file.fileno())


def checksums_of(path: Path, count: int | None = None) -> Checksums:
    """Return the checksums of a file, or of its first `count` bytes."""
    sums = Checksums()
    for chunk in chunks(path, count):
        sums.add(chunk)
    return sums


def are_equal(path: Path, other: Path) -> bool:
    """Return whether two files exist and have the same bytes."""
    try:
        size, other_size = path.lstat().st_size, other.lstat().st_size
    except FileNotFoundError:
        return False
    return size == other_size and ends_with(path, other)


def ends_with(path: Path, tail: Path) -> bool:
    """Return whether a file ends with all the bytes of another file."""
    start = path.stat().st_size - tail.stat().st_size
    if start < 0:
        return False
    with os.fdopen(open_to_read(path), "rb", buffering=0) as file:
        file.seek(start)
        return all(file.read(len(chunk)) == chunk for chunk in chunks(tail))
