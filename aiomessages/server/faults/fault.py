"""The type of a fault: a description, and a function that responds to a request.

The function may call the handler for the correct response and alter it, or respond by itself. It
returns None if the fault does not apply to the request. Exceptions of the handler pass unchanged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

from aiohttp import web
from aiohttp.typedefs import Handler

Inject = Callable[[web.Request, Handler], Awaitable[web.StreamResponse | None]]


class Fault(NamedTuple):
    """A deviation from the correct response: its description, and the function that makes it."""

    description: str
    inject: Inject


async def correct_body(request: web.Request, handler: Handler) -> bytes:
    """Return the body of the correct response."""
    response = cast("web.Response", await handler(request))  # every route returns this type
    return cast("bytes", response.body)
