"""Faults below the API: answers that break HTTP, stall, never end, or end too soon.

Each is played as raw bytes on the request's own socket, past aiohttp, which would write no such
thing. It begins as a right answer, with the API's headers and a page that the store gave.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import struct
import weakref
import zlib
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from aiomessages.server.store import Rows
from aiomessages.server.wire import page_body

from .fault import Fault, right_body

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import AsyncGenerator, Callable

    from aiohttp.typedefs import Handler

_LINE = "HTTP/1.1 200 OK"
_CHUNKED = "Transfer-Encoding: chunked"
_GZIP = "Content-Encoding: gzip"
_SPACES = b" " * 65_536  # JSON may end in any number of them
_PACE = 0.02  # seconds between the drops of what is slow
_BOMB = 300 * 2**20  # bytes
_TOO_LARGE = 256 * 2**20  # bytes; four times what our own client accepts by default
_TINY_CHUNKS = 1_000_000
# Closing with this option set and no time to linger is a reset; Windows has shorter numbers.
_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Sent(NamedTuple):
    """What a play has at hand: the API's headers, the right body, and the socket."""

    headers: str
    body: bytes
    transport: Transport

    def head(self, *fields: str, line: str = _LINE) -> bytes:
        """Return the status line and the headers, with more fields at their end."""
        return "\r\n".join([line, self.headers, *fields, "", ""]).encode("latin-1")

    def with_length(self, *fields: str, length: int | None = None) -> bytes:
        """Return the head of an answer that names its length: that of the body, if no other."""
        return self.head(f"Content-Length: {len(self.body) if length is None else length}", *fields)

    @property
    def half(self) -> bytes:
        """The first half of the body."""
        return self.body[: len(self.body) // 2]


if TYPE_CHECKING:
    Play = Callable[[Sent], AsyncGenerator[bytes]]


class Played(web.Response):
    """An answer that is played on the socket; the connection ends with it unless told otherwise."""

    def __init__(self, play: Play, body: bytes, *, keep_open: bool = False) -> None:
        super().__init__(content_type="application/json")
        self._play = play
        self._right_body = body
        self._keep_open = keep_open

    @property
    def keep_alive(self) -> bool:
        """Tell aiohttp what becomes of the connection."""
        return self._keep_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write all of it, at the reader's pace; aiohttp ends it when the reader has gone."""
        self._keep_open &= request.keep_alive
        if request.transport is None:
            raise ConnectionResetError("the reader has gone")
        headers = "\r\n".join(f"{name}: {value}" for name, value in self.headers.items())
        sent = Sent(headers, self._right_body, request.transport)
        async with aclosing(self._play(sent)) as pieces:
            async for piece in pieces:
                await request.writer.write(piece)
                await asyncio.sleep(0)  # a fast reader would leave others no turn

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing: the play has said all."""


def _played(does: str, play: Play, *, keep_open: bool = False) -> Fault:
    async def strike(request: web.Request, handler: Handler) -> web.Response:
        return Played(play, await right_body(request, handler), keep_open=keep_open)

    return Fault(does, strike)


def _written(does: str, whole: Callable[[Sent], bytes], *, keep_open: bool = False) -> Fault:
    """Write it in one go. What is right as HTTP keeps the connection open, as HTTP asks for."""

    async def play(sent: Sent) -> AsyncGenerator[bytes]:
        yield whole(sent)

    return _played(does, play, keep_open=keep_open)


# --- in one piece ---------------------------------------------------------------------------------


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _gzip_cut(sent: Sent) -> bytes:
    body = gzip.compress(sent.body)
    body = body[: len(body) // 2]
    return sent.with_length(_GZIP, length=len(body)) + body


def _bad_gzip(sent: Sent) -> bytes:
    body = gzip.compress(sent.body)[:10] + b"\xff" * 64  # a good header, and no block like that
    return sent.with_length(_GZIP, length=len(body)) + body


def _length_and_chunked(sent: Sent) -> bytes:
    return sent.with_length(_CHUNKED) + _chunk(sent.body) + _chunk(b"")


def _two_lengths(sent: Sent) -> bytes:
    return sent.with_length(f"Content-Length: {len(sent.body) + 1}") + sent.body


# --- in its own time ------------------------------------------------------------------------------


async def _reset(sent: Sent) -> AsyncGenerator[bytes]:
    sent.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sent.transport.abort()
    return
    yield  # what makes it a generator


async def _endless_continue(_: Sent) -> AsyncGenerator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n"
        await asyncio.sleep(_PACE)


async def _slow_body(sent: Sent) -> AsyncGenerator[bytes]:
    """Send a byte at a time, and spaces behind the last: a short body would be over too soon."""
    yield sent.head(_CHUNKED)
    body = iter(sent.body)
    while True:
        yield _chunk(bytes([next(body, _SPACES[0])]))
        await asyncio.sleep(_PACE)


async def _stalled_body(sent: Sent) -> AsyncGenerator[bytes]:
    yield sent.with_length() + sent.half
    await asyncio.Event().wait()


async def _bomb(sent: Sent) -> AsyncGenerator[bytes]:
    packer = zlib.compressobj(9, wbits=31)
    yield sent.head(_CHUNKED, _GZIP)
    packed = packer.compress(sent.body)
    for _ in range(_BOMB // len(_SPACES)):
        if packed:  # an empty chunk would be the end
            yield _chunk(packed)
        packed = packer.compress(_SPACES)
    yield _chunk(packed + packer.flush()) + _chunk(b"")


async def _endless_body(sent: Sent) -> AsyncGenerator[bytes]:
    yield sent.head(_CHUNKED) + _chunk(sent.body)
    while True:
        yield _chunk(_SPACES)


async def _too_large(sent: Sent) -> AsyncGenerator[bytes]:
    yield sent.with_length(length=len(sent.body) + _TOO_LARGE) + sent.body
    for _ in range(_TOO_LARGE // len(_SPACES)):
        yield _SPACES


async def _tiny_chunks(sent: Sent) -> AsyncGenerator[bytes]:
    yield sent.head(_CHUNKED) + b"".join(_chunk(bytes([byte])) for byte in sent.body)
    for _ in range((_TINY_CHUNKS - len(sent.body)) // 10_000):
        yield _chunk(b" ") * 10_000
    yield _chunk(b"")


async def _late_response(sent: Sent) -> AsyncGenerator[bytes]:
    yield sent.with_length() + sent.body
    await asyncio.sleep(_PACE)
    stray = b'{"id":"chatcmpl-stray-0","role":"user","content":"This is for somebody else."}'
    late = page_body(Rows([("chatcmpl-stray-0", stray)], has_more=False))
    yield sent.with_length(length=len(late)) + late


async def _silence(_: Sent) -> AsyncGenerator[bytes]:
    yield b""


# The connections that a request came in on: the next one there finds them closed.
_used: weakref.WeakSet[Transport] = weakref.WeakSet()


async def _stale_keep_alive(request: web.Request, _: Handler) -> web.Response | None:
    if request.transport is None or request.transport in _used:
        return Played(_silence, b"")
    _used.add(request.transport)
    return None


FAULTS = {
    "reset": _played("the connection is reset in place of an answer", _reset),
    "close-before-headers": _played("the connection is closed in place of an answer", _silence),
    "stale-keep-alive": Fault(
        "the second request on a connection finds it closed", _stale_keep_alive
    ),
    "headers-cut": _written("the headers break off", lambda sent: sent.with_length()[:-9]),
    "body-short": _written("half of the body", lambda sent: sent.with_length() + sent.half),
    "chunked-cut": _written(
        "a chunked body without its end", lambda sent: sent.head(_CHUNKED) + _chunk(sent.half)
    ),
    "close-delimited-cut": _written(
        "half of a body whose end is the connection's",
        lambda sent: sent.head("Connection: close") + sent.half,
    ),
    "gzip-cut": _written("half of a gzip stream", _gzip_cut, keep_open=True),
    "bad-gzip": _written("a gzip stream that is none", _bad_gzip, keep_open=True),
    "unknown-encoding": _written(
        "a Content-Encoding that nobody asked for",
        lambda sent: sent.with_length("Content-Encoding: reversed") + sent.body[::-1],
        keep_open=True,
    ),
    "length-and-chunked": _written(
        "both a Content-Length and a Transfer-Encoding", _length_and_chunked
    ),
    "two-lengths": _written("two Content-Lengths that differ", _two_lengths),
    "huge-header": _written(
        "a header of 16 KiB",
        lambda sent: sent.with_length(f"X-Padding: {'x' * 16_384}") + sent.body,
    ),
    "many-headers": _written(
        "200 headers more",
        lambda sent: sent.with_length(*(f"X-Padding-{n}: x" for n in range(200))) + sent.body,
    ),
    "garbage-status": _written(
        "a status line that is none", lambda sent: sent.head(line="HTTP/1.1 two hundred")
    ),
    "bad-chunk-size": _written(
        "a chunk of size zz", lambda sent: sent.head(_CHUNKED) + b"zz\r\n" + sent.body
    ),
    "endless-continue": _played("100 Continue, again and again", _endless_continue),
    "slow-body": _played("the body a byte at a time, without end", _slow_body),
    "stalled-body": _played("half of the body, then silence", _stalled_body),
    "bomb": _played("a small gzip stream of 300 MiB", _bomb, keep_open=True),
    "endless-body": _played("a chunked body without end", _endless_body),
    "too-large": _played("a page, and 256 MiB of spaces behind it", _too_large, keep_open=True),
    "tiny-chunks": _played("a million chunks of one byte", _tiny_chunks, keep_open=True),
    "late-response": _played(
        "behind the right answer one of another completion, unasked", _late_response, keep_open=True
    ),
}
