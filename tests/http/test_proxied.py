"""Requests through a real proxy on a loopback socket, and what its failures are called."""

import asyncio
import contextlib
import datetime as dt
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from faults import addresses
from faults.canary import shown_by_error, shown_by_log
from faults.raw_server import COMPLETION, CONVERSATION, LIMIT, Exchange, RawServer
from loopback_proxy import LoopbackProxy

from aiomessages import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncMessagesClient,
    ConfigurationError,
    ProxyError,
    RetryPolicy,
    Timeout,
    TLSError,
)

KEY = "sk-canary-0123456789"
SECRET = "p@ss-canary-0123"
SENT = "Basic dXNlcjpwQHNzLWNhbmFyeS0wMTIz"  # of user:p@ss-canary-0123
ONCE = RetryPolicy(max_retries=0)
IDS = [item["id"] for item in CONVERSATION]


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the authority that issued the certificates of the servers."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    addresses.AUTHORITY.cert_pem.write_to_path(path)
    return path


def certificate(*names: str) -> ssl.SSLContext:
    """Return the context of a server with these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    addresses.AUTHORITY.issue_cert(*names).configure_cert(context)
    return context


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[RawServer]:
    """Serve CONVERSATION as https://api.example, to which only a proxy connects."""
    async with RawServer(tls=certificate("api.example", "127.0.0.1")) as server:
        yield server


def with_user(proxy: LoopbackProxy, user: str = "user:p%40ss-canary-0123") -> str:
    """Return the URL of a proxy, with credentials."""
    return proxy.url.replace("://", f"://{user}@")


async def walked(client: AsyncMessagesClient) -> list[str]:
    """Return the ids of the conversation, read in three requests."""
    return [message.id async for message in client.list(COMPLETION, limit=LIMIT)]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_walk_through_a_proxy(ca_file: Path, *, tls: bool) -> None:
    """One tunnel serves all requests of two walks, also to a proxy that itself speaks TLS."""
    async with (
        served() as server,
        LoopbackProxy(
            server.base_url, authorization=SENT, tls=certificate("127.0.0.1") if tls else None
        ) as proxy,
        AsyncMessagesClient(
            KEY, base_url="https://api.example/v1", proxy=with_user(proxy), ca_file=ca_file
        ) as client,
    ):
        for _ in range(2):
            assert await walked(client) == IDS
    (head,) = proxy.heads
    assert head.startswith("CONNECT api.example:443 HTTP/1.1\r\nHost: api.example\r\n")
    assert KEY not in head
    assert len(server.asked) == 6
    assert server.connections == 1
    assert all("proxy-authorization" not in asked.headers for asked in server.asked)


async def test_the_shortcut_through_a_proxy(ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first request through a tunnel goes through the session."""
    connects: list[str] = []
    connect = aiohttp.TCPConnector.connect

    async def noted(connector: Any, req: Any, *rest: Any, **options: Any) -> Any:
        connects.append(req.url.host)
        return await connect(connector, req, *rest, **options)

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", noted)
    async with (
        served() as server,
        LoopbackProxy(server.base_url) as proxy,
        AsyncMessagesClient(
            KEY, base_url="https://api.example/v1", proxy=proxy.url, ca_file=ca_file
        ) as client,
    ):
        assert await walked(client) == IDS
        assert await walked(client.with_options(timeout=5)) == IDS
    assert connects == ["api.example"]


async def test_plain_http_through_a_proxy() -> None:
    """A proxy gets each request for http:// with its URL, and with the credentials."""
    async with (
        RawServer() as server,
        LoopbackProxy(server.base_url, authorization=SENT) as proxy,
        AsyncMessagesClient(
            KEY, base_url="http://api.example/v1", proxy=with_user(proxy), allow_http=True
        ) as client,
    ):
        assert await walked(client) == IDS
    (head,) = proxy.heads
    assert head.startswith(f"GET http://api.example/v1/chat/completions/{COMPLETION}/messages?")
    assert len(server.asked) == 3
    assert server.connections == 1


@pytest.mark.parametrize("no_proxy", ["", "other.example"])
async def test_a_proxy_of_the_environment(
    ca_file: Path, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    """`trust_env=True` uses the proxy of HTTPS_PROXY, and no .netrc."""
    netrc = ca_file.with_name("netrc")
    netrc.write_text("machine api.example login user password wrong\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", no_proxy)
    async with served() as server, LoopbackProxy(server.base_url, authorization=SENT) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", with_user(proxy))
        async with AsyncMessagesClient(
            KEY, base_url="https://api.example/v1", trust_env=True, ca_file=ca_file
        ) as client:
            assert await walked(client) == IDS
    assert len(proxy.heads) == 1


async def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on this machine gets its requests directly, whatever the environment says."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with (
        RawServer() as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, trust_env=True) as client,
    ):
        assert await walked(client) == IDS


def answering(status: str, *fields: str) -> bytes:
    """Return a response of a proxy that echoes the credentials."""
    lines = [f"HTTP/1.1 {status} {SENT}", f"x-echo: {SENT}", "content-length: 0", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("answer", "status", "retryable", "said"),
    [
        (answering("403"), 403, False, "refuses to connect to api.example:443: 403 Forbidden"),
        (answering("405"), 405, False, "405 Method Not Allowed"),
        (answering("302"), 302, False, "302 Found"),
        (answering("599"), 599, True, "cannot connect to api.example:443: 599 "),
        (answering("502"), 502, True, "502 Bad Gateway"),
        (answering("503"), 503, True, "503 Service Unavailable"),
        (answering("504"), 504, True, "504 Gateway Timeout"),
        (answering("407"), 407, False, "does not accept the user or the password (407)"),
        (answering("401"), 401, False, "does not accept the user or the password (401)"),
        (
            answering("407", "Proxy-Authenticate: NTLM", f"Proxy-Authenticate: {SENT} x=y"),
            *(407, False, "does not accept the user or the password"),
        ),
        (
            answering("407", "Proxy-Authenticate: NTLM", "Proxy-Authenticate: negotiate x"),
            *(407, False, "It offers NTLM and Negotiate, and this client knows Basic alone"),
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", None, False, "does not answer in HTTP"),
        pytest.param(
            answering("200", f"x: {'a' * 9000}"),
            *(None, False, "sends too long or too many headers"),
            id="a header of 9000 bytes",
        ),
        pytest.param(
            answering("200", *["x: a"] * 200),
            *(None, False, "sends too long or too many headers"),
            id="200 headers",
        ),
        (b"", None, True, "closed the connection without an answer"),
    ],
    ids=repr,
)
async def test_refusals_of_a_proxy(
    answer: bytes,
    status: int | None,
    said: str,
    caplog: pytest.LogCaptureFixture,
    *,
    retryable: bool,
) -> None:
    """A refusal is a ProxyError that names the proxy, and shows none of the credentials."""
    caplog.set_level(logging.DEBUG)
    async with (
        LoopbackProxy("http://127.0.0.1:1", answer=answer) as proxy,
        AsyncMessagesClient(
            KEY, base_url="https://api.example/v1", proxy=with_user(proxy), retry=ONCE
        ) as client,
    ):
        with pytest.raises(ProxyError) as caught:
            await client.list(COMPLETION)
        assert f"the proxy 127.0.0.1:{proxy.port} (proxy=)" in str(caught.value)
    error = caught.value
    assert said.strip() in str(error)
    assert (error.status, error.retryable) == (status, retryable)
    shown = [*shown_by_error(error), *shown_by_log(caplog.records), ("client", repr(client))]
    for secret in (SECRET, "p%40ss", SENT.removeprefix("Basic "), KEY):
        assert [place for place, text in shown if secret in text] == []


async def test_a_proxy_that_wants_credentials() -> None:
    """Without a user and a password, the error says where to write them."""
    async with (
        LoopbackProxy("http://127.0.0.1:1", authorization=SENT) as proxy,
        AsyncMessagesClient(KEY, base_url="https://api.example/v1", proxy=proxy.url) as client,
    ):
        with pytest.raises(ProxyError, match=r"wants a user and a password \(407\)") as caught:
            await client.list(COMPLETION)
    assert "Write them into proxy= as http://user:password@host:port" in str(caught.value)
    assert len(proxy.heads) == 1  # it is not sent again


def page_of_a_proxy(status: int) -> bytes:
    """Return a response with a page for people."""
    page = "<title>Blocked</title>"
    fields = f"content-type: text/html\r\ncontent-length: {len(page)}\r\n"
    return f"HTTP/1.1 {status} X\r\n{fields}\r\n{page}".encode()


@pytest.mark.parametrize("status", [200, 302, 403, 404, 502, 503])
async def test_a_page_in_answer_to_plain_http(status: int) -> None:
    """A page for people may be that of the proxy, which got the request; the error says so."""
    async with (
        LoopbackProxy("http://127.0.0.1:1", answer=page_of_a_proxy(status)) as proxy,
        AsyncMessagesClient(
            KEY, base_url="http://127.0.0.1:1/v1", proxy=proxy.url, retry=ONCE
        ) as client,
    ):
        with pytest.raises(APIError) as caught:
            await client.list(COMPLETION)
        said = f"The proxy 127.0.0.1:{proxy.port} (proxy=) may have answered in place of the API."
    assert said in str(caught.value)
    assert not isinstance(caught.value, ProxyError)


async def test_an_error_in_json_behind_a_proxy() -> None:
    """An error in JSON is the API's, also if a proxy got the request."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.send(exchange.whole(b'{"error": {"message": "no"}}', status=403))

    async with (
        RawServer({1: refuse}) as server,
        LoopbackProxy(server.base_url) as proxy,
        AsyncMessagesClient(
            KEY, base_url="http://api.example/v1", proxy=proxy.url, allow_http=True
        ) as client,
    ):
        with pytest.raises(APIStatusError) as caught:
            await client.list(COMPLETION)
    assert "in place of the API" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_that_is_lost_later(ca_file: Path, scheme: str) -> None:
    """An error of a request that a proxy had taken names the proxy."""

    async def hang_up(exchange: Exchange) -> None:
        exchange.close()

    async with (
        RawServer({1: hang_up}, tls=certificate("api.example") if scheme == "https" else None) as s,
        LoopbackProxy(s.base_url) as proxy,
        AsyncMessagesClient(
            KEY,
            base_url=f"{scheme}://api.example/v1",
            proxy=proxy.url,
            ca_file=ca_file,
            allow_http=True,
            retry=ONCE,
        ) as client,
    ):
        with pytest.raises(APIConnectionError, match="was lost before a response") as caught:
            await client.list(COMPLETION)
        route = f"The connection goes through the proxy 127.0.0.1:{proxy.port} (proxy=)."
    assert str(caught.value).endswith(route)


async def test_a_407_from_behind_the_tunnel(ca_file: Path) -> None:
    """A 407 of the server is no error of the proxy, and gets no credentials."""

    async def claim(exchange: Exchange) -> None:
        await exchange.send(exchange.whole(b"{}", "Proxy-Authenticate: Basic", status=407))

    tls = certificate("api.example")
    async with (
        RawServer({1: claim}, tls=tls) as server,
        LoopbackProxy(server.base_url, authorization=SENT) as proxy,
        AsyncMessagesClient(
            KEY, base_url="https://api.example/v1", proxy=with_user(proxy), ca_file=ca_file
        ) as client,
    ):
        with pytest.raises(APIStatusError) as caught:
            await client.list(COMPLETION)
    assert caught.value.status == 407
    assert all("proxy-authorization" not in asked.headers for asked in server.asked)


async def test_plain_http_through_a_proxy_that_wants_credentials() -> None:
    """A 407 to a request for http:// is the proxy's as well."""
    async with (
        LoopbackProxy("http://127.0.0.1:1", authorization=SENT, offers="NTLM") as proxy,
        AsyncMessagesClient(
            KEY, base_url="http://127.0.0.1:1/v1", proxy=proxy.url, retry=ONCE
        ) as client,
    ):
        with pytest.raises(ProxyError, match="It offers NTLM") as caught:
            await client.list(COMPLETION)
    assert caught.value.status == 407


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Yield a proxy that takes connections and says nothing."""
    with addresses.no_handshake() as url:
        yield url.replace("https", "http").removesuffix("/v1")


@contextlib.asynccontextmanager
async def silent_for_tls() -> AsyncIterator[str]:
    """Yield the same with https://, as a proxy that waits for the end of a line."""
    async with silent() as url:
        yield url.replace("http://", "https://")


@contextlib.asynccontextmanager
async def absent() -> AsyncIterator[str]:
    """Yield a proxy that refuses connections."""
    with addresses.nobody_listens() as url:
        yield url.removesuffix("/v1")


@contextlib.asynccontextmanager
async def nameless() -> AsyncIterator[str]:
    """Yield a proxy whose name does not resolve (RFC 6761)."""
    yield "http://proxy.invalid:3128"


@contextlib.asynccontextmanager
async def plain_for_tls() -> AsyncIterator[str]:
    """Yield the URL of a proxy that does not speak TLS, with https://."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def tls_for_plain() -> AsyncIterator[str]:
    """Yield the URL of a proxy that speaks TLS, with http://."""
    async with LoopbackProxy("", tls=certificate("127.0.0.1")) as proxy:
        yield proxy.url.replace("https://", "http://")


@contextlib.asynccontextmanager
async def untrusted() -> AsyncIterator[str]:
    """Yield a proxy with TLS whose certificate nobody knows."""
    async with LoopbackProxy("", tls=addresses.CERTIFICATES["self-signed"]()) as proxy:
        yield proxy.url


@pytest.mark.parametrize(
    ("proxy", "expected", "said", "advice"),
    [
        (silent, APITimeoutError, "no connection to api.example:443 through ", "Check HTTPS_PROXY"),
        (
            *(silent_for_tls, APITimeoutError, "no connection to api.example:443 through "),
            "its URL begins with http://",
        ),
        (absent, ProxyError, "no connection to ", "Check HTTPS_PROXY"),
        (nameless, ProxyError, "the name of ", "Check HTTPS_PROXY"),
        (plain_for_tls, ProxyError, "TLS with ", "its URL begins with http://"),
        (tls_for_plain, ProxyError, "", "its URL begins with https://"),
        (untrusted, ProxyError, "TLS with ", "as ca_file="),
    ],
    ids=["silent", "silent for TLS", "absent", "nameless", "plain", "TLS", "untrusted"],
)
async def test_proxies_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
    ca_file: Path,
    proxy: Callable[[], AbstractAsyncContextManager[str]],
    expected: type[APIError],
    said: str,
    advice: str,
) -> None:
    """The error names the proxy and the variable to check."""
    async with proxy() as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        async with AsyncMessagesClient(
            KEY,
            base_url="https://api.example/v1",
            trust_env=True,
            ca_file=ca_file,
            retry=ONCE,
            timeout=Timeout(connect=0.3 if expected is APITimeoutError else 5),
        ) as client:
            with pytest.raises(expected) as caught:
                await client.list(COMPLETION)
    text = str(caught.value)
    assert f"{said}the proxy {url.partition('://')[2]} (HTTPS_PROXY)" in text
    assert advice in text


async def test_no_timeout_of_connecting() -> None:
    """Without a `connect`, the total counts for the proxy as well."""
    async with (
        silent() as url,
        AsyncMessagesClient(
            KEY,
            base_url="https://api.example/v1",
            proxy=url,
            retry=ONCE,
            timeout=Timeout(total=0.1, connect=None),
        ) as client,
    ):
        with pytest.raises(APITimeoutError):
            await client.list(COMPLETION)


async def test_an_untrusted_server_behind_a_proxy() -> None:
    """A certificate that is not trusted is a TLSError of the server, and says what to set."""
    async with (
        served() as server,
        LoopbackProxy(server.base_url) as proxy,
        AsyncMessagesClient(KEY, base_url="https://api.example/v1", proxy=proxy.url) as client,
    ):
        with pytest.raises(TLSError, match="ca_file= or in SSL_CERT_FILE"):
            await client.list(COMPLETION)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("REQUESTS_CA_BUNDLE", "REQUESTS_CA_BUNDLE is set but not used: set SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "SSL_CERT_FILE names /nowhere/ca.pem, which is missing: correct it."),
    ],
)
@pytest.mark.parametrize("proxied", [False, True])
async def test_a_variable_without_effect_on_trust(
    monkeypatch: pytest.MonkeyPatch, variable: str, said: str, *, proxied: bool
) -> None:
    """The error of an untrusted certificate, also of a proxy, names a variable that did nothing."""
    monkeypatch.setenv(variable, "/nowhere/ca.pem")
    async with served() as server, LoopbackProxy("", tls=certificate("127.0.0.1")) as proxy:
        options = {"proxy": proxy.url} if proxied else {}
        async with AsyncMessagesClient(KEY, base_url=server.base_url, **options) as client:
            with pytest.raises(ProxyError if proxied else TLSError) as caught:
                await client.list(COMPLETION)
    assert said in str(caught.value)


EARLY = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("names", "options", "said", "advice"),
    [
        (
            ["127.0.0.1"],
            {"not_after": datetime(2021, 1, 1, tzinfo=UTC)},
            "has expired",
            "Check the clock",
        ),
        (["api.example"], {}, "IP address mismatch", "Check the host of base_url"),
    ],
    ids=["expired", "of another host"],
)
async def test_a_certificate_that_no_authority_helps(
    ca_file: Path,
    names: list[str],
    options: dict[str, Any],
    said: str,
    advice: str,
) -> None:
    """The error says why, in words, and its advice is not about authorities to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = addresses.AUTHORITY.issue_cert(*names, not_before=EARLY, **options)
    issued.configure_cert(context)
    async with (
        RawServer(tls=context) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, ca_file=ca_file) as client,
    ):
        host = server.base_url.removeprefix("https://").removesuffix("/v1")
        with pytest.raises(TLSError) as caught:
            await client.list(COMPLETION)
    assert caught.value.message.startswith(f"the certificate is not accepted: {host}: ")
    assert said in caught.value.message
    assert caught.value.hint.startswith(advice)


async def test_a_connection_lost_behind_a_proxy(ca_file: Path) -> None:
    """A tunnel that ends in the TLS handshake is a ProxyError that names both ends."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        await reader.read(65536)  # with bytes left in the socket, the end would be a RST
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with (
        server,
        LoopbackProxy(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as proxy,
        AsyncMessagesClient(
            KEY,
            base_url="https://api.example/v1",
            proxy=proxy.url,
            ca_file=ca_file,
            retry=ONCE,
        ) as client,
    ):
        with pytest.raises(
            ProxyError, match=r"to api\.example:443 through the proxy 127"
        ) as caught:
            await client.list(COMPLETION)
    assert "a network that wants a login" in str(caught.value)


@pytest.mark.parametrize("trust_env", [False, True])
async def test_a_variable_that_is_set_but_not_used(
    monkeypatch: pytest.MonkeyPatch, *, trust_env: bool
) -> None:
    """A failed look-up of the API's name says which variable is not used, and why."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "api.invalid")
    async with AsyncMessagesClient(
        KEY, base_url="https://api.invalid/v1", trust_env=trust_env, retry=ONCE
    ) as client:
        with pytest.raises(APIConnectionError, match="does not resolve") as caught:
            await client.list(COMPLETION)
    why = "because NO_PROXY names the host" if trust_env else "pass trust_env=True to use it"
    assert not isinstance(caught.value, ProxyError)
    assert "HTTPS_PROXY is " in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize("origin", ["https://api.example", "http://api.example"])
async def test_tracers_see_no_credentials(ca_file: Path, origin: str) -> None:
    """The reprs of all that a TraceConfig gets show no credentials of the proxy."""
    seen: list[str] = []
    trace = aiohttp.TraceConfig()

    async def note(session: Any, context: Any, params: Any) -> None:
        seen.append(repr((session, context, params)) + repr(getattr(params, "headers", None)))

    for name in dir(trace):
        if name.startswith("on_"):
            getattr(trace, name).append(note)
    tls = certificate("api.example") if origin.startswith("https") else None
    async with (
        RawServer(tls=tls) as server,
        LoopbackProxy(server.base_url, authorization=SENT) as proxy,
        AsyncMessagesClient(
            KEY,
            base_url=f"{origin}/v1",
            proxy=with_user(proxy),
            ca_file=ca_file,
            allow_http=True,
            trace_configs=[trace],
        ) as client,
    ):
        assert await walked(client) == IDS
    assert len(seen) > 3
    for secret in (SECRET, "p%40ss", SENT.removeprefix("Basic ")):
        assert [text for text in seen if secret in text] == []


async def test_a_client_certificate(ca_file: Path) -> None:
    """A server that asks for the certificate of the client gets it, through a proxy as well."""
    both = ca_file.with_name("client.pem")
    issued = addresses.AUTHORITY.issue_cert("client@example.org")
    issued.private_key_and_cert_chain_pem.write_to_path(both)
    context = certificate("api.example", "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    addresses.AUTHORITY.configure_trust(context)
    options: Any = {"ca_file": ca_file, "client_cert": both}
    async with RawServer(tls=context) as server, LoopbackProxy(server.base_url) as proxy:
        async with AsyncMessagesClient(KEY, base_url=server.base_url, **options) as client:
            assert await walked(client) == IDS
        api = "https://api.example/v1"
        async with AsyncMessagesClient(KEY, base_url=api, proxy=proxy.url, **options) as client:
            assert await walked(client) == IDS
        assert server.connections == 2
        async with AsyncMessagesClient(
            KEY, base_url=server.base_url, ca_file=ca_file, retry=ONCE
        ) as client:
            with pytest.raises(APIConnectionError):
                await walked(client)


@contextlib.contextmanager
def refusing(version: ssl.TLSVersion) -> Iterator[str]:
    """Yield the URL of a server that wants a certificate of the client, and says why it ends.

    asyncio would end the connection before its alert is sent.
    """
    context = certificate("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    addresses.AUTHORITY.configure_trust(context)

    def serve() -> None:
        with (
            contextlib.suppress(OSError),
            listening.accept()[0] as taken,
            context.wrap_socket(taken, server_side=True, do_handshake_on_connect=False) as wrapped,
        ):
            with contextlib.suppress(ssl.SSLError):
                wrapped.do_handshake()
            wrapped.settimeout(5)
            while socket.socket.recv(wrapped, 65536):  # else the end would be a RST
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        thread.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
@pytest.mark.parametrize("has_expired", [False, True])
async def test_a_client_certificate_that_is_refused(
    ca_file: Path, version: ssl.TLSVersion, *, has_expired: bool
) -> None:
    """A server that refuses the client's certificate, or misses one, is a TLSError that says so."""
    path = ca_file.with_name("expired.pem")
    day = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
    issued = addresses.AUTHORITY.issue_cert("c@example.org", not_before=day, not_after=day)
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    options: Any = {"ca_file": ca_file, **({"client_cert": path} if has_expired else {})}
    with refusing(version) as base_url:
        async with AsyncMessagesClient(KEY, base_url=base_url, **options) as client:
            with pytest.raises(TLSError, match="wants another certificate") as caught:
                await client.list(COMPLETION)
    assert caught.value.attempts == 1
    assert "client_cert=" in str(caught.value)


async def test_a_client_certificate_that_is_replaced(
    ca_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A new connection takes the certificate that its files have by then, or else the last one."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def replace(name: str, *, also_key: bool = True) -> None:
        issued = addresses.AUTHORITY.issue_cert(name)
        cert.write_bytes(issued.cert_chain_pems[0].bytes())
        if also_key:
            key.write_bytes(issued.private_key_pem.bytes())

    subjects: list[str] = []

    async def note(exchange: Exchange) -> None:
        peer = exchange.writer.get_extra_info("peercert")
        subjects.append(dict(peer["subjectAltName"])["email"])
        await exchange.send(exchange.right("connection: close"))

    context = certificate("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    addresses.AUTHORITY.configure_trust(context)
    replace("a@example.org")
    async with (
        RawServer({1: note}, tls=context) as server,
        AsyncMessagesClient(
            KEY, base_url=server.base_url, ca_file=ca_file, client_cert=(cert, key), retry=ONCE
        ) as client,
    ):
        await client.list(COMPLETION)
        replace("b@example.org")
        await client.list(COMPLETION)
        replace("c@example.org", also_key=False)  # the key follows in a moment
        for _ in range(2):
            await client.list(COMPLETION)
        cert.unlink()
        await client.list(COMPLETION)
        replace("d@example.org")
        await client.list(COMPLETION)
    assert [subject[0] for subject in subjects] == ["a", "b", "b", "b", "b", "d"]
    mismatch, missing = (
        record.getMessage() for record in caplog.records if record.name == "aiomessages"
    )
    assert "the last certificate stays in use" in mismatch
    assert "the key does not belong to the certificate" in mismatch
    assert "No such file" in missing


async def test_a_context_of_ones_own(ca_file: Path) -> None:
    """`ssl_context=` is used for the connections."""
    context = ssl.create_default_context(cafile=ca_file)
    async with (
        served() as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, ssl_context=context) as client,
    ):
        assert await walked(client) == IDS


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"proxy": "http://p:1"}, "proxy="),
        ({"trust_env": True}, "trust_env="),
        ({"ca_file": "x", "client_cert": "y"}, "ca_file= and client_cert="),
        ({"ssl_context": ssl.create_default_context()}, "ssl_context="),
    ],
    ids=["proxy", "variables", "files", "context"],
)
async def test_a_session_of_ones_own(options: dict[str, Any], named: str) -> None:
    """These options cannot change a session, and the error says how to make it with them."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(
            ConfigurationError, match=f"^{named} cannot change the session"
        ) as caught:
            AsyncMessagesClient(KEY, session=session, **options)
    assert "ClientSession(proxy=…, connector=TCPConnector(ssl=…))" in str(caught.value)


def test_another_base_url() -> None:
    """A client with another base_url has the same proxy, which must not read the key."""
    client = AsyncMessagesClient(KEY, proxy="http://proxy.example:1")
    client.with_options(base_url="https://other.example/v1")
    client.with_options(base_url="http://127.0.0.1:1/v1", allow_http=True)
    with pytest.raises(ConfigurationError, match="would read the API key"):
        client.with_options(base_url="http://127.0.0.1:1/v1")


async def test_a_session_that_may_use_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a session that was passed in, no error says that it uses no proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with aiohttp.ClientSession(trust_env=True) as session:
        client = AsyncMessagesClient(
            KEY, base_url="https://api.example/v1", session=session, retry=ONCE
        )
        with pytest.raises(APIConnectionError, match="no connection") as caught:
            await client.list(COMPLETION)
    assert "not used" not in str(caught.value)
