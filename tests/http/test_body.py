"""The body of an answer: whole, or what is wrong with it.

What comes of broken ones stands in test_hostile_network.py.
"""

import asyncio
import sys
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from aiomessages.http import body
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
        body.check_length(headers)  # no parser in C lets them pass


async def test_a_body_whose_connection_was_gone_before_it_was_read() -> None:
    """A reader that nobody will feed any more fails at once."""
    reader = aiohttp.StreamReader(
        SimpleNamespace(_reading_paused=False),
        2**16,
        loop=asyncio.get_running_loop(),  # type: ignore[arg-type]
    )
    ended = body._failing_when_lost(reader, None)  # noqa: SLF001 no server is as quick
    with ended, pytest.raises(aiohttp.ClientPayloadError):
        await reader.readany()
