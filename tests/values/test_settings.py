"""Settings: checked before any request; the environment; hidden keys."""

import asyncio
import copy
import math
import pickle
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum, StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aiomessages import (
    APIConnectionError,
    AsyncMessagesClient,
    ConfigurationError,
    RetryPolicy,
    Timeout,
)
from aiomessages.settings import (
    DEFAULT_BASE_URL,
    DEFAULT_TIMEOUT,
    Settings,
    check_base_url,
    check_framing,
    check_headers,
    check_key,
    check_query,
    check_seconds,
    custom_headers,
    is_loopback,
    log_level,
    selection_query,
)
from aiomessages.values.plain import as_plain
from aiomessages.values.secrets import SecretStr, hide, hide_values

KEY = "sk-canary-0123456789"
NOTHING: dict[str, Any] = {
    "api_key": None,
    "base_url": None,
    "organization": None,
    "project": None,
    "default_headers": None,
    "default_query": None,
    "allow_http": False,
}


def load(**changes: Any) -> Settings:
    """Load settings with only these arguments."""
    return Settings.load(**{**NOTHING, **changes})


# --- the key --------------------------------------------------------------------------------------


def test_a_key() -> None:
    """A key of visible ASCII is accepted unchanged, and hidden."""
    key = check_key(KEY)
    assert key == KEY
    assert repr(key) == "'**********'"


@pytest.mark.parametrize(
    "key",
    [
        "",
        None,
        5,
        b"sk-canary-0123456789",
        f"{KEY}\n",
        f"{KEY}\r\nX-Evil: 1",
        f"{KEY}\0",
        f" {KEY}",
        f"{KEY} ",
        f"{KEY}\t",
        "sk canary-0123456789",
        f"{KEY}é",
        f"{KEY}\x7f",
        f"{KEY}\ud800",
    ],
)
def test_a_key_that_cannot_be_sent(key: object) -> None:
    """A key that is empty, or that no header can hold, is refused and not shown."""
    with pytest.raises(ConfigurationError, match="API key") as caught:
        check_key(key)
    assert "canary" not in f"{caught.value}{caught.value!r}"


@given(st.text())
def test_any_key(text: str) -> None:
    """Any text is either refused as a key or fits into one header line."""
    try:
        key = check_key(text)
    except ConfigurationError:
        assert not text or not text.isascii() or not text.isprintable() or " " in text
    else:
        assert key.encode("ascii").split() == [key.encode()]


def test_a_secret() -> None:
    """A secret equals its text, shows in no repr, not even inside others, and is not pickled."""
    secret = SecretStr(KEY)
    assert f"Bearer {secret}" == f"Bearer {KEY}"
    assert "canary" not in repr([secret, {"key": (secret,)}])
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)


def test_a_copy_of_a_secret() -> None:
    """A copy of a secret, by itself or within headers, is the secret: recorders copy requests."""
    headers = CIMultiDict(check_headers({"X-Key": KEY}))
    assert copy.copy(headers["x-key"]) is headers["x-key"]
    assert copy.deepcopy(headers)["x-key"] is headers["x-key"]
    assert "canary" not in repr(copy.deepcopy(dict(headers)))


class Text(str, Enum):  # noqa: UP042 the older way, which formats otherwise
    """Enum members that are strings, and format as another text."""

    NAME = "x-name"
    VALUE = "gpt-4o-mini"
    URL = "http://localhost/v1/"
    KEY = "sk-canary-0123456789"


class Modern(StrEnum):
    """Enum members that are strings, and format as their value."""

    VALUE = "gpt-4o-mini"


class Number(int, Enum):
    """Enum members that are integers, and format as another text."""

    FIVE = 5


class Boastful(str):
    """A str that formats as a text that it does not hold."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"

    __repr__ = __str__

    def __format__(self, _: str) -> str:
        return "something else"


class Index:
    """An object that holds an integer and is no int, as numpy's are."""

    def __index__(self) -> int:
        return 5


class Half(float):
    """A float that formats as another text, as numpy's do."""

    def __repr__(self) -> str:
        return f"Half({float(self)})"

    __str__ = __repr__


PLAIN: list[tuple[object, object]] = [
    ("a", "a"),
    (Text.VALUE, "gpt-4o-mini"),
    (Modern.VALUE, "gpt-4o-mini"),
    (Boastful("a"), "a"),
    (SecretStr("a"), "a"),
    (5, 5),
    (Number.FIVE, 5),
    (IntEnum("Five", {"FIVE": 5}).FIVE, 5),  # type: ignore[attr-defined]  # it has that member
    (HTTPStatus.OK, 200),
    (Index(), 5),
    (int, int),
    (True, True),
    (None, None),
    (1.5, 1.5),
]


@pytest.mark.parametrize(("given", "plain"), PLAIN, ids=lambda value: ascii(value)[:30])
def test_plain_values(given: object, plain: object) -> None:
    """A str or int of a subclass becomes its plain value; any other value is unchanged."""
    assert as_plain(given) == plain
    assert type(as_plain(given)) is type(plain)


def test_plain_settings() -> None:
    """A setting given as a subclass of str is sent as the text that it holds."""
    settings = load(
        api_key=Text.KEY,
        base_url=Text.URL,
        organization=Text.VALUE,
        project=Boastful("p"),
        default_headers={Text.NAME: Text.VALUE, Boastful("x-b"): Boastful("b")},
        default_query={Text.NAME: Text.VALUE, "five": Number.FIVE, "index": Index(), "h": Half(1)},
    )
    assert settings.base_url == "http://localhost/v1"
    assert f"{settings.api_key} {settings.organization} {settings.project}" == (
        "sk-canary-0123456789 gpt-4o-mini p"
    )
    assert {name: f"{value}" for name, value in settings.headers.items()} == {
        "openai-organization": "gpt-4o-mini",
        "openai-project": "p",
        "x-name": "gpt-4o-mini",
        "x-b": "b",
    }
    assert settings.query == {"x-name": "gpt-4o-mini", "five": "5", "index": "5", "h": "1.0"}
    assert "canary" not in repr(settings)


def test_hiding() -> None:
    """hide() hides a str, and leaves anything else, such as a callable, as it is."""
    assert repr(hide(KEY)) == "'**********'"
    assert hide(None) is None
    assert hide(load) is load
    assert "canary" not in repr(hide_values({"x": KEY, "y": None}))
    assert hide_values({"x": KEY, "y": None}) == {"x": KEY, "y": None}
    assert hide_values(None) == {}


# --- base_url -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://h//", "https://h"),
        ("https://h:8443", "https://h:8443"),
        ("https://[2001:db8::1]/v1", "https://[2001:db8::1]/v1"),
        ("HTTPS://h/v1", "HTTPS://h/v1"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://LOCALHOST/v1", "http://LOCALHOST/v1"),
        ("https://xn--mnchen-3ya.example/v1", "https://xn--mnchen-3ya.example/v1"),
    ],
)
def test_a_base_url(given: str, taken: str) -> None:
    """https:// goes anywhere, http:// to this machine; a trailing slash does not matter."""
    assert check_base_url(given, allow_http=False) == taken


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://api.example/v1", "unencrypted"),
        ("http://10.0.0.1/v1", "unencrypted"),
        ("http://0.0.0.0/v1", "unencrypted"),
        ("http://localhost.example/v1", "unencrypted"),
        ("http://127.0.0.1.example/v1", "unencrypted"),
        ("https://user:pa55word@h/v1", "user or password"),
        ("https://user@h/v1", "user or password"),
        ("https://:pa55word@h/v1", "user or password"),
        ("https://127.0.0.1@h/v1", "user or password"),
        ("https://h/v1?api-version=1", "query"),
        ("https://h/v1?", "query"),
        ("https://h/v1#x", "fragment"),
        ("h/v1", "https://"),
        ("ftp://h/v1", "https://"),
        ("https://", "https://"),
        ("https:///v1", "https://"),
        ("https://h /v1", "spaces"),
        ("https://h/v1\n", "spaces"),
        ("https://h\\@evil/v1", "ASCII"),
        ("https://hé/v1", "ASCII"),
        (b"https://h/v1", "ASCII"),
        (5, "ASCII"),
        ("https://h:99999/v1", "not a URL"),
        ("https://h:pa55word/v1", "not a URL"),
        ("https://[::1/v1", "not a URL"),
    ],
)
def test_a_base_url_that_cannot_be_used(url: object, reason: str) -> None:
    """An invalid or unsafe URL, or one with more parts, is refused, and not quoted."""
    with pytest.raises(ConfigurationError, match=reason) as caught:
        check_base_url(url, allow_http=False)
    assert "pa55word" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


URL_PIECES = st.sampled_from(
    [
        *("http://", "https://", "HTTPS://", "//", "/", ":", "[", "]", "@", "?", "#", "%", "%25"),
        *("localhost", "127.0.0.1", "[::1]", "[::1%25x]", "example.com", "xn--", "a" * 64, "v1"),
        *(".", "..", "-", "_", ";", ",", "&", "=", "+", "~", "!", "|", "^", "<", '"', "`", "{"),
        *(":0", ":80", ":65536", ":-1", ":٣", "::", "%zz", "%00", "\t", " ", "é"),
    ]
)
URLS = st.builds("".join, st.lists(URL_PIECES, max_size=7)) | st.builds(
    "{}{}{}".format,
    st.sampled_from(["http://localhost", "https://h", "http://[::1]"]),
    st.text(max_size=3),
    st.builds("".join, st.lists(URL_PIECES, max_size=4)),
)


@given(URLS | st.text())
@example("http://localhost[::1%25x]")
@example("https://a..b/v1")
@example("https://" + "a" * 64)
@example("https://h:0/v1")
@example("HTTPS://h:/v1")
@example("https://%HTTPS://")
def test_any_base_url(url: str) -> None:
    """Any base URL is refused, or a request is built that goes to its host."""
    asyncio.run(_goes_to_its_host(url))


async def _goes_to_its_host(url: str) -> None:
    requests: list[aiohttp.ClientRequest] = []

    async def note(request: aiohttp.ClientRequest, _: object) -> Any:
        requests.append(request)
        raise aiohttp.ClientConnectionError

    async with aiohttp.ClientSession(middlewares=[note]) as session:
        try:
            client = AsyncMessagesClient(KEY, base_url=url, session=session, retry=RetryPolicy(0))
        except ConfigurationError:
            return
        with pytest.raises(APIConnectionError):
            await client.list("x")
    (request,) = requests
    parts = urlsplit(url)
    # urlsplit keeps the capitals behind a "%", which begins the zone of an address.
    assert request.host.lower() == (parts.hostname or "").lower()
    assert request.is_ssl() == (parts.scheme == "https")
    assert request.port == (parts.port or (443 if request.is_ssl() else 80))
    assert request.host.encode("idna")  # as the system's resolver does


def test_http_where_it_is_wanted() -> None:
    """allow_http=True allows http:// to any host, and nothing else."""
    assert check_base_url("http://proxy:8000/v1", allow_http=True) == "http://proxy:8000/v1"
    with pytest.raises(ConfigurationError):
        check_base_url("http://user@proxy/v1", allow_http=True)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("0.0.0.0", False),  # noqa: S104 a host to judge, not one to bind
        ("128.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Loopback addresses and the name localhost are this machine, without a DNS query."""
    assert is_loopback(host) is loopback


# --- headers and query ----------------------------------------------------------------------------


def test_headers() -> None:
    """Header names go to lower case, and values show in no repr: any may be a credential."""
    headers = check_headers({"X-Key": KEY, "x-b": "a b\tc"})
    assert headers == {"x-key": KEY, "x-b": "a b\tc"}
    assert "canary" not in repr(headers)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "ä", "a\0", 5, None])
def test_header_names_that_cannot_be_sent(name: object) -> None:
    """A text that is no token is not the name of a header."""
    with pytest.raises(ConfigurationError, match="name of a header"):
        check_headers({name: "x"})


FRAMING = [
    *("Content-Length", "Transfer-Encoding", "Trailer", "Expect", "Upgrade"),
    *("Connection", "Keep-Alive", "TE", "HTTP2-Settings", "Host"),
    *("Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "Proxy-Anything"),
]


@pytest.mark.parametrize("name", FRAMING)
@pytest.mark.parametrize("spell", [str, str.lower, str.upper], ids=["as is", "lower", "upper"])
def test_headers_of_the_connection(name: str, spell: Callable[[str], str]) -> None:
    """Headers that frame a request, or are for the next hop only, are refused."""
    with pytest.raises(ConfigurationError, match=f"(?i)header {name} belongs to the connection"):
        check_headers({spell(name): "1"})


@pytest.mark.parametrize(
    "value",
    ["gzip", "GZIP, deflate", "identity", "gzip;q=0.5, *;q=0", "br;q=0, gzip ; Q=1.0", "x-gzip"],
)
def test_accepted_codings(value: str) -> None:
    """A request may name the compressions that this client knows, and refuse all others."""
    assert check_headers({"Accept-Encoding": value}) == {"accept-encoding": value}


@pytest.mark.parametrize("value", ["br", "gzip, zstd", "*", "compress;q=0.1", "gzip;level=9"])
def test_unknown_codings(value: str) -> None:
    """A request for an unknown compression is refused, since its response could not be read."""
    with pytest.raises(ConfigurationError, match="accept-encoding accepts a compression"):
        check_headers({"accept-encoding": value})


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        " canary",
        "canary ",
        "canary\t",
        "canary\r\nx: 1",
        "canary\n",
        "canary\0",
        "canaryé",
        "canary\x7f",
        "canary\ud800",
        5,
        None,
        b"canary",
    ],
)
def test_header_values_that_cannot_be_sent(value: object) -> None:
    """A value that is empty, not one line of ASCII, or spaced around is refused, and not shown."""
    with pytest.raises(ConfigurationError, match="header X-A") as caught:
        check_headers({"X-A": value})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"a": "ü &", "b": 1, "c": 1.5}, {"a": "ü &", "b": "1", "c": "1.5"}),
        ({"a": True, "b": False}, {"a": "true", "b": "false"}),
        ({}, {}),
    ],
)
def test_query(given: Mapping[str, object], sent: dict[str, str]) -> None:
    """Query parameters become text, booleans as JSON writes them."""
    assert check_query(given) == sent


@pytest.mark.parametrize("value", [None, [1], b"x", {"a": 1}])
def test_query_values_that_cannot_be_sent(value: object) -> None:
    """A value without an unambiguous text is refused with the parameter's name."""
    with pytest.raises(ConfigurationError, match="query parameter q"):
        check_query({"q": value})


def test_the_query_of_a_selection() -> None:
    """A model and metadata select; metadata that are no mapping are refused."""
    assert selection_query("m", {"topic": "sea"}) == {"model": "m", "metadata[topic]": "sea"}
    assert selection_query(None, None) == {}
    with pytest.raises(ConfigurationError, match="metadata must be a mapping of text to text"):
        selection_query(None, "sea")  # type: ignore[arg-type]


@pytest.mark.parametrize("query", [{"q": "half \ud83d"}, {"q\udc00": "v"}], ids=["value", "name"])
def test_half_a_character_in_a_query(query: dict[str, object]) -> None:
    """A text without UTF-8 cannot be sent; the error about it can be printed."""
    with pytest.raises(ConfigurationError, match=r"query parameter 'q.*lone surrogate") as caught:
        check_query(query)
    assert str(caught.value).encode()


@pytest.mark.parametrize(
    ("query", "taken"),
    [({"after": "m"}, "after"), ({"limit": 5, "v": 1}, "limit"), ({"after": 1, "limit": 1}, "and")],
    ids=str,
)
def test_query_parameters_that_page(query: dict[str, object], taken: str) -> None:
    """The parameters of pagination are not allowed in a caller's own query."""
    with pytest.raises(ConfigurationError, match=f"{taken}.* of your own"):
        check_query(query)


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 1, 0.001, 1e9])
def test_seconds(value: object) -> None:
    """A positive number of seconds, or None for no limit, is accepted."""
    check_seconds("timeout", value)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, True, "1", b"2", [1]])
def test_seconds_that_make_no_sense(value: Any) -> None:
    """Any other value is refused with its name, in a Timeout as well."""
    with pytest.raises(ConfigurationError, match="deadline must be a positive number"):
        check_seconds("deadline", value)
    for field in ("total", "connect", "read"):
        with pytest.raises(ConfigurationError, match=f"timeout {field}"):
            Timeout(**{field: value})
    with pytest.raises(ConfigurationError, match="timeout"):
        Timeout.of(value)


def test_timeouts() -> None:
    """A number is the total of an attempt, None no bound at all, and a Timeout is itself."""
    assert Timeout(total=60.0, connect=5.0, read=None) == DEFAULT_TIMEOUT
    assert Timeout.of(7) == Timeout(total=7, connect=5.0, read=None)
    assert Timeout.of(None) == Timeout(total=None, connect=None, read=None)
    assert Timeout.of(timeout := Timeout(read=1)) is timeout


# --- the environment ------------------------------------------------------------------------------


def test_no_key() -> None:
    """Without any key the error names the places where it can be set."""
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY or pass api_key="):
        load()


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are not given come from the OPENAI_* variables."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.example/v1/")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    settings = load()
    assert (settings.api_key, settings.base_url) == (KEY, "https://proxy.example/v1")
    assert settings.headers == {"openai-organization": "org-1", "openai-project": "proj-1"}


def test_arguments_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument counts before the environment, and a given header before both."""
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://environment.example")
    settings = load(
        api_key=KEY,
        base_url="https://h/v1",
        organization="org-2",
        default_headers={"OpenAI-Project": "proj-2"},
        default_query={"v": 1},
    )
    assert (settings.api_key, settings.base_url) == (KEY, "https://h/v1")
    assert settings.headers == {"openai-organization": "org-2", "openai-project": "proj-2"}
    assert settings.query == {"v": "1"}


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("", {}),
        ("X-Team: search", {"x-team": "search"}),
        (
            "X-Team:search\r\n\n X-Url : https://h:1/ \n",
            {"x-team": "search", "x-url": "https://h:1/"},
        ),
        ("A: 1\na: 2", {"a": "2"}),
        ("Authorization: Basic eA==\nb: 1", {"authorization": "Basic eA==", "b": "1"}),
    ],
)
def test_custom_headers(
    monkeypatch: pytest.MonkeyPatch, text: str, headers: dict[str, str]
) -> None:
    """OPENAI_CUSTOM_HEADERS has a header a line, as for the official client; values are hidden."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", text)
    found = custom_headers(has_key=False)
    assert found == headers
    assert {repr(value) for value in found.values()} <= {"'**********'"}
    assert "authorization" not in custom_headers(has_key=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\ncanary", "line 2"),
        ("canary word: 1", "line 1"),
        (": canary", "line 1"),
        ("X-Empty:", "header x-empty"),
        ("Host: canary", "header host"),
        ("X-A: canary\tä", "header x-a"),
    ],
    ids=ascii,
)
def test_custom_headers_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    """A line that is no header is an error that names its number and repeats nothing of it."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", text)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        custom_headers(has_key=False)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("level", [None, "debug"])
def test_the_level_of_the_log(monkeypatch: pytest.MonkeyPatch, level: str | None) -> None:
    """AIOMESSAGES_LOG sets the level of the log; without it there is none."""
    monkeypatch.delenv("AIOMESSAGES_LOG", raising=False)
    if level is not None:
        monkeypatch.setenv("AIOMESSAGES_LOG", level)
    assert log_level() == level


def test_empty_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing counts as not set."""
    for name in ("BASE_URL", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "")
    settings = load(api_key=KEY)
    assert (settings.base_url, settings.headers) == (DEFAULT_BASE_URL, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", f"{KEY}\n"),
        ("BASE_URL", "http://api.example"),
        ("ORG_ID", "a\nb"),
        ("PROJECT_ID", " a"),
    ],
)
def test_a_wrong_environment(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Values of the environment are checked like arguments."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv(f"OPENAI_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert "canary" not in str(caught.value)


def test_an_empty_base_url() -> None:
    """An empty base_url is refused, so that the key goes to no other server."""
    with pytest.raises(ConfigurationError, match="base_url"):
        load(api_key=KEY, base_url="")


def test_settings_that_are_printed() -> None:
    """The settings' repr shows neither the key nor the value of a header."""
    settings = load(api_key=KEY, default_headers={"X-Key": "canary"})
    assert "canary" not in repr(settings)


def test_a_key_provider() -> None:
    """A callable is kept to be asked later, not checked now."""

    async def provide() -> str:
        raise AssertionError

    assert load(api_key=provide).api_key is provide


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "EXPECT"])
def test_a_session_whose_headers_frame_a_body(name: str) -> None:
    """A session with a header that frames a body is refused, with the header's name."""
    with pytest.raises(ConfigurationError, match=f"sends {name.lower()} with each"):
        check_framing(["x-team", name])
    check_framing(["x-team", "connection"])
