"""Faults below the API: responses that violate HTTP, stall, never end, or end too soon.

aiohttp writes only valid HTTP, so each fault writes raw bytes to the socket of the request. Each
starts from a correct response, with the API's headers and a page from the store.
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

from aiomessages.archive.store import Rows
from aiomessages.server.wire import page_body

from .fault import Fault, correct_body

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import AsyncGenerator, Callable

    from aiohttp.typedefs import Handler

_LINE = "HTTP/1.1 200 OK"
_CHUNKED = "Transfer-Encoding: chunked"
_GZIP = "Content-Encoding: gzip"
_SPACES = b" " * 65_536  # valid after a JSON document, in any number
_PAUSE = 0.02  # seconds between the writes of a slow response
_BOMB = 300 * 2**20  # bytes
_TOO_LARGE = 256 * 2**20  # bytes; four times the default limit of this package's client
_TINY_CHUNKS = 1_000_000
# SO_LINGER with a time of 0 turns a close into a reset. Windows has 16-bit members here.
_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Correct(NamedTuple):
    """The correct response that a fault starts from: headers, body, and the transport."""

    headers: str
    body: bytes
    transport: Transport

    def head(self, *fields: str, line: str = _LINE) -> bytes:
        """Return the status line and the headers, followed by more header fields."""
        return "\r\n".join([line, self.headers, *fields, "", ""]).encode("latin-1")

    def with_length(self, *fields: str, length: int | None = None) -> bytes:
        """Return a head with a Content-Length: `length`, or the length of the body."""
        return self.head(f"Content-Length: {len(self.body) if length is None else length}", *fields)

    @property
    def half(self) -> bytes:
        """The first half of the body."""
        return self.body[: len(self.body) // 2]


if TYPE_CHECKING:
    Write = Callable[[Correct], AsyncGenerator[bytes]]


class RawResponse(web.Response):
    """A response that writes raw bytes; the connection closes after it unless `keep_open`."""

    def __init__(self, write: Write, body: bytes, *, keep_open: bool = False) -> None:
        super().__init__(content_type="application/json")
        self._write = write
        self._body_text = body
        self._keep_open = keep_open

    @property
    def keep_alive(self) -> bool:
        """Whether aiohttp keeps the connection open after the response."""
        return self._keep_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write all bytes as fast as the client reads, until it is gone: then aiohttp cancels."""
        self._keep_open &= request.keep_alive
        if request.transport is None:
            raise ConnectionResetError("the client is gone")
        headers = "\r\n".join(f"{name}: {value}" for name, value in self.headers.items())
        correct = Correct(headers, self._body_text, request.transport)
        async with aclosing(self._write(correct)) as pieces:
            async for piece in pieces:
                await request.writer.write(piece)
                await asyncio.sleep(0)  # a client that reads fast would starve other tasks

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing: `prepare` has written everything."""


def _raw(description: str, write: Write, *, keep_open: bool = False) -> Fault:
    async def inject(request: web.Request, handler: Handler) -> web.Response:
        return RawResponse(write, await correct_body(request, handler), keep_open=keep_open)

    return Fault(description, inject)


def _at_once(
    description: str, render: Callable[[Correct], bytes], *, keep_open: bool = False
) -> Fault:
    """Write the response in one piece. Valid HTTP keeps the connection open, as HTTP requires."""

    async def write(correct: Correct) -> AsyncGenerator[bytes]:
        yield render(correct)

    return _raw(description, write, keep_open=keep_open)


# --- written at once ------------------------------------------------------------------------------


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _gzip_cut(correct: Correct) -> bytes:
    body = gzip.compress(correct.body)
    body = body[: len(body) // 2]
    return correct.with_length(_GZIP, length=len(body)) + body


def _bad_gzip(correct: Correct) -> bytes:
    body = gzip.compress(correct.body)[:10] + b"\xff" * 64  # a valid header, then an invalid block
    return correct.with_length(_GZIP, length=len(body)) + body


def _length_and_chunked(correct: Correct) -> bytes:
    return correct.with_length(_CHUNKED) + _chunk(correct.body) + _chunk(b"")


def _two_lengths(correct: Correct) -> bytes:
    return correct.with_length(f"Content-Length: {len(correct.body) + 1}") + correct.body


# --- written over time ----------------------------------------------------------------------------


async def _reset(correct: Correct) -> AsyncGenerator[bytes]:
    correct.transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, _RESET
    )
    correct.transport.abort()
    return
    yield  # the statement makes this function a generator


async def _endless_continue(_: Correct) -> AsyncGenerator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n"
        await asyncio.sleep(_PAUSE)


async def _slow_body(correct: Correct) -> AsyncGenerator[bytes]:
    """Send a byte at a time, then spaces: without them a short body would end too soon."""
    yield correct.head(_CHUNKED)
    body = iter(correct.body)
    while True:
        yield _chunk(bytes([next(body, _SPACES[0])]))
        await asyncio.sleep(_PAUSE)


async def _stalled_body(correct: Correct) -> AsyncGenerator[bytes]:
    yield correct.with_length() + correct.half
    await asyncio.Event().wait()


async def _bomb(correct: Correct) -> AsyncGenerator[bytes]:
    packer = zlib.compressobj(9, wbits=31)
    yield correct.head(_CHUNKED, _GZIP)
    packed = packer.compress(correct.body)
    for _ in range(_BOMB // len(_SPACES)):
        if packed:  # an empty chunk would end the body
            yield _chunk(packed)
        packed = packer.compress(_SPACES)
        await asyncio.sleep(0)  # zlib returns nothing for megabytes: without it, no other task runs
    yield _chunk(packed + packer.flush()) + _chunk(b"")


async def _endless_body(correct: Correct) -> AsyncGenerator[bytes]:
    yield correct.head(_CHUNKED) + _chunk(correct.body)
    while True:
        yield _chunk(_SPACES)


async def _too_large(correct: Correct) -> AsyncGenerator[bytes]:
    yield correct.with_length(length=len(correct.body) + _TOO_LARGE) + correct.body
    for _ in range(_TOO_LARGE // len(_SPACES)):
        yield _SPACES


async def _tiny_chunks(correct: Correct) -> AsyncGenerator[bytes]:
    yield correct.head(_CHUNKED) + b"".join(_chunk(bytes([byte])) for byte in correct.body)
    for _ in range((_TINY_CHUNKS - len(correct.body)) // 10_000):
        yield _chunk(b" ") * 10_000
    yield _chunk(b"")


async def _late_response(correct: Correct) -> AsyncGenerator[bytes]:
    yield correct.with_length() + correct.body
    await asyncio.sleep(_PAUSE)
    stray = b'{"id":"chatcmpl-stray-0","role":"user","content":"This is for somebody else."}'
    late = page_body(Rows([("chatcmpl-stray-0", stray)], has_more=False))
    yield correct.with_length(length=len(late)) + late


async def _nothing(_: Correct) -> AsyncGenerator[bytes]:
    yield b""


# The connections that have carried a request; the next request on one finds it closed.
_used: weakref.WeakSet[Transport] = weakref.WeakSet()


async def _stale_keep_alive(request: web.Request, _: Handler) -> web.Response | None:
    if request.transport is None or request.transport in _used:
        return RawResponse(_nothing, b"")
    _used.add(request.transport)
    return None


FAULTS = {
    "reset": _raw("the connection is reset in place of a response", _reset),
    "close-before-headers": _raw("the connection is closed in place of a response", _nothing),
    "stale-keep-alive": Fault(
        "the second request on a connection finds it closed", _stale_keep_alive
    ),
    "headers-cut": _at_once("the headers break off", lambda correct: correct.with_length()[:-9]),
    "body-short": _at_once(
        "half of the body", lambda correct: correct.with_length() + correct.half
    ),
    "chunked-cut": _at_once(
        "a chunked body without its end",
        lambda correct: correct.head(_CHUNKED) + _chunk(correct.half),
    ),
    "close-delimited-cut": _at_once(
        "half of a body whose end is the connection's",
        lambda correct: correct.head("Connection: close") + correct.half,
    ),
    "gzip-cut": _at_once("half of a gzip stream", _gzip_cut, keep_open=True),
    "bad-gzip": _at_once("an invalid gzip stream", _bad_gzip, keep_open=True),
    "unknown-encoding": _at_once(
        "a Content-Encoding that was not requested",
        lambda correct: correct.with_length("Content-Encoding: reversed") + correct.body[::-1],
        keep_open=True,
    ),
    "length-and-chunked": _at_once(
        "both a Content-Length and a Transfer-Encoding", _length_and_chunked
    ),
    "two-lengths": _at_once("two Content-Lengths that differ", _two_lengths),
    "huge-header": _at_once(
        "a header of 16 KiB",
        lambda correct: correct.with_length(f"X-Padding: {'x' * 16_384}") + correct.body,
    ),
    "many-headers": _at_once(
        "200 additional headers",
        lambda correct: (
            correct.with_length(*(f"X-Padding-{n}: x" for n in range(200))) + correct.body
        ),
    ),
    "garbage-status": _at_once(
        "an invalid status line", lambda correct: correct.head(line="HTTP/1.1 two hundred")
    ),
    "bad-chunk-size": _at_once(
        "a chunk of size zz", lambda correct: correct.head(_CHUNKED) + b"zz\r\n" + correct.body
    ),
    "endless-continue": _raw("100 Continue without end", _endless_continue),
    "slow-body": _raw("the body a byte at a time without end", _slow_body),
    "stalled-body": _raw("half of the body, then silence", _stalled_body),
    "bomb": _raw("a small gzip stream that expands to 300 MiB", _bomb, keep_open=True),
    "endless-body": _raw("a chunked body without end", _endless_body),
    "too-large": _raw("a page followed by 256 MiB of spaces", _too_large, keep_open=True),
    "tiny-chunks": _raw("a million chunks of one byte", _tiny_chunks, keep_open=True),
    "late-response": _raw(
        "the correct response, then an unrequested one of another completion",
        _late_response,
        keep_open=True,
    ),
}
