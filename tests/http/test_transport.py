"""The transport over aiohttp, with sessions of the user's and with fresh connections.

test_hostile_network.py tests it with the faults of a network.
"""

import asyncio
from typing import Any

import aiohttp
import pytest
from loopback import Answer, Loopback, replies

from aiomessages import (
    APIConnectionError,
    AsyncMessagesClient,
    ClientClosedError,
    RetryPolicy,
    Timeout,
)
from aiomessages.http.transport import Transport

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)


async def test_a_session_closed_under_a_body() -> None:
    """A call whose borrowed session is closed by its owner ends, with an error that says so."""
    reading = asyncio.Event()
    trace = aiohttp.TraceConfig()

    async def on_headers(*_: object) -> None:
        reading.set()

    trace.on_request_end.append(on_headers)
    half = b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{"
    async with (
        Loopback(replies(half)) as server,
        aiohttp.ClientSession(trace_configs=[trace]) as session,
    ):
        client = AsyncMessagesClient(KEY, base_url=server.base_url, session=session, retry=ONCE)
        call = asyncio.ensure_future(client.list("x"))
        await reading.wait()
        await session.close()
        async with asyncio.timeout(5):
            with pytest.raises(ClientClosedError, match="closed by its owner"):
                await call


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RuntimeError("mine"), RuntimeError),
        (aiohttp.ClientError("odd"), APIConnectionError),
    ],
    ids=repr,
)
async def test_an_error_of_a_middleware(raised: Exception, expected: type[Exception]) -> None:
    """A borrowed session's own RuntimeError passes; every aiohttp error is translated."""

    async def middleware(_: aiohttp.ClientRequest, __: aiohttp.ClientHandlerType) -> Any:
        raise raised

    async with aiohttp.ClientSession(middlewares=[middleware]) as session:
        client = AsyncMessagesClient(
            KEY, base_url="http://127.0.0.1:9/v1", session=session, retry=ONCE
        )
        with pytest.raises(expected, match=str(raised)):
            await client.list("x")


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_fresh_connection(*, fresh: bool) -> None:
    """A fresh request opens a connection, also while another one is idle or kept."""
    options: Any = {"timeout": Timeout(total=5), "max_bytes": 1000}
    async with Loopback(lambda _: Answer(b"{}")) as server:
        origin = server.base_url.removesuffix("/v1")
        transport = Transport(headers={"x-team": "search"})
        for _ in range(2):
            await transport.get(origin, "/v1/x", {}, **options)
        await transport.get(origin, "/v1/x", {}, fresh=fresh, **options)
        await transport.get(origin, "/v1/x", {}, **options)
        await transport.aclose()
    connections = [asked.connection for asked in server.asked]
    assert connections[:3] == ([1, 1, 2] if fresh else [1, 1, 1])
    assert connections[3] in connections[:3]
