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

BLOCK_BYTES: Final = 2**20


class Spool:
    """Text by places, added in any order.

    `block_bytes` wait in memory to be written, and are read at once.
    """

    def __init__(self, block_bytes: int = BLOCK_BYTES) -> None:
        self._block = block_bytes
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
            if len(self._held) >= self._block:
                self._write()
        self._spans[place] = begin, self._end
        return number

    def _write(self) -> None:
        left = memoryview(self._held)
        while left:
            left = left[self._file.write(left) :]
        self._held = bytearray()

    def in_order(self) -> Iterator[bytes]:
        """Yield the text of all places in their order, in blocks."""
        self._write()
        block = bytearray()
        for place in sorted(self._spans):
            begin, end = self._spans[place]
            while begin < end:
                data = os.pread(self._file.fileno(), min(end - begin, self._block), begin)
                begin += len(data)
                block += data
                if len(block) >= self._block:
                    yield bytes(block)
                    block.clear()
        if block:
            yield bytes(block)
