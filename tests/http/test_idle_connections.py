"""Unsolicited bytes are never taken for the response to a request.

They are sent from the thread of the event loop itself, between two of its steps: only the socket
has them when the next request is sent.
"""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from blocking_server import BlockingServer
from faults import addresses
from loopback import Answer, Asked, conversation, message, page

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.client import caller_of
from aiomessages.http.idle_connections import (
    SocketProbe,
    close_unclean,
    drop_parser_if_idle,
    is_clean,
)
from aiomessages.http.shortcut import self_check

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)
MESSAGES = [message(n) for n in range(300)]
IDS = [item["id"] for item in MESSAGES]

TRUNCATED_WALK = Answer(page(MESSAGES[:100])).encode()  # says that there is no more
FOREIGN = Answer(page([message(0, completion_id="foreign")])).encode()
COMPRESSED = Answer(page(MESSAGES[:1]), headers={"x-late": "x" * 9000}).encode()
UNASKED: dict[str, Callable[[BlockingServer], None]] = {
    "a page of the same list": lambda server: server.send(TRUNCATED_WALK),
    "a foreign list": lambda server: server.send(FOREIGN),
    "two answers": lambda server: server.send(FOREIGN + TRUNCATED_WALK),
    "a long head": lambda server: server.send(COMPRESSED),
    "an error": lambda server: server.send(Answer({"error": {"message": "no"}}, 404).encode()),
    "a timeout": lambda server: server.finish(Answer(b"", 408).encode()),
    "one byte": lambda server: server.send(b"H"),
    "half a head": lambda server: server.send(FOREIGN[:20]),
    "half a body": lambda server: server.send(FOREIGN[:-5]),
    "no HTTP at all": lambda server: server.send(b"\x00\xff\r\n\r\n"),
    "the end": lambda server: server.finish(),
    "an answer and the end": lambda server: server.finish(FOREIGN),
    "a reset": lambda server: server.reset(),
    "an answer and a reset": lambda server: server.reset(FOREIGN),
}
EACH = pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED.keys())


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the context of a TLS server that every connector trusts."""
    trusting = ssl.create_default_context()
    trusting.post_handshake_auth = True
    addresses.AUTHORITY.configure_trust(trusting)
    initial = functools.partialmethod(aiohttp.TCPConnector.__init__, ssl=trusting)
    monkeypatch.setattr(aiohttp.TCPConnector, "__init__", initial)
    server = addresses.CERTIFICATES["good"]()
    server.verify_mode = ssl.CERT_OPTIONAL
    server.post_handshake_auth = True
    return server


@pytest.fixture(params=["fast path", "session", "session of the user"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way that requests take."""
    fast = request.param == "fast path"
    monkeypatch.setattr(self_check, "_RESULTS", {aiohttp.__version__: fast})
    return str(request.param)


@contextlib.asynccontextmanager
async def client_of(server: BlockingServer, way: str) -> AsyncIterator[AsyncMessagesClient]:
    """Give a client that sends each request once."""
    async with contextlib.AsyncExitStack() as stack:
        session = None
        if way == "session of the user":
            session = await stack.enter_async_context(aiohttp.ClientSession())
        yield await stack.enter_async_context(
            AsyncMessagesClient(KEY, base_url=server.base_url, session=session, retry=ONCE)
        )


async def walk(
    server: BlockingServer, way: str, unasked: Callable[[BlockingServer], object]
) -> list[str]:
    """Walk the conversation; unsolicited bytes arrive after each page."""
    got: list[str] = []
    async with client_of(server, way) as client, asyncio.timeout(20):
        for _ in range(2):  # so that the connection is not new, on the shortcut either
            await client.list("chatcmpl-1", limit=1)
            unasked(server)
        async for one in client.list("chatcmpl-1", limit=100, prefetch=False).pages():
            got += [item.id for item in one.data]
            unasked(server)
    return got


@EACH
async def test_bytes_while_the_loop_is_blocked(
    way: str, unasked: Callable[[BlockingServer], None]
) -> None:
    """Unsolicited bytes in a socket harm no walk: it is complete, with one attempt a request."""
    with BlockingServer(conversation(MESSAGES)) as server:
        assert await walk(server, way, unasked) == IDS
    assert len(server.asked) == 5
    assert [asked.connection for asked in server.asked] == [1, 2, 3, 4, 5]


@EACH
async def test_bytes_over_tls(
    way: str, unasked: Callable[[BlockingServer], None], trusted: ssl.SSLContext
) -> None:
    """The same holds over TLS."""
    with BlockingServer(conversation(MESSAGES), tls=trusted) as server:
        assert await walk(server, way, unasked) == IDS
    assert len(server.asked) == 5


@EACH
def test_bytes_in_uvloop(way: str, unasked: Callable[[BlockingServer], None]) -> None:
    """The same holds in uvloop."""
    uvloop: Any = pytest.importorskip("uvloop")
    with (
        BlockingServer(conversation(MESSAGES)) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        assert runner.run(walk(server, way, unasked)) == IDS
    assert len(server.asked) == 5


@EACH
def test_bytes_over_tls_in_uvloop(
    way: str, unasked: Callable[[BlockingServer], None], trusted: ssl.SSLContext
) -> None:
    """The same holds over TLS in uvloop."""
    uvloop: Any = pytest.importorskip("uvloop")
    with (
        BlockingServer(conversation(MESSAGES), tls=trusted) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        assert runner.run(walk(server, way, unasked)) == IDS
    assert len(server.asked) == 5


@EACH
async def test_bytes_while_the_loop_runs(
    way: str, unasked: Callable[[BlockingServer], None]
) -> None:
    """Unsolicited bytes that the loop has read before the next request are no response either."""
    with BlockingServer(conversation(MESSAGES)) as server:
        async with client_of(server, way) as client:
            for number in range(3):
                got = await client.list("chatcmpl-1", limit=1, after=f"chatcmpl-1-{number}")
                assert got.data[0].id == f"chatcmpl-1-{number + 1}"
                unasked(server)
                await asyncio.sleep(0.01)  # no event for a read of the loop
    assert [asked.connection for asked in server.asked] == [1, 2, 3]


async def test_a_connection_on_which_nothing_came(way: str) -> None:
    """Without unsolicited bytes, one connection serves all requests."""
    with BlockingServer(conversation(MESSAGES)) as server:
        assert await walk(server, way, lambda _: None) == IDS
    assert {asked.connection for asked in server.asked} == {1}


async def test_another_completion(way: str) -> None:
    """A late response about another completion is not taken for the one requested."""

    def script(asked: Asked) -> Answer:
        return Answer({"id": asked.path.rpartition("/")[2], "choices": []})

    late = Answer({"id": "chatcmpl-9", "choices": []}).encode()
    with BlockingServer(script) as server:
        async with client_of(server, way) as client:
            for number in range(4):
                one = await client.completion(f"chatcmpl-{number}")
                assert one.id == f"chatcmpl-{number}"
                server.send(late)
    assert len(server.asked) == 4


async def test_many_connections(way: str) -> None:
    """Each of many connections is looked at on its own."""
    with BlockingServer(conversation(MESSAGES)) as server:
        async with client_of(server, way) as client:

            async def first_of(number: int) -> str:
                cursor = f"chatcmpl-1-{number}"
                return (await client.list("chatcmpl-1", limit=1, after=cursor)).data[0].id

            for _ in range(4):
                got = await asyncio.gather(*map(first_of, range(20)))
                assert got == IDS[1:21]
                server.send(FOREIGN)
    assert len(server.asked) == 80


@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "session"])
async def test_who_waits_for_a_connection(monkeypatch: pytest.MonkeyPatch, *, fast: bool) -> None:
    """A request that waited for a connection gets none that received bytes meanwhile."""
    monkeypatch.setattr(self_check, "_RESULTS", {aiohttp.__version__: fast})
    monkeypatch.setattr("aiomessages.http.pool.MAX_CONNECTIONS", 1)
    with BlockingServer(conversation(MESSAGES)) as server:
        async with client_of(server, "") as client:

            async def first_of(number: int) -> str:
                cursor = f"chatcmpl-1-{number}"
                got = await client.list("chatcmpl-1", limit=1, after=cursor)
                server.send(FOREIGN)  # as soon as the connection was released
                return got.data[0].id

            assert await asyncio.gather(*map(first_of, range(8))) == IDS[1:9]
    assert len(server.asked) == 8


@pytest.mark.parametrize("blocked", [True, False])
async def test_bytes_that_belong_to_tls(
    way: str, trusted: ssl.SSLContext, *, blocked: bool
) -> None:
    """Bytes in a socket may belong to TLS: they are read, and the connection stays in use."""
    with BlockingServer(conversation(MESSAGES), tls=trusted) as server:
        async with client_of(server, way) as client:
            for number in range(4):
                got = await client.list("chatcmpl-1", limit=1, after=f"chatcmpl-1-{number}")
                assert got.data[0].id == f"chatcmpl-1-{number + 1}"
                if number == 1:
                    server.ask_for_certificate()
                    if not blocked:
                        await asyncio.sleep(0.01)  # no event for a read of the loop
    assert {asked.connection for asked in server.asked} == {1}


async def test_a_request_that_is_cancelled_meanwhile(way: str, trusted: ssl.SSLContext) -> None:
    """A request that is cancelled during that read leaves no connection in use."""
    answers: Callable[[Asked], Answer] = lambda asked: Answer(  # noqa: E731 it is one line of it
        {"id": asked.path.rpartition("/")[2], "choices": []}
    )
    with BlockingServer(answers, tls=trusted) as server:
        async with client_of(server, way) as client:
            for number in range(2):
                await client.completion(f"chatcmpl-{number}")
            server.ask_for_certificate()
            call = asyncio.ensure_future(client.completion("chatcmpl-2"))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait({call})
            assert call.cancelled()
            connector: Any = caller_of(client).attempts.transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 there is no public way to ask
            assert not connector._acquired  # noqa: SLF001 the same
            assert (await client.completion("chatcmpl-3")).id == "chatcmpl-3"
    assert [asked.path.rpartition("-")[2] for asked in server.asked] == ["0", "1", "3"]


async def test_a_transport_that_does_not_read() -> None:
    """A connection whose transport leaves bytes unread is given up after some iterations."""
    here, there = socket.socketpair()
    with here, there:
        there.send(b"x")
        transport = asyncio.Transport({"socket": here, "ssl_object": object()})
        handler: Any = SimpleNamespace(
            transport=transport, is_connected=lambda: True, should_close=False
        )
        assert not await is_clean(handler)


def test_a_parser_that_is_in_use() -> None:
    """A connection that is in use, or whose use is unknown, keeps its parser."""
    handler: Any = SimpleNamespace(_parser="parser")
    in_use: list[Any] = [SimpleNamespace(_acquired=[handler]), SimpleNamespace(), None]
    for connector in in_use:
        drop_parser_if_idle(connector, handler)
        drop_parser_if_idle(connector, None)
    assert handler._parser == "parser"  # noqa: SLF001 it is this test's own


def test_a_transport_without_a_socket() -> None:
    """A transport without a socket has nothing to read, nor has one on a system without poll."""
    assert SocketProbe(asyncio.Transport()).is_empty()


def test_a_system_without_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without poll, every socket is taken for empty."""
    monkeypatch.setattr("aiomessages.http.idle_connections._POLL", None)
    assert SocketProbe(asyncio.Transport({"socket": SimpleNamespace(fileno=lambda: 0)})).is_empty()


@pytest.mark.parametrize("connector", [None, SimpleNamespace(_conns=1)], ids=["none", "another"])
async def test_an_unknown_connector(connector: Any) -> None:
    """A connector of another type is left alone."""
    await close_unclean(connector, None)  # type: ignore[arg-type]  # nobody looks at the key
