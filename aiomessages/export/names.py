"""The names of an export: its destination, resolved once, and the files beside it."""

import os
import secrets
from errno import EEXIST, ENAMETOOLONG, ENOTDIR
from pathlib import Path
from typing import Final, Self

from aiomessages.errors import ConfigurationError

from .errors import disk_full_errors
from .files import PRIVATE, Files

# The endings that are added to a destination's name; the longest decides whether a name fits. The
# random part in the name of the directory for columns has eight characters.
_ENDINGS: Final = (
    *(".lock", ".ledger", ".ledger-wal", ".ledger-shm", ".ledger-journal", ".partial"),
    *(".manifest.json", ".manifest.json.tmp", ".incomplete.jsonl"),
)
_ENDINGS_WITH_COLUMNS: Final = (
    *(".rows.jsonl.gz", ".rows.jsonl.gz.partial", ".tmp", ".tmp.abcdefgh.work"),
)
_PART: Final = "part-00001.jsonl.partial"


class Names:
    """The destination of an export, absolute, and the files beside it.

    `incomplete` has the lines of conversations that were lost while they were read.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.lock = self.beside(".lock")
        self.ledger = self.beside(".ledger")
        self.manifest = self.beside(".manifest.json")
        self.incomplete = self.beside(".incomplete.jsonl")

    @classmethod
    def of(cls, destination: str | Path) -> Self:
        """Resolve a destination, so that a later change of the current directory has no effect.

        Links in its directory are followed; a link under its own name is not. Raises
        ConfigurationError for a destination that cannot be a name.
        """
        path = Path(destination)
        if not str(destination) or "\0" in str(destination):
            raise ConfigurationError(
                f"{str(destination)!r} cannot name a destination", hint="name a file or a directory"
            )
        try:
            parent, name = path.parent.resolve(), path.name
            if name in ("", ".."):  # "." has no name of its own
                parent, name = path.resolve().parent, path.resolve().name
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to each other
            raise ConfigurationError(f"{destination} cannot be found: {error}") from None
        if not name:
            raise ConfigurationError(
                f"{destination} is no destination", hint="name a file or a directory"
            )
        return cls(parent / name)

    def beside(self, ending: str) -> Path:
        """Return the path of the file whose name is the destination's with an ending."""
        return self.destination.with_name(self.destination.name + ending)


def try_names(names: Names, files: Files, *, with_columns: bool, is_directory: bool) -> None:
    """Create and remove a file with the longest name that an export needs; check existing files.

    The directory is created. Raises ConfigurationError if no such file can be created, and
    CorruptError if a name is taken by a link, a directory or another user's file.
    """
    endings = _ENDINGS + (_ENDINGS_WITH_COLUMNS if with_columns else ())
    longest = max(map(len, endings))
    destination = names.destination
    try:
        files.make_directory(destination.parent)
        random = f".{secrets.token_hex(4)}"
        _try(names.beside(random.ljust(longest, "x")))
        for ending in endings:
            files.check(names.beside(ending))
        if is_directory:
            files.check_link(destination)  # of one's own, it is followed
            files.check(destination / _PART)
            if destination.is_dir():
                _try(destination / f"{_PART}{random}")
    except OSError as error:
        raise ConfigurationError(
            f"no export can be written to {names.destination}: {_reason(error, longest)}",
            hint="name another destination",
        ) from None


def _try(path: Path) -> None:
    with disk_full_errors(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    path.unlink()


def _reason(error: OSError, longest: int) -> str:
    """Return why no file can be made in the directory of a destination."""
    if error.errno == EEXIST:  # a file has the name of the directory, or of one above it
        return os.strerror(ENOTDIR)
    if error.errno == ENAMETOOLONG:
        return f"{error.strerror} (names beside it are up to {longest} bytes longer)"
    return str(error.strerror)
