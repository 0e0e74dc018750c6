"""The exit codes: one table from the class of an error to the code of the process.

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


class _Explained(Exception):  # noqa: N818 - the base class of errors
    """An error of the program: what happened, and in `hint` what to do, where that is known."""

    def __init__(self, said: str, hint: str = "") -> None:
        super().__init__(said)
        self.hint = hint

    def __str__(self) -> str:
        return ": ".join(filter(None, [*self.args, self.hint]))


class UsageError(_Explained, ValueError):
    """The command line is unusable. Raised before any request is sent."""


class CommandError(_Explained):
    """The command failed for a reason outside of this program, which its text names."""


class NoLedgerError(CommandError):
    """The destination has no export."""


class NotStoredError(CommandError):
    """The database of --local has no such completion."""


class ReaderGone(Exception):  # noqa: N818 - no error: the reader has seen enough
    """The reader closed its end of the pipe."""


_CODES: dict[type[BaseException], int] = {
    UsageError: USAGE,
    CycloptsError: USAGE,
    ConfigurationError: USAGE,
    NotFoundError: NOT_FOUND,
    NoLedgerError: NOT_FOUND,
    NotStoredError: NOT_FOUND,
    AuthenticationError: AUTHENTICATION,
    PermissionDeniedError: AUTHENTICATION,
    RateLimitError: RATE_LIMITED,
    ReaderGone: OK,
    KeyboardInterrupt: INTERRUPTED,
}


def code_of(error: BaseException) -> int:
    """Return the exit code for an error: its own, that of its nearest class in the table, else 1.

    An export's errors carry their own codes: a table entry would make every command import them.
    """
    own = getattr(error, "exit_code", None)
    if isinstance(error, InternalServerError) and getattr(error, "retry_after", None) is not None:
        return RATE_LIMITED  # a 503 with Retry-After means the same as a 429
    return own or next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), RUNTIME)
