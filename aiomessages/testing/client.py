"""A client for a test, closed in the event loop that used it, whoever runs that loop.

A synchronous fixture cannot await, and when it ends the loop of the test may be closed, may stand
still, or may run in another thread. Closed anywhere else, or not at all, a session warns.
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

# Tests need the attempts of a real client, and not its waits.
_AT_ONCE = RetryPolicy(initial_backoff=0, max_backoff=0)
_TIMEOUT = 5.0  # seconds: for a rehearsed stall long, for a busy machine's loopback enough
_PATIENCE = 5.0  # seconds that a loop in another thread may take to close a session


@contextmanager
def client_of(server: MessagesServer) -> Iterator[AsyncMessagesClient]:
    """Give a client of the server that does not wait between attempts, and close it afterwards."""
    end = _LoopEnd()
    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(end.watch)
    end.client = AsyncMessagesClient(
        server.api_key,
        base_url=server.base_url,
        retry=_AT_ONCE,
        timeout=_TIMEOUT,
        trace_configs=[tracing],
    )
    yield end.client
    end.close()


class _LoopEnd:
    """Closes `client` when the loop of its first request ends, or before if that is asked for.

    Each runner of loops (asyncio.run, pytest-asyncio, anyio) ends the async generators of a loop
    just before it closes the loop. One that does nothing but wait for that hears of it in time.
    """

    client: AsyncMessagesClient

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def watch(self, *_: object) -> None:
        """Take note of the running loop: aiohttp calls this with each request."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._waiting = self._wait()
            await anext(self._waiting)

    async def _wait(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.client.aclose()

    async def _end(self) -> None:
        await self._waiting.aclose()

    def close(self) -> None:
        """Close the client, unless it was never used or its loop has done so."""
        if self._loop is None or self._loop.is_closed():
            return
        if self._loop.is_running():  # in another thread: here it would not have returned yet
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_PATIENCE)
        else:
            self._loop.run_until_complete(self._end())
