"""The answer to a request that failed: a status and a Problem.

Readers get texts of this module alone: neither the API's words nor the key reach them. The log
gets the kind of error, its status, the completion and the id of the request.
"""

import math
from typing import Any, Final, NamedTuple

import msgspec
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict

from aiomessages.errors import (
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    InsufficientQuotaError,
    MessagesError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from aiomessages.observe.logs import escape_unprintable, log
from aiomessages.settings import UnusableKeyError


class Problem(BaseModel):
    """The body of an error answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    """Kind of the error, for programs."""
    detail: str
    """A sentence for people."""


class InvalidParameters(BaseModel):
    """The parameters that FastAPI itself refuses."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: list[dict[str, Any]]
    """For each parameter its place (`loc`) and what is wrong (`msg`)."""


class Answer(NamedTuple):
    """The answer to one kind of error: the HTTP status and the fields of a Problem."""

    status: int
    code: str
    detail: str

    def body(self) -> bytes:
        """Return the Problem as JSON."""
        return msgspec.json.encode({"code": self.code, "detail": self.detail})


_INTERNAL: Final = Answer(500, "internal_error", "The service failed.")
_UNUSABLE: Final = Answer(422, "invalid_request", "The request has an unusable parameter.")

# An error's nearest ancestor in this table decides.
_ANSWERS: Final[dict[type[Exception], Answer]] = {
    Exception: _INTERNAL,
    ConfigurationError: _UNUSABLE,
    UnusableKeyError: _INTERNAL,
    ClientClosedError: Answer(503, "closing", "The service is shutting down; try again later."),
    APIError: Answer(502, "upstream_failed", "The API behind this service failed."),
    APITimeoutError: Answer(504, "upstream_timeout", "The API behind this service timed out."),
    BadRequestError: Answer(400, "bad_request", "The API rejects the request's parameters."),
    UnprocessableEntityError: Answer(422, "invalid_request", "The API cannot use the request."),
    AuthenticationError: Answer(502, "upstream_refused", "The API refuses this service's key."),
    PermissionDeniedError: Answer(502, "upstream_refused", "The API refuses this service's key."),
    NotFoundError: Answer(
        404, "not_found", "The completion does not exist, is not visible yet, or was deleted."
    ),
    RateLimitError: Answer(429, "rate_limited", "Rate limited; try again later."),
    InsufficientQuotaError: Answer(503, "quota_exhausted", "The service's quota is used up."),
}
# The statuses of a reader's own mistakes, which are not logged.
_MISTAKES: Final = {400, 404, 422}


def add_exception_handlers(app: FastAPI) -> None:
    """Answer a request that fails with a MessagesError by a fitting status and a Problem.

    The status is 404 for a missing completion, 422 for an unusable argument, 429 with Retry-After,
    504 for a timeout, and 502 for the API's other failures. The log has the details.
    """

    async def respond(_: Request, error: Exception) -> Response:
        answer = answer_to(error)
        wait = seconds_to_wait(error)
        headers = {"retry-after": str(wait)} if wait else None
        return Response(answer.body(), answer.status, headers, "application/json")

    app.add_exception_handler(MessagesError, respond)


def answer_to(error: Exception) -> Answer:
    """Return the answer to an error; log the error unless it is a reader's mistake."""
    answer = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    if answer is _UNUSABLE:
        return answer._replace(detail=str(error))  # our own text, which names the parameter
    if answer.status not in _MISTAKES:
        log.warning("answered %d %s: %s", answer.status, answer.code, _facts_of(error))
    return answer


def _facts_of(error: Exception) -> str:
    """Return an error's class and ids. Its text stays out, which may quote the API."""
    names = {"status": "status", "completion_id": "completion", "request_id": "request"}
    facts = {word: getattr(error, name, None) for name, word in names.items()}
    known = [f"{word} {escape_unprintable(str(fact))}" for word, fact in facts.items() if fact]
    return ", ".join([type(error).__name__, *known])


def seconds_to_wait(error: Exception) -> int | None:
    """Return the whole seconds until a retry makes sense: the API's own value, else 1 for a 429."""
    requested = error.retry_after if isinstance(error, APIStatusError) else None
    if requested is not None:
        return math.ceil(requested) or 1
    waiting_helps = isinstance(error, RateLimitError) and error.retryable
    return 1 if waiting_helps else None


def documented_problems() -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route, as FastAPI's `responses` describe them."""
    problems: dict[int | str, dict[str, Any]] = {
        answer.status: {"model": Problem, "description": answer.detail}
        for answer in _ANSWERS.values()
        if answer is not _INTERNAL  # no client can prepare for it
    }
    refused = {"model": Problem | InvalidParameters, "description": "Unusable parameters."}
    return problems | {422: refused}
