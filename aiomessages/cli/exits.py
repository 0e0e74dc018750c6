"""What an error means to the caller of the program: one table from error to exit code.

Nothing here prints or exits.
"""

from cyclopts import CycloptsError

from aiomessages.errors import (
    AuthenticationError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)

OK = 0
RUNTIME = 1
USAGE = 2
NOT_FOUND = 3
AUTHENTICATION = 4
RATE_LIMITED = 5
INTERRUPTED = 130  # 128 + SIGINT, as every shell counts it


class UsageError(ValueError):
    """The command line asks for what cannot be: found before any request."""


class CommandError(Exception):
    """The command failed for a reason outside of this program, told in words."""


class OutputError(CommandError):
    """The data could not be written where it was to go."""


class TransformError(CommandError):
    """An expression does not fit a message, as the length of a number would not."""


class NoLedgerError(CommandError):
    """There is no export where one was to be."""


class ReaderGone(Exception):  # noqa: N818 - no error: whoever reads has seen enough
    """The other end of the pipe was closed."""


_CODES: dict[type[BaseException], int] = {
    UsageError: USAGE,
    CycloptsError: USAGE,
    ConfigurationError: USAGE,
    NotFoundError: NOT_FOUND,
    NoLedgerError: NOT_FOUND,
    AuthenticationError: AUTHENTICATION,
    PermissionDeniedError: AUTHENTICATION,
    RateLimitError: RATE_LIMITED,
    ReaderGone: OK,
    KeyboardInterrupt: INTERRUPTED,
}


def code_of(error: BaseException) -> int:
    """Return the exit code for an error: its own, that of its nearest class in the table, else 1.

    An export's errors bring theirs along: to know them here, every command would load the export.
    """
    own = getattr(error, "exit_code", None)
    if isinstance(error, InternalServerError) and getattr(error, "retry_after", None) is not None:
        return RATE_LIMITED  # it asks all to wait, as a 429 does
    return own or next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), RUNTIME)
