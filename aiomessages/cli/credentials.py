"""The key and the headers of a command line: read, checked, and concealed in all that is written.

A key is in a file, in standard input or in the output of a command, and never an argument, because
every process of the machine can read those.
"""

import shlex
import sys
from collections.abc import Iterable
from getpass import getpass
from pathlib import Path
from typing import Final

from aiomessages.keys import KeyCommand, KeyFile
from aiomessages.settings import ApiKey, custom_headers
from aiomessages.values.headers import carries_credential, credentials_in, header_of

from . import stderr
from .exits import UsageError

_LONGEST_KEY: Final = 65_536
_HINT: Final = "name a file that holds the key and nothing else, or - for standard input"


def key_of(file: str | None, command: str | None) -> ApiKey | None:
    """Return the key of --api-key-file or --api-key-command; None without either.

    A file that can change is read again when it does. Raises UsageError or ConfigurationError for a
    source that cannot be used.
    """
    if file is not None and command is not None:
        raise UsageError(
            "--api-key-file and --api-key-command are two keys", "leave one of them out"
        )
    if command is not None:
        return _Concealed(KeyCommand(_words(command)))
    if file is None:
        return None
    if file != "-" and Path(file).is_file():
        kept = KeyFile(file)
        stderr.conceal(kept.read())
        return _Concealed(kept)
    return _read_once(file)


class _Concealed:
    """An api_key callable whose keys appear in nothing that the program writes."""

    def __init__(self, source: KeyFile | KeyCommand) -> None:
        self._source = source

    async def __call__(self) -> str:
        key = await self._source()
        stderr.conceal(key)
        return key

    def refused(self, key: str) -> None:
        """Tell the source of a refused key."""
        self._source.refused(key)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(
            f"--api-key-command: {str(error).lower()}",
            "write it as a shell would read it: --api-key-command 'pass show openai'",
        ) from None
    if not words:
        raise UsageError("--api-key-command is empty", "is a variable of the shell not set?")
    return words


def _read_once(source: str) -> str:
    """Return the key without surrounding white space. No error names the source.

    A user may have given the key itself instead of the name of a file.
    """
    try:
        if source != "-":
            with Path(source).open(encoding="utf-8") as file:
                key = file.read(_LONGEST_KEY).strip()
        elif sys.stdin is None or sys.stdin.isatty():
            key = getpass("API key: ").strip()
        else:
            key = sys.stdin.read(_LONGEST_KEY).strip()
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"cannot read the file of --api-key-file: {reason}", _HINT) from None
    if not key:
        raise UsageError("--api-key-file holds no key", _HINT)
    return key


def headers_of(lines: Iterable[str]) -> dict[str, str]:
    """Return the headers of --header, and conceal the secrets of OPENAI_CUSTOM_HEADERS.

    Raises UsageError for a line that is no header, or whose name says that it is a secret.
    """
    for credential in credentials_in(custom_headers(has_key=False)):
        stderr.conceal(credential)
    headers = {}
    for line in lines:
        named = header_of(line)
        if named is None:
            raise UsageError(
                "--header needs a name, a colon and a value", "write --header 'X-Team: search'"
            )
        name, value = named
        if carries_credential(name):
            raise UsageError(
                f"--header {name}: a secret in argv can be read by everyone on this machine",
                "put the header into OPENAI_CUSTOM_HEADERS",
            )
        headers[name] = value
    return headers
