"""Turn a response into the error that its status and its body stand for.

Nothing here performs I/O, reads a clock or draws random numbers. `error_bodies` reads the body.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeGuard

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
from aiomessages.values.redaction import Secrets, body_without_key, headers_without_key, shown

from .error_bodies import MAX_BODY, ErrorFacts, find_error, read_error
from .retry_after import parse_retry_after

MAX_MESSAGE_LENGTH: Final = 500  # characters of a server's text: some gateways send pages
# bytes that are searched for the key beyond what is kept of a body: the cut may divide the key
_MARGIN: Final = 65_536

_STATUS_ERRORS: Final[dict[int, type[APIStatusError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}
# The statuses whose body is a page. 203 is a 200 that a proxy has changed in transit (RFC 9110,
# section 15.3.4). 206 would be a part of a page, which no request asks for.
WITH_PAGE: Final = frozenset({200, 203})

_RETRYABLE_STATUSES: Final = frozenset({408, 425})  # besides those whose class is retryable
_REFUSALS: Final = frozenset({400, 404, 422})  # statuses that refuse a parameter; FastAPI sends 422
_HTTP_ERRORS: Final = {str(status) for status in range(400, 600)}  # as `code` of some gateways

# The status that a code or a type stands for, in an error that arrives with status 200. The words
# are OpenAI's and those of gateways in front of it; the last ones are Google's.
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
    "invalid_request_error": 400,  # the type of most errors of the API
    "unauthenticated": 401,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "invalid_argument": 400,
    "internal": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
_NO_QUOTA: Final = "insufficient_quota"
# Gaps and the searched text are bounded: else a text that repeats a word takes minutes.
_MAX_SEARCHED: Final = 2000  # characters of a message
_MISSING: Final = (
    r"\bnot (?:be )?found\b|\bno such\b|(?:\bnot|n't) exist|\bno\b.{0,100} found\b"
    r"|(?:\bnot|n't|\bunable to) (?:find|locate)\b"
)
_NOT_FOUND: Final = re.compile(_MISSING, re.IGNORECASE)
# A completion is missing, and no id is named. "The model does not exist for chat completions" must
# not match.
_COMPLETION_NOT_FOUND: Final = re.compile(
    rf"\bcompletion\b[^.]{{0,300}}(?:{_MISSING})|\bno (?:such )?(?:stored )?(?:chat )?completion\b",
    re.IGNORECASE,
)
_FOREIGN_HINT: Final = (
    "It does not read like the API's own response: check base_url, and any gateway or proxy in"
    " front of the API."
)
# Azure answers with code "404" and nothing else about it: for a path that it does not know, and for
# a completion that it did not store. It stores none with an image as base64:
# https://github.com/Azure/azure-sdk-for-python/issues/43687
_AZURE_HINT: Final = (
    "On Azure, base_url ends with /openai/v1, and completions with an image as base64 are not"
    " stored. Elsewhere, check base_url and any gateway in front of the API."
)
# Seconds. Azure sends 86400 for a quota that is used up until the next day.
_LONG_WAIT: Final = 3600.0


class Asked(msgspec.Struct, frozen=True):
    """The request of a response: which completion, after which cursor, with which key.

    A server may repeat the key and the credentials beside it, so `secret` is removed from all that
    an error keeps.
    """

    completion_id: str | None
    cursor: str | None
    secret: Secrets


def status_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    asked: Asked,
    received_at: float,
) -> APIStatusError:
    """Return the error for a response, by its status or, with status 200, by its body.

    `received_at` is in Unix seconds.
    """
    headers = headers_without_key(headers, asked.secret)
    body = body_without_key(body[: MAX_BODY + _MARGIN], asked.secret)[:MAX_BODY]
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
        if is_foreign_404(error):
            error.hint = _AZURE_HINT if facts.code == "404" else _FOREIGN_HINT
    elif type(error) is RateLimitError and error.retry_after and error.retry_after >= _LONG_WAIT:
        hours = error.retry_after / 3600
        error.hint = (
            f"The server asks to wait for {hours:.3g} hours, as for a quota that is used up."
        )
    return error


def _class(status: int, facts: ErrorFacts, *, missing: bool) -> type[APIStatusError]:
    """Return the class of an error.

    A proxy may move the code of a spent quota into the type, or into the text.
    """
    if _NO_QUOTA in (facts.code, facts.type):
        return InsufficientQuotaError
    if status == 429 and _NO_QUOTA in (facts.message or ""):
        return InsufficientQuotaError
    if missing:
        return NotFoundError
    return _STATUS_ERRORS.get(status, InternalServerError if status >= 500 else APIStatusError)


def _message(status: int, facts: ErrorFacts) -> str:
    """Return the text of an error. Text that is not JSON is a gateway's, and follows ours."""
    ours = f"the server answered with status {status}"
    said = facts.message if facts.in_json or not facts.message else f"{ours}: {facts.message}"
    return (said or ours)[:MAX_MESSAGE_LENGTH]


def _meant_status(facts: ErrorFacts) -> int:
    """Return the status that an error with status 200 stands for; 200 if it names none."""
    if facts.code in _HTTP_ERRORS:
        return int(facts.code)
    by_code, by_type = (
        _NAMED_STATUSES.get((word or "").lower()) for word in (facts.code, facts.type)
    )
    return by_code or facts.status or by_type or 200


def _says_not_found(status: int, facts: ErrorFacts, asked: Asked) -> bool:
    """Return whether the API itself says that the completion does not exist.

    Some servers of this API send status 400 for that; then the text or the code has to say it.
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
    """Return whether a text names an id, and not a longer one that contains it.

    An id within a path does not count: there a gateway names a route that it does not know.
    """
    if not name or name not in text:
        return False
    return bool(re.search(rf"(?<![\w/-]){re.escape(name)}(?!\.?[\w-])", text))


def is_about_cursor(error: BaseException) -> bool:
    """Return whether the server refuses the cursor (`after`) of the page."""
    return _is_refusal(error) and (error.param == "after" or _names(error.message, error.cursor))


def is_about_limit(error: BaseException) -> bool:
    """Return whether the server refuses the `limit` of the page."""
    return _is_refusal(error) and error.param == "limit"


def _is_refusal(error: BaseException) -> TypeGuard[APIStatusError]:
    return isinstance(error, APIStatusError) and error.status in _REFUSALS


def is_foreign_404(error: BaseException) -> bool:
    """Return whether an error is a 404 that is not the API's own, but a gateway's or a portal's."""
    return isinstance(error, NotFoundError) and not error.is_of_api and not is_about_cursor(error)
