"""An error in two lines: what happened, and what to do. Every error of the program passes here.

An error knows its advice (`hint`); nothing here searches a text for it. Where the library's advice
does not fit a command, a table has the command's own.
"""

from collections.abc import Sequence
from typing import Final

from cyclopts import Argument, CycloptsError
from cyclopts.exceptions import MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from aiomessages.errors import (
    APIConnectionError,
    MessagesError,
    NotFoundError,
    SchemaError,
)

from . import exits
from .archive_names import archive_among
from .options import database_of_local, in_options, taken_for_an_argument

_EXPECTED: Final = (MessagesError, exits.UsageError, exits.CommandError)
_READING: Final = {"list", "show", "completions", "export"}  # with --local, and without an archive

_STORED: Final = "Only completions created with store=true are kept, for 30 days."
_SOON: Final = f"{_STORED} A new one takes some seconds to appear"
_NETWORK: Final = "Check the network and --base-url"
# The advice for the errors of a command, and for those of all commands under "".
_ADVICE: "Final[dict[str, dict[type[BaseException], str]]]" = {
    "": {NotFoundError: f"{_SOON}.", APIConnectionError: f"{_NETWORK}."},
    "list": {
        NotFoundError: f"{_SOON}: see --wait-until-visible.",
        APIConnectionError: f"{_NETWORK}; what was written so far is good.",
    },
    "export": {NotFoundError: _STORED, SchemaError: ""},
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
    if own != getattr(type(error), "hint", ""):
        return own  # it knows more than its class
    tables = [_ADVICE[name] for name in (tokens[0] if tokens else "", "") if name in _ADVICE]
    return next((table[type(error)] for table in tables if type(error) in table), own)


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
        return f"{said}; --local {word}: there is no such database", ""
    if tokens[0] in _READING and (archive := archive_among(tokens)):
        return said, f"write --local {archive} to read that archive"
    return said, ""


def _missing(argument: Argument, tokens: Sequence[str]) -> tuple[str, str]:
    """Return what is missing; an argument that may also be an option is called an argument."""
    metavar = argument.parameter.metavar
    database = database_of_local(tokens)
    if metavar == "COMPLETION_ID":
        local = f" --local {database}" if database else ""
        return f"{metavar} is missing", f"`aiomessages completions{local}` lists the ids"
    if metavar == "ARCHIVE" and database:
        return f"{metavar} is missing", f"--local took {database}: write it in front of --local"
    return f"{metavar} is missing", ""
