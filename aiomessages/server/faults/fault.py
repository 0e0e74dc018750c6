"""What a fault is: a sentence for its reader, and the way it answers a request.

A strike may ask the handler for the right answer and spoil it, or answer in its place; None means
that it has nothing to spoil in this request. What a handler raises goes its way unspoiled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

from aiohttp import web
from aiohttp.typedefs import Handler

Strike = Callable[[web.Request, Handler], Awaitable[web.StreamResponse | None]]


class Fault(NamedTuple):
    """What the server does in place of the right answer, in words and in deed."""

    does: str
    strike: Strike


async def right_body(request: web.Request, handler: Handler) -> bytes:
    """Return the body of the right answer."""
    answer = cast("web.Response", await handler(request))  # what all our routes give
    return cast("bytes", answer.body)


def json_response(body: bytes) -> web.Response:
    """Answer with a body that calls itself JSON, whatever it is."""
    return web.Response(body=body, content_type="application/json")
