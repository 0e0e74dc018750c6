"""An answer, to the error that it is: by its status, and by what its body says of itself.

Nothing here performs I/O, reads a clock or rolls dice. The forms of bodies stand in `dialects`.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from aiomessages.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from aiomessages.values.redaction import body_without_key, headers_without_key, shown

from .error_bodies import MAX_BODY, ErrorFacts, find_error, read_error
from .retry_after import parse_retry_after

MAX_MESSAGE_LENGTH: Final = 500  # of a server's error text: gateways can be talkative
_MARGIN: Final = 65_536  # bytes behind what is kept of a body: a key that is cut in two is found

_STATUS_ERRORS: Final[dict[int, type[APIStatusError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}
# 203 is a 200 that a proxy has changed on its way (RFC 9110, section 15.3.4). A part of a page, as
# with 206, is none, and nothing else has a page for its body.
WITH_PAGE: Final = frozenset({200, 203})

_RETRYABLE_STATUSES: Final = frozenset({408, 425})  # beyond those whose class says it
_REFUSALS: Final = frozenset({400, 404, 422})  # of a parameter; 422 is FastAPI's way
_HTTP_ERRORS: Final = {str(status) for status in range(400, 600)}  # some gateways' codes

# For an error that comes with status 200: its code tells which it is, or else its type. The words
# are OpenAI's and those of gateways that speak for it; the last lines are Google's.
_NAMED_STATUSES: Final = {
    "invalid_api_key": 401,
    "invalid_token": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "insufficient_permissions": 403,
    "not_found": 404,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "service_unavailable": 503,
    "overloaded_error": 503,
    "invalid_request_error": 400,  # a type: most of the API's errors are of it
    "unauthenticated": 401,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "invalid_argument": 400,
    "internal": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
_NO_QUOTA: Final = "insufficient_quota"
# Gaps are bounded, and so is what is searched: else a text that repeats a word takes minutes.
_MAX_SEARCHED: Final = 2000  # characters of a message
_MISSING: Final = (
    r"\bnot (?:be )?found\b|\bno such\b|(?:\bnot|n't) exist|\bno\b.{0,100} found\b"
    r"|(?:\bnot|n't|\bunable to) (?:find|locate)\b"
)
_NOT_FOUND: Final = re.compile(_MISSING, re.IGNORECASE)
# Of a completion, where no id is named: "the model does not exist for chat completions" is not it.
_COMPLETION_NOT_FOUND: Final = re.compile(
    rf"\bcompletion\b[^.]{{0,300}}(?:{_MISSING})|\bno (?:such )?(?:stored )?(?:chat )?completion\b",
    re.IGNORECASE,
)
_FOREIGN_HINT: Final = (
    "It does not read like the API's own answer: check base_url, and what stands between here and"
    " the API."
)


class Asked(msgspec.Struct, frozen=True):
    """What a response answers: of which completion, and behind which cursor."""

    completion_id: str | None = None
    cursor: str | None = None


def status_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    asked: Asked,
    received_at: float,
    secret: str,
) -> APIStatusError:
    """Return the error that an answer is by its status, or, with 200, by what it says.

    A server may repeat the key in its answer, so `secret` is taken out of whatever is kept of it.
    `received_at` is in Unix seconds.
    """
    headers = headers_without_key(headers, secret)
    body = body_without_key(body[: MAX_BODY + _MARGIN], secret)[:MAX_BODY]
    facts = find_error(body) if status in WITH_PAGE else read_error(body)
    meant = _meant_status(facts) if status in WITH_PAGE else status
    missing = _says_not_found(meant, facts, asked)
    error = _class(meant, facts, missing=missing)(
        _message(status, facts),
        status=status,
        headers=headers,
        body=body,
        code=facts.code,
        type=facts.type,
        param=facts.param,
        retry_after=parse_retry_after(headers, now=received_at),
        retryable=True if meant in _RETRYABLE_STATUSES else None,
    )
    error.at(completion_id=asked.completion_id, cursor=asked.cursor, attempts=0)
    if isinstance(error, NotFoundError):
        error.is_of_api = missing
        if is_of_somebody_else(error):
            error.hint = _FOREIGN_HINT
    return error


def _class(status: int, facts: ErrorFacts, *, missing: bool) -> type[APIStatusError]:
    """Return the class of an error: a proxy may put the quota's code into the type, or in words."""
    if _NO_QUOTA in (facts.code, facts.type):
        return InsufficientQuotaError
    if status == 429 and _NO_QUOTA in (facts.message or ""):
        return InsufficientQuotaError
    if missing:
        return NotFoundError
    return _STATUS_ERRORS.get(status, InternalServerError if status >= 500 else APIStatusError)


def _message(status: int, facts: ErrorFacts) -> str:
    """Return what an error says: words that are no JSON are somebody else's, and quoted."""
    ours = f"the server answered with status {status}"
    said = facts.message if facts.in_json or not facts.message else f"{ours}: {facts.message}"
    return (said or ours)[:MAX_MESSAGE_LENGTH]


def _meant_status(facts: ErrorFacts) -> int:
    """Return the status that an error stands for which came with 200."""
    if facts.code in _HTTP_ERRORS:
        return int(facts.code)
    by_code, by_type = (
        _NAMED_STATUSES.get((word or "").lower()) for word in (facts.code, facts.type)
    )
    return by_code or facts.status or by_type or 200


def _says_not_found(status: int, facts: ErrorFacts, asked: Asked) -> bool:
    """Tell whether an answer says of the completion, and in the API's way, that it is not there.

    Servers of the same API say it with 400, too: then its text, or its code, has to say so.
    """
    text = facts.message or ""
    if status not in WITH_PAGE | {400, 404} or not facts.in_json:
        return False
    if facts.param == "after" or _names(text, shown(asked.cursor)):
        return False
    if facts.code == "not_found" or (status == 404 and facts.param == "completion_id"):
        return True
    opening = text[:_MAX_SEARCHED]
    if status == 400 and _COMPLETION_NOT_FOUND.search(opening):
        return True
    return bool(_NOT_FOUND.search(opening)) and _names(text, shown(asked.completion_id))


def _names(text: str, name: str | None) -> bool:
    """Tell whether a text names an id itself, and not one that only begins with it.

    As a part of a path it names a route, of which a gateway says that it was not found.
    """
    if not name or name not in text:
        return False
    return bool(re.search(rf"(?<![\w/-]){re.escape(name)}(?!\.?[\w-])", text))


def is_about_cursor(error: BaseException) -> bool:
    """Tell whether an error says that the cursor, the `after` of the page, is not to be used."""
    if not isinstance(error, APIStatusError) or error.status not in _REFUSALS:
        return False
    return error.param == "after" or _names(error.message, error.cursor)


def is_about_limit(error: BaseException) -> bool:
    """Tell whether an error says that the `limit` of the page is not to be used."""
    if not isinstance(error, APIStatusError) or error.status not in _REFUSALS:
        return False
    return error.param == "limit"


def is_of_somebody_else(error: BaseException) -> bool:
    """Tell whether an error is a 404 that is not the API's own: a gateway's, say, or a portal's."""
    return isinstance(error, NotFoundError) and not error.is_of_api and not is_about_cursor(error)
