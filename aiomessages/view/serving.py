"""The server of the pages: a socket on loopback, until it is told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from .access import malformed

# An id of 10,000 characters, in which each is three bytes that are percent-encoded, is valid.
_LONGEST_LINE = 128 * 1024
_CLOSING_SECONDS = 2.0  # for answers that have begun
# A browser opens six. Some systems give a program 256 files, and asyncio reports each connection
# that it has no file for, again and again.
_MOST_CONNECTIONS = 128


def bound(port: int = 0) -> socket.socket:
    """Return a socket that listens on 127.0.0.1, on a free port by default. Raises OSError."""
    return socket.create_server(("127.0.0.1", port))


@contextlib.asynccontextmanager
async def serving(app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
    """Serve an application on a socket, which is closed at the end."""
    # A reader who leaves ends the query.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_CLOSING_SECONDS)
    await runner.setup()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(runner.server, loop=loop), sock=listener)
    try:
        yield
    finally:
        server.close()
        await runner.cleanup()


class _Protocol(RequestHandler):
    """A connection that answers malformed requests as this package does, and logs none."""

    def __init__(self, manager: Any, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # as an AppRunner may; lines with tokens
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        self._server = manager

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection; close it if there are many, of clients that ask for nothing."""
        super().connection_made(transport)
        if len(self._server.connections) > _MOST_CONNECTIONS:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002 - the signature is aiohttp's
        exc: BaseException | None = None,  # noqa: ARG002
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer by a page, and close the connection."""
        if request.writer.output_size:
            raise ConnectionError("the answer has begun, and can only be cut")
        response = malformed()
        response.force_close()
        return response
