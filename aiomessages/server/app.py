"""The routes: three GETs over a store, as an aiohttp.web application.

A handler parses the query, reads from the store and renders the response; it keeps no state.
Requests wait while records are being imported, so that none sees half an import.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from aiohttp import web

from . import wire
from .wire import ApiError

if TYPE_CHECKING:
    import asyncio

    from aiohttp.typedefs import Middleware

    from aiomessages.archive.store import Order, Store

DEFAULT_LIMIT = 20
# int() would also accept "+5", " 5", "1_0", digits of other scripts, and any number of digits.
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_METADATA = re.compile(r"metadata\[(.+)\]", re.DOTALL)


def build_app(store: Store, lock: asyncio.Lock, middleware: Middleware) -> web.Application:
    """Return the application that serves `store`. Writers of the store must hold `lock`."""
    routes = _Routes(store, lock)
    app = web.Application(middlewares=[middleware])
    base = "/v1/chat/completions"
    # The API answers HEAD with 405; aiohttp would add a HEAD route to every GET.
    app.router.add_get(base, routes.completions, allow_head=False)
    app.router.add_get(base + "/{completion_id}", routes.completion, allow_head=False)
    app.router.add_get(base + "/{completion_id}/messages", routes.messages, allow_head=False)
    return app


class _Routes:
    """The handlers. The middleware answers the errors of the store."""

    def __init__(self, store: Store, lock: asyncio.Lock) -> None:
        self._store = store
        self._lock = lock

    async def messages(self, request: web.Request) -> web.Response:
        completion_id = request.match_info["completion_id"]
        after, limit, order = _paging(request, default_order="asc")
        async with self._lock:
            rows = self._store.messages(completion_id, after=after, limit=limit, order=order)
        return wire.json_response(wire.page_body(rows))

    async def completions(self, request: web.Request) -> web.Response:
        # Newest first, like the live API, although its contract says `asc`.
        after, limit, order = _paging(request, default_order="desc")
        async with self._lock:
            rows = self._store.completions(
                after=after,
                limit=limit,
                order=order,
                model=request.query.get("model"),
                metadata=_metadata(request),
            )
        return wire.json_response(wire.page_body(rows))

    async def completion(self, request: web.Request) -> web.Response:
        async with self._lock:
            return wire.json_response(self._store.completion(request.match_info["completion_id"]))


def _paging(request: web.Request, *, default_order: Order) -> tuple[str | None, int, Order]:
    query = request.query
    order = query.get("order", default_order)
    if order not in ("asc", "desc"):
        message = f"Invalid value: '{order}'. Supported values are: 'asc' and 'desc'."
        raise ApiError(400, message, param="order", code="invalid_value")
    return query.get("after"), _limit(query.get("limit")), cast("Order", order)


def _limit(text: str | None) -> int:
    """Return the page size. The API documents no maximum, so the server has none."""
    if text is None:
        return DEFAULT_LIMIT
    if not _INTEGER.fullmatch(text):
        message = "Invalid type for 'limit': expected an integer, but got a string instead."
        raise ApiError(400, message, param="limit", code="invalid_type")
    limit = int(text)
    if limit < 1:
        message = (
            "Invalid 'limit': integer below minimum value. "
            f"Expected a value >= 1, but got {limit} instead."
        )
        raise ApiError(400, message, param="limit", code="integer_below_min_value")
    return limit


def _metadata(request: web.Request) -> dict[str, str]:
    """Return the filters of the form `metadata[name]=value`."""
    matches = ((_METADATA.fullmatch(key), value) for key, value in request.query.items())
    return {match[1]: value for match, value in matches if match}
