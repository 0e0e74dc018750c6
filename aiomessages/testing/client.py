"""A client for a test that closes in the event loop that used it.

A synchronous fixture cannot await. When it ends, the loop of the test may be closed, stopped, or
running in another thread. An aiohttp session warns if it is closed in another loop, or not at all.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp

from aiomessages.calls.retry import RetryPolicy
from aiomessages.client import AsyncMessagesClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from .server import MessagesServer

# A test wants the attempts of a real client without its waits.
_NO_WAITS = RetryPolicy(initial_backoff=0, max_backoff=0)
_TIMEOUT = 5.0  # seconds; ample for loopback on a busy machine, bearable for a stalling fault
_CLOSE_TIMEOUT = 5.0  # seconds that a loop in another thread may take to close a session


@contextmanager
def client_of(server: MessagesServer) -> Iterator[AsyncMessagesClient]:
    """Yield a client of the server that does not wait between attempts, and close it afterwards.

    It closes when the loop of its first request ends, or at the end of the block. asyncio has no
    hook for the end of a loop, but every runner (asyncio.run, pytest-asyncio, anyio) calls
    loop.shutdown_asyncgens() just before it closes the loop. That closes an async generator
    suspended at its `yield`, and the `finally` behind the `yield` closes the client in time.
    """
    loop: asyncio.AbstractEventLoop | None = None

    async def close_at_end() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await client.aclose()

    async def on_request_start(*_: object) -> None:
        nonlocal loop
        if loop is None:
            loop = asyncio.get_running_loop()
            await anext(closing)

    async def close_now() -> None:
        await closing.aclose()

    closing = close_at_end()
    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(on_request_start)
    client = AsyncMessagesClient(
        server.api_key,
        base_url=server.base_url,
        retry=_NO_WAITS,
        timeout=_TIMEOUT,
        trace_configs=[tracing],
    )
    yield client
    if loop is None or loop.is_closed():
        return  # it was never used, or is closed already
    if loop.is_running():  # in another thread: in this one, a running loop would still hold control
        asyncio.run_coroutine_threadsafe(close_now(), loop).result(_CLOSE_TIMEOUT)
    else:
        loop.run_until_complete(close_now())
