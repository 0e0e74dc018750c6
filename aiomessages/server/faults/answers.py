"""Faults that are valid HTTP: error statuses, bodies that are not a page, redirects.

Each is a response that a real API or a gateway in front of it sends. None needs stored data.
"""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

from aiomessages.server import wire
from aiomessages.server.wire import ApiError, json_response

from .fault import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

_HTML = "<!doctype html>\n<title>{0}</title>\n<h1>{0}</h1>\n<hr>a gateway\n"
# RFC 2606 reserves this name: no host answers a client that follows the redirect.
_ELSEWHERE = "https://elsewhere.example"


def _fault(description: str, respond: Callable[[web.Request], web.Response]) -> Fault:
    async def inject(request: web.Request, _: Handler) -> web.Response:
        return respond(request)

    return Fault(description, inject)


def _status(description: str, status: int, code: str | None = None, **headers: str) -> Fault:
    """Respond with an error body; the keyword `retry_after="1"` sets the header retry-after."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = ApiError(status, f"Rehearsal: {description}.", type=kind, code=code, headers=fields)
    return _fault(description, lambda _: error.response())


def _html(status: int, title: str) -> web.Response:
    return web.Response(status=status, text=_HTML.format(title), content_type="text/html")


def _unauthorized(request: web.Request) -> web.Response:
    return wire.wrong_key(request.headers["Authorization"].split()[-1]).response()


def _not_found(request: web.Request) -> web.Response:
    return wire.completion_not_found(request.match_info.get("completion_id", "")).response()


def _retry_at(_: web.Request) -> web.Response:
    # Dates have whole seconds; half a second more keeps the date in the future on arrival.
    date = formatdate(math.ceil(time.time() + 0.5), usegmt=True)
    return ApiError(503, "Rehearsal: try again later.", headers={"Retry-After": date}).response()


def _error_in_200(_: web.Request) -> web.Response:
    return json_response(wire.server_failure().body)


def _redirect(to: str) -> Callable[[web.Request], web.Response]:
    return lambda request: web.Response(status=307, headers={"Location": to + request.path_qs})


FAULTS = {
    "no-content": _fault("204 without a body", lambda _: web.Response(status=204)),
    "empty-body": _fault("200 with an empty body", lambda _: json_response(b"")),
    "html": _fault("200 with a page of HTML", lambda _: _html(200, "Please log in")),
    "redirect": _fault("307 to the same server", _redirect("")),
    "redirect-elsewhere": _fault("307 to another host", _redirect(_ELSEWHERE)),
    "bad-request": _status("400", 400, "invalid_value"),
    "unprocessable": _status("422", 422),
    "unauthorized": _fault("401, as for a wrong key", _unauthorized),
    "forbidden": _status("403", 403),
    "not-found": _fault("404, as for a completion that does not exist", _not_found),
    "timeout-408": _status("408", 408),
    "conflict": _status("409", 409),
    "too-early": _status("425", 425),
    "rate-limited": _status("429 with code rate_limit_exceeded", 429, "rate_limit_exceeded"),
    "server-error": _status("500", 500),
    "bad-gateway-html": _fault("502 with a page of HTML", lambda _: _html(502, "Bad Gateway")),
    "unavailable": _status("503", 503),
    "quota": _status("429 with code insufficient_quota", 429, "insufficient_quota"),
    "retry-after-seconds": _status("429 with Retry-After: 1", 429, retry_after="1"),
    "retry-after-date": _fault("503 with a Retry-After date, about a second ahead", _retry_at),
    "retry-after-past": _status(
        "503 with a Retry-After date long past",
        503,
        retry_after="Wed, 21 Oct 2015 07:28:00 GMT",
    ),
    "retry-after-ms": _status(
        "429 with retry-after-ms: 20 beside Retry-After: 30",
        429,
        retry_after="30",
        retry_after_ms="20",
    ),
    "retry-after-nonsense": _status("429 with Retry-After: inf", 429, retry_after="inf"),
    "should-retry-true": _status("400 with x-should-retry: true", 400, x_should_retry="true"),
    "should-retry-false": _status("503 with x-should-retry: false", 503, x_should_retry="false"),
    "error-in-200": _fault("200 whose body is a server error", _error_in_200),
}
