"""A process that extracts media forever, in small writes, and is killed in the middle.

The arguments are the directory and a name of its own. It prints a line for each extracted item,
with the names of its files.
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
from pathlib import Path

from aiomessages.export.files import Files
from aiomessages.export.media import MediaStore

SHARED = 40  # pictures that every process brings


class SlowFiles(Files):
    """Files whose writes are small: a kill then finds most of them half written."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write a few bytes."""
        return super().write(descriptor, data[:512])


def picture(name: str) -> bytes:
    """Return the bytes of a picture."""
    return f"{name}\n".encode() * 4000


def item(*names: str) -> bytes:
    """Return a message with pictures."""
    urls = [f"data:image/png;base64,{base64.b64encode(picture(name)).decode()}" for name in names]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return json.dumps({"id": "m-0", "role": "user", "content_parts": parts}).encode()


def names_in(extracted: bytes) -> list[str]:
    """Return the names of the files in an extracted message."""
    return [part["image_url"]["url"] for part in json.loads(extracted)["content_parts"]]


def extract(directory: Path, own: str) -> None:
    """Extract the items that all processes share, and those of this process alone."""
    for number in itertools.count():
        store = MediaStore(directory, files=SlowFiles())
        done = store.extract(item(f"shared {number % SHARED}", f"{own} {number}"))
        sys.stdout.write(" ".join(names_in(done)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    extract(Path(sys.argv[1]), sys.argv[2])
