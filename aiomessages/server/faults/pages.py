"""Faults that stand in a page: its JSON, its cursors, its headers. The HTTP around it is right.

Each alters a page that the store gave. What is no page is left alone, and so is an empty one, but
for a walk that is led astray at its end.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .fault import Fault, json_response, right_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web
    from aiohttp.typedefs import Handler

    Page = dict[str, Any]

_DEPTH = 100_000
# Beyond any conversation here; the store takes whatever SQLite can count.
_ALL = 10**9
_DEFAULT_LIMIT = 20
# A page whose JSON has no place for what is to stand in it marks that place with this text.
_PLACE = "the place of the fault"
_BOM = b"\xef\xbb\xbf"


def _bytes(page: Page, errors: str = "strict") -> bytes:
    text = json.dumps(page, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", errors)


async def _page(request: web.Request, handler: Handler) -> Page | None:
    """Return the right page, or None where the right answer is none."""
    answer: Page = json.loads(await right_body(request, handler))
    return answer if "data" in answer else None


# --- one page, spoiled ----------------------------------------------------------------------------


def _rendered(does: str, render: Callable[[Page], bytes]) -> Fault:
    async def strike(request: web.Request, handler: Handler) -> web.Response | None:
        page = await _page(request, handler)
        return json_response(render(page)) if page and page["data"] else None

    return Fault(does, strike)


def _altered(does: str, **changes: Any) -> Fault:
    return _rendered(does, lambda page: _bytes(page | changes))


def _first_item(does: str, errors: str = "strict", **changes: Any) -> Fault:
    def render(page: Page) -> bytes:
        page["data"][0] |= changes
        return _bytes(page, errors)

    return _rendered(does, render)


def _without_id(page: Page) -> bytes:
    del page["data"][0]["id"]
    return _bytes(page)


def _deep(page: Page) -> bytes:
    page["data"][0]["deep"] = _PLACE  # json.dumps would not go so deep
    nested = b"[" * _DEPTH + b"]" * _DEPTH
    return _bytes(page).replace(json.dumps(_PLACE).encode(), nested)


def _wrong_last_id(page: Page) -> bytes:
    return _bytes(page | {"last_id": f"{page['last_id']}-other"})


def _no_has_more(page: Page) -> bytes:
    del page["has_more"]
    return _bytes(page)


async def _set_cookie(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.set_cookie("rehearsal", "to-be-forgotten")
    return response


# --- a walk, led astray ---------------------------------------------------------------------------


def _beyond_the_first(
    does: str, lead: Callable[[web.Request, Handler, Page], Awaitable[Page]]
) -> Fault:
    """Strike pages that were asked for by a cursor, as only those can lead back."""

    async def strike(request: web.Request, handler: Handler) -> web.Response | None:
        page = await _page(request, handler) if "after" in request.query else None
        return json_response(_bytes(await lead(request, handler, page))) if page else None

    return Fault(does, strike)


async def _ignoring_after(request: web.Request, handler: Handler, **changes: str | int) -> Page:
    """Return the page that the request would get without its cursor."""
    query = {name: value for name, value in request.query.items() if name != "after"}
    url = request.rel_url.with_query({**query, **changes})
    page: Page = json.loads(await right_body(request.clone(rel_url=url), handler))
    return page


async def _first(request: web.Request, handler: Handler, _: Page) -> Page:
    return await _ignoring_after(request, handler)


async def _first_after_second(request: web.Request, handler: Handler, page: Page) -> Page:
    first = await _ignoring_after(request, handler)
    return page | {"has_more": True} if request.query["after"] == first["last_id"] else first


async def _with_after(request: web.Request, handler: Handler, page: Page) -> Page:
    overlap = await _one_too_early(request, handler, page)
    limit = int(request.query.get("limit", _DEFAULT_LIMIT))
    left = len(overlap["data"]) - limit
    data = overlap["data"][:limit]
    return overlap | {
        "data": data,
        "last_id": data[-1]["id"],
        "has_more": overlap["has_more"] or left > 0,
    }


async def _one_too_early(request: web.Request, handler: Handler, page: Page) -> Page:
    everything = await _ignoring_after(request, handler, limit=_ALL)
    here = next(item for item in everything["data"] if item["id"] == request.query["after"])
    last_id = page["last_id"] or here["id"]
    return page | {"data": [here, *page["data"]], "first_id": here["id"], "last_id": last_id}


FAULTS = {
    "bad-utf8": _first_item(
        "a byte in a text that is no UTF-8", "surrogateescape", content="caf\udce9"
    ),
    "bom": _rendered("a byte order mark before the JSON", lambda page: _BOM + _bytes(page)),
    "nan": _first_item("a number that is NaN", score=float("nan")),
    "missing-field": _rendered("an item without id", _without_id),
    "wrong-type": _first_item("an item whose id is a number", id=7),
    "unknown-fields": _first_item(
        "a field, a role and a content part that nobody has heard of",
        mood={"calm": True},
        role="narrator",
        content_parts=[{"type": "hologram", "hologram": {"depth": 3}}],
    ),
    "deep-nesting": _rendered("an item with 100,000 nested arrays", _deep),
    "lone-surrogate": _first_item(
        "the escape of half an emoji in a text", "backslashreplace", content="half \ud83d"
    ),
    "more-without-data": _altered(
        "an empty page that says there are more",
        data=[],
        first_id=None,
        last_id=None,
        has_more=True,
    ),
    "null-last-id": _altered("a page whose last_id is null", last_id=None),
    "repeated-cursor": _beyond_the_first("`after` is ignored: the first page each time", _first),
    "cursor-cycle": _beyond_the_first(
        "behind the second page comes the first", _first_after_second
    ),
    "overlap": _beyond_the_first("a page begins with the end of the one before", _one_too_early),
    "inclusive-after": _beyond_the_first(
        "`after` is taken inclusively: a page begins with that message, within its limit",
        _with_after,
    ),
    "wrong-last-id": _rendered("a page whose last_id is not its last item's", _wrong_last_id),
    "no-has-more": _rendered("a page without has_more", _no_has_more),
    "set-cookie": Fault("the right answer, with a cookie", _set_cookie),
}
