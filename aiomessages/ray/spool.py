"""The lines of a shard on disk, written as conversations are read, and read in the plan's order.

The order makes a shard's file the same, whoever writes it. The file has no name, so that nothing
remains when the process ends, even by a kill.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, Self

from aiomessages.export.stored import Lines

HELD_BYTES: Final = 2**20  # that wait in memory to be written
_READ_BYTES: Final = 2**20


class Spool:
    """Pieces of text by their places, each written at once, in any order."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="aiomessages-", buffering=0)  # noqa: SIM115
        self._held = bytearray()
        self._end = 0  # of all text so far
        self._spans: dict[int, tuple[int, int]] = {}  # by place: where its text begins and ends

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, place: int, pieces: Iterable[Lines]) -> int:
        """Add the text of a place, and return the number of its lines."""
        begin, number = self._end, 0
        for piece in pieces:
            self._held += piece.text
            self._end += len(piece.text)
            number += piece.number
            if len(self._held) >= HELD_BYTES:
                self._write()
        self._spans[place] = begin, self._end
        return number

    def _write(self) -> None:
        left = memoryview(self._held)
        while left:
            left = left[self._file.write(left) :]
        self._held = bytearray()

    def in_order(self) -> Iterator[bytes]:
        """Yield the text of all places in their order, in blocks of about a megabyte."""
        self._write()
        block = bytearray()
        for place in sorted(self._spans):
            begin, end = self._spans[place]
            while begin < end:
                block += os.pread(self._file.fileno(), min(end - begin, _READ_BYTES), begin)
                begin = end if end - begin <= _READ_BYTES else begin + _READ_BYTES
                if len(block) >= _READ_BYTES:
                    yield bytes(block)
                    block.clear()
        if block:
            yield bytes(block)
