"""Every error that this package raises, and the facts that each one carries.

Nothing here performs I/O. An error is built from facts (which completion, which cursor, how many
attempts, what the server said); its text is made from them when somebody reads it, so that a
layer that learns one more fact simply sets the attribute.

    MessagesError
    ├── ConfigurationError            also a ValueError; raised before any request
    ├── APIError                      .completion_id .cursor .attempts
    │   ├── APIConnectionError        no whole response arrived
    │   │   ├── APITimeoutError       also a TimeoutError
    │   │   └── TLSError
    │   ├── APIResponseError          a response arrived and cannot be used
    │   │   ├── DecodeError           not JSON, not UTF-8, bad compression, truncated
    │   │   ├── SchemaError           JSON of the wrong shape: .path
    │   │   ├── ResponseTooLargeError
    │   │   ├── RedirectError         .location_host
    │   │   └── PaginationError       cursors that repeat, vanish or contradict the data
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

from .values.headers import Headers
from .values.redaction import shown


class MessagesError(Exception):
    """The root of every error that this package raises."""


class ConfigurationError(MessagesError, ValueError):
    """A setting or an argument cannot be used; nothing was sent."""


class ClientClosedError(MessagesError):
    """The client, or the stream, was closed before this could finish."""


class APIError(MessagesError):
    """A request was made, or was about to be, and gave nothing that can be used.

    `completion_id` and `cursor` (the `after` of the page that failed) tell where, `attempts` how
    many requests were sent for it. `retryable` tells whether another attempt could help.
    """

    retryable: ClassVar[bool] = False
    hint: str = ""

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.completion_id: str | None = None
        self.cursor: str | None = None
        self.attempts = 0
        if retryable is not None:
            self.retryable = retryable  # type: ignore[misc]  # one case may differ from its class

    def __str__(self) -> str:
        facts = ", ".join(self._facts())
        hint = f" {self.hint}" if self.hint else ""
        said = self.message.rstrip(".")
        return f"{said} ({facts}).{hint}" if facts else f"{said}.{hint}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with args alone and lose the facts in a worker pool.
        return _restore, (type(self), self.args, self.__dict__.copy())

    def at(self, *, completion_id: str | None, cursor: str | None, attempts: int) -> Self:
        """Note where the call stood when this happened, and return the error."""
        self.completion_id, self.cursor = shown(completion_id), shown(cursor)
        self.attempts = attempts
        return self

    @property
    def sent(self) -> bool:
        """Whether a request was sent; false where time ran out in the queue, or without a key."""
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
    """No whole response arrived.

    `stale` is true where the connection ended before one byte of the answer: what a kept-alive
    connection does that the server had already given up, and safe to repeat at once.
    """

    retryable = True
    hint = "Check the network and base_url; the messages delivered so far are good."

    def __init__(self, message: str, *, retryable: bool | None = None, stale: bool = False) -> None:
        super().__init__(message, retryable=retryable)
        self.stale = stale


class APITimeoutError(APIConnectionError, TimeoutError):
    """The attempt's timeout, or the deadline of the whole call, ran out.

    `in_body` is true where the headers had come: the server had answered, and the body was too slow
    or too large for the time.
    """

    in_body: bool = False
    hint = "Raise timeout= (one attempt) or deadline= (the whole call) if the server is just slow."


class TLSError(APIConnectionError):
    """The server's certificate is not to be trusted, or TLS could not be agreed on."""

    retryable = False
    hint = "Nothing was sent. Check base_url and the certificates that this machine trusts."


class APIResponseError(APIError):
    """A response arrived and cannot be used: `status`, `headers`, `request_id`."""

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
        self.headers = Headers((name.lower(), value) for name, value in (headers or {}).items())
        self.request_id = self.headers.get("x-request-id")

    def _facts(self) -> list[str]:
        facts = [f"status {self.status}"] if self.status else []
        facts += super()._facts()
        return [*facts, f"request {self.request_id}"] if self.request_id else facts


class DecodeError(APIResponseError):
    """The body is not JSON, not UTF-8, badly compressed, or cut short."""

    retryable = True
    hint = "Something between here and the API may have answered in its place."


class SchemaError(APIResponseError):
    """The body is JSON of the wrong shape; `path` says where, as in `$.data[3].id`.

    A page needs a list as its `data`, and each item in it an id; nothing else makes it wrong.
    """

    hint = "Without ids there is nothing to go on by: `.raw()` raises this, too; check base_url."

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

    hint = "Ask for fewer messages a page with limit=, or raise max_response_bytes=."


class RedirectError(APIResponseError):
    """The server redirects; `location_host` says where to. Redirects are never followed.

    Following one would carry credentials to another host.
    """

    hint = "Set base_url to where the API really is."

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
    """The cursors of a page repeat, vanish, or contradict its data."""

    hint = "Going on could lose or repeat messages, so the stream ends here."


class APIStatusError(APIResponseError):
    """The server answered with an error.

    `code`, `type` and `param` are the API's own, as JSON text where they are no strings, `message`
    its text, `body` the raw answer up to its first megabyte, and `retry_after` the seconds that the
    server asked to wait, where it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        code: str | None = None,
        type: str | None = None,  # the API's own name for it
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
        """The same as `status`, by the name that the official client uses."""
        return self.status

    def _facts(self) -> list[str]:
        facts = super()._facts()
        return [*facts, f"code {self.code}"] if self.code else facts


class BadRequestError(APIStatusError):
    """400: the server does not accept the request as it is."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong, or no longer valid."""

    hint = "Check OPENAI_API_KEY, and that it belongs to the organization and project asked for."


class PermissionDeniedError(APIStatusError):
    """403: the key is good, and may not do this."""

    hint = "The key needs read access to stored chat completions of this project."


class NotFoundError(APIStatusError):
    """404, or a 400 that says the same: no such completion, or not yet, or no longer.

    `is_of_api` is true where the API itself said so, of the completion: by code, by param, or by a
    text that names the id. Any other 404 may be a gateway's, or that of a wrong base_url.
    """

    is_of_api: bool = False
    hint = (
        "Only completions created with store=true are kept, for 30 days; a fresh one takes some"
        " seconds to appear: see wait_until_visible=."
    )


class ConflictError(APIStatusError):
    """409: something else holds what was asked for."""

    retryable = True


class UnprocessableEntityError(APIStatusError):
    """422: the request is well formed and makes no sense to the server."""


class RateLimitError(APIStatusError):
    """429: too many requests; waiting helps."""

    retryable = True
    hint = "Send fewer requests at once, or allow more retries."


class InsufficientQuotaError(RateLimitError):
    """429 with code insufficient_quota: waiting never helps."""

    retryable = False
    hint = "The account has no quota left; check its plan and billing."


class InternalServerError(APIStatusError):
    """5xx: the server, or a gateway before it, failed."""

    retryable = True
