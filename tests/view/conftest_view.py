"""What the tests of the pages share by import: a server on a real socket, and a client of bytes."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from multidict import CIMultiDict

from aiomessages.archive.database import open_to_write
from aiomessages.archive.insert import insert_conversation
from aiomessages.view import Access, create_app
from aiomessages.view.access import HEADERS
from aiomessages.view.serving import bound, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from aiohttp import web
    from aiohttp.typedefs import Middleware


@dataclass
class Answer:
    """A response, as it came from the socket."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def text(self) -> str:
        """The text of the body, with the characters that are written as entities."""
        return unescape(self.body.decode())

    def has_all_headers(self) -> bool:
        """Whether each header that every answer must have is there, once."""
        return all(self.headers.getall(name, []) == [value] for name, value in HEADERS.items())


@dataclass
class Opened:
    """A served archive. `cookie` is that of a browser which was admitted."""

    app: web.Application
    access: Access
    cookie: str = ""

    @property
    def host(self) -> str:
        """The value of the header Host of a browser."""
        return f"127.0.0.1:{self.access.port}"

    async def get(
        self, target: str, query: dict[str, str] | None = None, *, method: str = "GET"
    ) -> Answer:
        """Ask for a page as a browser does that was admitted."""
        if query:
            target += f"?{urlencode(query)}"
        return await self.ask(target, {"Cookie": self.cookie}, method=method)

    async def ask(
        self,
        target: str = "/",
        headers: dict[str, str] | Iterable[tuple[str, str]] = (),
        *,
        method: str = "GET",
        host: str | None = None,
        source: socket.socket | None = None,
    ) -> Answer:
        """Send a request with these headers and no others but Host."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host if host is None else host}"]
        lines += [f"{name}: {value}" for name, value in pairs]
        data = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
        return await self.send(data, source=source)

    async def send(self, data: bytes, *, source: socket.socket | None = None) -> Answer:
        """Send bytes, through a socket of one's own or a new one, and return the answer to them."""
        source = source or socket.socket()
        source.setblocking(False)
        async with asyncio.timeout(30):
            address = ("127.0.0.1", self.access.port)
            await asyncio.get_running_loop().sock_connect(source, address)
            reader, writer = await asyncio.open_connection(sock=source)
            try:
                writer.write(data)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                body = await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()
        status, *lines = head.rstrip().split("\r\n")
        headers = CIMultiDict(
            (name, value.strip()) for name, _, value in (line.partition(":") for line in lines)
        )
        if headers.get("Transfer-Encoding") == "chunked":
            body = _joined(body)
        return Answer(int(status.split()[1]), headers, body)


def _joined(chunked: bytes) -> bytes:
    """Return the body of chunks. Raise ValueError for one that was cut."""
    body = b""
    while True:
        size, _, chunked = chunked.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return body
        body, chunked = body + chunked[:length], chunked[length + 2 :]


@asynccontextmanager
async def opened(
    path: Path, *, utc: bool = True, hosts: Iterable[str] = (), also: Middleware | None = None
) -> AsyncIterator[Opened]:
    """Serve an archive on a free port, and be admitted. `also` is one more middleware."""
    with bound() as listener:
        access = Access(listener.getsockname()[1], hosts=hosts)
        app = create_app(path, access=access, utc=utc)
        app.middlewares.extend([also] if also else [])
        async with serving(app, listener):
            found = Opened(app, access)
            answer = await found.ask(f"/?token={access.token}")
            found.cookie = answer.headers["Set-Cookie"].partition(";")[0]
            yield found


def store(path: Path, name: str = "", *texts: str | bytes | dict[str, Any], **fields: Any) -> None:
    """Store a conversation in an archive, which is created if it is missing; none without a name.

    A text is a message of a user, and bytes are the JSON of a message as it was sent.
    """
    state = fields.pop("state", "complete")
    replies = fields.pop("replies", ())
    with closing(open_to_write(path)) as db:
        if not name:
            return
        choices = [
            {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for n, text in enumerate(replies)
        ]
        known = {"id": f"chatcmpl-{name}", "created": 1_700_000_000, "model": "gpt-4o"}
        completion = known | {"choices": choices} | fields
        messages = [
            {"role": "user", "content": text} if isinstance(text, str) else text for text in texts
        ]
        bodies = [
            message if isinstance(message, bytes) else json.dumps(message).encode()
            for message in messages
        ]
        db.execute("BEGIN IMMEDIATE")
        insert_conversation(db, json.dumps(completion).encode(), bodies, seen=1.0, state=state)
        db.execute("COMMIT")
