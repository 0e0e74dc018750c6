"""An ASGI app on a real socket, for tests.

uvicorn runs in the test's own event loop, so that the tasks and connections of both sides can be
counted.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import uvicorn


class Server(uvicorn.Server):
    """A uvicorn server that signals when it listens, ends on request, and handles no signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.leave = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, and signal that."""
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Wait for the request to end; uvicorn's own loop polls ten times a second."""
        await self.leave.wait()


@contextlib.asynccontextmanager
async def serving(
    app: Any, *, send_buffer: int | None = None, **options: Any
) -> AsyncIterator[str]:
    """Serve an app on a free port and give its URL; at the end, shut down and wait for it.

    `send_buffer` is the size of each connection's buffer in the kernel, in bytes.
    """
    listener = socket.socket()
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.bind(("127.0.0.1", 0))
    options = {"timeout_graceful_shutdown": 5, **options}
    config = uvicorn.Config(app, lifespan="on", ws="none", log_config=None, **options)
    server = Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    up = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait({running, up}, return_when=asyncio.FIRST_COMPLETED)
        assert up.done(), "the app did not start"
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        up.cancel()
        server.leave.set()
        await running


async def until(condition: Callable[[], bool]) -> None:
    """Poll a condition that has no event, for five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 there is no event
            await asyncio.sleep(0.001)


async def read_until_cut(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Return all received bytes, and whether the body was cut."""
    received = b""
    try:
        async for data in response.content.iter_any():
            received += data
    except aiohttp.ClientPayloadError:
        return received, True
    return received, False
