"""Errors as pages: a sentence that says what happened and what to do, with the right status."""

import logging
from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from aiomessages.archive.errors import ArchiveError, LockedError, NotInArchiveError, SearchError

from .room import ROOM
from .url_state import BadAddressError
from .visible import visible

_log = logging.getLogger(__name__)
METHODS: Final = (hdrs.METH_GET, hdrs.METH_HEAD)


class _Kind(NamedTuple):
    """The status and title of an error's page, and its sentence, if that is not the error's own."""

    status: HTTPStatus
    title: str
    sentence: str = ""
    headers: tuple[tuple[str, str], ...] = ()


# The first that fits counts.
_KINDS: Final[dict[type[Exception], _Kind]] = {
    web.HTTPMethodNotAllowed: _Kind(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "Nothing can be changed here",
        "The pages can only be read.",
        ((hdrs.ALLOW, ", ".join(METHODS)),),
    ),
    web.HTTPNotFound: _Kind(
        HTTPStatus.NOT_FOUND, "There is no such page", "Search for what it should show."
    ),
    NotInArchiveError: _Kind(HTTPStatus.NOT_FOUND, "This conversation is not in the archive"),
    SearchError: _Kind(HTTPStatus.BAD_REQUEST, "This search cannot be understood"),
    BadAddressError: _Kind(HTTPStatus.BAD_REQUEST, "This address cannot be understood"),
    LockedError: _Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "The archive is busy", headers=((hdrs.RETRY_AFTER, "5"),)
    ),
    ArchiveError: _Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "The archive cannot be read"),
    Exception: _Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "This page has failed",
        "It is a fault of the program, which has written more about it to its terminal.",
    ),
}


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer each error by a page."""
    try:
        return await handler(request)
    except Exception as error:
        kind = next(kind for known, kind in _KINDS.items() if isinstance(error, known))
        if kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("%s: %s", visible(request.path), error, exc_info=error)
        if request.writer.output_size:  # a download has begun, and can only be cut
            raise
        return request.app[ROOM].page(
            request,
            "problem.html",
            status=kind.status,
            headers=dict(kind.headers),
            title=kind.title,
            sentence=kind.sentence or f"{error}",
        )


async def not_found(request: web.Request) -> web.StreamResponse:
    """Answer requests for everything that there is not, and by methods that nothing has."""
    if request.method not in METHODS:
        raise web.HTTPMethodNotAllowed(request.method, METHODS)
    raise web.HTTPNotFound
