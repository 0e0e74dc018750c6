"""The errors that end a run over many completions."""

import pytest

from aiomessages import (
    APIConnectionError,
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProxyError,
    RateLimitError,
)
from aiomessages.calls.refusals import Refusals
from aiomessages.settings import UnusableKeyError


def named(error: Exception) -> str:
    """Return the name of a case."""
    return f"{type(error).__name__}, to wait {getattr(error, 'retry_after', None)}"


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("x"),
        InsufficientQuotaError("x"),
        ClientClosedError("x"),
        UnusableKeyError("x"),
        RateLimitError("x", retry_after=61),
        InternalServerError("x", retry_after=86_400),
        ProxyError("x", status=407, retryable=False),
    ],
    ids=named,
)
def test_an_error_of_all_completions(error: Exception) -> None:
    """A dead key, a used-up quota, a long wait, a refusing proxy, a closed client end the run."""
    assert Refusals(60).ends_run(error)


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("x"),
        RateLimitError("x"),
        RateLimitError("x", retry_after=60),
        InternalServerError("x"),
        APIConnectionError("x"),
        ProxyError("x", status=502),
        ConfigurationError("x"),
        ZeroDivisionError("x"),
    ],
    ids=named,
)
def test_an_error_of_one_completion(error: Exception) -> None:
    """Any other error says nothing of other completions, however often it comes."""
    refusals = Refusals(60)
    assert not any(refusals.ends_run(error) for _ in range(9))


def test_a_run_that_waits_for_nothing() -> None:
    """An error without Retry-After asks for no wait, so it ends no run because of one."""
    assert not Refusals(0).ends_run(RateLimitError("x"))


FORBIDDEN, GONE, READ = PermissionDeniedError("x"), NotFoundError("x"), None


@pytest.mark.parametrize(
    ("outcomes", "ends_at"),
    [
        ([FORBIDDEN] * 4, 2),
        ([FORBIDDEN, FORBIDDEN, READ] * 3, None),
        ([READ, FORBIDDEN, READ, FORBIDDEN, FORBIDDEN, FORBIDDEN], 5),
        ([FORBIDDEN, GONE, FORBIDDEN, GONE, FORBIDDEN], 4),
    ],
)
def test_completions_that_are_forbidden(
    outcomes: list[Exception | None], ends_at: int | None
) -> None:
    """Three completions that are forbidden end the run, unless one was read between them."""
    refusals = Refusals(60)
    ends = []
    for n, error in enumerate(outcomes):
        if error is None:
            refusals.succeeded()
        elif refusals.ends_run(error):
            ends.append(n)
    assert (ends[0] if ends else None) == ends_at
