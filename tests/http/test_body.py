"""The body of a response: complete, or the error that it has.

test_hostile_network.py tests the same through a client.
"""

import asyncio
import gc
import gzip
import sys
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from aiomessages import DecodeError, ResponseTooLargeError
from aiomessages.http import body
from aiomessages.http.shortcut.self_check import FakeTransport
from aiomessages.server import LocalServer

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
        body.check_length(headers)  # the parser in C refuses them


MEMBERS = gzip.compress(b"x" * 100) + gzip.compress(b"y" * 100)
GZIP = {"content-encoding": "gzip"}


def reader_of(*chunks: bytes, ended: bool = True) -> aiohttp.StreamReader:
    """Return a reader of these chunks, as of a connection that nobody reads faster."""
    loop = asyncio.get_running_loop()
    handler = ResponseHandler(loop)
    FakeTransport(handler)
    reader = aiohttp.StreamReader(handler, 2**16, loop=loop)
    for chunk in chunks:
        reader.feed_data(chunk)
    if ended:
        reader.feed_eof()
    return reader


@pytest.mark.parametrize("cut", [0, 1, 60], ids=["whole", "at the end", "in the first member"])
@pytest.mark.parametrize("step", [7, 10**6], ids=["in pieces", "at once"])
async def test_a_compressed_body_that_is_cut_short(cut: int, step: int) -> None:
    """A compressed body that is cut short gives an error and no bytes."""
    data = MEMBERS[: len(MEMBERS) - cut]
    chunks = [data[start : start + step] for start in range(0, len(data), step)]
    for got, flaw in (
        await body.read_body(reader_of(*chunks), GZIP, 1000, None),
        body.decompress_body(data, GZIP, 1000),
    ):
        assert got == (b"" if cut else b"x" * 100 + b"y" * 100)
        assert isinstance(flaw, DecodeError if cut else type(None))


@pytest.mark.parametrize(
    ("data", "headers"), [(MEMBERS, GZIP), (bytes(200), {})], ids=["compressed", "plain"]
)
@pytest.mark.parametrize("limit", [99, 100, 199, 200, 201])
async def test_the_largest_body(data: bytes, headers: dict[str, str], limit: int) -> None:
    """A body of exactly `max_bytes` is whole; one of a byte more is refused."""
    for got, flaw in (
        await body.read_body(reader_of(data), headers, limit, None),
        await body.read_body(reader_of(data[:50], data[50:]), headers, limit, None),
        body.decompress_body(data, headers, limit),
    ):
        assert len(got) == (200 if limit >= 200 else 0)
        assert isinstance(flaw, type(None) if limit >= 200 else ResponseTooLargeError)


async def test_a_connection_that_is_lost_during_a_read() -> None:
    """A pending read fails when its connection is lost; the loss itself is not logged."""
    loop = asyncio.get_running_loop()
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    closed = loop.create_future()
    protocol: Any = SimpleNamespace(closed=closed)
    reading = loop.create_task(body.read_body(reader_of(b"half", ended=False), {}, 1000, protocol))
    await asyncio.sleep(0)
    closed.set_exception(OSError("reset"))
    with pytest.raises(aiohttp.ClientPayloadError, match="was lost"):
        await reading
    del protocol, closed
    gc.collect()
    assert complaints == []


async def test_a_connection_that_outlives_its_reads() -> None:
    """After a read nothing of it is left on the connection, however many reads there were."""
    closed = asyncio.get_running_loop().create_future()
    protocol: Any = SimpleNamespace(closed=closed)
    first = reader_of(b"one")
    for reader in (first, reader_of(b"two")):
        await body.read_body(reader, {}, 1000, protocol)
    assert len(closed._callbacks) == 1  # type: ignore[attr-defined]  # noqa: SLF001 no public way
    closed.set_result(None)
    await asyncio.sleep(0)
    assert first.exception() is None


async def test_a_body_of_a_closed_connection() -> None:
    """A reader whose connection is gone before it reads fails at once."""
    reader = reader_of(ended=False)
    ended = body._failing_when_lost(reader, None)  # noqa: SLF001 no server is as quick
    with ended, pytest.raises(aiohttp.ClientPayloadError):
        await reader.readany()
