"""A loopback server that answers any messages list with rendered pages, in its own process.

It is as cheap as Python allows (a bare protocol, cached pages), so that a round trip costs little
beyond the client's share. It checks neither key nor path, so each completion has the same messages.
Their number does not change the server's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

COMPLETION_ID, KEY = "chatcmpl-bench", "sk-benchmark"
KEPT_PAGES = 1024
LIMIT, AFTER = re.compile(rb"[?&]limit=(\d+)"), re.compile(rb"[?&]after=[^ &]*-(\d+)")
DESCENDING = re.compile(rb"[?&]order=desc")

# A text has a line break to unescape and a letter outside ASCII, as most real ones do.
OPENING = "First things first.\nThen the café: "
FILLER = "the quick brown fox jumps over the lazy dog and comes back for another round of it, "

# The absent values that a server sends as null with a text message. The last shape is that of the
# live API, with a field of the wrong type in every hundredth message.
LIVE, ODD = "the live API", "one odd in 100"
SHAPES: dict[str, dict[str, None]] = {
    LIVE: dict.fromkeys(("content_parts", "name")),
    "the contract": dict.fromkeys(("refusal",)),
    "OGX": dict.fromkeys(
        [
            *("content_parts", "name", "tool_calls", "tool_call_id", "refusal"),
            *("function_call", "annotations", "audio"),
        ]
    ),
    ODD: dict.fromkeys(("content_parts", "name")),
}
ODD_PLACE = 50  # of each hundred

HEADERS = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    "x-request-id: req_{start}\r\nopenai-processing-ms: 150\r\nopenai-version: 2020-10-01\r\n\r\n"
)


@asynccontextmanager
async def serving(
    messages: int, size: int, latency: float = 0, shape: str = LIVE
) -> AsyncIterator[str]:
    """Start the server as a process of its own and give its base URL; `latency` is in seconds."""
    async with started("benchmarks.server", messages, size, latency, shape) as base_url:
        yield base_url


@asynccontextmanager
async def started(module: str, *options: object) -> AsyncIterator[str]:
    """Start a server, which is the module's program, and give its base URL."""
    command = [sys.executable, "-m", module, *map(str, options)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert process.stdin
    assert process.stdout
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.stdin.close()  # this ends the server, even if this process is killed
        await process.wait()


def message(number: int, size: int, shape: str) -> bytes:
    """Render one message, of `size` bytes in the live API's shape and the same text in others."""
    odd = shape == ODD and number % 100 == ODD_PLACE
    role = ("user", "assistant")[number % 2]
    return template(role, len(str(number)), size, shape, odd=odd) % number


@cache
def template(role: str, digits: int, size: int, shape: str, *, odd: bool) -> bytes:
    """Render a message whose id has a place for a number of so many digits."""
    about = {"id": f"{COMPLETION_ID}-%d", "role": role}
    least = len(compact({**about, "content": OPENING, **SHAPES[LIVE]})) - len("%d") + digits
    room = max(size - least, 0)
    filler = FILLER * (room // len(FILLER) + 1)
    rest = {**SHAPES[shape], "refusal": False} if odd else SHAPES[shape]
    return compact({**about, "content": OPENING + filler[:room], **rest})


def compact(value: object) -> bytes:
    """Encode as the live API does: on one line, without spaces, in UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def page(
    count: int, size: int, start: int, limit: int, *, descending: bool = False, shape: str = LIVE
) -> bytes:
    """Render one page of `count` messages, from a position in the requested order."""
    numbers = range(count)[:: -1 if descending else 1][start : start + limit]
    shown = [message(number, size, shape) for number in numbers]
    ends = (numbers[0], numbers[-1]) if numbers else ()  # behind a full last page there are none
    first, last = [f'"{COMPLETION_ID}-{n}"' for n in ends] or ("null", "null")
    more = "true" if start + limit < count else "false"
    tail = f'],"first_id":{first},"last_id":{last},"has_more":{more}}}'
    body = b'{"object":"list","data":[' + b",".join(shown) + tail.encode()
    return HEADERS.format(length=len(body), start=start).encode() + body


class PageProtocol(asyncio.Protocol):
    """Answer each request on a kept-alive connection; a GET ends where its headers end."""

    def __init__(self, respond: Callable[[bytes], bytes], latency: float = 0) -> None:
        self.respond, self.latency, self.pending = respond, latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the responses."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        *requests, self.pending = (self.pending + data).split(b"\r\n\r\n")
        for request in requests:
            self.answer(self.respond(request))

    def answer(self, response: bytes) -> None:
        """Send a response, at once or after the latency."""
        if self.latency:
            loop = asyncio.get_running_loop()
            loop.call_later(self.latency, self.transport.write, response)
        else:
            self.transport.write(response)


async def serve(count: int, size: int, latency: float, shape: str) -> None:
    """Serve the pages of any conversation until standard input ends."""

    @lru_cache(KEPT_PAGES)
    def cached(after: int | None, limit: int, descending: bool) -> bytes:
        start = 0 if after is None else (count - after if descending else after + 1)
        return page(count, size, start, limit, descending=descending, shape=shape)

    def respond(request: bytes) -> bytes:
        return cached(*place(request), bool(DESCENDING.search(request)))

    await listen(lambda: PageProtocol(respond, latency))


def place(request: bytes) -> tuple[int | None, int]:
    """Return the number in the cursor of a request, if it has one, and its limit."""
    after, limit = AFTER.search(request), LIMIT.search(request)
    return int(after[1]) if after else None, int(limit[1]) if limit else 20


async def listen(protocol: Callable[[], asyncio.Protocol]) -> None:
    """Serve on a free port, print it, and stop when standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("latency", type=float)
    parser.add_argument("shape", choices=SHAPES)
    options = parser.parse_args()
    asyncio.run(serve(options.messages, options.size, options.latency, options.shape))
