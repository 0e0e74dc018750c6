"""The key of the local server in a file that keeps it over runs, for its owner alone."""

import os
import re
import secrets
import stat
from pathlib import Path

from .exits import UsageError

_LONGEST = 4096
_KEY = re.compile(r"[!-~]+")  # what a header can carry


def read_or_create(path: Path) -> str:
    """Return the key of a file; write a random one to it if the file is missing.

    Raises UsageError for a file that others can read, that holds no key, or that cannot be used.
    """
    try:
        try:
            # O_EXCL follows no link, and the mode is that of the file from its first moment.
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return _read(path)
        with open(made, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor, not a path
            key = f"sk-local-{secrets.token_urlsafe(24)}"
            file.write(f"{key}\n")
    except OSError as error:
        raise UsageError(
            f"--key-file {path}: {error.strerror}", "name a file in a directory of your own"
        ) from None
    return key


def _read(path: Path) -> str:
    # Opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"--key-file {path}: no regular file", "name a file")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(f"--key-file {path}: others can read it", f"chmod 600 {path}")
        text = file.read(_LONGEST).decode("ascii", "replace").strip()
    if not _KEY.fullmatch(text):
        raise UsageError(
            f"--key-file {path}: it holds no key",
            "write one line of ASCII without spaces, or remove the file to get a new key",
        )
    return text
