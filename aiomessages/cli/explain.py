"""An error in two lines: what happened, and what to do. Every error of the program passes here.

An error knows its advice (`hint`); nothing here searches a text for it. Where the library's advice
does not fit a command, a table has the command's own.
"""

from collections.abc import Sequence
from typing import Final

from cyclopts import Argument, CycloptsError
from cyclopts.exceptions import MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from aiomessages.archive.errors import ArchiveError, ImportFileError, NotAnArchiveError
from aiomessages.errors import (
    APIConnectionError,
    APIError,
    ConfigurationError,
    MessagesError,
    NotFoundError,
    SchemaError,
)

from . import exits
from .archive_names import archive_among
from .options import MAKE_ARCHIVE, database_of_local, in_options, taken_for_an_argument

_EXPECTED: Final = (MessagesError, exits.UsageError, exits.CommandError)
_READING: Final = {"list", "show", "completions", "export"}  # with --local, and without an archive

_STORED: Final = "Only completions created with store=true are kept, for 30 days."
_SOON: Final = f"{_STORED} A new one takes some seconds to appear"
_DOCTOR: Final = "`aiomessages doctor` shows what is wrong on the way to the API."
_NETWORK: Final = "Check the network and --base-url"
# The advice for the errors of a command, and for those of all commands under "".
_ADVICE: "Final[dict[str, dict[type[BaseException], str]]]" = {
    "": {
        NotFoundError: f"{_SOON}.",
        APIConnectionError: f"{_NETWORK}.",
        ArchiveError: "check the path, and the permissions of the file and of its folder",
        ImportFileError: "correct the line, and import the file again",
        NotAnArchiveError: "name an archive: `aiomessages sync` and `aiomessages import` make one",
    },
    "list": {
        NotFoundError: f"{_SOON}: see --wait-until-visible.",
        APIConnectionError: f"{_NETWORK}; what was written so far is good.",
    },
    "export": {NotFoundError: _STORED, SchemaError: ""},  # what it says is about `raw()`
}


def lines_of(error: BaseException, tokens: Sequence[str]) -> tuple[str, str]:
    """Return what happened, and what to do or an empty string; `tokens` is the command line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ""
    if isinstance(error, CycloptsError):
        command = " ".join(["aiomessages", *(error.command_chain or ())])
        said, advice = _usage(error, tokens)
        return said, advice or f"see {command} --help"
    if not isinstance(error, _EXPECTED):
        return f"unexpected {type(error).__name__}: {error}", "--debug shows where"
    said, own = str(error), getattr(error, "hint", "")
    if own and said.endswith(own):
        said = said.removesuffix(own).rstrip(" :")
    return in_options(said), in_options(_advice(error, own, tokens))


def _advice(error: BaseException, own: str, tokens: Sequence[str]) -> str:
    """Return the advice of an error; a command's own replaces the general one of the class."""
    command = tokens[0] if tokens and not tokens[0].startswith("-") else ""
    if own == getattr(type(error), "hint", ""):  # else it knows more than its class
        tables = [_ADVICE[name] for name in (command, "") if name in _ADVICE]
        own = next((table[type(error)] for table in tables if type(error) in table), own)
    if isinstance(error, APIConnectionError) and command != "doctor":
        return f"{own} {_DOCTOR}"
    return own or _general(error, command)


def _general(error: BaseException, command: str) -> str:
    """Return where to look for an error that has no advice."""
    if isinstance(error, exits.UsageError | ConfigurationError):
        return f"see {' '.join(filter(None, ['aiomessages', command, '--help']))}"
    if isinstance(error, APIError):
        return _DOCTOR
    return "--debug shows where"


def _usage(error: CycloptsError, tokens: Sequence[str]) -> tuple[str, str]:
    """Return the fault of the command line and advice, without a value that may be a secret."""
    if isinstance(error, UnusedCliTokensError):
        return _too_many(error.unused_tokens or (), tokens)
    if isinstance(error, MissingArgumentError) and error.argument and error.keyword is None:
        return _missing(error.argument, tokens)
    said = str(error).partition(" Available commands: ")[0]  # --help lists them
    if isinstance(error, UnknownOptionError):
        given = error.token.keyword or error.token.value
        said = said.replace(given, given.partition("=")[0])
    return said.rstrip("."), ""


def _too_many(unused: Sequence[str], tokens: Sequence[str]) -> tuple[str, str]:
    said = f"too many arguments: {' '.join(unused)}"
    if word := taken_for_an_argument(tokens):
        return f"{said}; --local {word}: there is no such database", MAKE_ARCHIVE
    if tokens[0] in _READING and (archive := archive_among(tokens)):
        return said, f"write --local {archive} to read that archive"
    return said, ""


def _missing(argument: Argument, tokens: Sequence[str]) -> tuple[str, str]:
    """Return what is missing; an argument that may also be an option is called an argument."""
    metavar = argument.parameter.metavar
    database = database_of_local(tokens)
    if metavar == "COMPLETION_ID":
        local = f" --local {database}" if database else " --local" * ("--local" in tokens)
        return f"{metavar} is missing", f"`aiomessages completions{local}` lists the ids"
    if metavar == "ARCHIVE" and database:
        return f"{metavar} is missing", f"--local took {database}: write it in front of --local"
    return f"{metavar} is missing", ""
