"""Requests: check the arguments of a call, and build the URL of each request from them.

No other module builds a URL. It has two parts: the origin, which selects the connection, and the
target, which is sent (RFC 9112, section 3.2). Nothing here performs I/O.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from aiomessages.errors import ConfigurationError
from aiomessages.settings import check_count
from aiomessages.values.plain import as_plain, can_be_sent
from aiomessages.values.redaction import Concealed

# A walk requests 100 items a page: a fifth of the requests that the server's default of 20 needs.
# The largest limit is undocumented; 100 is known to be accepted.
WALK_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20
MAX_ID_LENGTH: Final = 256

ACCEPT_ENCODING: Final = "gzip, deflate"
_USUAL: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_ID_LENGTH}}}")  # needs no further check
_UNFIT_FOR_PATH: Final = re.compile(r"[/?#%\\\x00-\x20\x7f-\x9f]")


def check_completion_id(completion_id: object) -> str:
    """Return the id, or raise ConfigurationError if it cannot be one segment of a URL's path."""
    if type(completion_id) is str and _USUAL.fullmatch(completion_id):
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
    return as_plain(completion_id)


class PageOptions(NamedTuple):
    """The part of a list to request. The values are checked, and of the plain types."""

    after: str | None
    limit: int | None
    order: str | None
    max_items: int | None


def check_page_options(
    *, after: Any, limit: object, order: object, max_items: object
) -> PageOptions:
    """Return the options, or raise ConfigurationError for a value that no server accepts.

    A large limit is for the server to refuse.
    """
    if order not in (None, "asc", "desc"):
        raise ConfigurationError(f"order must be 'asc' or 'desc', not {order!r}")
    if after is not None and not (isinstance(after, str) and after and can_be_sent(after)):
        raise ConfigurationError("after must be the id of a message, or None for the beginning")
    return PageOptions(
        as_plain(after),
        None if limit is None else check_count("limit", limit),
        as_plain(order),
        None if max_items is None else check_count("max_items", max_items),
    )


# A text that quote() would not change; this check takes a fifth of its time.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]+")


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe="")


def page_limit(limit: int | None, remaining: int | None, *, default: int | None) -> int | None:
    """Return the `limit` of a request: the caller's or the default, at most `remaining`.

    None leaves the size to the server.
    """
    size = limit or default
    if remaining is None or remaining >= (size or DEFAULT_LIMIT):
        return size
    return remaining


class API:
    """The API of one server, below its base URL."""

    def __init__(self, base_url: str) -> None:
        end = base_url.find("/", base_url.index("://") + 3)
        self._origin, path = (base_url, "") if end < 0 else (base_url[:end], base_url[end:])
        self._completions = f"{path}/chat/completions"

    def completions(self, query: Mapping[str, str]) -> "Resource":
        """Return the list of the stored completions."""
        return Resource(self._origin, self._completions, query)

    def completion(self, completion_id: str, query: Mapping[str, str]) -> "Resource":
        """Return one stored completion."""
        return Resource(self._origin, f"{self._completions}/{_quoted(completion_id)}", query)

    def messages(self, completion_id: str, query: Mapping[str, str]) -> "Resource":
        """Return the list of the messages of one completion."""
        path = f"{self._completions}/{_quoted(completion_id)}/messages"
        return Resource(self._origin, path, query)


class Resource:
    """A list or a completion of the API: its origin, its path, and the query of each request."""

    __slots__ = ("_start", "origin", "path", "query")

    def __init__(self, origin: str, path: str, query: Mapping[str, str]) -> None:
        self.origin, self.path, self.query = origin, path, query
        pairs = [f"{quote(name)}={quote(value, safe='')}" for name, value in query.items()]
        self._start = f"{path}?{'&'.join(pairs)}" if pairs else path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin}{self.path})"

    def with_query(self, **changes: str) -> "Resource":
        """Return this resource with other query parameters."""
        return Resource(self.origin, self.path, {**self.query, **changes})

    def target(self, *, limit: int | None = None, after: str | None = None) -> str:
        """Return the target of a request; `limit` and `after` select a page of a list.

        A cursor that contains the key is sent unchanged, and the target is then shown without a
        query.
        """
        start = self._start
        if limit is not None:
            start = f"{start}{'&' if '?' in start else '?'}limit={limit}"
        if after is None:
            return start
        target = f"{start}{'&' if '?' in start else '?'}after={_quoted(after)}"
        return Concealed.of(target, self.path) if isinstance(after, Concealed) else target
