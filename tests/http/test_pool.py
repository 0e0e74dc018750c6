"""The pool of a client's own session: the connection that a request gets."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import virtual_time
from aiohttp.http_parser import HttpResponseParserPy
from loopback import Answer, Loopback, message, page, replies

from aiomessages import APIConnectionError, AsyncMessagesClient, RetryPolicy, Timeout
from aiomessages.client import caller_of
from aiomessages.http import pool
from aiomessages.http.shortcut import self_check

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)


@pytest.fixture(autouse=True, params=["shortcut", "session"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send requests on both ways, once the connection is open: the pool serves both."""
    shortcut = request.param == "shortcut"
    monkeypatch.setattr(self_check, "_RESULTS", {aiohttp.__version__: shortcut})


@pytest.mark.parametrize("late", [False, True], ids=["at once", "on the idle connection"])
async def test_an_unsolicited_response(*, late: bool) -> None:
    """A connection with an unsolicited response is closed before the next request reads it."""
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
            await _received_on_idle_connection(client)
        got = await client.list("chatcmpl-1")
    assert got.data[0].id == "chatcmpl-1-0"
    assert [asked.connection for asked in server.asked] == [1, 2]


@pytest.mark.parametrize("read", [0.05, None])
async def test_half_an_unsolicited_response(read: float | None) -> None:
    """Half a response, and a read timeout that it runs into, do not fail the next request."""
    timeout = Timeout(total=5, read=read)
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=ONCE, timeout=timeout) as client,
    ):
        await client.list("chatcmpl-1")
        server.send(b"HTTP/1.1 2")
        async with asyncio.timeout(5):
            while not any(_has_received(idle, timeout) for idle in _idle(client)):  # noqa: ASYNC110 there is no event
                await asyncio.sleep(0.01)
        await client.list("chatcmpl-1")
    assert [asked.connection for asked in server.asked] == [1, 2]


async def test_an_unsolicited_upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that changes its protocol after a response is closed."""
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
    """A new connection that is lost fails its request: no attempt goes uncounted."""
    connect = aiohttp.TCPConnector.connect
    opened = []

    async def lost(self: Any, *args: Any) -> aiohttp.connector.Connection:
        connection = await connect(self, *args)
        opened.append(connection)
        assert connection.transport is not None
        connection.transport.abort()
        while connection.transport is not None:  # noqa: ASYNC110 the protocol has no event
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
    """A waiting request gets a connection before the task that has just released it."""
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


async def test_a_full_pool_gives_up_kept_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is merely kept makes way for a request to another host."""
    monkeypatch.setattr(pool, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(pool, "KEEP_FOR", 60.0)
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as one,
        Loopback(lambda _: Answer(page([message(1)]))) as other,
        AsyncMessagesClient(KEY, base_url=one.base_url, retry=ONCE, timeout=5) as client,
    ):
        for _ in range(2):  # the second is on the shortcut
            await client.list("chatcmpl-1")
        elsewhere = client.with_options(base_url=other.base_url)
        assert (await elsewhere.list("chatcmpl-1")).data[0].id == "chatcmpl-1-1"


async def test_connections_are_kept_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After KEEP_FOR seconds a connection is back in the pool, and serves on from there."""
    monkeypatch.setattr(pool, "KEEP_FOR", 0.02)
    async with (
        Loopback(lambda _: Answer(page([message(0)]))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=ONCE, timeout=5) as client,
    ):
        for _ in range(3):
            await client.list("chatcmpl-1")
            async with asyncio.timeout(5):
                while not _idle(client):  # noqa: ASYNC110 there is no event
                    await asyncio.sleep(0)
    assert [asked.connection for asked in server.asked] == [1, 1, 1]


async def _received_on_idle_connection(client: AsyncMessagesClient) -> None:
    async with asyncio.timeout(5):
        while not any(idle.should_close for idle in _idle(client)):  # noqa: ASYNC110 there is no event
            await asyncio.sleep(0)


def _has_received(idle: Any, timeout: Timeout) -> bool:
    """Return whether half a response has arrived and the read timeout, if any, has expired."""
    return bool(idle.exception() if timeout.read else idle.should_close)


def _idle(client: AsyncMessagesClient) -> list[Any]:
    connector: Any = caller_of(client).attempts.transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 no public way
    return [idle for pool in connector._conns.values() for idle, _ in pool]  # noqa: SLF001 the same


class KeptStub:
    """A connection that is kept; `released` counts its ways back to the pool."""

    def __init__(self, *, usable: bool = True, clean: bool = True) -> None:
        self.usable, self.clean, self.released = usable, clean, 0

    def release(self) -> None:
        """Count the releases."""
        self.released += 1


ORIGIN: Any = "an origin"


def test_a_kept_connection_that_is_not_clean() -> None:
    """A kept connection with bytes in its socket goes back to the pool, and the next is taken."""

    async def main() -> None:
        kept = [KeptStub(), KeptStub(clean=False)]
        async with pool.Pool() as connections:
            for connection in kept:
                connections.keep(ORIGIN, connection)
            assert connections.take_kept("another origin") is None  # type: ignore[arg-type]
            assert connections.take_kept(ORIGIN) is kept[0]
            assert connections.take_kept(ORIGIN) is None
            assert [connection.released for connection in kept] == [0, 1]

    virtual_time.run(main())


def test_a_connection_that_cannot_be_kept() -> None:
    """A connection that is lost is released at once, and sets no timer."""

    async def main() -> None:
        async with pool.Pool() as connections:
            lost = KeptStub(usable=False)
            connections.keep(ORIGIN, lost)
            assert lost.released == 1
            assert connections.take_kept(ORIGIN) is None
            assert not timers()

    virtual_time.run(main())


def test_the_time_for_which_connections_are_kept() -> None:
    """One timer releases all kept connections KEEP_FOR seconds after the first one."""

    async def main() -> None:
        async with pool.Pool() as connections:
            kept = [KeptStub(), KeptStub(), KeptStub()]
            connections.keep(ORIGIN, kept[0])
            await asyncio.sleep(pool.KEEP_FOR / 2)
            connections.keep("another origin", kept[1])  # type: ignore[arg-type]
            assert timers() == [pool.KEEP_FOR]
            await asyncio.sleep(pool.KEEP_FOR / 2)
            assert [connection.released for connection in kept] == [1, 1, 0]
            connections.keep(ORIGIN, kept[2])
            assert timers() == [2 * pool.KEEP_FOR]
            connections.release_kept()
            assert not timers()
            assert [connection.released for connection in kept] == [1, 1, 1]

    virtual_time.run(main())


def timers() -> list[float]:
    """Return the due times of the running loop's timers, without cancelled ones."""
    loop: Any = asyncio.get_running_loop()
    return [timer.when() for timer in loop._scheduled if not timer.cancelled()]  # noqa: SLF001 the same


async def test_connections_are_read_in_small_steps() -> None:
    """On a new connection, asyncio reads at most READ_SIZE at a time."""
    async with (
        Loopback(replies(Answer(page([message(0)])))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        await client.list("chatcmpl-1")
        connector: Any = caller_of(client).attempts.transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 no public way
        (idle,) = connector._conns.values()  # noqa: SLF001 the same
        assert [protocol.transport.max_size for protocol, _ in idle] == [pool.READ_SIZE]


@pytest.mark.parametrize("size", [None, 1], ids=["no such setting", "smaller already"])
def test_a_transport_that_reads_as_it_likes(size: int | None) -> None:
    """A transport without that setting, or with a smaller one, stays unchanged."""
    transport = SimpleNamespace() if size is None else SimpleNamespace(max_size=size)
    before = dict(vars(transport))
    pool._read_in_small_steps(transport)  # noqa: SLF001 uvloop has such transports
    assert vars(transport) == before
