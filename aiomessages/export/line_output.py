"""An output without files: complete lines, handed to a function as they are committed.

It takes the place of `Output` in a run whose lines go elsewhere, such as to standard output.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from .formats import FORMATS
from .ledger import Ledger
from .ledger_schema import Entry
from .manifest import FileDigest
from .stored import Lines

LINES: Final = FORMATS[".jsonl"]
# Seconds: a reader sees each conversation at once, and a fast server still makes few writes.
PROMPT: Final = 0.1


class LineOutput:
    """Hand each batch of lines to `write`; the ledger only tells what this run has seen."""

    format = LINES

    def __init__(self, write: Callable[[bytes], object], ledger: Ledger) -> None:
        self.destination = Path("-")
        self.rows = 0
        self._write = write
        self._ledger = ledger

    def write(
        self, lines: Iterable[Lines], entries: Sequence[Entry], incomplete: Iterable[bytes] = ()
    ) -> int:
        """Hand over a batch; lines of lost conversations (`incomplete`) have no place to go to."""
        size = 0
        for piece in lines:
            if piece.text:
                self._write(bytes(piece.text))
                self.rows, size = self.rows + piece.number, size + len(piece.text)
        for _ in incomplete:  # reading it closes its file
            pass
        self._ledger.commit([], entries)
        return size

    def finish(self, *_: object) -> None:
        """Record that the run has come to its end."""
        self._ledger.finish()

    def manifest(self) -> dict[str, FileDigest]:
        """Return nothing: there is no file."""
        return {}
