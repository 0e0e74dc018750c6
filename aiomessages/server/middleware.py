"""What every request passes before a route answers it: one middleware for each concern.

From the outside in: the envelope (headers, error bodies, the count), latency, the key, the rate,
and the faults, which so strike only what would have been answered.
A middleware here knows the request and the settings it was made with, never the stored data.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import uuid
from typing import TYPE_CHECKING

from aiohttp import web

from . import wire
from .wire import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from .faults import Plan

_log = logging.getLogger(__name__)


class Traffic:
    """Count the requests that really arrived, and tell `on_request` of each."""

    def __init__(self, on_request: Callable[[web.Request], object] | None = None) -> None:
        self.requests = 0
        self._on_request = on_request

    def arrived(self, request: web.Request) -> None:
        """Take note of a request."""
        self.requests += 1
        if self._on_request is not None:
            self._on_request(request)


class TokenBucket:
    """Let `rate` requests a second through, and at most one second's worth of them at once."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._capacity = max(1.0, rate)
        self._tokens = self._capacity
        self._seen = clock()

    def take(self) -> float:
        """Take a token and return 0.0, or return the seconds until there will be one."""
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._seen) * self._rate)
        self._seen = now
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self._rate
        self._tokens -= 1.0
        return 0.0


def envelope(traffic: Traffic) -> Middleware:
    """Count each request, and give each answer the API's headers and each error its body."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        traffic.arrived(request)
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - a server answers, whatever happens
            response = error_response(_as_api_error(request, error))
        response.headers.update(_headers(time.monotonic() - started))
        return response

    return middleware


def latency(seconds: float) -> Middleware:
    """Answer only after `seconds`, as a far server would."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await handler(request)

    return middleware


def authentication(api_key: str) -> Middleware:
    """Refuse requests that do not carry `api_key` as their bearer key."""
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
    """Refuse requests for which `bucket` has no token."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        wait = bucket.take()
        if wait:
            raise wire.rate_limited(wait)
        return await handler(request)

    return middleware


def faults(current: Callable[[], Plan]) -> Middleware:
    """Let the plan that is current answer each request for which there is a route."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.http_exception is not None:
            return await handler(request)
        return await current().answer(request, handler)

    return middleware


def error_response(error: ApiError) -> web.Response:
    """Turn an error into the answer that carries it."""
    return web.Response(
        status=error.status,
        body=error.body,
        content_type="application/json",
        headers=error.headers,
    )


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
    """Name the headers of the recordings; there is no x-ratelimit-* among them."""
    return {
        "x-request-id": f"req_{uuid.uuid4().hex}",
        "openai-processing-ms": str(round(seconds * 1000)),
        "openai-version": "2020-10-01",
        "openai-organization": "local",
        "openai-project": "proj_local",
    }
