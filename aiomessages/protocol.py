"""The API's grammar: a call becomes a request; status, headers and body become a page or an error.

Nothing here performs I/O, reads a clock or rolls dice: plain values come in, plain values go out.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from .decoding import read_completion
from .errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
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
    RateLimitError,
    RedirectError,
    SchemaError,
    UnprocessableEntityError,
)
from .models import StoredCompletion
from .pages import Envelope, Page
from .retry import parse_retry_after

# A walk asks for 100 a page, five times fewer requests than the server's default of 20; the largest
# limit is undocumented, and 100 is known to be accepted.
WALK_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20

# What aiohttp undoes by itself; a body in any other encoding it passes on as it came.
ACCEPT_ENCODING: Final = "gzip, deflate"
_ENCODINGS: Final = frozenset({"", "identity", "gzip", "deflate"})

MAX_ID_LENGTH: Final = 256
MAX_MESSAGE_LENGTH: Final = 500  # of a server's error text: gateways can be talkative

ItemT = TypeVar("ItemT")


class Response(msgspec.Struct, frozen=True):
    """A whole response; `received_at` is in Unix seconds, `headers` ignore case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float


class Codec(Protocol[ItemT]):
    """What reads the body of a page: see models."""

    @property
    def page_class(self) -> type[Page[ItemT]]:
        """What its pages are."""
        ...

    def decode(self, body: bytes) -> tuple[Envelope[ItemT], list[str]]:
        """Return a page and the ids of its items."""
        ...


# --- a call, to a request -------------------------------------------------------------------------


def check_completion_id(completion_id: object) -> str:
    """Return the id, or raise ConfigurationError if it cannot stand in a URL's path as one name."""
    if not isinstance(completion_id, str):
        raise ConfigurationError(f"completion_id must be a str, not {type(completion_id).__name__}")
    if not completion_id or completion_id in (".", ".."):
        raise ConfigurationError("completion_id must not be empty, '.' or '..'")
    if len(completion_id) > MAX_ID_LENGTH:
        raise ConfigurationError(f"completion_id is longer than {MAX_ID_LENGTH} characters")
    if re.search(r"[/?#%\\\x00-\x20\x7f-\x9f\ud800-\udfff]", completion_id):
        raise ConfigurationError(
            "completion_id must not hold spaces, control characters or any of / ? # % \\"
        )
    return completion_id


def check_page_options(*, after: object, limit: object, order: object, max_items: object) -> None:
    """Raise ConfigurationError for what no server would accept. A large limit is left to it."""
    if after is not None and (not isinstance(after, str) or not after):
        raise ConfigurationError("after must be the id of a message, or None for the beginning")
    for name, number in (("limit", limit), ("max_items", max_items)):
        whole = isinstance(number, int) and not isinstance(number, bool)
        if number is not None and (not whole or number < 1):  # type: ignore[operator]
            raise ConfigurationError(f"{name} must be an int of 1 or more, not {number!r}")
    if order not in (None, "asc", "desc"):
        raise ConfigurationError(f"order must be 'asc' or 'desc', not {order!r}")


def completion_url(base_url: str, completion_id: str) -> str:
    """Return the URL of one stored completion."""
    return f"{base_url}/chat/completions/{quote(completion_id, safe='')}"


def page_limit(limit: int | None, remaining: int | None, *, default: int | None) -> int | None:
    """Return the page size to ask for: what the caller said, and no more than is still wanted."""
    if limit is not None:
        return limit
    if remaining is None:
        return default
    return min(remaining, default or DEFAULT_LIMIT)


def with_query(url: str, query: Mapping[str, Any]) -> str:
    """Return the URL with the parameters that are not None."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{url}?{urlencode(given, quote_via=quote)}" if given else url


# --- a response, to a page ------------------------------------------------------------------------


def read_page(
    response: Response, codec: Codec[ItemT], *, completion_id: str | None, secret: str
) -> Page[ItemT]:
    """Return the page, or raise the error that the response is."""
    check_status(response, secret=secret)
    envelope, ids = _decode(response, codec.decode, secret=secret)
    if envelope.error is not None:
        raise _status_error(_without_secret(response, secret))
    _check_cursors(response, envelope, ids)
    if ids and completion_id and _is_of_other_completion(ids[0], completion_id):
        raise APIConnectionError("the answer to another request arrived on this connection")
    return codec.page_class(envelope, ids, body=response.body, headers=response.headers)


def read_one_completion(response: Response, *, secret: str) -> StoredCompletion:
    """Return the completion, or raise the error that the response is."""
    check_status(response, secret=secret)
    completion: StoredCompletion = _decode(
        response, lambda body: read_completion(_OBJECT.decode(body)), secret=secret
    )
    return completion


def _decode(response: Response, decode: Callable[[bytes], Any], *, secret: str) -> Any:
    try:
        return decode(response.body)
    except msgspec.ValidationError as error:
        if _error_facts(response.body) is not None:
            raise _status_error(_without_secret(response, secret)) from None
        what, _, path = str(error).partition(" - at `")
        raise SchemaError(
            f"the answer has another shape than expected: {what}",
            path=path.rstrip("`") or "$",
            status=response.status,
            headers=response.headers,
        ) from None
    except RecursionError:
        raise _decode_error(response, "is nested too deep", retryable=False) from None
    except UnicodeDecodeError:
        raise _decode_error(response, "is not UTF-8") from None
    except msgspec.DecodeError:
        raise _decode_error(response, _what_it_is(response)) from None


def _what_it_is(response: Response) -> str:
    if not response.body.strip():
        return "is empty"
    kind = response.headers.get("content-type", "of no type")
    return f"is not JSON (it calls itself {kind[:80]}, {len(response.body)} bytes)"


def _decode_error(response: Response, what: str, *, retryable: bool | None = None) -> DecodeError:
    return DecodeError(
        f"the body of the answer {what}",
        status=response.status,
        headers=response.headers,
        retryable=retryable,
    )


def _check_cursors(response: Response, page: Envelope[Any], ids: list[str]) -> None:
    """Refuse a page by which a walk would lose or repeat messages."""
    if page.has_more and not ids:
        problem = "it has no messages and says that there are more"
    elif ids and page.last_id and page.last_id != ids[-1]:
        problem = "its last_id is not the id of its last message"
    elif "" in ids:
        problem = "a message of it has an empty id"
    else:
        return
    raise PaginationError(
        f"the page contradicts itself: {problem}",
        status=response.status,
        headers=response.headers,
    )


def _is_of_other_completion(message_id: str, completion_id: str) -> bool:
    """Tell whether a message surely belongs elsewhere: the live API's ids are `{completion}-{n}`.

    Other servers' ids need not follow that, so only what looks like the live API's is judged.
    """
    owner, _, number = message_id.rpartition("-")
    alike = owner.startswith("chatcmpl-") and completion_id.startswith("chatcmpl-")
    return alike and number.isdecimal() and owner != completion_id


# --- a response, to an error ----------------------------------------------------------------------

_STATUS_ERRORS: Final[dict[int, type[APIStatusError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}
_RETRYABLE_STATUSES: Final = frozenset({408, 425})  # beyond those whose class says it

# For an error that comes with status 200: its code tells which it is.
_CODE_STATUSES: Final = {
    "invalid_api_key": 401,
    "not_found": 404,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_error": 500,
}


class _ErrorFacts(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorFacts | str | None = None
    detail: Any = None
    message: str | None = None


_ERROR_BODY: Final = msgspec.json.Decoder(_ErrorBody)
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


def check_status(response: Response, *, secret: str) -> None:
    """Raise the error that a response is; return for one that may hold a page.

    A server may repeat the key in its answer, so `secret` is taken out of whatever is kept of it.
    """
    if response.status == 200:
        encoding = response.headers.get("content-encoding", "").lower()
        if encoding not in _ENCODINGS:
            raise _decode_error(response, "has an unknown compression", retryable=False)
        return
    safe = _without_secret(response, secret)
    if response.status >= 400:
        raise _status_error(safe)
    if 300 <= response.status < 400:
        raise _redirect_error(safe)
    raise _decode_error(safe, f"cannot be a list with status {response.status}")


def _without_secret(response: Response, secret: str) -> Response:
    hidden = "[the API key]"
    headers = {name: value.replace(secret, hidden) for name, value in response.headers.items()}
    body = response.body.replace(secret.encode(), hidden.encode())
    return msgspec.structs.replace(
        response, body=body, headers={name.lower(): value for name, value in headers.items()}
    )


def _status_error(response: Response) -> APIStatusError:
    facts = _error_facts(response.body) or _ErrorFacts()
    code = None if facts.code is None else str(facts.code)
    status = response.status
    if status == 200:
        status = _CODE_STATUSES.get(code or "", 200)
    cls = _STATUS_ERRORS.get(status, InternalServerError if status >= 500 else APIStatusError)
    if code == "insufficient_quota":
        cls = InsufficientQuotaError
    return cls(
        (facts.message or f"the server answered with status {response.status}")[
            :MAX_MESSAGE_LENGTH
        ],
        status=response.status,
        headers=response.headers,
        body=response.body,
        code=code,
        type=facts.type,
        param=facts.param,
        retry_after=parse_retry_after(response.headers, now=response.received_at),
        retryable=True if status in _RETRYABLE_STATUSES else None,
    )


def _error_facts(body: bytes) -> _ErrorFacts | None:
    """Find what an error body says: in OpenAI's form, or as a `detail` or `message` of its own."""
    try:
        said = _ERROR_BODY.decode(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(said.error, _ErrorFacts):
        return said.error
    text = said.error or (said.detail if isinstance(said.detail, str) else said.message)
    return _ErrorFacts(message=text) if text else None


def _redirect_error(response: Response) -> APIResponseError:
    host = urlsplit(response.headers.get("location", "")).hostname
    where = f" to {host}" if host else ""
    return RedirectError(
        f"the server redirects{where}, and redirects are not followed",
        location_host=host,
        status=response.status,
        headers=response.headers,
    )
