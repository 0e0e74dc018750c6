"""The clients that are compared, each as its documentation or its experts would use it.

A contender is an async context manager over a base URL that gives a walk: a function that reads a
whole conversation at one page size and returns the number of messages it saw. What is opened once
in a service (client, session, decoder) is opened once here, outside the walk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import openai

from aiomessages import AsyncMessagesClient
from benchmarks.server import COMPLETION_ID

Walk = Callable[[int], Awaitable[int]]
Contender = Callable[[str], AbstractAsyncContextManager[Walk]]

KEY = "sk-benchmark"


@asynccontextmanager
async def aiomessages_typed(base_url: str) -> AsyncIterator[Walk]:
    """Iterate this client's typed messages."""
    async with AsyncMessagesClient(KEY, base_url=base_url) as client:

        async def walk(limit: int) -> int:
            count = 0
            async for _ in client.list(COMPLETION_ID, limit=limit):
                count += 1
            return count

        yield walk


@asynccontextmanager
async def aiomessages_raw(base_url: str) -> AsyncIterator[Walk]:
    """Iterate this client's messages as the bytes that were sent."""
    async with AsyncMessagesClient(KEY, base_url=base_url) as client:

        async def walk(limit: int) -> int:
            count = 0
            async for _ in client.list(COMPLETION_ID, limit=limit).raw():
                count += 1
            return count

        yield walk


@asynccontextmanager
async def openai_default(base_url: str) -> AsyncIterator[Walk]:
    """Iterate the official client's auto-paging list, with the HTTP library it comes with."""
    async with openai.AsyncOpenAI(api_key=KEY, base_url=base_url) as client:
        yield _openai_walk(client)


@asynccontextmanager
async def openai_aiohttp(base_url: str) -> AsyncIterator[Walk]:
    """Do the same over the official client's aiohttp backend; RuntimeError where it is missing."""
    backend = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(api_key=KEY, base_url=base_url, http_client=backend) as client:
        yield _openai_walk(client)


def _openai_walk(client: openai.AsyncOpenAI) -> Walk:
    async def walk(limit: int) -> int:
        count = 0
        async for _ in client.chat.completions.messages.list(COMPLETION_ID, limit=limit):
            count += 1
        return count

    return walk


class BareMessage(msgspec.Struct, gc=False):
    """The five keys that the live API sends, and no more: the least a typed walk can decode."""

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None
    name: str | None


class BarePage(msgspec.Struct):
    """What a hand-written walk needs of a page."""

    data: list[BareMessage]
    has_more: bool


@asynccontextmanager
async def bare(base_url: str) -> AsyncIterator[Walk]:
    """Do only what has to be done, by hand: aiohttp, msgspec, a loop over pages.

    No retries, no prefetching, no checks of cursors, no error types: a floor, not a peer.
    """
    url = f"{base_url}/chat/completions/{COMPLETION_ID}/messages"
    decoder = msgspec.json.Decoder(BarePage)
    timeout = aiohttp.ClientTimeout(total=60)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, raise_for_status=True
    ) as session:

        async def walk(limit: int) -> int:
            count, query = 0, {"limit": str(limit)}
            while True:
                async with session.get(url, params=query) as response:
                    page = decoder.decode(await response.read())
                for _ in page.data:
                    count += 1
                if not page.has_more:
                    return count
                query["after"] = page.data[-1].id

        yield walk


OURS, OPENAI, BARE = "aiomessages", "openai", "bare aiohttp + msgspec"
CONTENDERS: dict[str, Contender] = {
    OURS: aiomessages_typed,
    f"{OURS}, raw": aiomessages_raw,
    OPENAI: openai_default,
    f"{OPENAI}, aiohttp": openai_aiohttp,
    BARE: bare,
}
