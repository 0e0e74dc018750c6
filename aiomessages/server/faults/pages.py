"""Faults inside a page: its JSON, its cursors, its headers. The HTTP around it is valid.

Each alters a page from the store. A response other than a page stays correct. So does an empty
page, except where a fault of pagination needs the one at the end of a list.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiomessages.server.wire import json_response

from .fault import Fault, correct_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web
    from aiohttp.typedefs import Handler

    Page = dict[str, Any]

_DEPTH = 100_000
# A limit above the length of any conversation; the store accepts any number.
_ALL = 10**9
_DEFAULT_LIMIT = 20
# A text in the page that the fault replaces, once the page is JSON.
_PLACEHOLDER = "the place of the fault"
_BOM = b"\xef\xbb\xbf"


def _encode(page: Page, errors: str = "strict") -> bytes:
    text = json.dumps(page, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", errors)


async def _page(request: web.Request, handler: Handler) -> Page | None:
    """Return the correct page, or None if the correct response is not a page."""
    body: Page = json.loads(await correct_body(request, handler))
    return body if "data" in body else None


# --- the content of one page ----------------------------------------------------------------------


def _rendered(description: str, render: Callable[[Page], bytes]) -> Fault:
    async def inject(request: web.Request, handler: Handler) -> web.Response | None:
        page = await _page(request, handler)
        return json_response(render(page)) if page and page["data"] else None

    return Fault(description, inject)


def _altered(description: str, **changes: Any) -> Fault:
    return _rendered(description, lambda page: _encode(page | changes))


def _first_item(description: str, errors: str = "strict", **changes: Any) -> Fault:
    def render(page: Page) -> bytes:
        page["data"][0] |= changes
        return _encode(page, errors)

    return _rendered(description, render)


def _without_id(page: Page) -> bytes:
    del page["data"][0]["id"]
    return _encode(page)


def _deep(page: Page) -> bytes:
    page["data"][0]["deep"] = _PLACEHOLDER  # json.dumps raises RecursionError
    nested = b"[" * _DEPTH + b"]" * _DEPTH
    return _encode(page).replace(json.dumps(_PLACEHOLDER).encode(), nested)


def _wrong_last_id(page: Page) -> bytes:
    return _encode(page | {"last_id": f"{page['last_id']}-other"})


def _no_has_more(page: Page) -> bytes:
    del page["has_more"]
    return _encode(page)


async def _set_cookie(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.set_cookie("rehearsal", "to-be-forgotten")
    return response


# --- pagination -----------------------------------------------------------------------------------


def _after_cursor(
    description: str, replace: Callable[[web.Request, Handler, Page], Awaitable[Page]]
) -> Fault:
    """Replace pages that are requested with a cursor: only these can repeat earlier items."""

    async def inject(request: web.Request, handler: Handler) -> web.Response | None:
        page = await _page(request, handler) if "after" in request.query else None
        return json_response(_encode(await replace(request, handler, page))) if page else None

    return Fault(description, inject)


async def _ignoring_after(request: web.Request, handler: Handler, **changes: str | int) -> Page:
    """Return the page of the same request without its cursor, with `changes` to its query."""
    query = {name: value for name, value in request.query.items() if name != "after"}
    url = request.rel_url.with_query({**query, **changes})
    page: Page = json.loads(await correct_body(request.clone(rel_url=url), handler))
    return page


async def _first_page(request: web.Request, handler: Handler, _: Page) -> Page:
    return await _ignoring_after(request, handler)


async def _cycle(request: web.Request, handler: Handler, page: Page) -> Page:
    first = await _ignoring_after(request, handler)
    return page | {"has_more": True} if request.query["after"] == first["last_id"] else first


async def _inclusive(request: web.Request, handler: Handler, page: Page) -> Page:
    overlap = await _overlapping(request, handler, page)
    limit = int(request.query.get("limit", _DEFAULT_LIMIT))
    data = overlap["data"][:limit]
    return overlap | {
        "data": data,
        "last_id": data[-1]["id"],
        "has_more": overlap["has_more"] or len(data) < len(overlap["data"]),
    }


async def _overlapping(request: web.Request, handler: Handler, page: Page) -> Page:
    everything = await _ignoring_after(request, handler, limit=_ALL)
    here = next(item for item in everything["data"] if item["id"] == request.query["after"])
    last_id = page["last_id"] or here["id"]
    return page | {"data": [here, *page["data"]], "first_id": here["id"], "last_id": last_id}


FAULTS = {
    "bad-utf8": _first_item(
        "a text with a byte that is not UTF-8", "surrogateescape", content="caf\udce9"
    ),
    "bom": _rendered("a byte order mark before the JSON", lambda page: _BOM + _encode(page)),
    "nan": _first_item("a number that is NaN", score=float("nan")),
    "missing-field": _rendered("an item without id", _without_id),
    "wrong-type": _first_item("an item whose id is a number", id=7),
    "unknown-fields": _first_item(
        "an unknown field, role and content part",
        mood={"calm": True},
        role="narrator",
        content_parts=[{"type": "hologram", "hologram": {"depth": 3}}],
    ),
    "deep-nesting": _rendered("an item with 100,000 nested arrays", _deep),
    "lone-surrogate": _first_item(
        "the escape of half an emoji in a text", "backslashreplace", content="half \ud83d"
    ),
    "more-without-data": _altered(
        "an empty page whose has_more is true",
        data=[],
        first_id=None,
        last_id=None,
        has_more=True,
    ),
    "null-last-id": _altered("a page whose last_id is null", last_id=None),
    "repeated-cursor": _after_cursor(
        "the first page each time, as if `after` were ignored", _first_page
    ),
    "cursor-cycle": _after_cursor("the first page after the second", _cycle),
    "overlap": _after_cursor(
        "a page that begins with the last message of the one before", _overlapping
    ),
    "inclusive-after": _after_cursor(
        "a page that begins with the message that `after` names, within its limit",
        _inclusive,
    ),
    "wrong-last-id": _rendered("a page whose last_id is not its last item's", _wrong_last_id),
    "no-has-more": _rendered("a page without has_more", _no_has_more),
    "set-cookie": Fault("the correct response with a cookie", _set_cookie),
}
