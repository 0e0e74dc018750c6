"""Kept connections: they serve one request after another, and parse plain responses."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from loopback import Answer, Loopback, message, page

from aiomessages import (
    APITimeoutError,
    AsyncMessagesClient,
    DecodeError,
    ResponseTooLargeError,
    RetryPolicy,
    Timeout,
)
from aiomessages.client import caller_of
from aiomessages.http.pool import Pool
from aiomessages.http.shortcut.connection import KeptConnection
from aiomessages.http.shortcut.self_check import FakeTransport
from aiomessages.http.shortcut.timeouts import SharedTimer
from aiomessages.wire.responses import Response

KEY = "sk-canary-0123456789"
Begin = Callable[..., asyncio.Task[Response]]
SOON = 5.0  # seconds, enough for every event that a test waits for


class Wire(FakeTransport):
    """A transport without a socket; the test sends the response."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Store the request."""
        self.sent += data


@asynccontextmanager
async def a_connection() -> AsyncIterator[tuple[KeptConnection, Wire, Begin]]:
    """Yield a kept connection, its transport, and a function that begins an exchange on it."""
    loop = asyncio.get_running_loop()
    key = ConnectionKey("nowhere", 80, False, True, None, None, None)
    handler = ResponseHandler(loop)
    wire = Wire(handler)

    def begin(max_bytes: int = 1000) -> asyncio.Task[Response]:
        asked = kept.exchange("/x", b" HTTP/1.1\r\n\r\n", Timeout(), max_bytes, timer=SharedTimer())
        return loop.create_task(asked)

    async with Pool() as connections:
        kept = KeptConnection(Connection(connections, key, handler, loop))
        try:
            yield kept, wire, begin
        finally:
            kept.abort()


HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: req_1\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nplain\r\n7\r\n answer\r\n0\r\n\r\n"
SIZED = HEAD + b"content-length: 12\r\n\r\nplain answer"


@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
async def test_a_response_in_pieces(answer: bytes) -> None:
    """However a body is cut in transit, the response is the same; aiohttp's handler stays idle."""
    head = answer.index(b"\r\n\r\n") + 4
    async with a_connection() as (kept, wire, begin):
        for cut in range(head, len(answer)):
            call = begin()
            await asyncio.sleep(0)
            for piece in (answer[:cut], answer[cut : cut + 1], answer[cut + 1 :]):
                assert wire.protocol is kept
                if piece:
                    wire.protocol.data_received(piece)
            response = await asyncio.wait_for(call, SOON)
            assert (response.status, response.body) == (200, b"plain answer")
            assert kept.usable


@pytest.mark.parametrize("cut", range(0, len(SIZED), 7))
async def test_any_other_response_is_read_by_aiohttp(cut: int) -> None:
    """A response that turns out not to be plain goes to aiohttp's handler with all its bytes."""
    answer = SIZED.replace(b"200 OK", b"404 Not Found")
    async with a_connection() as (kept, wire, begin):
        call = begin()
        await asyncio.sleep(0)
        for piece in filter(None, (answer[:cut], answer[cut:])):
            wire.protocol.data_received(piece)
            assert wire.protocol is not kept
        response = await asyncio.wait_for(call, SOON)
        assert (response.status, response.body) == (404, b"plain answer")
        assert kept.usable
        assert wire.protocol is kept  # half an unsolicited response must not wait in a parser


@pytest.mark.parametrize("end", [KeptConnection.release, KeptConnection.abort])
async def test_the_end_of_a_kept_connection(end: Callable[[KeptConnection], None]) -> None:
    """A connection that goes back to the pool, or is closed, has aiohttp's handler again."""
    async with a_connection() as (kept, wire, begin):
        call = begin()
        await asyncio.sleep(0)
        wire.protocol.data_received(SIZED)
        await asyncio.wait_for(call, SOON)
        assert wire.protocol is kept
        end(kept)
        assert isinstance(wire.protocol, ResponseHandler)


async def test_a_plain_response_after_another() -> None:
    """After a response that aiohttp read, the connection parses plain responses itself again."""
    async with a_connection() as (kept, wire, begin):
        for answer, status in ((SIZED.replace(b"200", b"404"), 404), (SIZED, 200)):
            call = begin()
            await asyncio.sleep(0)
            assert wire.protocol is kept
            wire.protocol.data_received(answer)
            assert (await asyncio.wait_for(call, SOON)).status == status


@pytest.mark.parametrize("cut", [None, len(SIZED) - 3])
async def test_pauses_of_writing_reach_the_handler(cut: int | None) -> None:
    """The handler learns when the transport pauses, whichever object is its protocol."""
    async with a_connection() as (_, wire, begin):
        call = begin()
        await asyncio.sleep(0)
        wire.protocol.pause_writing()
        wire.protocol.resume_writing()
        wire.protocol.data_received(SIZED[:cut])
        if cut is not None:
            assert not wire.protocol.eof_received()
            wire.protocol.connection_lost(None)
            with pytest.raises(Exception, match="not completed"):
                await asyncio.wait_for(call, SOON)
        else:
            assert (await asyncio.wait_for(call, SOON)).body == b"plain answer"


@asynccontextmanager
async def client_of(server: Loopback, **options: Any) -> AsyncIterator[AsyncMessagesClient]:
    """Yield a client without retries that keeps a connection after a second call on it."""
    retry = RetryPolicy(max_retries=0)
    async with AsyncMessagesClient(KEY, base_url=server.base_url, retry=retry, **options) as client:
        for _ in range(2):
            await client.list("chatcmpl-1")
        yield client


def pool_of(client: AsyncMessagesClient) -> Any:
    """Return a client's pool."""
    return caller_of(client).attempts.transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 there is no public way to ask


async def until(happened: Callable[[], bool]) -> None:
    """Poll a condition that has no event."""
    async with asyncio.timeout(SOON):
        while not happened():  # noqa: ASYNC110 see there
            await asyncio.sleep(0)


async def test_an_unsolicited_response() -> None:
    """Bytes on a kept connection spoil it: the next request uses another."""
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        client_of(server) as client,
    ):
        server.send(Answer(page([message(0, completion_id="chatcmpl-2")])).encode())
        ((kept,),) = pool_of(client)._kept.values()  # noqa: SLF001 there is no public way to ask
        await until(lambda: not kept.usable)
        assert (await client.list("chatcmpl-1")).data[0].id == "chatcmpl-1-0"
    assert [asked.connection for asked in server.asked] == [1, 1, 2]


async def test_a_piece_of_an_unsolicited_response() -> None:
    """A kept connection does not wait for the rest of an unsolicited response."""
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        client_of(server) as client,
    ):
        server.send(b"HTTP/1.1 200 OK\r\nx-late: ")
        ((kept,),) = pool_of(client)._kept.values()  # noqa: SLF001 there is no public way to ask
        await until(lambda: not kept.usable)
        assert (await client.list("chatcmpl-1")).data[0].id == "chatcmpl-1-0"
    assert [asked.connection for asked in server.asked] == [1, 1, 2]


def zipped(body: bytes) -> Answer:
    """Return a plain response with that compressed body."""
    return Answer(body, headers={"content-encoding": "gzip"})


WHOLE = gzip.compress(Answer(page([message(0)])).encode().partition(b"\r\n\r\n")[2])


async def test_a_compressed_body() -> None:
    """The body of a plain response is decompressed like any other."""
    async with Loopback(lambda _: zipped(WHOLE)) as server, client_of(server) as client:
        assert (await client.list("chatcmpl-1")).data[0].id == "chatcmpl-1-0"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (WHOLE[:-5], DecodeError),
        (b"no gzip", DecodeError),
        (gzip.compress(b" " * 5000), ResponseTooLargeError),
    ],
    ids=["cut short", "no gzip", "a bomb"],
)
async def test_a_badly_compressed_body(body: bytes, error: type[Exception]) -> None:
    """A compressed body of a plain response that is damaged or too large is an error."""
    bodies = iter([WHOLE, WHOLE, body])
    async with (
        Loopback(lambda _: zipped(next(bodies))) as server,
        client_of(server, max_response_bytes=4000) as client,
    ):
        with pytest.raises(error):
            await client.list("chatcmpl-1")


async def test_a_body_over_a_small_bound() -> None:
    """A body that is too large is refused before all of it has arrived."""
    endless = HEAD + b"content-length: 900000\r\n\r\n" + b" " * 100_000  # and no more
    good = Answer(page([message(0)])).encode()
    answers = iter([good, good, endless])
    async with (
        Loopback(lambda _: next(answers)) as server,
        client_of(server, max_response_bytes=2000, timeout=SOON) as client,
    ):
        with pytest.raises(ResponseTooLargeError):
            await client.list("chatcmpl-1")


async def test_silence_after_an_interim_response() -> None:
    """The time between two reads is bounded after an interim response, too."""
    good = Answer(page([message(0)])).encode()
    answers = iter([good, good, b"HTTP/1.1 100 Continue\r\n\r\n"])
    async with (
        Loopback(lambda _: next(answers)) as server,
        client_of(server, timeout=Timeout(total=None, read=0.1)) as client,
        asyncio.timeout(SOON),
    ):
        with pytest.raises(APITimeoutError):
            await client.list("chatcmpl-1")
