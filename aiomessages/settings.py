"""What a client is told once: where to, as whom, and how long it may take.

Everything is checked here, before anything is sent. This is the only module that reads the
environment.
"""

import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from .errors import ConfigurationError
from .values.headers import CODINGS
from .values.plain import as_plain, can_be_sent
from .values.secrets import SecretStr, hide

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"

# 100 messages with an inlined image each (about 43 KB a small one) stay far below it; an endless
# body or a decompression bomb does not.
DEFAULT_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2: token
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]+")
# By these a message is framed (RFC 9112): a request with one swallows the next one on its
# connection, or waits for what never comes.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "trailer", "expect", "upgrade"})
# These are for the next hop alone (RFC 9110, section 7.6.1), as is what begins with proxy-; and the
# host is where base_url leads to.
_OF_CONNECTION: Final = _FRAMING | {"connection", "keep-alive", "te", "http2-settings", "host"}
_CODING: Final = re.compile(r"\s*([^\s;]*)\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?")

_PAGING: Final = frozenset({"after", "limit"})
_KEY = re.compile(r"[\x21-\x7e]+")


ApiKey = str | Callable[[], Awaitable[str]]


_NO_URL: Final = "is not a URL: its host or port makes no sense"


class Timeout(msgspec.Struct, frozen=True):
    """Bound one attempt, in seconds; None means no bound.

    `total` covers everything from the wait for a pool slot to the last byte of the body,
    `connect` the wait for a connection, `read` each gap between two reads.
    """

    total: float | None = 60.0
    connect: float | None = 5.0
    read: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            check_seconds(f"timeout {name}", getattr(self, name))

    @classmethod
    def of(cls, value: "Timeout | float | None") -> "Timeout":
        """Return a Timeout of what a caller may give: seconds in total, or a Timeout."""
        if isinstance(value, Timeout):
            return value
        if value is None:
            return cls(total=None, connect=None)
        check_seconds("timeout", value)
        return cls(total=value)


class Settings(msgspec.Struct, frozen=True):
    """Where requests go and as whom: checked, and safe to print."""

    base_url: str
    api_key: ApiKey
    organization: str | None
    project: str | None
    headers: dict[str, str]
    query: dict[str, str]

    @classmethod
    def load(
        cls,
        *,
        api_key: ApiKey | None,
        base_url: str | None,
        organization: str | None,
        project: str | None,
        default_headers: Mapping[str, str] | None,
        default_query: Mapping[str, object] | None,
        allow_http: bool,
    ) -> "Settings":
        """Check what was given and fill the rest from the OPENAI_* environment variables."""
        key = api_key if api_key is not None else hide(os.environ.get("OPENAI_API_KEY"))
        if base_url is None:  # an empty one is a mistake, by which a key could go to another server
            base_url = os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        organization = organization or os.environ.get("OPENAI_ORG_ID") or None
        project = project or os.environ.get("OPENAI_PROJECT_ID") or None
        identity = {"OpenAI-Organization": organization, "OpenAI-Project": project}
        named = {name: value for name, value in identity.items() if value}
        return cls(
            base_url=check_base_url(base_url, allow_http=allow_http),
            api_key=key if callable(key) else check_key(key),
            organization=as_plain(organization),
            project=as_plain(project),
            headers=check_headers(named) | check_headers(default_headers or {}),
            query=check_query(default_query or {}),
        )


def log_level() -> str | None:
    """Return what AIOMESSAGES_LOG says: `debug` or `info`, if it is to be heeded."""
    return os.environ.get("AIOMESSAGES_LOG")


class UnusableKeyError(ConfigurationError):
    """A key cannot be sent. Known apart, as an api_key callable may give one at any time."""


def check_key(key: object) -> SecretStr:
    """Return the key, hidden from every repr; raise UnusableKeyError if it cannot be sent."""
    if key is None or key == "":
        raise UnusableKeyError("no API key: set OPENAI_API_KEY or pass api_key=")
    if not isinstance(key, str):
        raise UnusableKeyError(f"the API key must be a str, not {type(key).__name__}")
    if not _KEY.fullmatch(key):
        raise UnusableKeyError(
            "the API key holds spaces, line breaks, control or non-ASCII characters"
            " (a stray newline from a file, perhaps?)"
        )
    return SecretStr(as_plain(key))


def check_base_url(url: object, *, allow_http: bool) -> str:
    """Return the base URL without a trailing slash, or raise ConfigurationError.

    The key goes wherever this points to, so http:// needs a loopback host or allow_http=True.
    """
    url = hide(url)
    if not isinstance(url, str) or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise ConfigurationError("base_url must be an ASCII URL without spaces")
    # Found by another function, whose local variables may hold a password: a traceback shows them.
    if problem := _problem_of(url, allow_http=allow_http) or _problem_of_host(url):
        raise ConfigurationError(f"base_url {problem}")
    return as_plain(url).rstrip("/")


def _problem_of(url: str, *, allow_http: bool) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its text may quote a password
        return _NO_URL
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or password; pass api_key="
    if parts.scheme not in ("https", "http") or not host:
        return "must begin with https:// and name a host"
    if "?" in url or "#" in url:
        return "must not hold a query or fragment; see default_query="
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        return (
            f"would send the API key to {host} unencrypted;"
            " use https://, or allow_http=True if you must"
        )
    return None


def _problem_of_host(url: str) -> str | None:
    """Say why no request can go to a host, or would go to another one.

    Aiohttp reads a URL by other rules than urllib, and may make an error of an odd one, or another
    host; and the codec by which the system's resolver reads a name raises what is no OSError.
    """
    from yarl import URL  # noqa: PLC0415 aiohttp brings it: now, and not on import

    host = urlsplit(url).hostname or ""
    try:
        host.encode("idna")
        origin = URL(url, encoded=True).origin()
        names = {origin.host, (origin.raw_host or "").lower()}  # decoded, and as it stands there
    except ValueError:
        return _NO_URL
    return None if host in names and origin.port else _NO_URL


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, without asking a resolver."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Return the headers, names in lower case, or raise ConfigurationError.

    Their values are hidden from every repr: any of them may be a credential. Those that frame a
    request, or are the connection's, are refused.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} is not the name of a header")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"the value of header {name} must be a str of printable ASCII characters"
            )
        if value != value.strip():
            raise ConfigurationError(f"the value of header {name} has spaces around it")
        if problem := _problem_of_header(name.lower(), value):
            raise ConfigurationError(f"header {as_plain(name)} {problem}")
    return {name.lower(): hide(value) for name, value in headers.items()}


def check_framing(headers: Iterable[str]) -> None:
    """Raise ConfigurationError if one of the names is of a header that frames a message."""
    if framing := sorted(_FRAMING & {name.lower() for name in headers}):
        raise ConfigurationError(
            f"the session that you handed in sends {' and '.join(framing)} with each request,"
            " which frames a body where there is none: hand in one without"
        )


def _problem_of_header(name: str, value: str) -> str | None:
    if name in _OF_CONNECTION or name.startswith("proxy-"):
        return "is the connection's, and aiohttp's to send: leave it out"
    if name == "accept-encoding" and not _is_undoable(value):
        return "asks for a compression that is not undone here: name gzip and deflate at most"
    return None


def _is_undoable(accepted: str) -> bool:
    """Tell whether all codings that are accepted are ones that can be undone."""
    for one in accepted.lower().split(","):
        coding = _CODING.fullmatch(one)
        if coding is None:
            return False
        refused = coding[2] is not None and not coding[2].strip("0.")
        if not refused and coding[1] not in CODINGS:
            return False
    return True


def check_query(query: Mapping[str, object]) -> dict[str, str]:
    """Return query parameters as text, or raise ConfigurationError."""
    if taken := sorted(_PAGING & query.keys()):
        raise ConfigurationError(
            f"{' and '.join(taken)} cannot be query parameters of your own: see list({taken[0]}=)"
        )
    return {_query_text(name, name): _query_value(name, value) for name, value in query.items()}


def metadata_query(metadata: Mapping[str, object] | None) -> dict[str, object]:
    """Return what asks for completions with certain metadata, as query parameters to check."""
    return {f"metadata[{as_plain(key)}]": value for key, value in (metadata or {}).items()}


def _query_value(name: object, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    plain = as_plain(value)
    if isinstance(plain, float):
        plain = float.__repr__(plain)  # which a subclass, numpy's for one, may write otherwise
    if not isinstance(plain, str | int):
        raise ConfigurationError(f"query parameter {name} must be a str, int, float or bool")
    return _query_text(name, plain)


def _query_text(name: object, value: object) -> str:
    text = str(as_plain(value))
    if not can_be_sent(text):
        raise ConfigurationError(
            f"query parameter {str(as_plain(name))!r} holds half a character (a lone surrogate),"
            " which cannot be sent"
        )
    return text


def check_seconds(name: str, value: object) -> None:
    """Raise ConfigurationError unless a value is None or a positive number of seconds."""
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):  # type: ignore[operator]
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")


DEFAULT_TIMEOUT: Final = Timeout()
