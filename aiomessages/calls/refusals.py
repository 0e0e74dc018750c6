"""Find the errors of one completion that all others would meet, so that a run should end.

Nothing here performs I/O. A key that was revoked, or a quota that is used up, fails every request
that follows, and the first failure is as informative as a thousand.
"""

from typing import Final

from aiomessages.errors import (
    AuthenticationError,
    ClientClosedError,
    InsufficientQuotaError,
    PermissionDeniedError,
    ProxyError,
)
from aiomessages.settings import UnusableKeyError

# A key may lack access to one completion. After three refusals in a row, without a readable
# completion between them, it lacks access to all.
FORBIDDEN_IN_A_ROW: Final = 3

_FOR_ALL: Final = (
    AuthenticationError,
    ClientClosedError,
    InsufficientQuotaError,
    UnusableKeyError,
)


class Refusals:
    """Count the refused completions of one run.

    A Retry-After of more than `longest_wait` seconds ends the run.
    """

    def __init__(self, longest_wait: float) -> None:
        self._longest_wait = longest_wait
        self._forbidden = 0

    def ends_run(self, error: BaseException) -> bool:
        """Record the error of one completion; return whether all others would meet it as well."""
        if isinstance(error, PermissionDeniedError):
            self._forbidden += 1
            return self._forbidden >= FORBIDDEN_IN_A_ROW
        too_long = (getattr(error, "retry_after", None) or 0.0) > self._longest_wait
        refused_by_proxy = isinstance(error, ProxyError) and not error.retryable
        return too_long or refused_by_proxy or isinstance(error, _FOR_ALL)

    def succeeded(self) -> None:
        """Record a completion that was read."""
        self._forbidden = 0
