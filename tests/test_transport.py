"""The transport over aiohttp: what it makes of a session's surprises.

What it makes of a hostile network stands in test_hostile_network.py.
"""

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError
from loopback import Answer, Loopback, message, page, replies
from multidict import CIMultiDict

from aiomessages import APIConnectionError, AsyncMessagesClient, ClientClosedError, RetryPolicy
from aiomessages import transport as module
from aiomessages.server import LocalServer

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)


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


async def _arrival_on_idle_connection(client: AsyncMessagesClient) -> None:
    connector: Any = client._attempts._transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 no public way
    async with asyncio.timeout(5):
        while not any(len(idle) for pool in connector._conns.values() for idle, _ in pool):  # noqa: ASYNC110, SLF001 nothing tells
            await asyncio.sleep(0)


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
async def test_what_a_middleware_raises(raised: Exception, expected: type[Exception]) -> None:
    """A borrowed session's own RuntimeError passes; aiohttp's errors of any kind become ours."""

    async def middleware(_: aiohttp.ClientRequest, __: aiohttp.ClientHandlerType) -> Any:
        raise raised

    async with aiohttp.ClientSession(middlewares=[middleware]) as session:
        client = AsyncMessagesClient(
            KEY, base_url="http://127.0.0.1:9/v1", session=session, retry=ONCE
        )
        with pytest.raises(expected, match=str(raised)):
            await client.list("x")


MEASURED = """
import asyncio, resource, sys
from aiomessages import AsyncMessagesClient, ResponseTooLargeError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def main(url, cap):
    async with AsyncMessagesClient("sk-x", base_url=url, max_response_bytes=cap) as client:
        try:
            await client.list("x", limit=1)
        except Exception:
            pass  # a first request loads what any request needs
        before = peak()
        try:
            await client.list("chatcmpl-tides")
        except ResponseTooLargeError:
            print(peak() - before)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("fault", ["bomb", "endless-body", "too-large"])
async def test_the_memory_that_a_bomb_takes(fault: str) -> None:
    """A body far larger than max_response_bytes takes less than four times that, at its peak."""
    cap = 16 * 1024 * 1024
    async with LocalServer(sample=True, faults=fault, api_key="sk-x") as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            MEASURED,
            server.base_url,
            str(cap),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert 0 <= int(out) < 4 * cap


def test_two_lengths() -> None:
    """Two lengths of one body are refused, whichever parser let them pass."""
    headers = CIMultiDict([("Content-Length", "1"), ("Content-Length", "2")])
    with pytest.raises(HttpProcessingError):
        module._check_length(SimpleNamespace(headers=headers))  # type: ignore[arg-type]  # noqa: SLF001 no parser in C lets them pass


async def test_a_body_whose_connection_was_gone_before_it_was_read() -> None:
    """A reader that nobody will feed any more fails at once."""
    reader = aiohttp.StreamReader(
        SimpleNamespace(_reading_paused=False),
        2**16,
        loop=asyncio.get_running_loop(),  # type: ignore[arg-type]
    )
    ended = module._told_of_its_end(reader, None)  # noqa: SLF001 no server is as quick
    with ended, pytest.raises(aiohttp.ClientPayloadError):
        await reader.readany()


def test_causes_that_hold_the_key() -> None:
    """What is kept of a cause ends before an error of aiohttp that carries the request."""
    secret = aiohttp.ClientResponseError(None, (), message=KEY)  # type: ignore[arg-type]
    cause = OSError("outer")
    cause.__cause__ = secret
    assert module._without_frames(cause).__cause__ is None  # noqa: SLF001 it takes a proxy else
