"""A server on a raw loopback socket that follows or violates the protocol as a test says.

It holds one conversation, lists it page by page, and plays a fault in place of a page. It counts
the requests that arrive. No HTTP library is between a fault and the wire.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from loopback import message, page

COMPLETION = "chatcmpl-1"
LIMIT = 2  # messages a page, in what the tests ask for
CONVERSATION = [message(n) for n in range(6)]


@dataclass
class Exchange:
    """One request, and all that a fault needs to answer it."""

    server: "RawServer"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: dict[str, str]
    query: dict[str, str]
    connection: int
    number: int = 0  # of the page, from 1
    nth: int = 0  # number of requests for this page, from 1
    page: dict[str, Any] = field(default_factory=dict)  # the right answer

    @property
    def key(self) -> str:
        """The key that the client sent, for a server that sends it back."""
        return self.headers["authorization"].removeprefix("Bearer ")

    def head(self, *fields: str, status: int = 200) -> bytes:
        """Return a status line and headers, with the key in as many places as they have."""
        lines = [
            f"HTTP/1.1 {status} {self.key}",
            "content-type: application/json",
            "x-request-id: req_7",
            f"x-echo: {self.key}",
            *fields,
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def whole(self, body: bytes, *fields: str, status: int = 200) -> bytes:
        """Return a correct response."""
        return self.head(f"content-length: {len(body)}", *fields, status=status) + body

    def right(self, *fields: str) -> bytes:
        """Return the correct page as a response."""
        return self.whole(self.body, *fields)

    @property
    def body(self) -> bytes:
        """The body of the correct page."""
        return json.dumps(self.page).encode()

    async def send(self, data: bytes) -> None:
        """Send the bytes, at the pace of the reader."""
        self.writer.write(data)
        await self.writer.drain()

    async def hung_up(self) -> None:
        """Wait until the client hangs up."""
        await self.reader.read()

    def close(self) -> None:
        """Hang up, in order."""
        self.writer.close()

    def reset(self) -> None:
        """Hang up with a RST."""
        linger = struct.pack("ii", 1, 0)
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Play = Callable[[Exchange], Awaitable[None]]
"""Answer a request. The connection stays open unless the play, or the client, closes it."""


class RawServer:
    """Serve CONVERSATION, and play faults: page number → play, on the first `times` requests."""

    def __init__(
        self,
        plays: Mapping[int, Play] | None = None,
        *,
        times: float = float("inf"),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._plays = plays or {}
        self._times = times
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._pages: Counter[int] = Counter()
        self.asked: list[Exchange] = []
        self.connections = 0
        self.strangers = 0  # connections at the address to which it redirects
        self.arrived = asyncio.Event()  # set by each request
        self.released = asyncio.Event()  # for plays that hold an answer back

    @property
    def base_url(self) -> str:
        """The base URL for a client."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{_port(self._server)}/v1"

    @property
    def elsewhere(self) -> str:
        """Another address that counts its visitors."""
        return f"http://localhost:{_port(self._other)}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self._other = await asyncio.start_server(self._count_stranger, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._other.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def all_gone(self) -> None:
        """Wait until no connection is open; fail if one stays open."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=10)
            assert not left, f"{len(left)} connections stay open"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        number = self.connections
        try:
            while not writer.is_closing():
                await self._answer(await self._read(reader, writer, number))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> Exchange:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip().split("\r\n")
        query = dict(parse_qsl(urlsplit(line.split(" ")[1]).query))
        fields = (item.split(": ", 1) for item in lines)
        headers = {name.lower(): value for name, value in fields}
        return Exchange(self, reader, writer, headers, query, connection)

    async def _answer(self, exchange: Exchange) -> None:
        ids = [item["id"] for item in CONVERSATION]
        start = ids.index(exchange.query["after"]) + 1 if "after" in exchange.query else 0
        end = start + int(exchange.query.get("limit", LIMIT))
        exchange.page = page(CONVERSATION[start:end], has_more=end < len(ids))
        exchange.number = start // LIMIT + 1
        self._pages[exchange.number] += 1
        exchange.nth = self._pages[exchange.number]
        self.asked.append(exchange)
        self.arrived.set()
        play = self._plays.get(exchange.number)
        if play is not None and exchange.nth <= self._times:
            await play(exchange)
        else:
            await exchange.send(exchange.right())

    async def _count_stranger(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.strangers += 1
        writer.close()


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
