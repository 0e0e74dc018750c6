"""Responses become errors: the meaning of each dialect for a call."""

import json
import time
from typing import Any

import pytest
from loopback import Answer, Loopback, message, page, replies

from aiomessages import (
    APIStatusError,
    AsyncMessagesClient,
    AuthenticationError,
    BadRequestError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
)
from aiomessages.wire.error_bodies import MAX_BODY
from aiomessages.wire.errors import Asked, is_foreign_404, status_error

KEY = "sk-canary-0123456789"
NAME = "chatcmpl-1"
QUOTA = {"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}


def error_of(status: int, body: Any, cursor: str | None = None, **headers: str) -> APIStatusError:
    """Return the error of a response; the body is bytes, or a value to encode as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = Asked(NAME, cursor, KEY)
    return status_error(status, named, sent, asked=asked, received_at=0.0)


@pytest.mark.parametrize("status", [429, 200])
@pytest.mark.parametrize(
    "body",
    [
        QUOTA,
        {"error": {"message": json.dumps(QUOTA), "type": "None", "param": "None", "code": "429"}},
        {"error": {"message": f"litellm.RateLimitError: {QUOTA!r}", "code": "429"}},
        {"error": {"message": "m", "type": "insufficient_quota", "code": "429"}},
        {"error": {"message": "m", "code": "429", "innererror": {"code": "insufficient_quota"}}},
        {"error": {"message": "… 'code': 'insufficient_quota', 'pa", "code": "429"}},
        {"detail": json.dumps(QUOTA)},
        {"errors": [{"message": "m", "extensions": {"code": "insufficient_quota"}}]},
        {"error": "insufficient_quota", "message": "m"},
        [QUOTA],
    ],
    ids=lambda body: ascii(body)[:70],
)
def test_no_quota_in_each_dialect(status: int, body: Any) -> None:
    """A used-up quota is recognised in any dialect, and not retried."""
    error = error_of(status, body)
    assert type(error) is InsufficientQuotaError
    assert not error.retryable


def test_a_rate_limit_in_a_proxys_dialect() -> None:
    """A mere rate limit in the same place is retried."""
    inner = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    error = error_of(429, {"error": {"message": json.dumps(inner), "code": "429"}})
    assert type(error) is RateLimitError
    assert (error.message, error.code, error.retryable) == (
        "slow down",
        "rate_limit_exceeded",
        True,
    )


@pytest.mark.parametrize(
    ("body", "kind", "again"),
    [
        ({"error": {"message": "m", "type": "authentication_error"}}, AuthenticationError, False),
        ({"error": {"message": "m", "code": "429"}}, RateLimitError, True),
        ({"statusCode": 401, "message": "m"}, AuthenticationError, False),
        ({"statusCode": "429", "message": "m"}, RateLimitError, True),
        ({"title": "t", "status": 503}, InternalServerError, True),
        ({"title": "t", "status": 408}, APIStatusError, True),
        ({"error": {"code": 403, "message": "m", "status": "OTHER"}}, PermissionDeniedError, False),
        ({"error": {"message": "m", "status": "RESOURCE_EXHAUSTED"}}, RateLimitError, True),
        ({"error": {"message": "m", "status": "UNAVAILABLE"}}, InternalServerError, True),
        ({"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]}, AuthenticationError, False),
        ({"error": f"Completion {NAME} not found"}, NotFoundError, False),
        ({"detail": "m"}, APIStatusError, False),
        ({"error": {"message": "m", "code": ["odd"]}}, APIStatusError, False),
        ({"title": "t", "status": 302}, APIStatusError, False),
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_errors_that_come_with_200(body: Any, kind: type[APIStatusError], *, again: bool) -> None:
    """An error with status 200 has the class of its code, its status or its type."""
    error = error_of(200, body)
    assert type(error) is kind
    assert (error.status, error.retryable) == (200, again)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        (f"Chat completion with id {NAME} not found", True),
        (f"Invalid value: could not find '{NAME}'", True),
        (f"Unable to locate {NAME}.", True),
        (f"No completion found with ID {NAME}", True),
        ("Chat completion not found", True),
        ("No such chat completion", True),
        ("The stored completion does not exist.", True),
        ("Model gpt-4o does not exist or is not available for chat completions", False),
        ("No completions endpoint", False),
        ("Message m-1 not found", False),
        ("Organization not found", False),
        ("limit must be positive", False),
    ],
)
@pytest.mark.parametrize("shape", ["error", "detail", "nested"])
def test_a_400_that_says_not_found(text: str, shape: str, *, own: bool) -> None:
    """A 400 whose text says that the completion was not found is a NotFoundError."""
    bodies = {
        "error": {"error": {"message": text}},
        "detail": {"detail": text},
        "nested": {"error": {"message": json.dumps({"error": {"message": text}}), "code": "400"}},
    }
    error = error_of(400, bodies[shape])
    assert type(error) is (NotFoundError if own else BadRequestError)
    assert getattr(error, "is_of_api", False) is own
    assert not is_foreign_404(error)


def test_a_title_that_says_not_found() -> None:
    """An HTML page is a gateway's, whatever it says; its title is quoted."""
    error = error_of(404, f"<title>Completion {NAME} not found</title>".encode())
    assert is_foreign_404(error)
    assert error.message == f"the server answered with status 404: Completion {NAME} not found"


def test_a_body_of_any_length() -> None:
    """The first megabyte of an endless body is kept, without a part of a key at its end."""
    body = b"x" * (MAX_BODY - 10) + KEY.encode() * 5_000
    error = error_of(500, body)
    assert len(error.body) == MAX_BODY
    assert error.body.endswith(b"x[the API k")
    assert error.message == "the server answered with status 500"


async def test_a_400_that_means_not_found() -> None:
    """With wait_until_visible such a 400 is polled until the completion exists."""
    missing = Answer({"detail": f"Chat completion {NAME} not found"}, 400)
    async with (
        Loopback(replies(missing, Answer(page([message(0)])))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        assert len((await client.list(NAME, wait_until_visible=5)).data) == 1
    assert len(server.asked) == 2


async def test_no_quota_behind_a_proxy() -> None:
    """A used-up quota is not retried, though a proxy calls it a rate limit."""
    said = f"litellm.RateLimitError: OpenAIException - {json.dumps(QUOTA)}"
    answer = Answer({"error": {"message": said, "type": "None", "code": "429"}}, 429)
    patient = RetryPolicy(5, 0, 0)
    async with (
        Loopback(replies(answer)) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=patient) as client,
    ):
        with pytest.raises(InsufficientQuotaError):
            await client.list(NAME)
    assert len(server.asked) == 1


@pytest.mark.parametrize("empty", [None, "", False, {}, [], 0])
async def test_a_page_with_an_empty_error(empty: Any) -> None:
    """A page that also carries an empty `error`, as some gateways send it, is a page."""
    async with (
        Loopback(replies(Answer({**page([message(0)]), "error": empty}))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        assert len((await client.list(NAME)).data) == 1


@pytest.mark.parametrize("words", ["completion ", "no ", "completion no ", "no completion not "])
def test_a_text_that_repeats_a_word(words: str) -> None:
    """An error body of a megabyte is read quickly, whatever its words are."""
    began = time.process_time()
    assert error_of(400, {"error": {"message": words * (MAX_BODY // 2 // len(words))}})
    assert time.process_time() - began < 2


@pytest.mark.parametrize("field", ["code", "type"])
@pytest.mark.parametrize(
    ("word", "expected", "retryable"),
    [
        ("invalid_api_key", AuthenticationError, False),
        ("UNAUTHENTICATED", AuthenticationError, False),
        ("PERMISSION_DENIED", PermissionDeniedError, False),
        ("not_found_error", NotFoundError, False),
        ("rate_limit_error", RateLimitError, True),
        ("RESOURCE_EXHAUSTED", RateLimitError, True),
        ("overloaded_error", InternalServerError, True),
        ("INTERNAL", InternalServerError, True),
        ("UNAVAILABLE", InternalServerError, True),
        ("DEADLINE_EXCEEDED", InternalServerError, True),
        ("invalid_request_error", BadRequestError, False),
        ("INVALID_ARGUMENT", BadRequestError, False),
    ],
)
def test_words_for_a_status(
    field: str, word: str, expected: type[APIStatusError], *, retryable: bool
) -> None:
    """An error with status 200 is of the class that its code or type names."""
    error = error_of(200, {"error": {"message": "m", field: word}})
    assert type(error) is expected
    assert error.retryable is retryable
    assert (error.status, error.attempts, error.completion_id) == (200, 0, NAME)


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ({"error": {"code": "404", "message": "Resource not found"}}, "On Azure, base_url ends"),
        ({"detail": "Not Found"}, "check base_url, and any gateway"),
    ],
    ids=["Azure", "another"],
)
def test_advice_for_a_404_of_a_gateway(body: Any, advice: str) -> None:
    """A 404 that is not about the completion names what else may be wrong."""
    assert advice in str(error_of(404, body))


@pytest.mark.parametrize(
    ("seconds", "advice"),
    [("86400", "24 hours"), ("5400", "1.5 hours"), ("3599", "Send fewer"), (None, "Send fewer")],
)
def test_advice_for_a_long_wait(seconds: str | None, advice: str) -> None:
    """A Retry-After of an hour and more is named in hours, since no retry waits for it."""
    headers = {} if seconds is None else {"retry_after": seconds}
    error = error_of(429, {"error": {"code": "429", "message": "too many"}}, **headers)
    assert advice in str(error)
