"""The application: the table of routes, and what stands around all of them."""

import os
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from . import assets, downloads, find_page, overview_page, problems
from .access import Access, add_headers
from .room import ROOM, Room

# --- the page of a conversation, loaded when it is needed: Markdown and colours take long ---------


async def _conversation(request: web.Request) -> web.StreamResponse:
    from . import conversation_page  # noqa: PLC0415

    return await conversation_page.show(request)


async def _medium(request: web.Request) -> web.StreamResponse:
    from . import conversation_page  # noqa: PLC0415

    return await conversation_page.medium(request)


# --- the routes -----------------------------------------------------------------------------------

ROUTES: Final[dict[str, Handler]] = {
    "/": find_page.show,
    "/overview": overview_page.show,
    "/ids.txt": downloads.selected_ids,
    "/c/{id:[^/]+}": _conversation,
    r"/c/{id:[^/]+}/{n:\d{1,9}}/media/{k:\d{1,4}}": _medium,
    "/c/{id:[^/]+}/conversation.{kind:json|md}": downloads.whole_conversation,
    r"/c/{id:[^/]+}/{n:\d{1,9}}.{kind:json|txt}": downloads.raw_message,
    "/static/{name:[^/]+}": assets.static,
}


def create_app(
    path: str | os.PathLike[str], *, access: Access, utc: bool = False
) -> web.Application:
    """Return the application that shows the archive at `path` to those whom `access` admits.

    Its server has to answer malformed requests with the same headers: see `serving.py`.
    """
    app = web.Application(middlewares=[access.middleware, problems.middleware])
    app[ROOM] = Room(path, utc=utc)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_pool)
    for pattern, handler in ROUTES.items():
        for method in problems.METHODS:
            app.router.add_route(method, pattern, handler, expect_handler=_expect_nothing)
    # Whatever is no route comes to a handler as well, and so past the middleware.
    everything = app.router.add_resource("/{path:.*}")
    everything.add_route("*", problems.not_found, expect_handler=_expect_nothing)
    return app


async def _pool(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[ROOM].pool.aclose()


async def _expect_nothing(_: web.Request) -> None:
    """Ignore the header Expect: aiohttp would answer it before any middleware."""
