"""Lines: connections that are held from request to request, and plain answers taken off them."""

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
from aiomessages.http import pool
from aiomessages.http.pool import Pool
from aiomessages.http.shortcut.connection import Line
from aiomessages.http.shortcut.self_check import Rehearsal
from aiomessages.http.shortcut.timeouts import AlarmClock
from aiomessages.wire.responses import Response

KEY = "sk-canary-0123456789"
SOON = 5.0  # seconds, within which all that a test waits for has happened


class Wire(Rehearsal):
    """A connection to nowhere, on which what comes back is the test's to say."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.sent += data


@asynccontextmanager
async def a_line() -> AsyncIterator[tuple[Line, Wire, Callable[..., asyncio.Task[Response]]]]:
    """Give a line, the wire below it, and what begins an exchange on it."""
    loop = asyncio.get_running_loop()
    key = ConnectionKey("nowhere", 80, False, True, None, None, None)
    handler = ResponseHandler(loop)
    wire = Wire(handler)

    def begin(max_bytes: int = 1000) -> asyncio.Task[Response]:
        asked = line.exchange("/x", b" HTTP/1.1\r\n\r\n", Timeout(), max_bytes, clock=AlarmClock())
        return loop.create_task(asked)

    async with Pool() as connections:
        line = Line(Connection(connections, key, handler, loop))
        try:
            yield line, wire, begin
        finally:
            line.hang_up()


HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: req_1\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nplain\r\n7\r\n answer\r\n0\r\n\r\n"
SIZED = HEAD + b"content-length: 12\r\n\r\nplain answer"


@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
async def test_an_answer_that_comes_in_pieces(answer: bytes) -> None:
    """However a body is cut on its way, the answer is the same, and aiohttp's handler is idle."""
    head = answer.index(b"\r\n\r\n") + 4
    async with a_line() as (line, wire, begin):
        for cut in range(head, len(answer)):
            call = begin()
            await asyncio.sleep(0)
            for piece in (answer[:cut], answer[cut : cut + 1], answer[cut + 1 :]):
                assert wire.protocol is line
                if piece:
                    wire.protocol.data_received(piece)
            response = await asyncio.wait_for(call, SOON)
            assert (response.status, response.body) == (200, b"plain answer")
            assert line.usable


@pytest.mark.parametrize("cut", range(0, len(SIZED), 7))
async def test_any_other_answer_is_read_by_aiohttp(cut: int) -> None:
    """What turns out not to be plain goes to aiohttp's handler, whole, at whatever point."""
    answer = SIZED.replace(b"200 OK", b"404 Not Found")
    async with a_line() as (line, wire, begin):
        call = begin()
        await asyncio.sleep(0)
        for piece in filter(None, (answer[:cut], answer[cut:])):
            wire.protocol.data_received(piece)
            assert wire.protocol is not line
        response = await asyncio.wait_for(call, SOON)
        assert (response.status, response.body) == (404, b"plain answer")
        assert line.usable


async def test_a_line_listens_again_after_another_answer() -> None:
    """An answer that aiohttp read is followed by plain ones, taken off by the line again."""
    async with a_line() as (line, wire, begin):
        for answer, status in ((SIZED.replace(b"200", b"404"), 404), (SIZED, 200)):
            call = begin()
            await asyncio.sleep(0)
            assert wire.protocol is line
            wire.protocol.data_received(answer)
            assert (await asyncio.wait_for(call, SOON)).status == status


@pytest.mark.parametrize("cut", [None, len(SIZED) - 3])
async def test_a_stop_of_writing_is_for_the_handler(cut: int | None) -> None:
    """Whether the transport takes more is the handler's to know, whoever listens meanwhile."""
    async with a_line() as (_, wire, begin):
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
    """Give a client that tries once and holds a connection, whose second call was on the line."""
    retry = RetryPolicy(max_retries=0)
    async with AsyncMessagesClient(KEY, base_url=server.base_url, retry=retry, **options) as client:
        for _ in range(2):
            await client.list("chatcmpl-1")
        yield client


def pool_of(client: AsyncMessagesClient) -> Any:
    """Return a client's pool."""
    return caller_of(client).attempts.shared.transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 there is no public way to ask


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what nobody tells."""
    async with asyncio.timeout(SOON):
        while not happened():  # noqa: ASYNC110 see there
            await asyncio.sleep(0)


async def test_an_answer_that_nobody_had_asked_for() -> None:
    """What comes on a held connection spoils it: the next request goes on another."""
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        client_of(server) as client,
    ):
        server.send(Answer(page([message(0, completion_id="chatcmpl-2")])).encode())
        ((held,),) = pool_of(client)._held.values()  # noqa: SLF001 there is no public way to ask
        await until(lambda: not held.usable)
        assert (await client.list("chatcmpl-1")).data[0].id == "chatcmpl-1-0"
    assert [asked.connection for asked in server.asked] == [1, 1, 2]


async def test_a_piece_of_an_answer_that_nobody_had_asked_for() -> None:
    """Nor does a held connection wait for the rest of what nobody asked for."""
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        client_of(server) as client,
    ):
        server.send(b"HTTP/1.1 200 OK\r\nx-late: ")
        ((held,),) = pool_of(client)._held.values()  # noqa: SLF001 there is no public way to ask
        await until(lambda: not held.usable)
        assert (await client.list("chatcmpl-1")).data[0].id == "chatcmpl-1-0"
    assert [asked.connection for asked in server.asked] == [1, 1, 2]


async def test_connections_are_held_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time to hold them connections go back to aiohttp, and serve on from there."""
    monkeypatch.setattr(pool, "HOLD", 0.02)
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        client_of(server) as client,
    ):
        connections = pool_of(client)
        await until(lambda: not connections._acquired)  # noqa: SLF001 there is no public way to ask
        await client.list("chatcmpl-1")
        await until(lambda: not connections._acquired)  # noqa: SLF001 the same
    assert [asked.connection for asked in server.asked] == [1, 1, 1]


async def test_who_needs_a_connection_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are only held leave room for new ones, where the pool's is all taken."""
    monkeypatch.setattr(pool, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(pool, "HOLD", 60.0)
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as one,
        Loopback(lambda _: Answer(page([message(1)]))) as other,
        client_of(one) as client,
    ):
        elsewhere = client.with_options(base_url=other.base_url)
        async with asyncio.timeout(SOON):
            assert (await elsewhere.list("chatcmpl-1")).data[0].id == "chatcmpl-1-1"


def zipped(body: bytes) -> Answer:
    """Return an answer with that compressed body, which is plain nevertheless."""
    return Answer(body, headers={"content-encoding": "gzip"})


WHOLE = gzip.compress(Answer(page([message(0)])).encode().partition(b"\r\n\r\n")[2])


async def test_a_compressed_body() -> None:
    """A plain answer's body is decompressed like any other."""
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
    """A plain answer's body that cannot be decompressed, within the bound, is the error it is."""
    bodies = iter([WHOLE, WHOLE, body])
    async with (
        Loopback(lambda _: zipped(next(bodies))) as server,
        client_of(server, max_response_bytes=4000) as client,
    ):
        with pytest.raises(error):
            await client.list("chatcmpl-1")


async def test_a_body_over_a_small_bound() -> None:
    """A body that is too large is refused before all of it is here."""
    endless = HEAD + b"content-length: 900000\r\n\r\n" + b" " * 100_000  # and no more
    good = Answer(page([message(0)])).encode()
    answers = iter([good, good, endless])
    async with (
        Loopback(lambda _: next(answers)) as server,
        client_of(server, max_response_bytes=2000, timeout=SOON) as client,
    ):
        with pytest.raises(ResponseTooLargeError):
            await client.list("chatcmpl-1")


async def test_silence_after_an_interim_answer() -> None:
    """The time between two reads is bounded behind an interim answer, too."""
    good = Answer(page([message(0)])).encode()
    answers = iter([good, good, b"HTTP/1.1 100 Continue\r\n\r\n"])
    async with (
        Loopback(lambda _: next(answers)) as server,
        client_of(server, timeout=Timeout(total=None, read=0.1)) as client,
        asyncio.timeout(SOON),
    ):
        with pytest.raises(APITimeoutError):
            await client.list("chatcmpl-1")
