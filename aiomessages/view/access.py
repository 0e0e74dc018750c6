"""Who may read: nobody, unless each check of this module passes.

The socket listens on this machine alone, but every page of a browser on it can send requests there,
and every user of it. So a request has to name a host of the list (a name that was pointed here by
DNS is none), must not come from another site, and must have the cookie of this run. The cookie is
given for the token, which only the printed address has. Nothing else is answered, not even with the
news that a page does not exist.
"""

import hmac
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from html import escape
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from .peer import owner_of

TOKEN: Final = "token"  # the name in the query  # noqa: S105
_SITES: Final = {"same-origin", "none"}  # of Sec-Fetch-Site; `none` is the address bar
_COOKIE: Final = re.compile(r"aiomessages-[0-9]{1,5}")
_MOST_COOKIES: Final = 10  # of other runs

# Every answer has these headers, those to malformed requests included.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self';"
        " img-src 'self' data:; media-src 'self' data:; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Server": "aiomessages",  # aiohttp would name the versions of itself and of Python
}
_PLAIN_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">{more}
<title>{title}</title>
</head>
<body>
<main>
<h1>{title}</h1>
{text}
</main>
</body>
</html>
"""


class Access:
    """The addresses, the token and the cookie of one run.

    `port` is the port that the socket listens on, and `hosts` are further values of the header
    Host, as a reverse proxy sends them. Without a `token` it is random.
    """

    port: int
    """The port that the socket listens on."""
    token: str
    """What a reader needs once, in the address."""
    cookie: str
    """Name of the cookie that takes its place."""

    def __init__(self, port: int, *, token: str | None = None, hosts: Iterable[str] = ()) -> None:
        self.port = port
        self.token = token or secrets.token_urlsafe(32)
        self.cookie = f"aiomessages-{port}"  # cookies know no port, so that the name has to
        self._secret = secrets.token_urlsafe(32)
        self._once: set[str] = set()
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {*hosts, *(f"{name}:{port}" for name in names)}
        if port == 80:  # which browsers leave out
            self._hosts.update(names)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.port})"

    @property
    def address(self) -> str:
        """The address of the first page, without the token."""
        return f"http://127.0.0.1:{self.port}/"

    def token_for_once(self) -> str:
        """Return a token that works once, and on Linux for no other user of the machine.

        So the command line of a browser may have it, which everyone can read.
        """
        token = secrets.token_urlsafe(32)
        self._once.add(token)
        return token

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer the requests that may be answered. It has to be the outermost one."""
        if not self._names_a_host(request) or not _has_own_origin(request):
            return denied(request)
        if self._brings_a_token(request):
            return self._admitted(request)
        if not _is_of_this_site(request) or not self._has_the_cookie(request):
            return denied(request)
        return await handler(request)

    def _names_a_host(self, request: web.BaseRequest) -> bool:
        hosts = request.headers.getall(hdrs.HOST, ())
        # A target that is a whole URL would have a host of its own.
        return len(hosts) == 1 and hosts[0] in self._hosts and request.raw_path.startswith("/")

    def _brings_a_token(self, request: web.Request) -> bool:
        """Return whether the request has a valid token. Other sites may link to it, no more."""
        tokens = request.query.getall(TOKEN, ())
        if request.method != hdrs.METH_GET or len(tokens) != 1:
            return False
        if not (_is_of_this_site(request) or _is_a_click(request)):
            return False
        return _are_equal(tokens[0], self.token) or self._was_for_once(tokens[0], request)

    def _was_for_once(self, sent: str, request: web.BaseRequest) -> bool:
        found = next((token for token in self._once if _are_equal(sent, token)), None)
        if found is None or _is_of_another_user(request):
            return False
        self._once.remove(found)
        return True

    def _has_the_cookie(self, request: web.BaseRequest) -> bool:
        # Another server of this machine may have set a cookie of the same name, so each one counts.
        return any(
            name == self.cookie and _are_equal(value, self._secret)
            for name, value in _cookies(request)
        )

    def _admitted(self, request: web.BaseRequest) -> web.Response:
        """Give the cookie, and go on without the token.

        It is a page and no redirect: after a click in another site, a browser would follow a
        redirect without the cookie, which is strict.
        """
        target = escape(_without_token(request))
        response = _plain_page(
            HTTPStatus.OK,
            "Stored conversations",
            f'<p><a href="{target}">Go on to the page</a></p>',
            f'\n<meta http-equiv="refresh" content="0; url={target}">',
        )
        response.set_cookie(self.cookie, self._secret, httponly=True, samesite="Strict", path="/")
        # A browser that restores its session keeps the cookie of each run, and sends all of them to
        # every server of this machine, until one finds them too long. The oldest come first.
        names = [name for name, _ in _cookies(request) if _COOKIE.fullmatch(name)]
        others = [name for name in dict.fromkeys(names) if name != self.cookie]
        for name in others[:-_MOST_COOKIES]:
            response.del_cookie(name, httponly=True, samesite="Strict", path="/")
        return response


def denied(request: web.BaseRequest) -> web.Response:
    """Return the one answer to all who may not read. It tells nobody which check has failed."""
    target = escape(_without_token(request))
    return _plain_page(
        HTTPStatus.FORBIDDEN,
        "This page is closed",
        "<p>It opens only with the address that <code>aiomessages view</code> has printed, which"
        " has a token. Open that address first.</p>\n"
        f'<p>If you have done so and come from another page: <a href="{target}">open this page'
        " again</a>.</p>",
    )


def malformed() -> web.Response:
    """Return the answer to bytes that are no request: they have brought no cookie either."""
    return _plain_page(
        HTTPStatus.FORBIDDEN,
        "This request cannot be read",
        "<p>It is not valid HTTP, or its address is too long. Open the address that"
        " <code>aiomessages view</code> has printed.</p>",
    )


async def add_headers(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add the headers of every answer, as a listener of `on_response_prepare`."""
    response.headers.update(HEADERS)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def _plain_page(status: int, title: str, text: str, more: str = "") -> web.Response:
    """Return a page that needs no other file: without the cookie there is none."""
    body = _PLAIN_PAGE.format(title=title, text=text, more=more)
    headers = {**HEADERS, hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(status=status, text=body, content_type="text/html", headers=headers)


def _cookies(request: web.BaseRequest) -> Iterator[tuple[str, str]]:
    for pair in "; ".join(request.headers.getall(hdrs.COOKIE, ())).split(";"):
        name, _, value = pair.strip().partition("=")
        yield name, value


def _is_of_another_user(request: web.BaseRequest) -> bool:
    """Return whether the client is known to run as another user than this program and root.

    Root needs no token. As root run what connects containers and guests to their host.
    """
    owner = None if request.transport is None else owner_of(request.transport)
    return owner is not None and owner not in (0, os.getuid())


def _is_of_this_site(request: web.BaseRequest) -> bool:
    return set(request.headers.getall("Sec-Fetch-Site", ())) <= _SITES


def _is_a_click(request: web.BaseRequest) -> bool:
    """Return whether a browser says that it shows the answer as a page of its own."""
    headers = request.headers
    modes, goals = headers.getall("Sec-Fetch-Mode", ()), headers.getall("Sec-Fetch-Dest", ())
    return set(modes) == {"navigate"} and set(goals) == {"document"}


def _has_own_origin(request: web.BaseRequest) -> bool:
    host = request.headers.get(hdrs.HOST, "")
    own = {f"http://{host}", f"https://{host}"}  # a reverse proxy may speak https
    return set(request.headers.getall(hdrs.ORIGIN, ())) <= own


def _are_equal(sent: str, secret: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), secret.encode())


def _without_token(request: web.BaseRequest) -> str:
    """Return the address of the request without its token, relative to itself."""
    path, _, query = request.raw_path.encode("utf-8", "surrogateescape").partition(b"?")
    # Encoded anew, since it is put into a page in front of all checks.
    last = quote(unquote_to_bytes(path.rpartition(b"/")[2]), safe="")
    parts = [part for part in query.split(b"&") if part]
    kept = [part for part in parts if unquote_to_bytes(part.partition(b"=")[0]) != TOKEN.encode()]
    return f"./{last}" + ("?" + quote(b"&".join(kept), safe="=&%+") if kept else "")
