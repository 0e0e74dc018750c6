"""Retrying as numbers: whether another attempt is made, and after how many seconds."""

import math
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aiomessages import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    ProxyError,
    RateLimitError,
    RedirectError,
    ResponseTooLargeError,
    RetryPolicy,
    SchemaError,
    TLSError,
    UnprocessableEntityError,
)
from aiomessages.calls.retry import (
    MAX_DECODE_RETRIES,
    RetryQuota,
    retry_delay,
    visibility_delay,
    wants_retry,
)
from aiomessages.wire.retry_after import MAX_RETRY_AFTER, date_of, parse_retry_after

EXAMPLE = "Sun, 06 Nov 1994 08:49:37 GMT"  # of RFC 9110
NOW = 784111777.0  # the same
POLICY = RetryPolicy()


# --- the policy -----------------------------------------------------------------------------------


def test_the_default_policy() -> None:
    """Two retries, from 0.5 s doubling to 8 s, with up to a quarter less; a minute is no more."""
    assert RetryPolicy(2, 0.5, 8.0, 0.25, 60.0) == POLICY


@pytest.mark.parametrize(
    ("retry", "longest", "shortest"),
    [
        (1, 0.5, 0.375),
        (2, 1.0, 0.75),
        (3, 2.0, 1.5),
        (4, 4.0, 3.0),
        (5, 8.0, 6.0),
        (6, 8.0, 6.0),
        (10_000, 8.0, 6.0),
    ],
)
def test_backoff(retry: int, longest: float, shortest: float) -> None:
    """The wait doubles from retry to retry up to its bound; the dice take up to a quarter off."""
    assert POLICY.backoff(retry, 0.0) == longest
    assert POLICY.backoff(retry, 1.0) == shortest
    assert POLICY.backoff(retry, 0.5) == (longest + shortest) / 2


def test_backoff_without_waiting() -> None:
    """A policy may not wait at all, or wait by dice alone."""
    assert RetryPolicy(initial_backoff=0, max_backoff=0).backoff(3, 0.5) == 0
    assert RetryPolicy(jitter=0).backoff(1, 1.0) == 0.5
    assert RetryPolicy(jitter=1).backoff(1, 1.0) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_retries": "2"},
        {"max_retries": True},
        {"initial_backoff": "1"},
        {"initial_backoff": False},
        {"max_backoff": None},
        {"jitter": 0j},
        {"initial_backoff": -0.1},
        {"initial_backoff": 9},
        {"initial_backoff": math.nan},
        {"max_backoff": math.inf},
        {"max_backoff": math.nan},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": math.nan},
        {"max_retry_after": -0.1},
        {"max_retry_after": math.nan},
        {"max_retry_after": "60"},
        {"max_retry_after": True},
        {"max_retry_after": None},
        {"max_retry_after": -math.inf},
        {"max_retry_after": 10**400},
        {"max_backoff": 10**400},
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense(fields: dict[str, Any]) -> None:
    """A policy with a number out of its range is refused by name."""
    (name,) = fields
    with pytest.raises(ConfigurationError, match=name):
        RetryPolicy(**fields)


# --- whether --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (APIConnectionError("x"), True),
        (APIConnectionError("x", retryable=False), False),
        (APITimeoutError("x"), True),
        (ProxyError("x"), True),
        (ProxyError("x", status=407, retryable=False), False),
        (TLSError("x"), False),
        (DecodeError("x"), True),
        (DecodeError("x", retryable=False), False),
        (SchemaError("x"), False),
        (ResponseTooLargeError("x"), False),
        (RedirectError("x"), False),
        (PaginationError("x"), False),
        (BadRequestError("x", status=400), False),
        (AuthenticationError("x", status=401), False),
        (PermissionDeniedError("x", status=403), False),
        (NotFoundError("x", status=404), False),
        (ConflictError("x", status=409), True),
        (UnprocessableEntityError("x", status=422), False),
        (RateLimitError("x", status=429), True),
        (InsufficientQuotaError("x", status=429), False),
        (InternalServerError("x", status=500), True),
        (APIStatusError("x", status=418), False),
        (APIStatusError("x", status=408, retryable=True), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, APIError) else str(value),
)
def test_which_errors_are_tried_again(error: APIError, again: bool) -> None:
    """An error that may pass is retried; one that cannot change is not."""
    assert wants_retry(error) is again
    assert (retry_delay(POLICY, error, attempt=1, dice=0.0) is not None) is again


@pytest.mark.parametrize(
    ("cls", "advice", "again"),
    [
        (BadRequestError, "true", True),
        (InsufficientQuotaError, "true", True),
        (InternalServerError, "false", False),
        (RateLimitError, "false", False),
        (InternalServerError, "maybe", True),
        (BadRequestError, "TRUE", False),
        (BadRequestError, "", False),
    ],
)
def test_x_should_retry(cls: type[APIStatusError], advice: str, again: bool) -> None:
    """The header x-should-retry decides with "true" and "false"; any other value is ignored."""
    error = cls("x", status=499, headers={"X-Should-Retry": advice})
    assert wants_retry(error) is again


def test_x_should_retry_and_the_bound() -> None:
    """A server that always asks for a retry gets no more of them than the policy allows."""
    error = InternalServerError("x", status=500, headers={"x-should-retry": "true"})
    delays = [retry_delay(POLICY, error, attempt=n, dice=0.0) for n in (1, 2, 3, 4)]
    assert delays == [0.5, 1.0, None, None]


@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_the_number_of_retries(retries: int) -> None:
    """After attempt n + 1 a policy of n retries gives up."""
    policy = RetryPolicy(max_retries=retries)
    error = InternalServerError("x", status=500)
    again = [retry_delay(policy, error, attempt=n, dice=0.0) for n in range(1, 10)]
    assert [delay is not None for delay in again] == [n <= retries for n in range(1, 10)]


def test_a_body_that_stays_garbled() -> None:
    """A body that cannot be decoded costs two retries at most, whatever the policy allows."""
    patient = RetryPolicy(max_retries=9)
    delays = [retry_delay(patient, DecodeError("x"), attempt=n, dice=0.0) for n in (1, 2, 3)]
    assert MAX_DECODE_RETRIES == 2
    assert delays == [0.5, 1.0, None]
    assert retry_delay(RetryPolicy(max_retries=0), DecodeError("x"), attempt=1, dice=0.0) is None


# --- when -----------------------------------------------------------------------------------------


def test_a_stale_connection() -> None:
    """A connection that had been given up is replaced at once, but only the first time."""
    error = APIConnectionError("x", stale=True)
    assert [retry_delay(POLICY, error, attempt=n, dice=0.0) for n in (1, 2, 3)] == [0, 1.0, None]


@pytest.mark.parametrize("seconds", [0.0, 0.02, 30.0])
def test_a_retry_after(seconds: float) -> None:
    """The server's wait goes before the policy's, and the dice do not touch it."""
    error = RateLimitError("x", status=429, retry_after=seconds)
    assert [retry_delay(POLICY, error, attempt=n, dice=1.0) for n in (1, 2, 3)] == [
        seconds,
        seconds,
        None,
    ]


@pytest.mark.parametrize(
    ("most", "seconds", "delay"),
    [
        (60.0, 60.0, 60.0),
        (60.0, 60.1, None),
        (60.0, 100_000.0, None),
        (600.0, 600.0, 600.0),
        (600.0, 601.0, None),
        (0.0, 0.0, 0.0),
        (0.0, 0.001, None),
        (math.inf, 100_000.0, 100_000.0),
    ],
)
def test_a_retry_after_beyond_the_policy(most: float, seconds: float, delay: float | None) -> None:
    """A wait of more than max_retry_after is not slept: the error is raised now, and carries it."""
    policy = RetryPolicy(max_retry_after=most)
    for error in (
        RateLimitError("x", status=429, retry_after=seconds),
        InternalServerError("x", status=503, retry_after=seconds),
    ):
        assert retry_delay(policy, error, attempt=1, dice=0.0) == delay
        assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        # as seconds
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "3600.1"}, 3600.1),
        ({"retry-after": "86400"}, 86_400.0),
        ({"retry-after": "999999999"}, 999_999_999.0),
        ({"retry-after": "\t7"}, 7.0),
        ({"retry-after": "0.0000000000001"}, 1e-13),
        # forever, in any notation: 31 years
        ({"retry-after": "1000000000"}, MAX_RETRY_AFTER),
        ({"retry-after": "9" * 5000}, MAX_RETRY_AFTER),
        ({"retry-after-ms": "9" * 15}, MAX_RETRY_AFTER),
        ({"retry-after-ms": "9" * 15, "retry-after": "1"}, MAX_RETRY_AFTER),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_RETRY_AFTER),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"}, MAX_RETRY_AFTER),
        # as a date, in the three forms of RFC 9110, ahead and past
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT"}, 60.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:50:37 GMT"}, 60.0),
        ({"retry-after": "Sun Nov  6 08:50:37 1994"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 -0000"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 09:50:37 +0100"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"retry-after": "Sat, 05 Nov 1994 08:49:37 GMT"}, 0.0),
        # compared with the response's own Date, if it has one: its clock may be 10 s behind, or
        # wrong
        ({"retry-after": EXAMPLE, "date": "Sun, 06 Nov 1994 08:49:27 GMT"}, 10.0),
        ({"retry-after": EXAMPLE, "date": "Sun, 06 Nov 1994 08:50:37 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT", "date": "today"}, 60.0),
        ({"retry-after": EXAMPLE, "date": "Sun, 06 Nov 1994 09:49:27 +0100"}, 10.0),
        ({"retry-after": EXAMPLE, "date": ""}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT", "date": "-1"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT", "date": "0"}, 60.0),
        ({"retry-after": "7", "date": "Sun, 06 Nov 1994 08:49:27 GMT"}, 7.0),
        ({"retry-after-ms": "20", "date": "Sun, 06 Nov 1994 08:49:27 GMT"}, 0.02),
        # in milliseconds, which take precedence
        ({"retry-after-ms": "20"}, 0.02),
        ({"retry-after-ms": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-5", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "99999999"}, 99_999.999),
        # invalid values
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "+5"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "0x10"}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": "5, 7"}, None),
        ({"retry-after": "٥"}, None),
        ({"retry-after": "５"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "Sun, ٠٦ Nov 1994 08:50:37 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1.5.2"}, None),
        ({"retry-after": "1."}, None),
        ({"retry-after": "1;2"}, None),
        ({"retry-after": "infinity", "retry-after-ms": "nan"}, None),
        ({"retry-after": "Wed, 99 Foo 2024 99:99:99 GMT"}, None),
        ({"retry-after-ms": "inf"}, None),
    ],
    ids=lambda value: str(value)[:110],
)
def test_forms_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, dates and milliseconds are understood, however long; nonsense is not."""
    assert parse_retry_after(headers, now=NOW) == seconds


def test_several_retry_after_headers() -> None:
    """If a header comes more than once, the first one counts, as for every header."""
    headers = CIMultiDict([("Retry-After", "7"), ("Retry-After", "9")])
    assert parse_retry_after(headers, now=NOW) == 7.0


@given(st.text())
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("0\x1f")
def test_any_retry_after(value: str) -> None:
    """Any header gives a finite wait of 0 or more seconds, or none."""
    for name in ("retry-after", "retry-after-ms"):
        seconds = parse_retry_after({name: value}, now=NOW)
        assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


@given(st.integers(min_value=-86_400, max_value=10**9 - 1))
def test_any_date(offset: int) -> None:
    """An HTTP date means the seconds until then, and none if it is past."""
    date = format_datetime(datetime.fromtimestamp(NOW + offset, UTC), usegmt=True)
    assert parse_retry_after({"retry-after": date}, now=NOW) == max(0, offset)


@pytest.mark.parametrize(
    ("headers", "moment"),
    [
        ({"date": EXAMPLE}, NOW),
        ({"date": "Sunday, 06-Nov-94 08:49:37 GMT"}, NOW),
        ({"date": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"date": "Fri, 31 Dec 9999 23:59:59 -2359"}, 253_402_387_139.0),
        ({"date": "soon"}, None),
        ({"date": "Sun, ٠٦ Nov 1994 08:50:37 GMT"}, None),
        ({"date": ""}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_date_of_an_answer(headers: dict[str, str], moment: float | None) -> None:
    """The Date of an answer is read as Unix seconds in each form of RFC 9110, else None."""
    assert date_of(headers) == moment


# --- a completion that is not visible yet ---------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "waited", "delay"),
    [
        (1, 0.0, 0.25),
        (2, 0.3, 0.5),
        (3, 0.8, 1.0),
        (4, 1.8, 2.0),
        (5, 3.8, 2.0),
        (10_000, 3.8, 2.0),
        (6, 9.5, 0.5),
        (7, 10.0, None),
        (7, 11.0, None),
    ],
)
def test_polls(attempt: int, waited: float, delay: float | None) -> None:
    """Polls come after 0.25 s, doubling to 2 s, the last one just when the patience ends."""
    error = NotFoundError("x", status=404)
    assert visibility_delay(POLICY, error, attempt=attempt, waited=waited, patience=10.0) == delay


def test_no_polls() -> None:
    """Without patience there is no poll, and only a 404 of the API is polled."""
    missing, wrong = NotFoundError("x", status=404), BadRequestError("x", status=400)
    foreign = NotFoundError("x", status=404, retryable=True)
    assert visibility_delay(POLICY, foreign, attempt=1, waited=0.0, patience=10.0) is None
    assert visibility_delay(POLICY, missing, attempt=1, waited=0.0, patience=0.0) is None
    assert visibility_delay(POLICY, wrong, attempt=1, waited=0.0, patience=10.0) is None


@pytest.mark.parametrize(
    ("asked", "waited", "delay"),
    [
        (0.0, 0.0, 0.25),
        (0.1, 0.0, 0.25),
        (3.0, 0.0, 3.0),
        (10.0, 0.0, 10.0),
        (7.0, 3.0, 7.0),
        (7.5, 3.0, None),
        (61.0, 0.0, None),
    ],
)
def test_polls_that_the_server_puts_off(asked: float, waited: float, delay: float | None) -> None:
    """A poll comes no sooner than the server asks, within the policy and the patience."""
    error = NotFoundError("x", status=404, retry_after=asked)
    assert visibility_delay(POLICY, error, attempt=1, waited=waited, patience=10.0) == delay
    for patience in (60.5, 1000.0):
        error.retry_after = 60.1
        assert visibility_delay(POLICY, error, attempt=1, waited=0.0, patience=patience) is None


@pytest.mark.parametrize(("left", "delay"), [(3.0, 3.0), (2.999, None)])
def test_a_poll_at_the_end_of_the_patience(left: float, delay: float | None) -> None:
    """A server may ask to wait until the very end of the patience, and no longer."""
    error = NotFoundError("x", status=404, retry_after=3.0)
    assert visibility_delay(POLICY, error, attempt=1, waited=0.0, patience=left) == delay


# --- the quota ------------------------------------------------------------------------------------


def test_the_quota_in_an_outage() -> None:
    """A full quota pays for 100 retries, and then for none."""
    quota = RetryQuota()
    assert [quota.take() for _ in range(102)] == [True] * 100 + [False] * 2


def test_the_quota_after_an_outage() -> None:
    """Five successes earn one retry, and the tokens never exceed those of the start."""
    quota = RetryQuota()
    while quota.take():
        pass
    for _ in range(4):
        quota.succeed()
    assert not quota.take()
    quota.succeed()
    assert quota.take()
    for _ in range(1000):
        quota.succeed()
    assert quota.tokens == 500


def test_the_requests_of_an_outage() -> None:
    """Once the quota is spent, an outage is sent no more requests than there are calls."""
    quota, error, sent = RetryQuota(), InternalServerError("x", status=500), 0
    for call in range(1050):
        if call == 50:
            sent = 0  # 50 calls with two retries each have spent it
        attempt = 1
        sent += 1
        while retry_delay(POLICY, error, attempt=attempt, dice=0.5) is not None and quota.take():
            attempt += 1
            sent += 1
    assert sent == 1000
