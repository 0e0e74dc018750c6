"""Who may read, over a real socket: each route and each attack."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import socket
from typing import TYPE_CHECKING

import pytest
from conftest_view import Opened, opened

from aiomessages import view
from aiomessages.view import Access

if TYPE_CHECKING:
    from pathlib import Path

    from conftest_view import Answer

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "SPY"]
# aiohttp's parser refuses some requests, such as those by methods that it does not know.
TITLES = ["This page is closed", "This request cannot be read"]
PARAMETERS = re.compile(r"\{[^{}]*\}")


def routes(room: Opened) -> list[str]:
    """Return an address for each route of the router, and some that are none."""
    patterns = [resource.canonical for resource in room.app.router.resources()]
    filled = {PARAMETERS.sub("1", pattern) for pattern in patterns}
    return [*sorted(filled), "/no/such/page", "/static/../view.css", "/c/", "//", "/%00", "/c/\xe9"]


def is_denied(answer: Answer) -> bool:
    """Return whether an answer is the one for all who may not read."""
    return (
        answer.status == 403
        and answer.has_all_headers()
        and answer.headers["Cache-Control"] == "no-store"
        and "Set-Cookie" not in answer.headers
        and (not answer.body or any(title in answer.text for title in TITLES))
    )


async def test_every_route_is_closed_without_the_cookie(room: Opened) -> None:
    """Each route, unknown path and method is answered by 403, with all headers."""
    addresses = routes(room)
    assert len(addresses) > 7
    for target in addresses:
        for method in METHODS:
            target_of = room.host if method == "CONNECT" else target
            answer = await room.ask(target_of, method=method)
            assert is_denied(answer), (method, target)


async def test_a_header_that_expects_something_is_denied_as_well(room: Opened) -> None:
    """Neither `Expect: 100-continue` nor another expectation is answered before the check."""
    for target in routes(room):
        for expected in ("100-continue", "the-unexpected"):
            assert is_denied(await room.ask(target, {"Expect": expected}, method="POST"))


@pytest.mark.parametrize(
    "sent",
    [
        b"SPAM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nCookie: " + b"a" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # the begin of TLS
    ],
)
async def test_what_is_no_request_gets_a_page(room: Opened, sent: bytes) -> None:
    """A malformed request is answered by 403 as well, with all headers and without a traceback."""
    answer = await room.send(sent)
    assert is_denied(answer)
    assert "Traceback" not in answer.text
    assert "aiohttp" not in answer.text


async def test_the_token_becomes_a_cookie_and_leaves_the_address(room: Opened) -> None:
    """The token is answered by a strict cookie, and by a page that goes on without the token."""
    answer = await room.ask(f"/c/a%2Fb%22?m=3&token={room.access.token}&q=%22x%22")
    assert answer.status == 200
    assert answer.has_all_headers()
    assert answer.headers["Cache-Control"] == "no-store"
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"aiomessages-{room.access.port}=")
    assert set(cookie.split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=Strict"}
    assert room.access.token not in answer.text
    assert room.access.token not in cookie
    assert 'content="0; url=./a%2Fb%22?m=3&q=%22x%22"' in answer.text


@pytest.mark.parametrize(
    ("target", "without"),
    [
        ("/?token={}", "./"),
        ("/?a=1&t%6Fken={}", "./?a=1"),
        ("/overview?token={}", "./overview"),
        ("//evil.example/?token={}", "./"),
        ("/%2F%2Fevil.example?token={}", "./%2F%2Fevil.example"),
        ("/javascript:alert(1)?token={}", "./javascript%3Aalert%281%29"),
        ('/"><script>?token={}&">=<', "./%22%3E%3Cscript%3E?%22%3E=%3C"),
        ("/?token={}&b=%FF", "./?b=%FF"),
    ],
)
async def test_the_way_on_stays_here(room: Opened, target: str, without: str) -> None:
    """Whatever the address is, the page goes on to the same one, without the token."""
    answer = await room.ask(target.format(room.access.token))
    assert answer.status == 200
    assert f'href="{without}"' in answer.text
    assert f'content="0; url={without}"' in answer.text


async def test_the_token_works_again(room: Opened) -> None:
    """The printed address opens the pages again, in another browser as well."""
    for _ in range(2):
        answer = await room.ask(f"/?token={room.access.token}")
        assert "Set-Cookie" in answer.headers


async def test_a_token_for_once_works_once(room: Opened) -> None:
    """The token of a browser's command line, which others can read, works once."""
    token = room.access.token_for_once()
    assert (await room.ask(f"/?token={token}")).status == 200
    assert is_denied(await room.ask(f"/?token={token}"))


async def test_a_token_for_once_is_for_no_other_user(
    room: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user, who reads the browser's command line, is not admitted and uses nothing up."""
    token = room.access.token_for_once()
    if os.geteuid():
        with monkeypatch.context() as changed:
            changed.setattr(os, "getuid", lambda: os.geteuid() + 1)
            assert is_denied(await room.ask(f"/?token={token}"))
    else:  # whose own sockets are let in: root needs no token
        assert is_denied(await room.ask(f"/?token={token}", source=socket_of_nobody()))
    answer = await room.ask(f"/?token={room.access.token}", source=socket_of_nobody())
    assert answer.status == 200
    assert (await room.ask(f"/?token={token}")).status == 200


def socket_of_nobody() -> socket.socket:
    """Return a socket of another user, as far as this program may make one."""
    user = os.geteuid()
    if not user:
        os.seteuid(65_534)
    try:
        return socket.socket()
    finally:
        os.seteuid(user)


async def test_old_cookies_are_removed(room: Opened) -> None:
    """Of the cookies of other ports the newest ten stay, so that they never grow too long."""
    others = [f"aiomessages-{port}=x" for port in range(9000, 9015)]
    cookies = "; ".join([*others, "other=y", "aiomessages-=z", "aiomessages-9000=x"])
    answer = await room.ask(f"/?token={room.access.token}", {"Cookie": cookies})
    own, *removed = answer.headers.getall("Set-Cookie")
    assert own.startswith(f"{room.access.cookie}=")
    assert [cookie.partition("=")[0] for cookie in removed] == [
        f"aiomessages-{port}" for port in range(9000, 9005)
    ]
    assert all("Max-Age=0" in cookie for cookie in removed)


async def test_clients_that_ask_for_nothing(sample: Path) -> None:
    """Connections without a request are limited; when they end the pages are there again."""
    async with opened(sample) as other:
        opening = [asyncio.open_connection("127.0.0.1", other.access.port) for _ in range(140)]
        silent = await asyncio.gather(*opening)
        reading = [asyncio.create_task(reader.read()) for reader, _ in silent]
        try:
            async with asyncio.timeout(10):
                for _, closed in zip(range(12), asyncio.as_completed(reading), strict=False):
                    assert await closed == b""
            assert not all(task.done() for task in reading)
        finally:
            for _, writer in silent:
                writer.close()
                await writer.wait_closed()
            await asyncio.gather(*reading)
        assert (await other.get("/static/view.css")).status == 200


async def test_an_upgrade_is_not_made(room: Opened) -> None:
    """A request to become a WebSocket or HTTP/2 is a request like any other, and is checked."""
    for name in ("websocket", "h2c"):
        headers = {"Upgrade": name, "Sec-WebSocket-Key": "dGhl", "Sec-WebSocket-Version": "13"}
        assert is_denied(await room.ask("/", headers))
        assert is_denied(
            await room.ask("/", headers | {"Cookie": room.cookie, "Origin": "http://evil.example"})
        )
        answer = await room.ask("/static/view.css", headers | {"Cookie": room.cookie})
        assert answer.status == 200


async def test_a_part_of_a_file_is_checked_as_well(room: Opened) -> None:
    """A range opens nothing without the cookie, and brings everything with it."""
    headers = {"Range": "bytes=0-3"}
    for target in routes(room):
        assert is_denied(await room.ask(target, headers))
    whole = await room.get("/static/view.css")
    part = await room.ask("/static/view.css", headers | {"Cookie": room.cookie})
    assert (part.status, part.body) == (200, whole.body)


async def test_wrong_tokens(room: Opened) -> None:
    """A token that is wrong, empty, cut, sent twice or not by GET opens nothing."""
    token, secret = room.access.token, room.cookie.partition("=")[2]
    for wrong in ("", "x", token[:-1], token + "x", token.swapcase(), secret, "%00", "%C3%A9" * 9):
        assert is_denied(await room.ask(f"/?token={wrong}"))
    assert is_denied(await room.ask(f"/?token={token}&token={token}"))
    assert is_denied(await room.ask(f"/?token={token}", method="POST"))
    assert is_denied(await room.ask(f"/?token={token}", method="HEAD"))


async def test_wrong_cookies(room: Opened) -> None:
    """The token, another value, another name and the cookie of another port open nothing."""
    name, _, secret = room.cookie.partition("=")
    other = f"aiomessages-{room.access.port + 1}"
    for cookie in (
        f"{name}={room.access.token}",
        f"{name}={secret[:-1]}",
        f"{name}=",
        name,
        f"{other}={secret}",
        f"{name.upper()}={secret}",
        f'{name}="{secret}"x',
        "; ;=;",
    ):
        assert is_denied(await room.ask("/static/view.css", {"Cookie": cookie})), cookie


async def test_a_cookie_that_another_server_has_set(room: Opened) -> None:
    """A second cookie of the name, which any server of this machine can set, locks nobody out."""
    name = room.cookie.partition("=")[0]
    for cookie in (f"{name}=x; {room.cookie}", f"{room.cookie}; {name}=x"):
        assert (await room.ask("/static/view.css", {"Cookie": cookie})).status == 200


async def test_secrets_are_compared_in_constant_time(
    room: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token and cookie are compared by `hmac.compare_digest`."""
    compared: list[bytes] = []

    def compare(sent: bytes, secret: bytes) -> bool:
        compared.append(sent)
        return sent == secret

    monkeypatch.setattr(hmac, "compare_digest", compare)
    await room.ask("/?token=guess")
    await room.ask("/", {"Cookie": f"{room.access.cookie}=guess"})
    assert compared == [b"guess", b"guess"]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1:{port}0",
        "127.0.0.1:0{port}",
        "127.0.0.1.:{port}",
        "localhost.:{port}",
        "LOCALHOST:{port}",
        "127.0.0.2:{port}",
        "127.1:{port}",
        "2130706433:{port}",
        "0.0.0.0:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "[::1]",
        "127.0.0.1:{port}, evil.example",
        "evil.example@127.0.0.1:{port}",
        "127.0.0.1:{port}.nip.io",
        "",
    ],
)
async def test_other_hosts(room: Opened, host: str) -> None:
    """A request to another host is denied, whatever it brings: its name may point here."""
    host = host.format(port=room.access.port)
    assert is_denied(await room.ask("/", {"Cookie": room.cookie}, host=host))
    assert is_denied(await room.ask(f"/?token={room.access.token}", host=host))


async def test_own_hosts(room: Opened) -> None:
    """The three names of loopback are those that a browser sends."""
    for name in ("127.0.0.1", "localhost", "[::1]"):
        host = f"{name}:{room.access.port}"
        answer = await room.ask("/static/view.css", {"Cookie": room.cookie}, host=host)
        assert answer.status == 200


async def test_the_host_of_a_reverse_proxy(sample: Path) -> None:
    """A host that was allowed is accepted as it was written, and no other."""
    async with opened(sample, hosts=["read.example.com", "other.example:8443"]) as room:
        for host, status in {
            "read.example.com": 200,
            "other.example:8443": 200,
            "read.example.com:443": 403,
            "other.example": 403,
        }.items():
            headers = {"Cookie": room.cookie, "Origin": f"https://{host}"}
            assert (await room.ask("/static/view.css", headers, host=host)).status == status


async def test_the_port_that_browsers_leave_out() -> None:
    """On port 80 a browser sends no port, and the names are accepted without one."""
    assert "127.0.0.1" in vars(Access(80))["_hosts"]
    assert "127.0.0.1" not in vars(Access(8080))["_hosts"]


async def test_requests_with_a_host_in_their_first_line(room: Opened) -> None:
    """A request line with a whole URL is denied, since it may name another host than the header."""
    for target in ("http://evil.example/", f"http://{room.host}/", "evil.example:80", "*", "c"):
        assert is_denied(await room.ask(target, {"Cookie": room.cookie}))


async def test_requests_with_two_hosts_or_none(room: Opened) -> None:
    """Of two hosts one may be wrong, and without one there is nothing to check."""
    cookie = f"Cookie: {room.cookie}\r\n"
    for lines in (
        f"Host: {room.host}\r\nHost: evil.example\r\n",
        f"Host: evil.example\r\nHost: {room.host}\r\n",
        f"Host: {room.host}\r\nHost: {room.host}\r\n",
        "",
    ):
        sent = f"GET / HTTP/1.1\r\n{lines}{cookie}Connection: close\r\n\r\n".encode()
        assert is_denied(await room.send(sent))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "SAME-ORIGIN", "", "none, cross-site"])
async def test_requests_from_other_sites(room: Opened, site: str) -> None:
    """A request that another site has caused is denied, also with the cookie."""
    for mode, goal in (("navigate", "document"), ("no-cors", "script"), ("cors", "empty")):
        headers = {
            "Cookie": room.cookie,
            "Sec-Fetch-Site": site,
            "Sec-Fetch-Mode": mode,
            "Sec-Fetch-Dest": goal,
        }
        assert is_denied(await room.ask("/static/view.js", headers))


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_requests_from_here(room: Opened, site: str) -> None:
    """The address bar and the pages themselves may ask."""
    headers = {"Cookie": room.cookie, "Sec-Fetch-Site": site}
    assert (await room.ask("/static/view.js", headers)).status == 200


async def test_a_link_in_another_site(room: Opened) -> None:
    """Another site may link to the address with the token; it may not load it in any other way."""
    target = f"/?token={room.access.token}"
    site = {"Sec-Fetch-Site": "cross-site"}
    click = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (await room.ask(target, site | click)).status == 200
    for other in (
        {},
        click | {"Sec-Fetch-Dest": "iframe"},
        click | {"Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Mode": "navigate"},
    ):
        assert is_denied(await room.ask(target, site | other))


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://127.0.0.1", "http://localhost:{port}", "file://", ""],
)
async def test_other_origins(room: Opened, origin: str) -> None:
    """A request of another origin is denied, whatever it brings; `null` is another one."""
    headers = {"Cookie": room.cookie, "Origin": origin.format(port=room.access.port)}
    assert is_denied(await room.ask("/static/view.js", headers))
    assert is_denied(await room.ask(f"/?token={room.access.token}", headers))


async def test_the_own_origin(room: Opened) -> None:
    """A form of the page sends the page's own origin."""
    headers = {"Cookie": room.cookie, "Origin": f"http://{room.host}"}
    assert (await room.ask("/static/view.js", headers)).status == 200


async def test_the_closed_page_leads_back(room: Opened) -> None:
    """Who comes from another site, with the cookie, finds a link to the same page."""
    answer = await room.ask("/c/a%20b?m=2&token=wrong", {"Sec-Fetch-Site": "same-site"})
    assert is_denied(answer)
    assert 'href="./a%20b?m=2"' in answer.text
    assert "aiomessages view" in answer.text


async def test_nothing_can_be_changed(room: Opened) -> None:
    """Each method but GET and HEAD is answered by 405, and says which are allowed."""
    for method in METHODS[2:]:
        answer = await room.get("/static/view.css", method=method)
        if is_denied(answer) or method == "CONNECT":  # unknown to the parser; it has no path
            continue
        assert answer.status == 405, method
        assert answer.headers["Allow"] == "GET, HEAD"
        assert answer.has_all_headers()
        assert "can only be read" in answer.text


async def test_head_answers_as_get_does_without_a_body(room: Opened) -> None:
    """HEAD has the status and the headers of GET."""
    for target in ("/static/view.css", "/no/such/page"):
        got, head = await room.get(target), await room.get(target, method="HEAD")
        assert (head.status, head.body) == (got.status, b"")
        assert head.headers["Content-Length"] == str(len(got.body))
        assert head.has_all_headers()


def test_secrets_do_not_show(room: Opened) -> None:
    """The repr of Access has neither token nor cookie."""
    assert repr(room.access) == f"Access({room.access.port})"


def test_each_run_has_its_own_secrets() -> None:
    """Two runs on the same port have different tokens."""
    assert Access(1).token != Access(1).token
    assert len(Access(1).token) > 40


def test_the_public_names() -> None:
    """A prompt offers the names of the package, and each of them is there."""
    assert dir(view) == sorted(view.__all__)
    assert all(hasattr(view, name) for name in dir(view))
