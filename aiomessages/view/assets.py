"""The files of the pages: a table of their names, so that no path leads anywhere else."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import hdrs, web

STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The program may be another version tomorrow, at the same address.
_CACHING: Final = "private, max-age=0, must-revalidate"


class _Asset(NamedTuple):
    body: bytes
    type: str
    tag: str


async def static(request: web.Request) -> web.Response:
    """Answer with a file of the table."""
    found = _assets().get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    return cached(request, found.body, found.type, found.tag)


def cached(request: web.Request, body: bytes, type: str, tag: str) -> web.Response:
    """Return an answer that a browser keeps, and asks for again by its tag."""
    known = {etag.value for etag in request.if_none_match or ()}
    unchanged = tag in known
    response = web.Response(
        status=304 if unchanged else 200,
        body=None if unchanged else body,
        content_type=type,
        charset="utf-8",
        headers={hdrs.CACHE_CONTROL: _CACHING},
    )
    response.etag = tag
    return response


def tag_of(body: bytes) -> str:
    """Return the tag of a content."""
    return hashlib.sha256(body).hexdigest()[:16]


@cache
def _assets() -> dict[str, _Asset]:
    files = sorted(file for file in STATIC.iterdir() if file.suffix in _TYPES)
    contents = {file: file.read_bytes() for file in files}
    return {
        file.name: _Asset(body, _TYPES[file.suffix], tag_of(body))
        for file, body in contents.items()
    }
