"""The API's grammar: status, headers and body become the content of a page, or an error.

Nothing here performs I/O, reads a clock or rolls dice: plain values come in, plain values go out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from aiomessages.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    DecodeError,
    PaginationError,
    RedirectError,
    SchemaError,
)
from aiomessages.pages import Page
from aiomessages.values.headers import compressions_of
from aiomessages.values.redaction import (
    Secrets,
    concealed,
    headers_without_key,
    may_hold_key,
    without_key,
)
from aiomessages.values.secrets import ReprAlone

from .decoding import Codec, despite_lone_surrogates
from .error_bodies import find_error
from .errors import WITH_PAGE, Asked, status_error
from .page_content import Envelope, PageContent

ResultT = TypeVar("ResultT")


class Response(ReprAlone, msgspec.Struct, frozen=True):
    """A response; `received_at` is in Unix seconds, `headers` ignore case.

    `flaw` is the error that the body has, which is empty then. `hang_up` closes the connection that
    the response arrived on: its next bytes may be the response to another request. `forwarded_by`
    is the proxy that got the request in place of the server, which may have answered it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float
    flaw: APIResponseError | None = None
    hang_up: Callable[[], object] | None = None
    forwarded_by: str = ""

    def __repr__(self) -> str:
        # A traceback with local variables must show neither texts nor a repeated key.
        return f"{type(self).__name__}(status={self.status}, {len(self.body)} bytes)"


# --- pages and completions -----------------------------------------------------------------------


def read_page(
    response: Response,
    secret: Secrets,
    *,
    codec: Codec,
    completion_id: str | None,
    cursor: str | None = None,
    limit: int | None = None,
) -> PageContent[Page[Any]]:
    """Return the content of the page after the cursor, or raise the error of the response."""
    asked = Asked(completion_id, cursor, secret)
    check_status(response, asked)
    envelope, ids = _decode(response, codec.decode, asked)
    if envelope.error:  # some gateways send an empty one with each page
        raise _status_error(response, asked)
    headers = headers_without_key(response.headers, secret)  # errors of the stream carry them
    if problem := _contradiction(envelope, ids):
        raise PaginationError(
            f"the page contradicts itself: {problem}", status=response.status, headers=headers
        )
    if ids and completion_id and _is_of_other_completion(ids[0], completion_id):
        raise _answer_to_another()
    if may_hold_key(ids, secret):
        envelope, ids = _concealed_ids(envelope, ids, secret)
    if envelope.has_more is None and ids == [cursor] and limit != 1:
        # The end of the list: this server omits has_more, and repeats the item of the cursor.
        envelope = msgspec.structs.replace(envelope, has_more=False)
    return PageContent.of(
        codec.page_class,
        envelope,
        ids,
        body=response.body,
        headers=headers,
        completion_id=completion_id,
        hang_up=response.hang_up,
    )


def _concealed_ids(
    envelope: Envelope[Any], ids: list[str], secret: Secrets
) -> tuple[Envelope[Any], list[str]]:
    """Return the ids so that none shows the key: errors of the walk name one of them.

    The items stay as they were sent: they belong to the caller.
    """
    ends = (envelope.first_id, envelope.last_id)  # any JSON
    first_id, last_id = (concealed(end, secret) if isinstance(end, str) else None for end in ends)
    hidden = [concealed(name, secret) for name in ids]
    return msgspec.structs.replace(envelope, first_id=first_id, last_id=last_id), hidden


def read_completion(
    response: Response,
    secret: Secrets,
    *,
    decode: Callable[[bytes], tuple[str, ResultT]],
    completion_id: str,
) -> ResultT:
    """Return a completion as `decode` reads it with its id, or raise the error of the response."""
    asked = Asked(completion_id, None, secret)
    check_status(response, asked)
    received, completion = _decode(response, decode, asked)
    if received != completion_id:
        raise _answer_to_another()
    return completion


def _answer_to_another() -> APIConnectionError:
    return APIConnectionError("the response to another request arrived on this connection")


def _decode(response: Response, decode: Callable[[bytes], ResultT], asked: Asked) -> ResultT:
    try:
        return decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = _unreadable(response, error, asked)
    raise problem


def _unreadable(response: Response, error: Exception, asked: Asked) -> APIResponseError:
    """Return the error for a body that the decoder has refused."""
    if isinstance(error, msgspec.ValidationError):
        error = _not_json(response.body) or error
    if isinstance(error, msgspec.ValidationError):
        if find_error(response.body):
            return _status_error(response, asked)
        return _schema_error(_safe(response, asked), without_key(str(error), asked.secret))
    response = _safe(response, asked)
    if isinstance(error, RecursionError):
        return _decode_error(response, "is nested too deep", retryable=False)
    if _not_json(response.body.decode(errors="replace").encode()) is None:
        return _decode_error(response, "is not UTF-8")  # msgspec 0.23 has no exception for it
    return _decode_error(response, _what_it_is(response))


def _not_json(body: bytes) -> Exception | None:
    """Return the error if a body is not JSON: a typed decoder stops at the first wrong type."""
    try:
        despite_lone_surrogates(_ANY.decode, body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return error
    return None


def _schema_error(response: Response, complaint: str) -> SchemaError:
    what, _, path = complaint.partition(" - at `")
    return SchemaError(
        f"the answer has an unexpected shape: {what}",
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
    """Return why a walk over this page would lose or repeat messages; None if it would not.

    `last_id` is compared only if another page may follow: Steady, a mock of this API, sends an
    invented one with each list. `first_id` is not used by any walk.
    """
    if page.has_more and not ids:
        return "it has no messages and says that there are more"
    more = page.has_more is not False  # without has_more, only an empty page is the end
    if more and ids and page.last_id and page.last_id != ids[-1]:
        return "its last_id is not the id of its last message"
    return "a message of it has an empty id" if "" in ids else None


def _is_of_other_completion(message_id: str, completion_id: str) -> bool:
    """Return whether a message surely belongs to another completion.

    The live API's ids are `{completion}-{n}`. Other servers may have other ids, so an id that does
    not look like that is accepted.
    """
    if message_id.startswith(f"{completion_id}-"):
        return False
    owner, _, number = message_id.rpartition("-")
    alike = owner.startswith("chatcmpl-") and completion_id.startswith("chatcmpl-")
    return alike and number.isdecimal()


# --- errors -------------------------------------------------------------------------------------

_ANY: Final = msgspec.json.Decoder(float_hook=float)  # a float holds a number of any size


def check_status(response: Response, asked: Asked) -> None:
    """Raise the error of a response; return if its body may be a page."""
    has_page = response.status in WITH_PAGE
    known = compressions_of(response.headers) is not None
    if has_page and known and response.flaw is None:
        return
    if response.status >= 400:
        raise _status_error(response, asked)
    safe = _safe(response, asked)
    if has_page and response.flaw is not None:
        flaw = response.flaw
        raise type(flaw)(flaw.message, status=response.status, headers=safe.headers)
    if has_page:
        raise _decode_error(safe, "has an unknown compression", retryable=False)
    if 300 <= response.status < 400:
        raise _redirect_error(safe, _host_of(response.headers.get("location", ""), asked.secret))
    raise _decode_error(safe, f"cannot be a list with status {response.status}")


def _safe(response: Response, asked: Asked) -> Response:
    """Return the response without the key in its headers."""
    headers = headers_without_key(response.headers, asked.secret)
    return msgspec.structs.replace(response, headers=headers)


def _status_error(response: Response, asked: Asked) -> APIStatusError:
    status, headers, body = response.status, response.headers, response.body
    return status_error(status, headers, body, asked=asked, received_at=response.received_at)


def _redirect_error(response: Response, host: str | None) -> APIResponseError:
    where = f" to {host}" if host else ""
    return RedirectError(
        f"the server redirects{where}, and redirects are not followed",
        location_host=host,
        status=response.status,
        headers=response.headers,
    )


def _host_of(location: str, secret: Secrets) -> str | None:
    try:
        host = urlsplit(location).hostname
    except ValueError:  # it is not a URL
        return None
    return None if host is None else without_key(host, secret)
