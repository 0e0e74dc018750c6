"""The way to the API in words, without a secret."""

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiomessages.cli.network import Network
from aiomessages.cli.options import Connection
from aiomessages.cli.route import key_text, kind_of, lines_of

NOW = 1_700_000_000
PROXIES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]
TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _without_a_network_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*PROXIES, *map(str.upper, PROXIES), *TRUST, "NODE_EXTRA_CA_CERTS"):
        monkeypatch.delenv(name, raising=False)
    return None


def lines(**options: object) -> str:
    """Return the lines of the route, without their labels."""
    return "\n".join(text for _, text in lines_of(Connection(**options)))  # type: ignore[arg-type]


def test_versions() -> None:
    """The route begins with the versions of the program and of what it relies on."""
    found = lines()
    assert all(name in found for name in ("aiomessages ", "aiohttp ", "msgspec ", "CPython 3."))
    assert ssl.OPENSSL_VERSION in found


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base URL has its source, and no password or query."""
    assert "https://api.openai.com/v1 (the default)" in lines()
    monkeypatch.setenv("OPENAI_BASE_URL", "https://h.example/v1")
    assert "https://h.example/v1 (OPENAI_BASE_URL)" in lines()
    url = "https://user:canary@h.example/v1?key=canary"
    assert "https://…@h.example/v1 (--base-url)" in lines(base_url=url)
    assert "canary" not in lines(base_url=url)
    assert "ary" not in lines(base_url="https://user:can#ary@h.example/v1").replace("binary", "")
    assert "the embedded server of --local" in lines(local=":sample:")
    assert "https://[bad (--base-url)" in lines(base_url="https://[bad")


def test_the_account_and_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account is shown by its ids, and a header by its name alone."""
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "api-key: canary")
    found = lines(organization="org-1", header=["X-Team: canary"])
    assert "organization org-1, project proj-1" in found
    assert "api-key, X-Team" in found
    assert "canary" not in found


@pytest.mark.parametrize(
    "address",
    [
        "http://user:can/ary@proxy:3128",
        "user:can#ary@proxy:3128",
        "http://user:can?ary@proxy:3128",
        "http://user:canary",
        "socks5://user:canary@proxy:1080",
    ],
    ids=["slash", "hash", "question mark", "no host", "SOCKS"],
)
def test_a_proxy_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Nothing of it is shown, since its password cannot be told apart."""
    monkeypatch.setenv("HTTPS_PROXY", address)
    assert "HTTPS_PROXY=… (no URL of an HTTP proxy), which is not used" in lines()
    assert not any(part in lines() for part in ("can#", "can/", "can?", "canary", "user"))


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables are shown without passwords, and NO_PROXY with its effect on the host."""
    assert "no variable is set" in lines()
    monkeypatch.setenv("HTTPS_PROXY", "user:can%2Fary@proxy:3128")
    assert "NO_PROXY" not in lines()
    monkeypatch.setenv("NO_PROXY", "h.example")
    found = lines(base_url="https://h.example/v1")
    assert "HTTPS_PROXY=http://proxy:3128, which is not used" in found
    assert "can%2Fary" not in found
    assert "NO_PROXY=h.example, which excludes this host" in found
    assert "NO_PROXY=h.example, not this host" in lines(base_url="https://i.example/v1")


def test_the_proxy_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that a request takes: of an option, or of a variable for this host."""
    assert "http://p:1 (proxy=)" in lines(network=Network(proxy="p:1"))
    monkeypatch.setenv("HTTPS_PROXY", "http://user:canary@q:2")
    assert "http://q:2 (HTTPS_PROXY)" in lines()
    assert "canary" not in lines()
    for options in ({"network": Network(no_proxy=True)}, {"base_url": "https://127.0.0.1/v1"}):
        assert "(HTTPS_PROXY)" not in lines(**options)
    monkeypatch.setenv("NO_PROXY", "openai.com, 10.0.0.0/8, x")
    assert "(HTTPS_PROXY)" not in lines()
    assert "which excludes this host" in lines(base_url="https://10.1.2.3/v1")
    for url in ("https://h:port/v1", "ftp://h/v1"):  # the client says what is wrong with them
        assert "not this host" in lines(base_url=url)


def test_certificates_that_are_named() -> None:
    """Those of the options are in force, in place of this machine's."""
    found = lines(network=Network(ca_file="ca.pem", client_cert="me.pem"))
    assert "me.pem (--client-cert)" in found
    assert found.endswith("ca.pem (--ca-file)")


def test_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The certificates in force are named, a missing file too, and variables that do nothing."""
    assert "(the default of OpenSSL)" in lines()
    monkeypatch.setenv("CURL_CA_BUNDLE", "x")
    assert "CURL_CA_BUNDLE: not read by Python; use SSL_CERT_FILE" in lines()
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    found = lines()
    assert f"SSL_CERT_FILE={tmp_path / 'ca.pem'}\n" in found
    assert f"SSL_CERT_DIR={tmp_path / 'none'}, which is missing" in found
    assert "0 certificates from files" in found
    assert "CURL_CA_BUNDLE" not in found


def test_no_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any authority is told as such."""
    paths = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert "none (the default of OpenSSL)" in lines()


def token(**claims: object) -> str:
    """Return a token with these claims."""
    coded = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOi.{coded}.c2ln"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("sk-proj-canary-0123", "a project's key of OpenAI"),
        ("sk-svcacct-canary", "a service account's key of OpenAI"),
        ("sk-admin-canary", "an admin key of OpenAI, which reads no completions"),
        ("sk-canary", "a key in the form of OpenAI's"),
        ("0123456789abcdef" * 2, "a key in the form of Azure's"),
        ("canary" * 14, "a key in the form of Azure's"),
        ("canary-battery-staple", "a key of another form"),
        ("none", "a placeholder"),
        (token(exp=NOW + 600), "a token (JWT) that ends in 10 minutes"),
        (token(exp=NOW - 120), "a token (JWT) that ended 2 minutes ago"),
        (token(sub="x"), "a token (JWT)"),
        ("eyJa.bm8ganNvbg.c", "a token (JWT)"),
    ],
)
def test_kinds_of_keys(key: str, kind: str) -> None:
    """A key is told by its form, which shows none of it."""
    assert kind_of(key, now=NOW) == kind


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"api_key_file": "f"}, "--api-key-file"),
        ({"api_key_file": "-"}, "standard input"),
        ({"api_key_command": "c"}, "--api-key-command"),
        ({"local": ":sample:"}, "the embedded server"),
    ],
    ids=str,
)
def test_sources_of_keys(options: dict[str, str], source: str) -> None:
    """The source of a key is named by its option or its variable."""
    assert (
        key_text(Connection(**options), "sk-x") == f"a key in the form of OpenAI's, from {source}"
    )
