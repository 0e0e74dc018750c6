"""The middleware between the socket and the routes: the count, the key, the limits, the faults.

It turns every error into the API's, and adds the API's headers to every response. It knows the
request and the server's settings, never the stored data.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import uuid
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

from aiomessages.archive.errors import ArchiveError
from aiomessages.archive.store import UnknownCompletionError, UnknownCursorError

from . import wire
from .wire import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from .faults import Plan

_log = logging.getLogger(__name__)

_MISSING_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization "
    "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
)


class TokenBucket:
    """Admit `rate` requests a second, in bursts of at most one second's worth."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._capacity = max(1.0, rate)
        self._tokens = self._capacity
        self._updated = clock()

    def take(self) -> float:
        """Take a token and return 0.0, or return the seconds until one is available."""
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self._rate
        self._tokens -= 1.0
        return 0.0


def middleware(
    on_request: Callable[[web.Request], object],
    *,
    latency: float,
    api_key: str,
    bucket: TokenBucket | None,
    plan: Callable[[], Plan],
    clock: Callable[[], float],
    on_failure: Callable[[ArchiveError], object] | None = None,
) -> Middleware:
    """Return the middleware; `plan` returns the faults that are switched on by then.

    `clock` returns the time in Unix seconds, for the Date of a response. `on_failure` is called
    with each error of the archive, which is logged without it.
    Faults come last, so that they apply only to requests that a route would have answered.
    """

    @web.middleware
    async def respond(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        on_request(request)
        try:
            if latency:
                await asyncio.sleep(latency)
            _admit(request, api_key, bucket)
            has_route = request.match_info.http_exception is None
            answer = plan().respond(request, handler) if has_route else handler(request)
            response = await answer
            response.headers["Date"] = formatdate(clock(), usegmt=True)
        except ArchiveError as error:
            (on_failure or _log.error)(error)
            response = wire.archive_failure(str(error)).response()
        except Exception as error:  # noqa: BLE001 - a server always answers
            response = _as_api_error(request, error).response()
        response.headers.update(_headers(time.monotonic() - started))
        return response

    return respond


def _admit(request: web.Request, api_key: str, bucket: TokenBucket | None) -> None:
    """Raise an ApiError without `api_key` as the bearer key, and beyond the rate limit."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise ApiError(401, _MISSING_KEY)
    if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), api_key.encode()):
        raise wire.wrong_key(key)
    if bucket is not None and (wait := bucket.take()):
        raise wire.rate_limited(wait)


def _as_api_error(request: web.Request, error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case UnknownCompletionError():
            return wire.completion_not_found(str(error))
        case UnknownCursorError():
            return wire.unknown_cursor(str(error))
        case web.HTTPNotFound():
            return ApiError(404, f"Invalid URL ({request.method} {request.path})")
        case web.HTTPMethodNotAllowed():
            message = f"Not allowed to {request.method} on {request.path}."
            allowed = {"Allow": "GET"}
            return ApiError(405, message, code="method_not_supported", headers=allowed)
    _log.error("the local server failed on %s", request.path, exc_info=error)
    return wire.server_failure()


def _headers(seconds: float) -> dict[str, str]:
    """Return the headers that the recordings have; no x-ratelimit-* is among them."""
    return {
        "x-request-id": f"req_{uuid.uuid4().hex}",
        "openai-processing-ms": str(round(seconds * 1000)),
        "openai-version": "2020-10-01",
        "openai-organization": "local",
        "openai-project": "proj_local",
    }
