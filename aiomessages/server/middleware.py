"""The middlewares between the socket and the routes, one for each concern.

From the outside in: the envelope (headers, error bodies, the request count), latency, the key, the
rate limit, and the faults. Faults come last, so that they apply only to requests that a route
would have answered. A middleware knows the request and its own settings, never the stored data.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import uuid
from typing import TYPE_CHECKING

from aiohttp import web

from aiomessages.archive.errors import ArchiveError

from . import wire
from .responses import error_response
from .wire import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from .faults import Plan

_log = logging.getLogger(__name__)


class RequestCounter:
    """Count the requests that arrive, and call `on_request` with each."""

    def __init__(self, on_request: Callable[[web.Request], object] | None = None) -> None:
        self.count = 0
        self._on_request = on_request

    def add(self, request: web.Request) -> None:
        """Count a request."""
        self.count += 1
        if self._on_request is not None:
            self._on_request(request)


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


def envelope(
    counter: RequestCounter, on_failure: Callable[[ArchiveError], object] | None = None
) -> Middleware:
    """Count each request; add the API's headers to each response and a body to each error.

    `on_failure` is called with each error of the archive, which is logged without it.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        counter.add(request)
        try:
            response = await handler(request)
        except ArchiveError as error:
            (on_failure or _log.error)(error)
            response = error_response(wire.archive_failure(str(error)))
        except Exception as error:  # noqa: BLE001 - a server always answers
            response = error_response(_as_api_error(request, error))
        response.headers.update(_headers(time.monotonic() - started))
        return response

    return middleware


def latency(seconds: float) -> Middleware:
    """Delay each response by `seconds`, as a distant server would."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await handler(request)

    return middleware


def authentication(api_key: str) -> Middleware:
    """Reject requests that do not carry `api_key` as their bearer key."""
    expected = api_key.encode()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise wire.missing_key()
        if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), expected):
            raise wire.wrong_key(key)
        return await handler(request)

    return middleware


def rate_limit(bucket: TokenBucket) -> Middleware:
    """Reject requests for which `bucket` has no token."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        wait = bucket.take()
        if wait:
            raise wire.rate_limited(wait)
        return await handler(request)

    return middleware


def faults(current: Callable[[], Plan]) -> Middleware:
    """Pass each request that has a route to the plan that `current` returns."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.http_exception is not None:
            return await handler(request)
        return await current().respond(request, handler)

    return middleware


def _as_api_error(request: web.Request, error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case web.HTTPNotFound():
            return wire.unknown_url(request.method, request.path)
        case web.HTTPMethodNotAllowed():
            return wire.method_not_supported(request.method, request.path)
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
