"""The options of the way to the API, over a real proxy and TLS."""

import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal
from conftest_cli import KEY, Ran
from faults import addresses
from faults.raw_server import COMPLETION, RawServer
from loopback_proxy import LoopbackProxy

if TYPE_CHECKING:
    import subprocess

Run = Callable[..., Ran]
API = ("--base-url", "https://api.example/v1", "--max-retries", "0")
SENT = "Basic dXNlcjpwQHNzd29yZC0wMTIz"  # of user:p@ssword-0123


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the authority of the servers, and a certificate for the client."""
    folder = tmp_path_factory.mktemp("certificates")
    addresses.AUTHORITY.cert_pem.write_to_path(folder / "ca.pem")
    issued = addresses.AUTHORITY.issue_cert("client@example.org")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    return folder


@pytest.fixture(scope="module")
def proxy() -> Iterator[LoopbackProxy]:
    """Serve https://api.example for clients with a certificate, behind a proxy with a password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    addresses.AUTHORITY.issue_cert("api.example").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    addresses.AUTHORITY.configure_trust(context)
    with start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        server = stack.enter_context(portal.wrap_async_context_manager(RawServer(tls=context)))
        yield stack.enter_context(
            portal.wrap_async_context_manager(LoopbackProxy(server.base_url, authorization=SENT))
        )


@pytest.mark.parametrize(
    "cert", [("both.pem",), ("cert.pem", "--client-key", "key.pem")], ids=["one file", "two files"]
)
def test_a_list_through_the_proxy_of_the_environment(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    proxy: LoopbackProxy,
    folder: Path,
    cert: tuple[str, ...],
) -> None:
    """HTTPS_PROXY, --ca-file and --client-cert are enough on a machine behind a proxy."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:p%40ssword-0123@"))
    monkeypatch.chdir(folder)
    ran = run("list", COMPLETION, *API, "--ca-file", "ca.pem", "--client-cert", *cert)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count(b"\n") == 6


def test_the_certificates_of_the_environment(
    spawn: Callable[..., "subprocess.Popen[bytes]"],
    monkeypatch: pytest.MonkeyPatch,
    proxy: LoopbackProxy,
    folder: Path,
) -> None:
    """SSL_CERT_FILE names the certificates that are trusted."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:p%40ssword-0123@"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    out, err = spawn("list", COMPLETION, *API, "--client-cert", folder / "both.pem").communicate()
    assert (out.count(b"\n"), err) == (6, b"")


def test_a_wrong_password(run: Run, monkeypatch: pytest.MonkeyPatch, proxy: LoopbackProxy) -> None:
    """The error of a proxy names it and the variable; --debug shows no password either."""
    monkeypatch.setenv("https_proxy", proxy.url.replace("://", "://user:wrong-0123@"))
    ran = run("list", COMPLETION, *API, "--debug")
    assert ran.code == 1
    assert f"the proxy 127.0.0.1:{proxy.port} (https_proxy) does not accept the user" in ran.err
    assert "wrong-0123" not in ran.err
    assert "dXNlcj" not in ran.err


def test_an_option_in_place_of_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, proxy: LoopbackProxy
) -> None:
    """--proxy counts more than the environment; only the environment can have a password."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    ran = run("list", COMPLETION, *API, "--proxy", proxy.url)
    assert f"the proxy 127.0.0.1:{proxy.port} (--proxy) wants a user and a password" in ran.err
    assert "Leave --proxy out, and write them into HTTPS_PROXY as http://user:" in ran.err


def test_no_proxy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--no-proxy ignores the environment, and a failed look-up says so."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    base_url = ("--base-url", "https://api.invalid/v1", "--max-retries", "0")
    ran = run("list", COMPLETION, *base_url, "--no-proxy")
    assert ran.code == 1
    assert "does not resolve" in ran.err
    assert "HTTPS_PROXY is set but not used: leave --no-proxy out to use it." in ran.err


def test_plain_http(run: Run) -> None:
    """--base-url with http:// needs --allow-http."""
    url = ("--base-url", "http://api.invalid/v1", "--max-retries", "0")
    ran = run("list", COMPLETION, *url)
    assert (ran.code, "use https://, or use --allow-http" in ran.err) == (2, True)
    ran = run("list", COMPLETION, *url, "--allow-http")
    assert (ran.code, "does not resolve" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--proxy", "http://user:secret-0123@p:1"],
            "this machine\n  set HTTPS_PROXY in place of --proxy\n",
        ),
        (["--proxy", "p:1", "--no-proxy"], "contradict each other\n  leave one of them out"),
        (["--proxy", "socks5://p:1"], "--proxy names a SOCKS proxy\n  use an HTTP proxy that"),
        (["--proxy", "ftp://p:1"], "--proxy is not a URL"),
        (["--client-key", "key.pem"], "which is missing\n  name the file of the certificate"),
        (
            ["--client-cert", "cert.pem"],
            "a certificate and its key\n  name a certificate and its key",
        ),
        (
            ["--ca-file", "missing.pem"],
            "--ca-file missing.pem cannot be used: No such file or directory\n  name",
        ),
        (["--local", "--proxy", "p:1"], "--local needs no network"),
    ],
    ids=repr,
)
def test_options_that_cannot_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path, words: list[str], said: str
) -> None:
    """The error names the option, and shows no password."""
    monkeypatch.chdir(folder)
    ran = run("list", COMPLETION, *words)
    assert ran.code == 2
    assert said in ran.err
    assert "secret-0123" not in ran.err
