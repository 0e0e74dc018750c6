"""A real nginx and a real proxy: keep-alive of one second, reloads, gzip, limits, refusals.

Skipped without the programs: `nox -s network` installs Debian's.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults import addresses

from aiomessages import (
    APIError,
    AsyncMessagesClient,
    BadRequestError,
    InternalServerError,
    ProxyError,
    RetryPolicy,
)
from aiomessages.export import export
from aiomessages.testing import MessagesServer

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
TINYPROXY = shutil.which("tinyproxy") or shutil.which("tinyproxy", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    not (NGINX and TINYPROXY), reason="there is no nginx or no tinyproxy here"
)

KEY = "key-of-the-tests-0123456789"
COMPLETION = "chatcmpl-long"
COUNT = 120
MANY = 40
ONCE = RetryPolicy(max_retries=0)
OFTEN = RetryPolicy(max_retries=8, initial_backoff=0.01, max_backoff=0.2)

# Buffering is off, as the pages of a gateway often are; gzip then sends chunks of unknown length.
CONFIGURATION = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections {connections}; }}
http {{
    log_format requests "$connection $status $sent_http_content_encoding";
    access_log {folder}/access.log requests;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on; gzip_types application/json; gzip_min_length 0;
    keepalive_timeout 1s;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    ssl_client_certificate {folder}/ca.pem;
    server {{
        listen 127.0.0.1:{port} ssl;
        location / {{
            proxy_pass {upstream}; proxy_http_version 1.1; proxy_buffering off;
        }}
    }}
    server {{
        listen 127.0.0.1:{strict} ssl;
        ssl_verify_client on;
        location / {{ proxy_pass {upstream}; }}
    }}
    server {{
        listen 127.0.0.1:{broken} ssl;
        location / {{ proxy_pass http://127.0.0.1:{nobody}; }}
    }}
    # Of four requests, two reach the server, one is refused, and one is not answered.
    upstream flaky {{
        server {address} max_fails=0; server 127.0.0.1:{nobody} max_fails=0;
        server {address} max_fails=0; server 127.0.0.1:{silent} max_fails=0;
    }}
    server {{
        listen 127.0.0.1:{flaky} ssl;
        location / {{
            proxy_pass http://flaky; proxy_next_upstream off; proxy_read_timeout 300ms;
        }}
    }}
    limit_req_zone $server_port zone=all:1m rate=40r/s;
    server {{
        listen 127.0.0.1:{limited} ssl;
        keepalive_requests 3;
        location / {{ proxy_pass {upstream}; limit_req zone=all burst=20 nodelay; }}
    }}
    server {{
        listen 127.0.0.1:{limited_429} ssl;
        location / {{
            proxy_pass {upstream}; limit_req zone=all burst=2 nodelay; limit_req_status 429;
        }}
    }}
}}
"""


@dataclass
class Parts:
    """The running programs: URLs for a client, and what nginx has logged."""

    folder: Path
    nginx: "subprocess.Popen[bytes]"
    ports: dict[str, int]

    def options(self, server: str = "port", user: str = "user:pass") -> dict[str, Any]:
        """Return the arguments of a client that reaches a server of nginx by the proxy."""
        return {
            "base_url": f"https://127.0.0.1:{self.ports[server]}/v1",
            "proxy": f"http://{user}@127.0.0.1:{self.ports['proxy']}",
            "ca_file": self.folder / "ca.pem",
        }

    def logged(self) -> list[list[str]]:
        """Return the connection, the status and the coding of each request."""
        return [line.split() for line in (self.folder / "access.log").read_text().splitlines()]


@contextlib.contextmanager
def running(command: list[str], *ports: int) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a program until the block ends; wait until it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for port in ports:
            while True:
                assert process.poll() is None, f"{command[0]} ended"
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
        yield process
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    """Yield a stack that is closed at the end."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def parts(
    tmp_path: Path, record: Any, request: pytest.FixtureRequest, closing: contextlib.ExitStack
) -> Iterator[Parts]:
    """Run a server of messages behind nginx, and a proxy with a password."""
    connections = getattr(request, "param", 512)
    names = ("port", "strict", "broken", "flaky", "limited", "limited_429", "nobody", "proxy")
    silent = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = dict(zip(names, (one.getsockname()[1] for one in sockets), strict=True))
    addresses.AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, identity in (("server", "127.0.0.1"), ("client", "client@example.org")):
        issued = addresses.AUTHORITY.issue_cert(identity)
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    records = [record("long", COUNT), *(record(f"c{n}", 25) for n in range(MANY))]
    with MessagesServer(records=records, api_key=KEY) as server:
        configuration = CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",
            folder=tmp_path,
            upstream=server.base_url.removesuffix("/v1"),
            address=server.base_url.removesuffix("/v1").removeprefix("http://"),
            connections=connections,
            silent=silent.getsockname()[1],
            **ports,
        )
        (tmp_path / "nginx.conf").write_text(configuration)
        (tmp_path / "tinyproxy.conf").write_text(
            f"Listen 127.0.0.1\nPort {ports['proxy']}\nTimeout 60\nMaxClients 50\n"
            f'LogFile "{tmp_path}/tinyproxy.log"\nBasicAuth user pass\n'
            + "".join(f"ConnectPort {ports[name]}\n" for name in names[:-1])
        )
        nginx = [str(NGINX), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        tinyproxy = [str(TINYPROXY), "-d", "-c", str(tmp_path / "tinyproxy.conf")]
        with (
            running(nginx, *(ports[name] for name in names[:-2])) as process,
            running(tinyproxy, ports["proxy"]),
        ):
            yield Parts(tmp_path, process, ports)


async def walked(client: AsyncMessagesClient, limit: int = 10) -> list[str]:
    """Return the numbers of the messages, as they are read page by page."""
    stream = client.list(COMPLETION, limit=limit)
    return [str(message.content).rpartition(" ")[2] async for message in stream]


WHOLE = [str(number) for number in range(COUNT)]


async def test_one_tunnel_for_a_walk(parts: Parts) -> None:
    """All requests of a walk take one tunnel, and nginx compresses each page."""
    async with AsyncMessagesClient(KEY, **parts.options()) as client:
        assert await walked(client) == WHOLE
    connections, statuses, codings = map(set, zip(*parts.logged(), strict=True))
    assert (len(connections), statuses, codings) == (1, {"200"}, {"gzip"})
    assert len(parts.logged()) == 12


async def test_a_keep_alive_of_one_second(parts: Parts) -> None:
    """A connection that nginx closes in the middle of a walk costs no message, and no retry."""
    retries: list[Any] = []
    seen: list[str] = []
    async with AsyncMessagesClient(KEY, on_retry=retries.append, **parts.options()) as client:
        async for message in client.list(COMPLETION, limit=10, prefetch=False):
            seen.append(str(message.content).rpartition(" ")[2])
            if len(seen) == 15:
                # nginx alone knows when it closes the connection, and logs nothing of it.
                await asyncio.sleep(1.5)
        assert seen == WHOLE
    assert len({connection for connection, *_ in parts.logged()}) == 2
    assert retries == []


@pytest.mark.parametrize("proxied", [False, True])
async def test_reloads_in_the_middle_of_a_walk(parts: Parts, *, proxied: bool) -> None:
    """Nginx replaces its workers while a conversation is read: each message comes once."""
    options = parts.options()
    if not proxied:
        del options["proxy"]
    seen: list[str] = []
    async with AsyncMessagesClient(KEY, **options) as client:
        async for message in client.list(COMPLETION, limit=2):
            seen.append(str(message.content).rpartition(" ")[2])
            if len(seen) % 30 == 0:
                parts.nginx.send_signal(signal.SIGHUP)
    assert seen == WHOLE


async def test_refusals_of_the_proxy(parts: Parts) -> None:
    """A wrong password, a port that is not allowed, and one where nobody listens."""
    cases = [
        ("port", "user:wrong", 401, "does not accept the user or the password"),
        ("proxy", "user:pass", 403, "refuses to connect to"),
        ("nobody", "user:pass", 500, "cannot connect to"),
    ]
    for server, user, status, said in cases:
        options = parts.options(server, user)
        async with AsyncMessagesClient(KEY, retry=ONCE, **options) as client:
            with pytest.raises(ProxyError, match=said) as caught:
                await walked(client)
        assert caught.value.status == status


async def test_a_gateway_behind_the_proxy(parts: Parts) -> None:
    """A 502 of nginx is the API's error, and no error of the proxy."""
    async with AsyncMessagesClient(KEY, retry=ONCE, **parts.options("broken")) as client:
        with pytest.raises(InternalServerError) as caught:
            await walked(client)
    assert caught.value.status == 502


async def test_a_certificate_of_the_client(parts: Parts) -> None:
    """Nginx refuses a client without a certificate, and reads one with it."""
    options = parts.options("strict")
    async with AsyncMessagesClient(KEY, retry=ONCE, **options) as client:
        with pytest.raises(BadRequestError):
            await walked(client)
    cert = parts.folder / "client.pem"
    async with AsyncMessagesClient(KEY, client_cert=cert, **options) as client:
        assert await walked(client) == WHOLE


# --- a gateway under load, in the middle of walks and exports -------------------------------------


async def exported(client: AsyncMessagesClient, path: Path, **options: Any) -> None:
    """Export all completions but the long one, and check that each message is there once."""
    ids = [f"chatcmpl-c{number}" for number in range(MANY)]
    await export(client, ids, path, **options)
    assert rows_of(path) == sorted((name, f"{name}-{n}") for name in ids for n in range(25))


def rows_of(path: Path) -> list[tuple[str, str]]:
    """Return the completions and messages of an export, in the order of their ids."""
    rows = map(json.loads, path.read_text().splitlines())
    return sorted((row["completion_id"], row["message"]["id"]) for row in rows)


async def test_pages_without_buffering(parts: Parts) -> None:
    """A page that nginx passes on as it arrives, compressed in chunks, is whole in an export."""
    async with AsyncMessagesClient(KEY, **parts.options()) as client:
        await exported(client, parts.folder / "a.jsonl", limit=10)
    assert {tuple(line[1:]) for line in parts.logged()} == {("200", "gzip")}


async def test_pages_of_errors_in_the_middle_of_a_walk(parts: Parts) -> None:
    """The pages of nginx for 502 and 504 are retried, and each message comes once."""
    errors: list[APIError] = []
    async with AsyncMessagesClient(
        KEY,
        **parts.options("flaky"),
        retry=OFTEN,
        on_retry=lambda details: errors.append(details.error),
    ) as client:
        assert await walked(client) == WHOLE
    assert {error.status for error in errors} == {502, 504}  # type: ignore[attr-defined]
    assert {type(error) for error in errors} == {InternalServerError}
    assert not any("<" in str(error) for error in errors)


@pytest.mark.parametrize(
    ("server", "options", "refusal"),
    [("limited_429", {}, "429"), ("limited", {"max_rps": 25}, "503")],
    ids=["429", "503, with max_rps"],
)
async def test_a_limit_of_requests_in_an_export(
    parts: Parts, server: str, options: dict[str, Any], refusal: str
) -> None:
    """An export finds the limit of nginx by its 429s; a limit with 503s needs `max_rps`.

    That nginx closes each connection after three requests costs nothing.
    """
    async with AsyncMessagesClient(KEY, **parts.options(server), retry=OFTEN) as client:
        await exported(client, parts.folder / "a.jsonl", limit=10, **options)
    assert {line[1] for line in parts.logged()} <= {"200", refusal}


async def test_reloads_in_the_middle_of_an_export(parts: Parts) -> None:
    """Nginx replaces its workers while conversations are exported: each message comes once."""

    async def reload() -> None:
        while True:
            parts.nginx.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.1)

    reloading = asyncio.ensure_future(reload())
    try:
        async with AsyncMessagesClient(KEY, **parts.options(), retry=OFTEN) as client:
            await exported(client, parts.folder / "a.jsonl", limit=2)
    finally:
        reloading.cancel()


@pytest.mark.parametrize("parts", [14], indirect=True)
async def test_too_few_connections_of_a_worker(parts: Parts) -> None:
    """A worker without free connections hangs up on some requests; all walks are whole."""
    log = parts.folder / "error.log"
    async with asyncio.timeout(60):
        while "worker_connections are not enough" not in log.read_text():
            async with AsyncMessagesClient(KEY, **parts.options(), retry=OFTEN) as client:
                walks = await asyncio.gather(*(walked(client, limit=40) for _ in range(10)))
            assert walks == [WHOLE] * 10


async def test_headers_that_are_too_large(parts: Parts) -> None:
    """The page of nginx about headers that are too large is an error with its title."""
    headers = {f"x-large-{n}": "x" * 7000 for n in range(6)}
    async with AsyncMessagesClient(KEY, **parts.options(), default_headers=headers) as client:
        with pytest.raises(BadRequestError, match="400 Request Header Or Cookie Too Large"):
            await walked(client)
