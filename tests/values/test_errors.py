"""The errors: one tree, facts as attributes, and texts that are made from them."""

import copy
import inspect
import pickle
from typing import Any

import pytest

import aiomessages
from aiomessages import errors
from aiomessages.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    InsufficientQuotaError,
    InternalServerError,
    MessagesError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    ProxyError,
    RateLimitError,
    RedirectError,
    ResponseTooLargeError,
    SchemaError,
    TLSError,
    UnprocessableEntityError,
)

# Each error, and its first base.
TREE: dict[type[MessagesError], tuple[type[BaseException], ...]] = {
    MessagesError: (Exception,),
    ConfigurationError: (MessagesError, ValueError),
    APIError: (MessagesError,),
    APIConnectionError: (APIError,),
    APITimeoutError: (APIConnectionError, TimeoutError),
    ProxyError: (APIConnectionError,),
    TLSError: (APIConnectionError,),
    APIResponseError: (APIError,),
    DecodeError: (APIResponseError,),
    SchemaError: (APIResponseError,),
    ResponseTooLargeError: (APIResponseError,),
    RedirectError: (APIResponseError,),
    PaginationError: (APIResponseError,),
    APIStatusError: (APIResponseError,),
    BadRequestError: (APIStatusError,),
    AuthenticationError: (APIStatusError,),
    PermissionDeniedError: (APIStatusError,),
    NotFoundError: (APIStatusError,),
    ConflictError: (APIStatusError,),
    UnprocessableEntityError: (APIStatusError,),
    InternalServerError: (APIStatusError,),
    RateLimitError: (APIStatusError,),
    InsufficientQuotaError: (RateLimitError,),
    ClientClosedError: (MessagesError,),
}
API_ERRORS = [cls for cls in TREE if issubclass(cls, APIError)]
RETRYABLE = {
    APIConnectionError,
    APITimeoutError,
    ProxyError,
    DecodeError,
    ConflictError,
    RateLimitError,
    InternalServerError,
}
HEADERS = {"X-Request-Id": "req_7", "X-Other": "o"}


def build(cls: type[APIError]) -> APIError:
    """Make an error of a class with all of its facts."""
    facts: dict[str, Any] = {}
    if issubclass(cls, APIResponseError):
        facts |= {"status": 418, "headers": HEADERS}
    if issubclass(cls, APIStatusError):
        facts |= {"code": "c", "type": "t", "param": "p", "body": b"secret text"}
        facts |= {"retry_after": 1.5}
    if cls is SchemaError:
        facts["path"] = "$.data[3].role"
    if cls is RedirectError:
        facts["location_host"] = "elsewhere.example"
    if cls is ProxyError:
        facts |= {"status": 407, "hint": "Write them there."}
    if cls is APIConnectionError:
        facts["stale"] = True
    error = cls("it went wrong", **facts)
    if isinstance(error, APITimeoutError):
        error.in_body = True
    if isinstance(error, NotFoundError):
        error.is_of_api = True
    return error.at(completion_id="chatcmpl-1", cursor="m-9", attempts=3)


def test_the_tree() -> None:
    """The tree has these errors and no others, each under its parents."""
    defined = {
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, BaseException)
    }
    assert {cls: cls.__bases__ for cls in defined} == TREE


def test_the_package_exports_them() -> None:
    """Every error has its name in the package."""
    assert all(getattr(aiomessages, cls.__name__) is cls for cls in TREE)
    assert {cls.__name__ for cls in TREE} <= set(aiomessages.__all__)


def test_retryable_errors() -> None:
    """A class says whether another attempt could help, and an error may differ from it."""
    assert {cls for cls in API_ERRORS if cls.retryable} == RETRYABLE
    assert APIStatusError("too early", status=425, retryable=True).retryable
    assert not DecodeError("too deep", retryable=False).retryable
    assert not APIConnectionError("not HTTP", retryable=False).retryable
    assert not APIStatusError.retryable


@pytest.mark.parametrize("cls", API_ERRORS)
@pytest.mark.parametrize("way", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])  # noqa: S301
def test_pickling_an_error(cls: type[APIError], way: Any) -> None:
    """A pickled or copied error has all its facts, and its text."""
    error = build(cls)
    copied = way(error)
    assert type(copied) is cls
    assert (vars(copied), copied.args, str(copied)) == (vars(error), error.args, str(error))


@pytest.mark.parametrize("cls", [ConfigurationError, ClientClosedError])
def test_pickling_an_error_without_facts(cls: type[MessagesError]) -> None:
    """Errors without a response are pickled with their text."""
    assert str(pickle.loads(pickle.dumps(cls("the text")))) == "the text"  # noqa: S301 our own


def test_one_case_that_differs_crosses_too() -> None:
    """An error that differs from its class in `retryable` keeps that when pickled."""
    error = APIStatusError("slow", status=408, retryable=True)
    assert pickle.loads(pickle.dumps(error)).retryable  # noqa: S301 our own bytes


@pytest.mark.parametrize("cls", API_ERRORS)
def test_text(cls: type[APIError]) -> None:
    """The text has the problem, the completion, the cursor, the attempts and a hint."""
    text = str(build(cls))
    assert text.startswith("it went wrong (")
    assert "completion chatcmpl-1, after m-9, 3 attempts" in text
    hint = build(cls).hint
    assert text.endswith(f").{' ' + hint if hint else ''}")


@pytest.mark.parametrize("cls", API_ERRORS)
def test_repr(cls: type[APIError]) -> None:
    """The repr is the class and the text: no body, no headers."""
    error = build(cls)
    assert repr(error) == f"{cls.__name__}({str(error)!r})"
    assert "secret text" not in repr(error)
    assert "X-Other" not in repr(error)


def test_text_of_an_answer() -> None:
    """The text of an error response has its status, request and code as well."""
    error = BadRequestError("no", status=400, headers=HEADERS, code="bad_limit")
    assert str(error) == "no (status 400, request req_7, code bad_limit)."


def test_text_without_facts() -> None:
    """An error without facts has only its message as its text."""
    assert str(APIError("no")) == "no."
    assert str(BadRequestError("no")) == "no."
    assert str(TLSError("no")) == f"no. {TLSError.hint}"


def test_text_after_one_attempt() -> None:
    """One attempt is singular; a fact that is set later appears in the text."""
    error = APIError("no").at(completion_id=None, cursor=None, attempts=1)
    assert str(error) == "no (1 attempt)."
    error.completion_id = "chatcmpl-2"
    assert str(error) == "no (completion chatcmpl-2, 1 attempt)."


def test_text_after_two_attempts() -> None:
    """More than one attempt is a plural."""
    error = RateLimitError("slow down").at(completion_id=None, cursor=None, attempts=2)
    assert str(error).startswith("slow down (2 attempts).")


def test_facts_of_an_answer() -> None:
    """An error response has the server's facts, and headers by lower-case names."""
    error = build(RateLimitError)
    assert isinstance(error, RateLimitError)
    assert (error.status, error.status_code, error.request_id) == (418, 418, "req_7")
    assert error.headers == {"x-request-id": "req_7", "x-other": "o"}
    assert (error.code, error.type, error.param, error.message) == ("c", "t", "p", "it went wrong")
    assert (error.body, error.retry_after) == (b"secret text", 1.5)
    assert (error.completion_id, error.cursor, error.attempts) == ("chatcmpl-1", "m-9", 3)


def test_headers() -> None:
    """An error's headers are found by their names in whatever case, also in another process."""
    error = build(NotFoundError)
    assert isinstance(error, NotFoundError)
    for headers in (error.headers, pickle.loads(pickle.dumps(error)).headers):  # noqa: S301
        assert headers["X-OTHER"] == headers.get("X-Other") == headers.get("x-other") == "o"
        assert "X-Other" in headers
        assert "Retry-After" not in headers
        assert 5 not in headers
        assert headers.get("Retry-After") is None
        assert headers.get("Retry-After", "7") == "7"
        with pytest.raises(KeyError):
            headers["Retry-After"]


def test_facts_of_their_own() -> None:
    """A schema error has its path, a redirect its host, a lost connection its staleness."""
    assert SchemaError("x").path == "$"
    assert getattr(build(SchemaError), "path", None) == "$.data[3].role"
    assert getattr(build(RedirectError), "location_host", None) == "elsewhere.example"
    assert getattr(build(APIConnectionError), "stale", None) is True
    assert not APIConnectionError("x").stale
    assert not APITimeoutError("x").in_body
    assert not NotFoundError("x").is_of_api


def test_a_hint_of_its_own() -> None:
    """An error may have another hint than its class, also in another process."""
    error = ResponseTooLargeError("too large")
    error.hint = "Do this."
    assert str(pickle.loads(pickle.dumps(error))) == "too large. Do this."  # noqa: S301 our own


def test_a_timeout_is_the_builtin_one() -> None:
    """`except TimeoutError` catches a timeout, whose text is not that of an OSError."""
    with pytest.raises(TimeoutError, match=r"^slow \(1 attempt\)\. Raise timeout="):
        raise APITimeoutError("slow").at(completion_id=None, cursor=None, attempts=1)


def test_an_error_before_the_first_request() -> None:
    """An error says whether any request was sent for the call."""
    error = APITimeoutError("slow")
    sent = [error.at(completion_id=None, cursor=None, attempts=n).sent for n in (0, 1, 2)]
    assert sent == [False, True, True]
