"""The key in a file, which is read again when the file changes.

Kubernetes replaces a mounted secret by moving a symbolic link, an editor by renaming a file, and a
script by writing into it. All three change the file's identity, size or time. While a file is
missing, empty or unreadable, the last key stays in use.
"""

import os
import stat
import time
from pathlib import Path
from typing import Final, NamedTuple

from aiomessages.observe.logs import log_kept_key
from aiomessages.settings import UnusableKeyError, check_key
from aiomessages.values.secrets import SecretStr, hide

_HINT: Final = "name a file that holds the key and nothing else"
LONGEST: Final = 65_536  # bytes of a key, with the white space around it
# Nanoseconds. A file may change twice within one tick of its clock, and its time then shows only
# the first change. Some file systems count in steps of two seconds.
TICK: Final = 2_000_000_000


class _Kept(NamedTuple):
    key: SecretStr
    identity: tuple[int, ...]
    settled: bool  # the file was older than a tick when it was read


class KeyFile:
    """Read the key from a file, and read it again when the file changes.

    White space around the key is removed. Each request looks at the file's identity, size and time,
    which takes a few microseconds; the file belongs on a local disk.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._kept: _Kept | None = None
        self._warned: str | None = None

    def __repr__(self) -> str:
        # A path that does not exist may be a key that was passed by mistake.
        shown = repr(str(self._path)) if os.path.lexists(self._path) else "…"
        return f"{type(self).__name__}({shown})"

    async def __call__(self) -> str:
        """Return the key as `read` does."""
        return self.read()

    def read(self) -> str:
        """Return the key that the file has now, or the last one while it has none.

        Raises UnusableKeyError (a ConfigurationError) if there was none yet.
        """
        kept = self._kept
        try:
            found = os.stat(self._path)  # noqa: PTH116 a third of the time of Path.stat
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if kept is not None and kept.settled and kept.identity == identity:
                return kept.key
            settled = time.time_ns() - found.st_mtime_ns > TICK
            self._kept = _Kept(_key_in(self._path, found.st_mode), identity, settled)
        except OSError as error:
            problem, hint = f"the key file cannot be read: {error.strerror}", _HINT
        except UnusableKeyError as error:
            problem, hint = str(error.args[0]), error.hint
        else:
            self._warned = None
            return self._kept.key
        if kept is None:
            raise UnusableKeyError(problem, hint=hint)
        if problem != self._warned:
            log_kept_key(problem)
            self._warned = problem
        return kept.key

    def refused(self, key: str) -> None:
        """Drop this key, which a server refused: read the file again, whatever its time."""
        kept = self._kept
        if kept is not None and kept.key == key:
            self._kept = None


def _key_in(path: Path, mode: int) -> SecretStr:
    if not stat.S_ISREG(mode):  # to open a pipe would block
        raise UnusableKeyError("the key file is no regular file", hint=_HINT)
    with path.open("rb") as file:
        # One expression: no local variable, which a traceback may show, has the bytes.
        key = hide(file.read(LONGEST).decode("utf-8-sig", "replace").strip())
    if not key:
        raise UnusableKeyError("the key file holds no key", hint=_HINT)
    if "\ufffd" in key or "\0" in key:
        raise UnusableKeyError("the key file is not text", hint=_HINT)
    return check_key(key)
