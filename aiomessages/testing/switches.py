"""Faults as a test asks for them: by name or HTTP status, with a Retry-After, or just slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiomessages.server.faults import Fault, named
from aiomessages.server.wire import retry_after as retry_after_headers

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

# The fault that answers with a status as the API, or a gateway before it, does.
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


def fault_of(what: str | int, *, retry_after: float | None = None) -> Fault:
    """Return a fault by its name or its status; `retry_after` (seconds) goes into its headers.

    Raises ValueError for what is no fault, and says what there is.
    """
    fault = named(what) if isinstance(what, str) else named(_name_of(what))
    if retry_after is None:
        return fault
    if not 0 <= retry_after < float("inf"):
        raise ValueError(f"retry_after is a number of seconds from 0, not {retry_after!r}")
    return _asking_to_wait(fault, retry_after_headers(retry_after))


def delay(seconds: float) -> Fault:
    """Return the fault of a server that answers rightly, and late."""
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a delay is a number of seconds from 0, not {seconds!r}")

    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await handler(request)

    return Fault(f"the right answer, {seconds} s late", strike)


def _name_of(status: int) -> str:
    if status not in STATUSES:
        known = ", ".join(map(str, STATUSES))
        raise ValueError(f"there is no fault with status {status}; there are {known}")
    return STATUSES[status]


def _asking_to_wait(fault: Fault, headers: dict[str, str]) -> Fault:
    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse | None:
        response = await fault.strike(request, handler)
        if response is not None:
            response.headers.update(headers)
        return response

    return Fault(f"{fault.does}, with Retry-After", strike)
