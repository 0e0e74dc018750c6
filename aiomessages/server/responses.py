"""The two kinds of aiohttp response that the routes, the middlewares and the faults return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from .wire import ApiError


def json_response(body: bytes) -> web.Response:
    """Return a 200 with this body. The body may be invalid; the header says JSON regardless."""
    return web.Response(body=body, content_type="application/json")


def error_response(error: ApiError) -> web.Response:
    """Return the response that carries an API error."""
    return web.Response(
        status=error.status,
        body=error.body,
        content_type="application/json",
        headers=error.headers,
    )
