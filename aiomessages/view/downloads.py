"""What can be saved: the ids of a selection, a message, and a conversation as a whole.

No name of a file has anything of the archive but letters and digits, and a browser is told what a
file is: it shows none of them as a page.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import hdrs, web

from aiomessages.archive.browsing import Filters, ids, message
from aiomessages.archive.connection import ReadConnection
from aiomessages.errors import ConfigurationError
from aiomessages.wire.requests import check_completion_id

from .room import ROOM
from .url_state import id_of, state_of

_NOT_READ: Final = ("#", '"', "\ufeff")  # what an id in a file cannot begin with
_TYPES: Final = {"json": "application/json", "txt": "text/plain"}


async def selected_ids(request: web.Request) -> web.StreamResponse:
    """Send the ids of a selection, one a line, as `aiomessages export --ids-file` reads them."""
    room, state = request.app[ROOM], state_of(request.query)
    filters = state.filters(room.zone)
    async with room.pool.alone() as connection:
        return await _sent(request, _lines(connection, filters), "text/plain", "ids.txt")


async def raw_message(request: web.Request) -> web.StreamResponse:
    """Send a message as it is stored, or its text."""
    found = request.match_info
    completion_id, n, kind = id_of(found["id"]), int(found["n"]), found["kind"]
    stored = await request.app[ROOM].pool.run(lambda db: message(db, completion_id, n))
    text = (stored.text or "").encode("utf-8", "replace")
    return web.Response(
        body=stored.body if kind == "json" else text,
        content_type=_TYPES[kind],
        charset="utf-8",
        headers={hdrs.CONTENT_DISPOSITION: f'inline; filename="message-{n}.{kind}"'},
    )


async def _lines(connection: ReadConnection, filters: Filters) -> AsyncIterator[bytes]:
    batches = await connection.run(lambda db: ids(db, filters))
    while (batch := await connection.run(lambda _: next(batches, None))) is not None:
        yield "".join(map(_line, batch)).encode("utf-8", "replace")


def _line(completion_id: str) -> str:
    """Return an id on a line; a comment, which an export skips, for one that it could not read."""
    try:
        if completion_id == completion_id.strip() and completion_id[:1] not in _NOT_READ:
            return f"{check_completion_id(completion_id)}\n"
    except ConfigurationError:
        pass
    return f"# left out, since no request can name it: {json.dumps(completion_id)}\n"


async def _sent(
    request: web.Request, parts: AsyncIterator[bytes], type: str, name: str
) -> web.StreamResponse:
    """Send the parts of a file as they come; the first one before anything, so that it may fail."""
    first = await anext(parts, b"")
    response = web.StreamResponse(
        headers={hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"'}
    )
    response.content_type, response.charset = type, "utf-8"
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    await response.write(first)
    async for part in parts:
        await response.write(part)
    await response.write_eof()
    return response


def file_name(completion_id: str, ending: str) -> str:
    """Return a name for the file of a conversation."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', completion_id)[:100]}.{ending}"
