"""The API's grammar: a call becomes a request; status, headers and body become a page or an error.

Nothing here performs I/O, reads a clock or rolls dice: plain values come in, plain values go out.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from multidict import CIMultiDict

from .decoding import decode_completion, despite_lone_surrogates, id_of_completion
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
from .settings import can_be_sent

# A walk asks for 100 a page, five times fewer requests than the server's default of 20; the largest
# limit is undocumented, and 100 is known to be accepted.
WALK_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20

# What the transport undoes; a body in any other encoding it passes on as it came.
ACCEPT_ENCODING: Final = "gzip, deflate"
_ENCODINGS: Final = frozenset({"", "identity", "gzip", "deflate"})

MAX_ID_LENGTH: Final = 256
MAX_MESSAGE_LENGTH: Final = 500  # of a server's error text: gateways can be talkative

_USUAL: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_ID_LENGTH}}}")  # checked in one step
_UNFIT_FOR_PATH: Final = re.compile(r"[/?#%\\\x00-\x20\x7f-\x9f]")

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Response(msgspec.Struct, frozen=True):
    """A response; `received_at` is in Unix seconds, `headers` ignore case.

    `flaw` is what is wrong with its body, which is empty then. `hang_up` ends the connection that
    it came on, for what else comes there may be somebody else's answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float
    flaw: APIResponseError | None = None
    hang_up: Callable[[], object] | None = None

    def __repr__(self) -> str:
        # A traceback that shows local variables shows neither texts nor a key that was sent back.
        return f"{type(self).__name__}(status={self.status}, {len(self.body)} bytes)"


class Asked(msgspec.Struct, frozen=True):
    """What a response answers: of which completion, and behind which cursor."""

    completion_id: str | None = None
    cursor: str | None = None


class Codec(Protocol[ItemT]):
    """What reads the body of a page: see decoding."""

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
    if isinstance(completion_id, str) and _USUAL.fullmatch(completion_id):
        return completion_id
    if not isinstance(completion_id, str):
        raise ConfigurationError(f"completion_id must be a str, not {type(completion_id).__name__}")
    if not completion_id or completion_id in (".", ".."):
        raise ConfigurationError("completion_id must not be empty, '.' or '..'")
    if len(completion_id) > MAX_ID_LENGTH:
        raise ConfigurationError(f"completion_id is longer than {MAX_ID_LENGTH} characters")
    if not can_be_sent(completion_id):
        raise ConfigurationError("completion_id holds half a character (a lone surrogate)")
    if _UNFIT_FOR_PATH.search(completion_id):
        raise ConfigurationError(
            "completion_id must not hold spaces, control characters or any of / ? # % \\"
        )
    return completion_id


def check_page_options(*, after: object, limit: object, order: object, max_items: object) -> None:
    """Raise ConfigurationError for what no server would accept. A large limit is left to it."""
    check_after(after)
    for name, number in (("limit", limit), ("max_items", max_items)):
        whole = isinstance(number, int) and not isinstance(number, bool)
        if number is not None and (not whole or number < 1):  # type: ignore[operator]
            raise ConfigurationError(f"{name} must be an int of 1 or more, not {number!r}")
    if order not in (None, "asc", "desc"):
        raise ConfigurationError(f"order must be 'asc' or 'desc', not {order!r}")


def check_after(after: object) -> None:
    """Raise ConfigurationError for what is the id of no message, nor None."""
    if after is not None and not (isinstance(after, str) and after and can_be_sent(after)):
        raise ConfigurationError("after must be the id of a message, or None for the beginning")


# What quoting would leave as it is, found five times faster.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]+")


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe="")


def completion_url(base_url: str, completion_id: str) -> str:
    """Return the URL of one stored completion."""
    return f"{base_url}/chat/completions/{_quoted(completion_id)}"


def page_limit(limit: int | None, remaining: int | None, *, default: int | None) -> int | None:
    """Return the page size to ask for: what the caller said, and no more than is still wanted.

    None leaves it to the server.
    """
    size = limit or default
    if remaining is None or remaining >= (size or DEFAULT_LIMIT):
        return size
    return remaining


def with_query(url: str, query: Mapping[str, str | None]) -> str:
    """Return the URL with the parameters that are not None."""
    pairs = [
        f"{quote(name)}={quote(value, safe='')}"
        for name, value in query.items()
        if value is not None
    ]
    return f"{url}?{'&'.join(pairs)}" if pairs else url


def page_url(url: str, after: str | None, limit: int | None) -> str:
    """Return the URL of one page of the list at `url`, which may hold a query already."""
    wanted = [f"limit={limit}"] if limit is not None else []
    if after is not None:
        wanted.append(f"after={_quoted(after)}")
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(wanted)}" if wanted else url


# --- a response, to a page ------------------------------------------------------------------------


def read_page(
    response: Response,
    codec: Codec[ItemT],
    *,
    completion_id: str | None,
    cursor: str | None = None,
    secret: str,
) -> Page[ItemT]:
    """Return the page behind the cursor, or raise the error that the response is."""
    asked = Asked(completion_id, cursor)
    check_status(response, asked, secret=secret)
    envelope, ids = _decode(response, codec.decode, asked, secret=secret)
    if envelope.error is not None:
        raise _status_error(_without_secret(response, secret), asked)
    if problem := _contradiction(envelope, ids):
        safe = _without_secret(response, secret)
        raise PaginationError(
            f"the page contradicts itself: {problem}", status=safe.status, headers=safe.headers
        )
    if ids and completion_id and _is_of_other_completion(ids[0], completion_id):
        raise _answer_to_another()
    headers = _headers_without_secret(response.headers, secret)  # a stream's errors carry them
    return codec.page_class(envelope, ids, body=response.body, headers=headers)


def read_one_completion(
    response: Response, *, completion_id: str | None = None, secret: str
) -> StoredCompletion:
    """Return the completion, or raise the error that the response is."""
    asked = Asked(completion_id)
    check_status(response, asked, secret=secret)
    completion = _decode(response, decode_completion, asked, secret=secret)
    _check_owner(completion.id, completion_id)
    return completion


def read_raw_completion(
    response: Response, *, completion_id: str | None = None, secret: str
) -> bytes:
    """Return the completion as it was sent, or raise the error that the response is.

    It has to be JSON with an id, and that the one asked for; nothing else of it is looked at.
    """
    asked = Asked(completion_id)
    check_status(response, asked, secret=secret)
    _check_owner(_decode(response, id_of_completion, asked, secret=secret), completion_id)
    return response.body


def _check_owner(came: str, completion_id: str | None) -> None:
    if completion_id is not None and came != completion_id:
        raise _answer_to_another()


def _answer_to_another() -> APIConnectionError:
    return APIConnectionError("the answer to another request arrived on this connection")


def _decode(
    response: Response, decode: Callable[[bytes], ResultT], asked: Asked, *, secret: str
) -> ResultT:
    try:
        return decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = _unreadable(_without_secret(response, secret), error, asked)
    raise problem


def _unreadable(response: Response, error: Exception, asked: Asked) -> APIResponseError:
    """Return what a body is that the decoder refused."""
    if isinstance(error, msgspec.ValidationError):
        error = _not_json(response.body) or error
    if isinstance(error, msgspec.ValidationError):
        if _error_facts(response.body) is not None:
            return _status_error(response, asked)
        return _schema_error(response, str(error))
    if isinstance(error, RecursionError):
        return _decode_error(response, "is nested too deep", retryable=False)
    if isinstance(error, UnicodeDecodeError):
        return _decode_error(response, "is not UTF-8")
    return _decode_error(response, _what_it_is(response))


def _not_json(body: bytes) -> Exception | None:
    """Return why a body is no JSON at all: a decoder of types stops at the first wrong one."""
    try:
        despite_lone_surrogates(_ANY.decode, body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return error
    return None


def _schema_error(response: Response, complaint: str) -> SchemaError:
    what, _, path = complaint.partition(" - at `")
    return SchemaError(
        f"the answer has another shape than expected: {what}",
        path=path.rstrip("`") or "$",
        status=response.status,
        headers=response.headers,
    )


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


def _contradiction(page: Envelope[Any], ids: list[str]) -> str | None:
    """Say why a walk by this page would lose or repeat messages, if it would."""
    if page.has_more and not ids:
        return "it has no messages and says that there are more"
    if ids and page.last_id and page.last_id != ids[-1]:
        return "its last_id is not the id of its last message"
    return "a message of it has an empty id" if "" in ids else None


def _is_of_other_completion(message_id: str, completion_id: str) -> bool:
    """Tell whether a message surely belongs elsewhere: the live API's ids are `{completion}-{n}`.

    Other servers' ids need not follow that, so only what looks like the live API's is judged.
    """
    if message_id.startswith(f"{completion_id}-"):
        return False
    owner, _, number = message_id.rpartition("-")
    alike = owner.startswith("chatcmpl-") and completion_id.startswith("chatcmpl-")
    return alike and number.isdecimal()


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
_HIDDEN: Final = "[the API key]"
_NOT_FOUND: Final = re.compile(r"\bnot (be )?found\b|\bno such\b|(\bnot|n't) exist", re.IGNORECASE)
_REFUSALS: Final = frozenset({400, 404, 422})  # of a parameter; 422 is FastAPI's way
_FOREIGN_HINT: Final = (
    "It does not read like the API's own answer: check base_url, and what stands between here and"
    " the API."
)
_HTTP_ERRORS: Final = {str(status) for status in range(400, 600)}  # some gateways' codes
_RETRYABLE_STATUSES: Final = frozenset({408, 425})  # beyond those whose class says it

# For an error that comes with status 200: its code tells which it is, or else its type.
_NAMED_STATUSES: Final = {
    "invalid_api_key": 401,
    "not_found": 404,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "invalid_request_error": 400,  # a type: last, for most of the API's errors are of it
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
_ANY: Final = msgspec.json.Decoder(float_hook=float)  # to a float no number is too large


def check_status(response: Response, asked: Asked, *, secret: str) -> None:
    """Raise the error that a response is; return for one that may hold a page.

    A server may repeat the key in its answer, so `secret` is taken out of whatever is kept of it.
    """
    encoding = response.headers.get("content-encoding", "").lower()
    if response.status == 200 and encoding in _ENCODINGS and response.flaw is None:
        return
    safe = _without_secret(response, secret)
    if response.status == 200 and response.flaw is not None:
        raise type(response.flaw)(response.flaw.message, status=200, headers=safe.headers)
    if response.status == 200:
        raise _decode_error(safe, "has an unknown compression", retryable=False)
    if response.status >= 400:
        raise _status_error(safe, asked)
    if 300 <= response.status < 400:
        raise _redirect_error(safe)
    raise _decode_error(safe, f"cannot be a list with status {response.status}")


def _without_secret(response: Response, secret: str) -> Response:
    body = re.sub(_in_json(secret).encode(), _HIDDEN.encode(), response.body)
    headers = _headers_without_secret(response.headers, secret)
    return msgspec.structs.replace(response, body=body, headers=headers)


def _headers_without_secret(headers: Mapping[str, str], secret: str) -> Mapping[str, str]:
    if secret not in "\n".join(headers.values()):  # a key holds no line break
        return headers
    return CIMultiDict([(name, value.replace(secret, _HIDDEN)) for name, value in headers.items()])


def _in_json(secret: str) -> str:
    """Return a pattern of all that a JSON string may write for it: some servers escape / or +."""
    return "".join(rf"(?:\\?{re.escape(char)}|\\u00(?i:{ord(char):02x}))" for char in secret)


def _status_error(response: Response, asked: Asked) -> APIStatusError:
    facts = _error_facts(response.body) or _ErrorFacts()
    code = None if facts.code is None else str(facts.code)
    status = _named_status(code, facts.type) if response.status == 200 else response.status
    missing = _says_not_found(status, facts, asked)
    cls = _STATUS_ERRORS.get(status, InternalServerError if status >= 500 else APIStatusError)
    if missing:
        cls = NotFoundError
    if code == "insufficient_quota":
        cls = InsufficientQuotaError
    error = cls(
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
    error.at(completion_id=asked.completion_id, cursor=asked.cursor, attempts=0)
    if isinstance(error, NotFoundError):
        error.is_of_api = missing
        if is_of_somebody_else(error):
            error.hint = _FOREIGN_HINT
    return error


def _says_not_found(status: int, facts: _ErrorFacts, asked: Asked) -> bool:
    """Tell whether an answer says of the completion, and in the API's way, that it is not there.

    Servers of the same API say it with 400, too: then its text, or its code, has to say so.
    """
    text = facts.message or ""
    if status not in (400, 404) or facts.param == "after" or _names(text, asked.cursor):
        return False
    if facts.code == "not_found" or (status == 404 and facts.param == "completion_id"):
        return True
    return bool(_NOT_FOUND.search(text)) and _names(text, asked.completion_id)


def _names(text: str, name: str | None) -> bool:
    """Tell whether a text names an id itself, and not one that only begins with it."""
    if not name or name not in text:
        return False
    return bool(re.search(rf"(?<![\w-]){re.escape(name)}(?!\.?[\w-])", text))


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


def _named_status(code: str | None, kind: str | None) -> int:
    """Return the status that an error stands for which came with 200."""
    if code in _HTTP_ERRORS:
        return int(code)
    return _NAMED_STATUSES.get(code or "") or _NAMED_STATUSES.get(kind or "", 200)


def _error_facts(body: bytes) -> _ErrorFacts | None:
    """Find what an error body says: in OpenAI's form, or as a `detail` or `message` of its own."""
    try:
        said, _ = despite_lone_surrogates(_ERROR_BODY.decode, body)
    except (ValueError, RecursionError):
        return None
    if isinstance(said.error, _ErrorFacts):
        return _passed_on(said.error)
    param = _refused_parameter(said.detail)
    text = said.error or (said.detail if isinstance(said.detail, str) else said.message)
    return _ErrorFacts(message=text, param=param) if text or param else None


def _passed_on(facts: _ErrorFacts) -> _ErrorFacts:
    """Return the error that another one holds as JSON in its text, as LiteLLM passes it on."""
    text = facts.message or ""
    inner = _error_facts(text.encode()) if text.startswith("{") else None
    return inner or facts


def _refused_parameter(detail: Any) -> str | None:
    """Find the query parameter that FastAPI refuses: [{"loc": ["query", "limit"], …}, …]."""
    first = detail[0] if isinstance(detail, list) and detail else None
    match first:
        case {"loc": ["query", str(name)]}:
            return name
    return None


def _redirect_error(response: Response) -> APIResponseError:
    host = _host_of(response.headers.get("location", ""))
    where = f" to {host}" if host else ""
    return RedirectError(
        f"the server redirects{where}, and redirects are not followed",
        location_host=host,
        status=response.status,
        headers=response.headers,
    )


def _host_of(location: str) -> str | None:
    try:
        return urlsplit(location).hostname
    except ValueError:  # what it says is no URL
        return None
