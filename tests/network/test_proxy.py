"""The choice of a proxy: what was given, what the environment says, and what is refused."""

import base64
from typing import Any

import pytest
from faults.canary import shown_by_error

from aiomessages import ConfigurationError
from aiomessages.network.proxy import Proxies, Proxy

API = "https://api.example"
SECRET = "pass-canary-0123"


@pytest.mark.parametrize(
    ("given", "url", "credentials"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", None),
        ("http://proxy.example:3128/", "http://proxy.example:3128", None),
        ("proxy.example:3128", "http://proxy.example:3128", None),
        ("proxy.example", "http://proxy.example:80", None),
        ("HTTPS://Proxy.Example", "https://proxy.example:443", None),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080", None),
        ("http://[fd00::1]:8080", "http://[fd00::1]:8080", None),
        ("http://u:p@proxy.example:1", "http://proxy.example:1", b"u:p"),
        ("u:p@proxy.example:1", "http://proxy.example:1", b"u:p"),
        ("http://u@proxy.example:1", "http://proxy.example:1", b"u:"),
        ("http://CORP%5Cu:p%40%2F%23%3A@proxy:1", "http://proxy:1", b"CORP\\u:p@/#:"),
        ("http://u:p@ss@proxy:1", "http://proxy:1", b"u:p@ss"),
        ("http://u:100%@proxy:1", "http://proxy:1", b"u:100%"),
        ("http://ü:%C3%BC@proxy:1", "http://proxy:1", "ü:ü".encode()),
    ],
)
def test_proxies_that_can_be_used(given: str, url: str, credentials: bytes | None) -> None:
    """The scheme and the port have defaults; credentials are decoded, and kept apart."""
    proxy = Proxies(given).of(API)
    assert proxy is not None
    assert (proxy.url, proxy.source) == (url, "proxy=")
    sent = proxy.authorization and base64.b64decode(proxy.authorization.removeprefix("Basic "))
    assert sent == credentials


@pytest.mark.parametrize(
    "given",
    [
        "",
        "http://",
        f"http://user:{SECRET}#x@proxy:1",
        f"http://user:{SECRET}/x@proxy:1",
        f"http://user:{SECRET}?x@proxy:1",
        f"http://user:{SECRET}@",
        f"http://user:{SECRET}@proxy:99999",
        f"http://user:{SECRET}@proxy:0",
        f"http://user:{SECRET}@proxy:port",
        f"http://user:{SECRET}@pro xy:1",
        f"http://user:{SECRET}\n@proxy:1",
        f"http://user:{SECRET}@[::1:1",
        f"http://user:{SECRET}@[fe80::1%25eth0]:1",
        f"http://user:{SECRET}@{'x' * 64}:1",
        f"http://user:{SECRET}@prüxy:1",
        f"http://user:{SECRET}@proxy:1/path",
        f"ftp://user:{SECRET}@proxy:1",
        f"socks5h://user:{SECRET}@proxy:1",
        3128,
    ],
    ids=repr,
)
def test_proxies_that_cannot_be_used(given: Any) -> None:
    """Anything else is refused by an error that shows no part of it, nor does its traceback."""
    with pytest.raises(ConfigurationError, match=r"^proxy= ") as caught:
        Proxies(given)
    assert [place for place, text in shown_by_error(caught.value) if SECRET in text] == []
    assert caught.value.__context__ is None


def test_a_socks_proxy() -> None:
    """A SOCKS proxy is refused with the way that there is."""
    with pytest.raises(ConfigurationError, match="only a session of your own can use one"):
        Proxies("socks5://proxy.example:1080")


def test_no_repr_shows_credentials() -> None:
    """Neither the repr nor the text of a proxy has its user or password."""
    proxy = Proxies(f"http://user:{SECRET}@proxy.example:1").of(API)
    assert str(proxy) == "the proxy proxy.example:1 (proxy=)"
    assert not {"user", SECRET, "dXNlcj"} & set(repr(proxy).split("'"))
    assert "dXNlcj" not in repr(proxy)


@pytest.mark.parametrize(
    ("variables", "origin", "used"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, API, ("http://p:1", "HTTPS_PROXY")),
        ({"https_proxy": "http://p:1"}, API, ("http://p:1", "https_proxy")),
        ({"https_proxy": "p:1", "HTTPS_PROXY": "q:1"}, API, ("http://p:1", "https_proxy")),
        ({"https_proxy": "", "HTTPS_PROXY": "q:1"}, API, None),
        ({"HTTPS_PROXY": " "}, API, None),
        ({"ALL_PROXY": "p:1"}, API, ("http://p:1", "ALL_PROXY")),
        ({"HTTPS_PROXY": "p:1", "ALL_PROXY": "socks5://q"}, API, ("http://p:1", "HTTPS_PROXY")),
        ({"HTTP_PROXY": "p:1"}, API, None),
        ({"HTTP_PROXY": "p:1"}, "http://api.example", ("http://p:1", "HTTP_PROXY")),
        ({"HTTP_PROXY": "p:1", "REQUEST_METHOD": "GET"}, "http://api.example", None),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "api.example"}, API, None),
        ({"HTTPS_PROXY": "p:1", "no_proxy": ".example:443"}, API, None),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "other"}, API, ("http://p:1", "HTTPS_PROXY")),
        (
            {"HTTPS_PROXY": "p:1", "NO_PROXY": "*", "no_proxy": ""},
            API,
            ("http://p:1", "HTTPS_PROXY"),
        ),
        ({"HTTPS_PROXY": "p:1"}, "https://127.0.0.1:8443", None),
        ({"HTTP_PROXY": "p:1"}, "http://localhost:8080", None),
        ({"HTTP_PROXY": "p:1"}, "http://[::1]:8080", None),
    ],
    ids=repr,
)
def test_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    origin: str,
    used: tuple[str, str] | None,
) -> None:
    """The variables are those of curl and Python; this machine is reached without a proxy."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Proxies().of(origin) is None
    proxies = Proxies(trust_env=True)
    for _ in range(2):
        proxy = proxies.of(origin)
        assert (proxy and (proxy.url, proxy.source)) == used


def test_a_given_proxy_is_used_for_every_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """`proxy=` counts more than the environment, with its NO_PROXY."""
    monkeypatch.setenv("HTTPS_PROXY", "http://other:1")
    monkeypatch.setenv("NO_PROXY", "*")
    proxies = Proxies("http://p:1", trust_env=True)
    assert proxies.of(API) == Proxy("http", "p", 1, "proxy=")
    assert proxies.of("https://127.0.0.1") == Proxy("http", "p", 1, "proxy=")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_variable_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The error names the variable; it is raised only if the variable is wanted."""
    monkeypatch.setenv(variable, f"ftp://user:{SECRET}@proxy:1")
    Proxies(trust_env=True).check("http://127.0.0.1:1/v1", allow_http=False)
    Proxies().check(API, allow_http=False)
    with pytest.raises(ConfigurationError, match=rf"^{variable} is not a URL") as caught:
        Proxies(trust_env=True).check(API, allow_http=False)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "trust_env", "said"),
    [
        ({}, False, "If only a proxy leads out of it, set HTTPS_PROXY and pass trust_env=True."),
        ({}, True, "If only a proxy leads out of it, set HTTPS_PROXY."),
        ({"HTTPS_PROXY": "p:1"}, False, "HTTPS_PROXY is set but not used: pass trust_env=True"),
        ({"all_proxy": "p:1"}, False, "all_proxy is set but not used"),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "*"}, True, "because NO_PROXY names the host"),
        ({"HTTP_PROXY": "p:1"}, True, "HTTP_PROXY is set, but is for http:// alone"),
        ({"HTTPS_PROXY": "p:1"}, True, ""),
    ],
    ids=repr,
)
def test_why_a_variable_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    trust_env: bool,
    said: str,
) -> None:
    """A variable that is set but not used is named, with the reason; one that may be needed too."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = Proxies(trust_env=trust_env).why_unused(API)
    assert said in found
    assert bool(said) == bool(found)
    assert not Proxies(trust_env=trust_env).why_unused("https://localhost:1")


def test_a_key_that_a_proxy_would_read() -> None:
    """Plain HTTP through the proxy of another machine needs allow_http=True."""
    near, far = Proxies("http://127.0.0.1:1"), Proxies("http://proxy:1")
    near.check("http://127.0.0.1:2/v1", allow_http=False)
    far.check("https://127.0.0.1:2/v1", allow_http=False)
    far.check("http://127.0.0.1:2/v1", allow_http=True)
    with pytest.raises(ConfigurationError, match=r"would read the API key.*allow_http=True"):
        far.check("http://127.0.0.1:2/v1", allow_http=False)
