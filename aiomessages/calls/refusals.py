"""Which error of one completion is an error of them all, so that no other should be asked for.

Nothing here performs I/O. A key that was revoked, or a quota that is used up, fails every request
that follows, and a thousand of those tell no more than the first.
"""

from typing import Final

from aiomessages.errors import (
    AuthenticationError,
    ClientClosedError,
    InsufficientQuotaError,
    PermissionDeniedError,
)

# A key may lack access to one completion. Three in a row, and none that could be read between them:
# it has access to none.
FORBIDDEN_IN_A_ROW: Final = 3

_FOR_ALL: Final = (AuthenticationError, ClientClosedError, InsufficientQuotaError)


class Refusals:
    """Count what is refused in one run over many completions.

    A server that asks to wait for more seconds than `longest_wait` asks it of the whole run.
    """

    def __init__(self, longest_wait: float) -> None:
        self._longest_wait = longest_wait
        self._forbidden = 0

    def ends_run(self, error: BaseException) -> bool:
        """Note the error of one completion; tell whether it would be that of all others as well."""
        if isinstance(error, PermissionDeniedError):
            self._forbidden += 1
            return self._forbidden >= FORBIDDEN_IN_A_ROW
        too_long = (getattr(error, "retry_after", None) or 0.0) > self._longest_wait
        return too_long or isinstance(error, _FOR_ALL)

    def succeeded(self) -> None:
        """Note a completion that could be read."""
        self._forbidden = 0
