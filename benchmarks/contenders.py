"""The clients that are compared, each as its documentation or its experts would use it.

A contender is an async context manager over a base URL that yields a walk: a function that reads a
whole conversation at one page size (0: the client's default) and returns the number of messages.
Objects that a service opens once (client, session, decoder) are opened once here, outside the walk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
import openai
from yarl import URL

from aiomessages import AsyncMessagesClient
from benchmarks.server import COMPLETION_ID, KEY

if TYPE_CHECKING:
    from pyreqwest.client import Client

Walk = Callable[[int], Awaitable[int]]
Contender = Callable[[str], AbstractAsyncContextManager[Walk]]

MAX_BYTES = 64 * 1024 * 1024
LARGEST = 100  # page: a hand-written loop would not request less


@asynccontextmanager
async def aiomessages_typed(base_url: str) -> AsyncIterator[Walk]:
    """Iterate this client's typed messages."""
    async with AsyncMessagesClient(KEY, base_url=base_url) as client:

        async def walk(limit: int) -> int:
            count = 0
            async for _ in client.list(COMPLETION_ID, limit=limit or None):
                count += 1
            return count

        yield walk


@asynccontextmanager
async def aiomessages_raw(base_url: str) -> AsyncIterator[Walk]:
    """Iterate this client's messages as raw bytes."""
    async with AsyncMessagesClient(KEY, base_url=base_url) as client:

        async def walk(limit: int) -> int:
            count = 0
            async for _ in client.list(COMPLETION_ID, limit=limit or None).raw():
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
    """Iterate the official client's list over its aiohttp backend, or raise RuntimeError."""
    backend = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(api_key=KEY, base_url=base_url, http_client=backend) as client:
        yield _openai_walk(client)


def _openai_walk(client: openai.AsyncOpenAI) -> Walk:
    async def walk(limit: int) -> int:
        count = 0
        page_size = limit or openai.omit
        async for _ in client.chat.completions.messages.list(COMPLETION_ID, limit=page_size):
            count += 1
        return count

    return walk


class BareMessage(msgspec.Struct, gc=False):
    """The five keys that the live API sends: the least that a typed walk can decode."""

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None = None  # not in the contract
    name: str | None = None  # not in the contract


class BarePage(msgspec.Struct):
    """The fields of a page that a hand-written walk needs."""

    data: list[BareMessage]
    has_more: bool


BARE_PAGE: Final = msgspec.json.Decoder(BarePage)


@asynccontextmanager
async def bare(base_url: str) -> AsyncIterator[Walk]:
    """Walk by hand, with as little work as possible, in the cheapest way that aiohttp documents.

    It limits a request as this client does: in time, in bytes, to one server. It has no retries, no
    prefetching, no checks of cursors and no error types, so it is a lower bound and no equal.
    """
    url = f"{base_url}/chat/completions/{COMPLETION_ID}/messages"
    timeout = aiohttp.ClientTimeout(total=60)
    headers = {"Authorization": f"Bearer {KEY}"}  # in the session: cheaper than in each request
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, raise_for_status=True
    ) as session:

        async def fetch(query: str) -> BarePage:
            # A query in the URL is cheaper than `params`, `await` than `async with`.
            asked = URL(f"{url}?{query}", encoded=True)
            response = await session.get(asked, allow_redirects=False)
            if (response.content_length or 0) > MAX_BYTES:
                response.close()
                raise ValueError("the body is too large")
            return BARE_PAGE.decode(await response.read())

        async def walk(limit: int) -> int:
            limit = limit or LARGEST
            count, query = 0, f"limit={limit}"
            while True:
                page = await fetch(query)
                for _ in page.data:
                    count += 1
                if not page.has_more:
                    return count
                query = f"limit={limit}&after={page.data[-1].id}"

        yield walk


def rust_client() -> Client:
    """Return pyreqwest's client with a timeout. Raises RuntimeError if it is not installed."""
    try:
        from pyreqwest.client import ClientBuilder  # noqa: PLC0415 an extra of the benchmarks
    except ImportError:
        raise RuntimeError("pyreqwest is not installed") from None
    builder = ClientBuilder().default_headers({"Authorization": f"Bearer {KEY}"})
    return builder.timeout(timedelta(seconds=60)).error_for_status(True).build()


@asynccontextmanager
async def rust(base_url: str) -> AsyncIterator[Walk]:
    """Walk by pyreqwest, a client in Rust. Raises RuntimeError if it is not installed."""
    url = f"{base_url}/chat/completions/{COMPLETION_ID}/messages"
    async with rust_client() as client:

        async def walk(limit: int) -> int:
            limit = limit or LARGEST
            count, query = 0, f"limit={limit}"
            while True:
                response = await client.get(f"{url}?{query}").build().send()
                page = BARE_PAGE.decode(await response.bytes())
                for _ in page.data:
                    count += 1
                if not page.has_more:
                    return count
                query = f"limit={limit}&after={page.data[-1].id}"

        yield walk


OURS, RAW, OPENAI = "aiomessages", "aiomessages, raw", "openai"
BARE, RUST = "bare aiohttp + msgspec", "pyreqwest + msgspec"
CONTENDERS: dict[str, Contender] = {
    OURS: aiomessages_typed,
    RAW: aiomessages_raw,
    OPENAI: openai_default,
    f"{OPENAI}, aiohttp": openai_aiohttp,
    BARE: bare,
    RUST: rust,
}
