"""A scripted HTTP server on a loopback socket, for tests that define each response.

It speaks just enough HTTP/1.1 for a GET with keep-alive, and records the requests.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

Json = Any


@dataclass
class Asked:
    """One request as it arrived."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    connection: int


@dataclass
class Answer:
    """A response: a body as bytes, or a value that is encoded as JSON."""

    body: Json = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the whole response as it goes over the wire."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        given = {"content-type": "application/json", **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return (
            f"HTTP/1.1 {self.status} X\r\n{head}content-length: {len(body)}\r\n\r\n"
        ).encode() + body


Script = Callable[[Asked], "Answer | bytes | Awaitable[Answer | bytes | None] | None"]


class Loopback:
    """The server: `script` answers each request; bytes go out as they are, None hangs up."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[Asked] = []
        self.open_connections = 0
        self._connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._quiet = asyncio.Event()

    @property
    def base_url(self) -> str:
        """The base URL for a client."""
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self.all_gone()

    def send(self, data: bytes) -> None:
        """Send unsolicited bytes on every open connection."""
        for writer in self._writers:
            writer.write(data)

    async def all_gone(self) -> None:
        """Wait until no connection is open."""
        async with asyncio.timeout(5):
            while self.open_connections:
                self._quiet.clear()
                await self._quiet.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        self.open_connections += 1
        self._writers.add(writer)
        try:
            while await self._answer_one(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self.open_connections -= 1
            self._quiet.set()

    async def _answer_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip().split("\r\n")
        target = urlsplit(line.split(" ")[1])
        headers = dict(item.lower().split(": ", 1) for item in lines)
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        asked = Asked(unquote(target.path), query, headers, number)
        self.asked.append(asked)
        answer = self._script(asked)
        if inspect.isawaitable(answer):
            answer = await self._unless_gone(answer, reader)
        if answer is None:
            return False
        writer.write(answer if isinstance(answer, bytes) else answer.encode())
        await writer.drain()
        return True

    async def _unless_gone(
        self, answer: Awaitable[Answer | bytes | None], reader: asyncio.StreamReader
    ) -> Answer | bytes | None:
        """Wait for a slow script, or for the client to hang up on it."""
        script = asyncio.ensure_future(answer)
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({script, gone}, return_when=asyncio.FIRST_COMPLETED)
            return script.result() if script.done() else None
        finally:
            script.cancel()
            gone.cancel()
            await asyncio.wait({script, gone})
            if gone.done() and not gone.cancelled():
                gone.exception()


def message(n: int, *, completion_id: str = "chatcmpl-1", **changes: Json) -> dict[str, Json]:
    """Return a message as the live API sends it."""
    return {
        "id": f"{completion_id}-{n}",
        "role": "assistant" if n % 2 else "user",
        "content": f"message {n}",
        "name": None,
        "content_parts": None,
        **changes,
    }


def page(items: Iterable[dict[str, Json]], *, has_more: bool = False) -> dict[str, Json]:
    """Return a page of items as the live API sends it."""
    data = list(items)
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def conversation(items: Iterable[dict[str, Json]]) -> Callable[[Asked], Answer]:
    """Return a script that lists items by after, limit and order, as the live API does."""
    stored = list(items)

    def script(asked: Asked) -> Answer:
        ordered = stored[::-1] if asked.query.get("order") == "desc" else stored
        ids = [item["id"] for item in ordered]
        start = ids.index(asked.query["after"]) + 1 if "after" in asked.query else 0
        end = start + int(asked.query.get("limit", 20))
        return Answer(page(ordered[start:end], has_more=end < len(ordered)))

    return script


def replies(*answers: Answer | bytes | None) -> Callable[[Asked], Answer | bytes | None]:
    """Return a script that gives these answers in turn, the last one from then on."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def error(status: int, code: str | None = None, **headers: str) -> Answer:
    """Return an error as the live API sends it; `retry_after="1"` is the header Retry-After."""
    body = {
        "error": {"message": f"it is {code}", "type": "some_error", "param": None, "code": code}
    }
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})
