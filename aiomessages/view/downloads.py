"""What can be saved: the ids of a selection, a message, and a conversation as a whole.

No name of a file has anything of the archive but letters and digits, and a browser is told what a
file is: it shows none of them as a page.
"""

import json
import re
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from aiohttp import hdrs, web

from aiomessages.archive.connection import ReadConnection
from aiomessages.archive.conversation_order import ids
from aiomessages.archive.conversation_pages import StoredMessage, completion_json, message
from aiomessages.archive.filters import Filters
from aiomessages.errors import ConfigurationError
from aiomessages.wire.requests import check_completion_id

from .rendering.documents import read
from .rendering.source import section, title
from .room import ROOM
from .url_state import id_of, state_of

_NOT_READ: Final = ("#", '"', "\ufeff")  # what an id in a file cannot begin with
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_BYTES: Final = 1024 * 1024  # of messages at a time
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


async def whole_conversation(request: web.Request) -> web.StreamResponse:
    """Send a conversation: a record, as `aiomessages import` reads it, or Markdown to read."""
    found = request.match_info
    completion_id, kind = id_of(found["id"]), found["kind"]
    parts, type = _WHOLE[kind]
    async with request.app[ROOM].pool.alone() as connection:
        name = f"{_NOT_IN_NAMES.sub('_', completion_id)[:100]}.{kind}"
        return await _sent(request, parts(connection, completion_id), type, name)


async def _record(connection: ReadConnection, completion_id: str) -> AsyncIterator[bytes]:
    """Yield a conversation as one line of JSON; the replies are in its completion."""
    body, total = await connection.run(lambda db: completion_json(db, completion_id))
    yield b'{"completion":' + body + b',"messages":['
    comma = b""
    async for batch in _messages(connection, completion_id, total):
        for stored in batch:
            if stored.choice is None:
                yield comma + stored.body
                comma = b","
    yield b"]}\n"


async def _markdown(connection: ReadConnection, completion_id: str) -> AsyncIterator[bytes]:
    _, total = await connection.run(lambda db: completion_json(db, completion_id))
    yield title(completion_id).encode()
    async for batch in _messages(connection, completion_id, total):
        yield await connection.run(partial(_sections, batch))


def _sections(batch: list[StoredMessage], _: sqlite3.Connection) -> bytes:
    """Return messages as Markdown, which is for a thread: to lay out their JSON takes a while."""
    return "".join(map(_section, batch)).encode("utf-8", "replace")


def _section(stored: StoredMessage) -> str:
    return section(read(stored.body), stored.role, is_reply=stored.choice is not None)


async def _messages(
    connection: ReadConnection, completion_id: str, total: int
) -> AsyncIterator[list[StoredMessage]]:
    """Yield all messages, some of them at a time: a conversation may be larger than memory."""
    n = 0

    def some(db: sqlite3.Connection) -> list[StoredMessage]:
        found: list[StoredMessage] = []
        while n + len(found) < total and sum(stored.size for stored in found) < _BYTES:
            found.append(message(db, completion_id, n + len(found)))
        return found

    while n < total:
        batch = await connection.run(some)
        n += len(batch)
        yield batch


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


_WHOLE: Final = {
    "json": (_record, "application/json"),
    "md": (_markdown, "text/markdown"),
}
