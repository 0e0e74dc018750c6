"""The faults that a test can request: by name or HTTP status, with a Retry-After, or a delay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiomessages.server.faults import Fault, fault_named
from aiomessages.server.wire import retry_after as retry_after_headers

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

# The fault for each status that the API, or a gateway in front of it, sends.
STATUSES = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    408: "timeout-408",
    409: "conflict",
    422: "unprocessable",
    425: "too-early",
    429: "rate-limited",
    500: "server-error",
    502: "bad-gateway-html",
    503: "unavailable",
}


def fault_for(kind: str | int, *, retry_after: float | None = None) -> Fault:
    """Return the fault of a name or a status; `retry_after` (seconds) adds a wait to its headers.

    Raises ValueError for an unknown name or status, and for a wait below 0 or not finite.
    """
    if isinstance(kind, int) and kind not in STATUSES:
        known = ", ".join(map(str, STATUSES))
        raise ValueError(f"there is no fault with status {kind}; there are {known}")
    fault = fault_named(STATUSES[kind] if isinstance(kind, int) else kind)
    if retry_after is None:
        return fault
    if not 0 <= retry_after < float("inf"):
        raise ValueError(f"retry_after is a number of seconds from 0, not {retry_after!r}")
    headers = retry_after_headers(retry_after)

    async def inject(request: web.Request, handler: Handler) -> web.StreamResponse | None:
        response = await fault.inject(request, handler)
        if response is not None:
            response.headers.update(headers)
        return response

    return Fault(f"{fault.description}, with Retry-After", inject)


def delayed(seconds: float) -> Fault:
    """Return a fault that delays the correct response.

    Raises ValueError for a delay below 0 or not finite.
    """
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a delay is a number of seconds from 0, not {seconds!r}")

    async def inject(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await handler(request)

    return Fault(f"the correct response, {seconds} s late", inject)
