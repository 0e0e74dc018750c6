"""The errors that this package raises, and the facts that each of them has as attributes.

Nothing here performs I/O. The text of an error is made from its facts (completion, cursor, number
of attempts, the server's message) each time it is read, so that a layer that learns one more fact
only sets the attribute. Longer than 300 lines, so that the whole tree is in one module.

    MessagesError
    ├── ConfigurationError            also a ValueError; raised before any request
    ├── APIError                      .completion_id .cursor .attempts
    │   ├── APIConnectionError        no complete response arrived
    │   │   ├── APITimeoutError       also a TimeoutError
    │   │   ├── ProxyError            the proxy failed or refused: .status
    │   │   └── TLSError
    │   ├── APIResponseError          a response arrived but cannot be used
    │   │   ├── DecodeError           not JSON, not UTF-8, wrongly compressed, truncated
    │   │   ├── SchemaError           JSON of the wrong shape: .path
    │   │   ├── ResponseTooLargeError
    │   │   ├── RedirectError         .location_host
    │   │   └── PaginationError       cursors repeat, are missing or contradict the data
    │   └── APIStatusError            the server answered with an error
    │       ├── BadRequestError 400 · AuthenticationError 401 · PermissionDeniedError 403
    │       ├── NotFoundError 404 · ConflictError 409 · UnprocessableEntityError 422
    │       ├── InternalServerError 5xx
    │       └── RateLimitError 429
    │           └── InsufficientQuotaError
    └── ClientClosedError
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from multidict import CIMultiDict

from .values.redaction import shown


class MessagesError(Exception):
    """The base class of every error that this package raises."""

    hint: str = ""
    """What to do, if that is known. It ends the text; the program shows it on a line of its own."""

    def __init__(self, *args: object, hint: str = "") -> None:
        super().__init__(*args)
        if hint:
            self.hint = hint

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said}: {self.hint}" if self.hint else said


class ConfigurationError(MessagesError, ValueError):
    """A setting or an argument cannot be used. Nothing was sent."""


class ClientClosedError(MessagesError):
    """The client or the stream was closed before the call finished."""


class APIError(MessagesError):
    """A call failed: no request could be sent, or none got a usable response."""

    retryable: ClassVar[bool] = False
    """True if another attempt could help."""
    message: str
    """What happened, in the server's words if it has some."""
    completion_id: str | None
    """Id of the completion; None for a list of completions."""
    cursor: str | None
    """The `after` of the page that failed; None for the first page."""
    attempts: int
    """Number of requests that were sent for the page."""

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.completion_id = None
        self.cursor = None
        self.attempts = 0
        if retryable is not None:
            self.retryable = retryable  # type: ignore[misc]  # an exception to the rule of its class

    def __str__(self) -> str:
        facts = ", ".join(self._facts())
        hint = f" {self.hint}" if self.hint else ""
        said = self.message.rstrip(".")
        return f"{said} ({facts}).{hint}" if facts else f"{said}.{hint}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with only its args, and loses the facts between processes.
        return _restore, (type(self), self.args, self.__dict__.copy())

    def at(self, *, completion_id: str | None, cursor: str | None, attempts: int) -> Self:
        """Set the facts about the request that failed, and return the error."""
        self.completion_id, self.cursor = shown(completion_id), shown(cursor)
        self.attempts = attempts
        return self

    @property
    def sent(self) -> bool:
        """True if a request was sent; false if, for example, the time ran out in the queue."""
        return self.attempts > 0

    def _facts(self) -> list[str]:
        facts = []
        if self.completion_id is not None:
            facts.append(f"completion {self.completion_id}")
        if self.cursor is not None:
            facts.append(f"after {self.cursor}")
        if self.attempts:
            facts.append(f"{self.attempts} attempt{'s' if self.attempts > 1 else ''}")
        return facts


def _restore(cls: type[APIError], args: tuple[Any, ...], facts: dict[str, Any]) -> APIError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class APIConnectionError(APIError):
    """No complete response arrived."""

    stale: bool
    """True if a kept-alive connection ended before the first byte of the response.

    The server had closed it earlier, so the request can be repeated at once.
    """
    retryable = True
    hint = "Check the network and base_url; the messages delivered so far are good."

    def __init__(self, message: str, *, retryable: bool | None = None, stale: bool = False) -> None:
        super().__init__(message, retryable=retryable)
        self.stale = stale


class APITimeoutError(APIConnectionError, TimeoutError):
    """The timeout of an attempt, or the deadline of the whole call, ran out."""

    in_body: bool = False
    """True if the headers had arrived: the body was too slow or too large for the time."""
    hint = "Raise timeout= (one attempt) or deadline= (the whole call) if the server is only slow."


class ProxyError(APIConnectionError):
    """The proxy cannot be reached, refuses to connect to the API, or cannot.

    The API got no request.
    """

    status: int | None
    """Status of the proxy's response; None without one."""
    hint = "The API got no request."

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        hint: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.status = status
        if hint is not None:
            self.hint = hint


class TLSError(APIConnectionError):
    """A certificate is not trusted, the server's or the client's, or the TLS handshake failed."""

    retryable = False
    hint = (
        "Check base_url and the certificates that this machine trusts. Give those of a private CA,"
        " or of a proxy that inspects TLS, as ca_file= or in SSL_CERT_FILE."
    )


class APIResponseError(APIError):
    """A response arrived but cannot be used."""

    status: int
    """HTTP status of the response."""
    headers: CIMultiDict[str]
    """Headers of the response; names match in any case."""
    request_id: str | None
    """The server's id of the request, from the header `x-request-id`."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.status = status
        self.headers = CIMultiDict((name.lower(), value) for name, value in (headers or {}).items())
        self.request_id = self.headers.get("x-request-id")

    def _facts(self) -> list[str]:
        facts = [f"status {self.status}"] if self.status else []
        facts += super()._facts()
        return [*facts, f"request {self.request_id}"] if self.request_id else facts


class DecodeError(APIResponseError):
    """The body is not JSON, not UTF-8, wrongly compressed or truncated."""

    retryable = True
    hint = "A proxy or gateway may have answered in place of the API."


class SchemaError(APIResponseError):
    """The body is JSON of the wrong shape.

    A page must have a list as its `data`, and each item an id. Any other mismatch is no error.
    """

    path: str
    """The place, as a JSON path: `$.data[3].id`."""
    hint = "A list cannot continue without ids, not even by raw(): check base_url."

    def __init__(
        self,
        message: str,
        *,
        path: str = "$",
        status: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status, headers=headers)
        self.path = path


class ResponseTooLargeError(APIResponseError):
    """The body, decompressed, is larger than `max_response_bytes`."""

    hint = "Lower limit= (the messages of a page), or raise max_response_bytes=."


class RedirectError(APIResponseError):
    """The server redirects.

    Redirects are never followed, since the next host would receive the credentials.
    """

    location_host: str | None
    """The host that it redirects to."""
    hint = "Set base_url to the address of the API itself."

    def __init__(
        self,
        message: str,
        *,
        location_host: str | None = None,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status, headers=headers)
        self.location_host = location_host


class PaginationError(APIResponseError):
    """The cursors of a page repeat, are missing, or contradict its data."""

    hint = "The stream stops here, because the next page could lose or repeat messages."


class APIStatusError(APIResponseError):
    """The server answered with an error.

    `code`, `type`, `param` and `message` come from the server; a value that is not a string is kept
    as JSON text.
    """

    body: bytes
    """The first megabyte of the response."""
    code: str | None
    """The server's name for the error, such as `not_found`."""
    type: str | None
    """The server's name for the kind of error, such as `invalid_request_error`."""
    param: str | None
    """The parameter that the server complains about."""
    retry_after: float | None
    """Seconds that the server asked to wait; None if it did not."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        code: str | None = None,
        type: str | None = None,  # the name in the API
        param: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, status=status, headers=headers, retryable=retryable)
        self.body = body
        self.code, self.type, self.param = code, type, param
        self.retry_after = retry_after

    @property
    def status_code(self) -> int:
        """An alias of `status`, the name in the official client."""
        return self.status

    def _facts(self) -> list[str]:
        facts = super()._facts()
        return [*facts, f"code {self.code}"] if self.code else facts


class BadRequestError(APIStatusError):
    """400: the server does not accept the request."""


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong or no longer valid."""

    hint = "Check OPENAI_API_KEY, and whether it belongs to this organization and project."


class PermissionDeniedError(APIStatusError):
    """403: the API key is valid but lacks the permission."""

    hint = "The key needs read access to the stored chat completions of this project."


class NotFoundError(APIStatusError):
    """404, or a 400 with the same meaning: the completion does not exist, not yet, or no longer."""

    is_of_api: bool = False
    """True if the code, the param or the text shows that the API itself did not find it.

    Any other 404 may come from a gateway, or from a wrong base_url.
    """
    hint = (
        "Only completions created with store=true are kept, for 30 days. A new one takes some"
        " seconds to appear: see wait_until_visible=."
    )


class ConflictError(APIStatusError):
    """409: the request conflicts with another one."""

    retryable = True


class UnprocessableEntityError(APIStatusError):
    """422: the request is well formed, but the server cannot process it."""


class RateLimitError(APIStatusError):
    """429: too many requests. Another attempt helps after a wait."""

    retryable = True
    hint = "Send fewer requests at the same time, or allow more retries."


class InsufficientQuotaError(RateLimitError):
    """429 with code insufficient_quota: a wait does not help."""

    retryable = False
    hint = "The account has no quota left; check its plan and billing."


class InternalServerError(APIStatusError):
    """5xx: the server, or a gateway in front of it, failed."""

    retryable = True
