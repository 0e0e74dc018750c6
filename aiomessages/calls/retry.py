"""Decide whether, and when, to try again: pure functions of an error, an attempt and dice.

Nothing here performs I/O, reads a clock or rolls dice.
"""

from typing import Final

import msgspec

from aiomessages.errors import (
    APIError,
    APIStatusError,
    ConfigurationError,
    DecodeError,
    InsufficientQuotaError,
    NotFoundError,
    RateLimitError,
)
from aiomessages.settings import check_count

# A body that cannot be decoded was garbled in transit, or the server always sends it like that: two
# more tries show which, whatever the policy allows.
MAX_DECODE_RETRIES: Final = 2

# Polls for a completion that is not visible yet: the live API takes 3 to 7 seconds.
FIRST_POLL: Final = 0.25
MAX_POLL: Final = 2.0

# Seconds for which a paced call waits out 429s while nothing else is answered.
MAX_STARVED: Final = 600.0


class RetryPolicy(msgspec.Struct, frozen=True):
    """The number of retries, and the seconds to wait before each.

    The wait before retry n is `initial_backoff` doubled n - 1 times, at most `max_backoff`, less up
    to the share `jitter` of it, so that callers who failed together do not come back together. A
    Retry-After of the server replaces it. If it is longer than `max_retry_after`, the error is
    raised at once, with the seconds as `retry_after`. Raises ConfigurationError for a number out of
    range.
    """

    max_retries: int = 2
    """Attempts after the first one; 0 disables retries."""
    initial_backoff: float = 0.5
    """Seconds before the first retry; doubled for each further one."""
    max_backoff: float = 8.0
    """Longest wait of this policy, in seconds."""
    jitter: float = 0.25
    """Largest part of a wait that is left out by chance, from 0 to 1."""
    max_retry_after: float = 60.0
    """Longest Retry-After that is waited for, in seconds."""

    def __post_init__(self) -> None:
        check_count("max_retries", self.max_retries, least=0)
        for name in ("initial_backoff", "max_backoff", "jitter", "max_retry_after"):
            _check_number(name, getattr(self, name))
        if not 0 <= self.initial_backoff <= self.max_backoff < float("inf"):
            raise ConfigurationError("0 <= initial_backoff <= max_backoff must hold")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError("jitter must be a share of the wait, from 0 to 1")
        if not self.max_retry_after >= 0:
            raise ConfigurationError("max_retry_after must be 0 or more seconds")

    def backoff(self, retry: int, dice: float) -> float:
        """Return the seconds before retry 1, 2, …; `dice` is a number from 0 to 1."""
        doublings = min(retry - 1, 64)  # beyond that a float only overflows
        wait = min(self.initial_backoff * 2.0**doublings, self.max_backoff)
        return wait * (1 - self.jitter * dice)


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigurationError(f"{name} must be a number, not {value!r}")
    try:
        float(value)
    except OverflowError:
        raise ConfigurationError(f"{name} is larger than any number of seconds") from None


DEFAULT_POLICY: Final = RetryPolicy()


def retry_delay(policy: RetryPolicy, error: APIError, *, attempt: int, dice: float) -> float | None:
    """Return the seconds to wait after attempt 1, 2, … failed, or None to give up."""
    most = policy.max_retries
    if isinstance(error, DecodeError):
        most = min(most, MAX_DECODE_RETRIES)
    if attempt > most or not wants_retry(error):
        return None
    if attempt == 1 and getattr(error, "stale", False):
        return 0.0
    if asks_for_too_long(policy, error):
        return None
    retry_after: float | None = getattr(error, "retry_after", None)
    return policy.backoff(attempt, dice) if retry_after is None else retry_after


def asks_for_too_long(policy: RetryPolicy, error: APIError) -> bool:
    """Return whether the server asks to wait for longer than the policy allows."""
    return (getattr(error, "retry_after", None) or 0.0) > policy.max_retry_after


def wants_retry(error: APIError) -> bool:
    """Return whether another attempt could help. The server's x-should-retry header decides first.

    The official clients obey that header, too.
    """
    if isinstance(error, APIStatusError):
        advice = error.headers.get("x-should-retry")
        if advice in ("true", "false"):
            return advice == "true"
    return error.retryable


def asks_all_to_wait(error: APIError) -> bool:
    """Return whether an answer asks all requests to wait, and not only the one that it answers.

    A 429 does, unless it is for a used-up quota, and a 503 with a Retry-After.
    """
    if isinstance(error, RateLimitError):
        return not isinstance(error, InsufficientQuotaError)
    if not isinstance(error, APIStatusError):
        return False
    return error.status == 503 and error.retry_after is not None


def is_only_early(policy: RetryPolicy, error: APIError, *, starved: float) -> bool:
    """Return whether a paced request only has to be sent again later.

    `starved` is the number of seconds for which all answers were 429s.
    """
    limited = isinstance(error, RateLimitError) and asks_all_to_wait(error)
    if not limited or asks_for_too_long(policy, error):
        return False
    return wants_retry(error) and starved < MAX_STARVED


def visibility_delay(
    policy: RetryPolicy, error: APIError, *, attempt: int, waited: float, patience: float
) -> float | None:
    """Return the seconds until the next look for a completion that is not visible yet.

    If the server asks to wait, the next look comes no sooner, and not at all if the wait is longer
    than the policy or the patience allows. A 404 that is retried as a gateway's is not about the
    completion, and is not polled.
    """
    if not isinstance(error, NotFoundError) or error.retryable or waited >= patience:
        return None
    left = patience - waited
    if asks_for_too_long(policy, error) or (error.retry_after or 0.0) > left:
        return None
    poll = min(FIRST_POLL * 2.0 ** min(attempt - 1, 8), MAX_POLL, left)
    return max(poll, error.retry_after or 0.0)


class RetryQuota:
    """The retries that all calls of a client share, so that retries do not worsen an outage.

    It follows the standard retry mode of botocore: a bucket of 500 tokens, of which a retry takes
    5 and a success gives 1 back. Once it is spent, a call that fails is not repeated.
    """

    CAPACITY: Final = 500
    RETRY_COST: Final = 5
    SUCCESS_GAIN: Final = 1

    def __init__(self) -> None:
        self.tokens = self.CAPACITY

    def take(self) -> bool:
        """Pay for a retry; return False if too few tokens are left."""
        if self.tokens < self.RETRY_COST:
            return False
        self.tokens -= self.RETRY_COST
        return True

    def succeed(self) -> None:
        """Give back the tokens that a success earns."""
        self.tokens = min(self.tokens + self.SUCCESS_GAIN, self.CAPACITY)
