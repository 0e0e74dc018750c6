"""The pool of a client's own session: which connections it gives."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.http_parser import HttpResponseParserPy
from loopback import Answer, Loopback, message, page, replies

from aiomessages import APIConnectionError, AsyncMessagesClient, RetryPolicy, Timeout
from aiomessages.client import caller_of
from aiomessages.http import pool
from aiomessages.http.shortcut import self_check

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)


@pytest.fixture(autouse=True, params=["fast path", "session"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that requests take once the connection is there: the pool serves both."""
    fast = request.param == "fast path"
    monkeypatch.setattr(self_check, "_VERDICTS", {aiohttp.__version__: fast})


@pytest.mark.parametrize("late", [False, True], ids=["at once", "on the idle connection"])
async def test_an_answer_that_nobody_had_asked_for(*, late: bool) -> None:
    """A connection on which a second answer came is given up, before it is taken for another's."""
    first = Answer(page([message(0)])).encode()
    stray = Answer(page([message(0, completion_id="chatcmpl-2")])).encode()
    script = replies(first if late else first + stray, Answer(page([message(0)])))
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=ONCE) as client,
    ):
        await client.list("chatcmpl-1")
        if late:
            server.send(stray)
            await _arrival_on_idle_connection(client)
        got = await client.list("chatcmpl-1")
    assert got.data[0].id == "chatcmpl-1-0"
    assert [asked.connection for asked in server.asked] == [1, 2]


@pytest.mark.parametrize("read", [0.05, None])
async def test_half_an_answer_that_nobody_had_asked_for(read: float | None) -> None:
    """That nothing more came of it, within the time between reads, is no fault of the next one."""
    timeout = Timeout(total=5, read=read)
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=ONCE, timeout=timeout) as client,
    ):
        await client.list("chatcmpl-1")
        server.send(b"HTTP/1.1 2")
        async with asyncio.timeout(5):
            while not any(_has_heard(idle, timeout) for idle in _idle(client)):  # noqa: ASYNC110 nothing tells
                await asyncio.sleep(0.01)
        await client.list("chatcmpl-1")
    assert [asked.connection for asked in server.asked] == [1, 2]


async def test_an_upgrade_that_nobody_had_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that speaks another protocol after its answer is given up."""
    # The parser in Python, where the session gives the connection back before the upgrade is seen.
    monkeypatch.setattr("aiohttp.client_proto.HttpResponseParser", HttpResponseParserPy)
    upgrade = {"connection": "upgrade", "upgrade": "websocket"}
    in_pieces = page([message(0, content="x" * 1_000_000)])
    script = replies(Answer(in_pieces, headers=upgrade), Answer(page([message(1)])))
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=ONCE, timeout=5) as client,
    ):
        for number in range(2):
            assert (await client.list("chatcmpl-1")).data[0].id == f"chatcmpl-1-{number}"
    assert [asked.connection for asked in server.asked] == [1, 2]


async def test_a_new_connection_that_is_lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new connection is lost to the request that it is for; no other is tried without a count."""
    connect = aiohttp.TCPConnector.connect
    opened = []

    async def lost(self: Any, *args: Any) -> aiohttp.connector.Connection:
        connection = await connect(self, *args)
        opened.append(connection)
        assert connection.transport is not None
        connection.transport.abort()
        while connection.transport is not None:  # noqa: ASYNC110 the protocol tells nobody
            await asyncio.sleep(0)
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", lost)
    async with (
        Loopback(replies(None)) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=ONCE, timeout=5) as client,
    ):
        with pytest.raises(APIConnectionError, match="was lost"):
            await client.list("chatcmpl-1")
    assert len(opened) == 1


async def test_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a connection gets it before one who has just given it back."""
    monkeypatch.setattr(pool, "MAX_CONNECTIONS", 1)
    order: list[str] = []

    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=ONCE) as client,
    ):

        async def call(name: str, times: int) -> None:
            for _ in range(times):
                await client.list("chatcmpl-1")
                order.append(name)

        await call("first", 1)
        await asyncio.gather(call("often", 10), call("seldom", 3))
    assert order.index("seldom") < 3
    assert order[-1] == "often"


async def _arrival_on_idle_connection(client: AsyncMessagesClient) -> None:
    async with asyncio.timeout(5):
        while not any(idle.should_close for idle in _idle(client)):  # noqa: ASYNC110 nothing tells
            await asyncio.sleep(0)


def _has_heard(idle: Any, timeout: Timeout) -> bool:
    """Tell whether half an answer came, and the time between reads is over where there is one."""
    return bool(idle.exception() if timeout.read else idle.should_close)


def _idle(client: AsyncMessagesClient) -> list[Any]:
    connector: Any = caller_of(client).attempts.shared.transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 no public way
    return [idle for pool in connector._conns.values() for idle, _ in pool]  # noqa: SLF001 the same


async def test_connections_are_read_in_small_steps() -> None:
    """On a new connection, asyncio no longer fetches more memory for a read than a page needs."""
    async with (
        Loopback(replies(Answer(page([message(0)])))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        await client.list("chatcmpl-1")
        connector: Any = caller_of(client).attempts.shared.transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 no public way
        (idle,) = connector._conns.values()  # noqa: SLF001 the same
        assert [protocol.transport.max_size for protocol, _ in idle] == [pool.READ_SIZE]


@pytest.mark.parametrize("size", [None, 1], ids=["no such setting", "smaller already"])
def test_a_transport_that_reads_as_it_likes(size: int | None) -> None:
    """A transport without that setting, or with a smaller one, is left as it is."""
    transport = SimpleNamespace() if size is None else SimpleNamespace(max_size=size)
    before = dict(vars(transport))
    pool._read_in_small_steps(transport)  # noqa: SLF001 uvloop has such transports
    assert vars(transport) == before
