"""The messages of one conversation until it is whole: in memory, or in a file if they are large.

The file has no name, so that nothing remains when the process ends, even by a kill. It is on the
disk of the output, which needs these bytes in the end anyway.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from .errors import disk_full_errors

BLOCK_BYTES: Final = 1024 * 1024  # of messages to read back at once, at least


class MessageBuffer:
    """Messages in order, each the server's JSON on one line.

    Add them page by page, read them in blocks as often as needed, and close the buffer at the end.
    """

    def __init__(self, directory: Path) -> None:
        self.held: list[bytes] = []  # the messages that are not in the file
        self._directory = directory
        self._file: IO[Any] | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, messages: list[bytes]) -> None:
        """Add the messages of the next page."""
        self.held += messages
        self._count += len(messages)

    def spill(self) -> None:
        """Move the messages in memory to the file. Raises DiskFullError and OSError."""
        with disk_full_errors(self._directory / "messages"):
            if self._file is None:
                # Unbuffered: closing would write a buffer again, on a full disk.
                self._file = tempfile.TemporaryFile(buffering=0, dir=self._directory)  # noqa: SIM115
            self._file.seek(0, os.SEEK_END)
            left = memoryview(b"".join(message + b"\n" for message in self.held))
            while left:
                left = left[self._file.write(left) :]
        self.held = []

    @property
    def spilled(self) -> bool:
        """Whether some of the messages are in the file."""
        return self._file is not None

    def blocks(self) -> Iterator[list[bytes]]:
        """Yield all messages in lists of some."""
        if self._file is not None:
            self._file.seek(0)
            with open(self._file.fileno(), "rb", closefd=False) as file:
                while lines := file.readlines(BLOCK_BYTES):
                    yield [line[:-1] for line in lines]
        if self.held:
            yield self.held

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()
