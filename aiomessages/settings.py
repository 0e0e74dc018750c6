"""The settings of a client: base URL, key, headers, query and timeouts.

Every setting is checked here, before a request is sent. No other module reads the environment.
Longer than 300 lines, so that each check is in this one place.
"""

import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from .errors import ConfigurationError
from .values.headers import CODINGS, carries_credential, header_of
from .values.plain import as_plain, can_be_sent
from .values.secrets import SecretStr, hide

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"

# bytes. 100 messages with an inlined image each (a small one has about 43 KB) stay far below it; an
# endless body or a decompression bomb does not.
DEFAULT_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2: token
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]+")
# These frame a message (RFC 9112). A GET with one of them makes the server read the next request as
# its body, or wait for a body that never comes.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "trailer", "expect", "upgrade"})
# These are for the next hop alone (RFC 9110, section 7.6.1), and so are those that begin with
# "proxy-". The host is that of base_url.
_OF_CONNECTION: Final = _FRAMING | {"connection", "keep-alive", "te", "http2-settings", "host"}
_CODING: Final = re.compile(r"\s*([^\s;]*)\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?")

_PAGING: Final = frozenset({"after", "limit"})
_KEY = re.compile(r"[\x21-\x7e]+")


ApiKey = str | Callable[[], Awaitable[str]]

_NO_URL: Final = "is not a URL: its host or port is invalid", ""


class Timeout(msgspec.Struct, frozen=True):
    """The limits of one attempt, in seconds; None means no limit.

    `total` covers everything from the wait for a pool slot to the last byte of the body, `connect`
    the wait for a connection, `read` each gap between two reads. Raises ConfigurationError for a
    limit that is not a positive number.
    """

    total: float | None = 60.0
    """Seconds from the wait for a place in the pool to the last byte of the body."""
    connect: float | None = 5.0
    """Seconds of the wait for a connection."""
    read: float | None = None
    """Seconds between two reads."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            check_seconds(f"timeout {name}", getattr(self, name))

    @classmethod
    def of(cls, value: "Timeout | float | None") -> "Timeout":
        """Return a Timeout for an argument: a Timeout, seconds in total, or None for no limit."""
        if isinstance(value, Timeout):
            return value
        if value is None:
            return cls(total=None, connect=None)
        check_seconds("timeout", value)
        return cls(total=value)


class Settings(msgspec.Struct, frozen=True):
    """The checked settings of a client. Their repr shows no secret."""

    base_url: str
    api_key: ApiKey | None
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
        """Check the arguments and take the missing ones from the OPENAI_* environment variables.

        The key may be missing if a header carries a credential.
        """
        key = api_key if api_key is not None else hide(os.environ.get("OPENAI_API_KEY"))
        # An empty base_url is a mistake, by which the key could go to another server.
        if base_url is None:
            base_url = os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        base_url = check_base_url(base_url, allow_http=allow_http)
        organization = organization or os.environ.get("OPENAI_ORG_ID") or None
        project = project or os.environ.get("OPENAI_PROJECT_ID") or None
        identity = {"OpenAI-Organization": organization, "OpenAI-Project": project}
        named = {name: value for name, value in identity.items() if value}
        headers = check_headers(named) | check_headers(default_headers or {})
        if not callable(key) and not (key is None and any(map(carries_credential, headers))):
            key = check_key(key)
        return cls(
            base_url=base_url,
            api_key=key,
            organization=as_plain(organization),
            project=as_plain(project),
            headers=headers,
            query=check_query(default_query or {}),
        )


def custom_headers(*, has_key: bool) -> dict[str, str]:
    """Return the headers of OPENAI_CUSTOM_HEADERS, one `Name: value` a line, with hidden values.

    The name of the variable and its form are those of the official client. A key that was passed to
    the client (`has_key`) outweighs an Authorization. Raises ConfigurationError.
    """
    headers: dict[str, str] = {}
    lines = map(hide, os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n"))
    for number, line in enumerate(lines, 1):
        named = header_of(line)
        if named is not None:
            headers[named[0].lower()] = named[1]
        elif line.strip():  # the line may be a secret, so it is not repeated
            raise ConfigurationError(
                f"OPENAI_CUSTOM_HEADERS: line {number} is no header",
                hint="write `Name: value`, one a line",
            )
    if has_key:
        headers.pop("authorization", None)
    return check_headers(headers)


def log_level() -> str | None:
    """Return the value of AIOMESSAGES_LOG: `debug` and `info` switch the log on."""
    return os.environ.get("AIOMESSAGES_LOG")


class UnusableKeyError(ConfigurationError):
    """The key cannot be sent. An api_key callable may return one at any time."""


def check_key(key: object) -> SecretStr:
    """Return the key, hidden from every repr; raise UnusableKeyError if it cannot be sent."""
    if key is None or key == "":
        raise UnusableKeyError("no API key", hint="set OPENAI_API_KEY or pass api_key=")
    if not isinstance(key, str):
        raise UnusableKeyError(f"the API key must be a str, not {type(key).__name__}")
    if not _KEY.fullmatch(key):
        raise UnusableKeyError(
            "the API key contains spaces, line breaks, control or non-ASCII characters",
            hint="copy it again; a file may have a line break at its end",
        )
    return SecretStr(as_plain(key))


def check_base_url(url: object, *, allow_http: bool) -> str:
    """Return the base URL without a trailing slash, or raise ConfigurationError.

    The key is sent to this URL, so http:// needs a loopback host or allow_http=True.
    """
    url = hide(url)
    if not isinstance(url, str) or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise ConfigurationError(
            "base_url must be an ASCII URL without spaces",
            hint="write it as https://api.example.com/v1",
        )
    # Another function looks for the problem: its local variables may hold a password, and a
    # traceback that shows local variables has the frame of this one.
    if problem := _problem_of(url, allow_http=allow_http) or _problem_of_host(url):
        raise ConfigurationError(f"base_url {problem[0]}", hint=problem[1])
    return as_plain(url).rstrip("/")


def _problem_of(url: str, *, allow_http: bool) -> tuple[str, str] | None:
    """Return what is wrong with a URL, and what to do."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # whose text may quote a password
        return _NO_URL
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or password", "pass api_key="
    if parts.scheme not in ("https", "http") or not host:
        return "must begin with https:// and name a host", "write it as https://api.example.com/v1"
    if "?" in url or "#" in url:
        return "must not contain a query or fragment", "see default_query="
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        said = f"would send the API key to {host} unencrypted"
        return said, "use https://, or pass allow_http=True"
    return None


def _problem_of_host(url: str) -> tuple[str, str] | None:
    """Return why aiohttp cannot send to the host of this URL, or would send to another host.

    aiohttp parses URLs by other rules than urllib: for an odd URL it may raise an error, or find
    another host. And for some names, Python's idna codec raises an error that is no OSError.
    """
    from yarl import URL  # noqa: PLC0415 a dependency of aiohttp: loaded now, and not on import

    host = urlsplit(url).hostname or ""
    try:
        host.encode("idna")
        origin = URL(url, encoded=True).origin()
        names = {origin.host, (origin.raw_host or "").lower()}  # decoded, and as written in the URL
    except ValueError:
        return _NO_URL
    return None if host in names and origin.port else _NO_URL


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, without a DNS query."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Return the headers with names in lower case and hidden values, or raise ConfigurationError.

    Any value may be a credential, so no repr shows one. Headers that frame a request or belong to
    the connection are refused.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            # It may be a whole line with a secret, so it is not repeated.
            raise ConfigurationError(
                "a name among the headers is not the name of a header: it is a str of letters,"
                " digits and hyphens"
            )
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
    """Raise ConfigurationError if one of a session's headers frames a message."""
    if framing := sorted(_FRAMING & {name.lower() for name in headers}):
        raise ConfigurationError(
            f"the session that you handed in sends {' and '.join(framing)} with each request,"
            " which announces a body that no request has: hand in one without it"
        )


def _problem_of_header(name: str, value: str) -> str | None:
    if name in _OF_CONNECTION or name.startswith("proxy-"):
        return "belongs to the connection, and aiohttp sets it: leave it out"
    if name == "accept-encoding" and not _can_decompress(value):
        return "accepts a compression that this client cannot decompress: use gzip and deflate only"
    return None


def _can_decompress(accepted: str) -> bool:
    """Return whether the client can decompress every coding that an accept-encoding allows."""
    for one in accepted.lower().split(","):
        coding = _CODING.fullmatch(one)
        if coding is None:
            return False
        refused = coding[2] is not None and not coding[2].strip("0.")
        if not refused and coding[1] not in CODINGS:
            return False
    return True


def check_query(query: Mapping[str, object]) -> dict[str, str]:
    """Return the query parameters as text, or raise ConfigurationError."""
    if taken := sorted(_PAGING & query.keys()):
        raise ConfigurationError(
            f"{' and '.join(taken)} cannot be query parameters of your own: use list({taken[0]}=)"
        )
    return {_query_text(name, name): _query_value(name, value) for name, value in query.items()}


def selection_query(model: str | None, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the query parameters that select completions, or raise ConfigurationError."""
    if not isinstance(metadata, Mapping | None):
        raise ConfigurationError(
            f"metadata must be a mapping of text to text, not {type(metadata).__name__}"
        )
    of_model = {} if model is None else {"model": model}
    filters = {f"metadata[{as_plain(key)}]": value for key, value in (metadata or {}).items()}
    return check_query({**of_model, **filters})


def _query_value(name: object, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    plain = as_plain(value)
    if isinstance(plain, float):
        plain = float.__repr__(plain)  # a subclass, such as numpy's, may have another repr
    if not isinstance(plain, str | int):
        raise ConfigurationError(f"query parameter {name} must be a str, int, float or bool")
    return _query_text(name, plain)


def _query_text(name: object, value: object) -> str:
    text = str(as_plain(value))
    if not can_be_sent(text):
        raise ConfigurationError(
            f"query parameter {str(as_plain(name))!r} contains half a character (a lone surrogate),"
            " which cannot be sent"
        )
    return text


def check_count(name: str, value: object, least: int = 1) -> int:
    """Return a plain int of `least` or more, or raise ConfigurationError."""
    number = as_plain(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise ConfigurationError(f"{name} must be an int of {least} or more, not {value!r}")
    return number


def check_seconds(name: str, value: object) -> None:
    """Raise ConfigurationError unless a value is None or a positive number of seconds."""
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):  # type: ignore[operator]
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")


DEFAULT_TIMEOUT: Final = Timeout()
