"""Keys by their names: each process reads the key itself, so that none is ever sent or stored."""

import importlib
import os
import re
from typing import Any, Final

from aiomessages.errors import ConfigurationError, MessagesError
from aiomessages.keys import KeyFile
from aiomessages.settings import ApiKey, UnusableKeyError
from aiomessages.values.secrets import hide

_NAME: Final = re.compile(
    r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|import:[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"
)


def check_key_name(name: object) -> None:
    """Raise ConfigurationError for a text that names no key; the error does not repeat it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            "key= does not name a key",
            hint="write env:NAME, file:/ABSOLUTE/PATH or import:MODULE:NAME,"
            " and never the key itself",
        )


def key_of(name: str) -> ApiKey:
    """Return the key that this process finds under a name. Raises ConfigurationError."""
    kind, _, rest = name.partition(":")
    if kind == "env":
        key = hide(os.environ.get(rest, "").strip())
        if not key:
            raise ConfigurationError(
                f"{rest} is not set", hint="set it in the environment of each node"
            )
        return key
    if kind == "file":
        file = KeyFile(rest)
        file.read()
        return file
    return _imported(rest)


def _imported(path: str) -> ApiKey:
    module, _, names = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except Exception as error:  # noqa: BLE001 - importing runs any code
        raise ConfigurationError(
            f"{path} cannot be imported: {type(error).__name__}",
            hint="install its module on each node",
        ) from None
    if not callable(found):
        raise ConfigurationError(f"{path} is not callable", hint="name an async function")
    return _Imported(path, found)


class _Imported:
    """A callable by its name. The text of its errors is not repeated, for it may quote a key."""

    def __init__(self, path: str, found: Any) -> None:
        self._path = path
        self._found = found
        if hasattr(found, "refused"):
            self.refused = found.refused

    async def __call__(self) -> str:
        try:
            return await self._found()  # type: ignore[no-any-return]  # the client checks it
        except (MessagesError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - it may do anything
            raise UnusableKeyError(
                f"{self._path} raised {type(error).__name__}",
                hint="it must be an async function that returns the key",
            ) from None
