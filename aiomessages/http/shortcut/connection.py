"""A kept connection: sends one request after another and parses plain responses by itself."""

import asyncio
import time
from typing import TYPE_CHECKING, cast

import aiohttp
from multidict import CIMultiDict

from aiomessages.http.body import check_length, decompress_body, read_body
from aiomessages.http.failures import BodyTimeoutError, DisconnectedError
from aiomessages.http.idle_connections import SocketProbe
from aiomessages.settings import Timeout
from aiomessages.wire.responses import Response

from .parser import PlainResponse, parse_plain
from .timeouts import SharedTimer, TotalTimeout

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.http import RawResponseMessage
    from multidict import MultiMapping


class KeptConnection(asyncio.Protocol):
    """Send requests on a connection of a pool.

    The object takes the place of aiohttp's handler as the transport's protocol while it waits for a
    plain response. It gives every other response to the handler, with all bytes from the first on,
    and so the end of the connection. Unsolicited bytes end the connection.
    """

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._handler = cast("ResponseHandler", connection.protocol)  # an idle one has both
        self._transport = cast("asyncio.Transport", connection.transport)
        self._socket = SocketProbe(self._transport)
        self._total_timeout = TotalTimeout(self._transport.abort)
        self._is_protocol = False
        self._read_timeout: float | None = None
        self._response: asyncio.Future[PlainResponse | None] | None = None
        self._received = bytearray()
        self._needed = 0
        self._max_bytes = 0

    async def exchange(
        self, target: str, rest: bytes, timeout: Timeout, max_bytes: int, *, timer: SharedTimer
    ) -> Response:
        """Send a GET for `target` and return the response.

        `rest` is what follows the target: version and headers, built before. Raises aiohttp's
        errors, DisconnectedError and BodyTimeoutError.
        """
        total, self._max_bytes, headers_arrived = self._total_timeout, max_bytes, False
        timer.start(total, timeout.total)
        try:
            plain = await self._send(target, rest, timeout.read)
            headers: MultiMapping[str]
            if plain is not None:
                status, headers = 200, plain.headers
                body, flaw = decompress_body(plain.body, headers, max_bytes)
            else:
                message, content = await _read_head(self._handler)
                status, headers, headers_arrived = message.code, CIMultiDict(message.headers), True
                check_length(headers)
                incoming = None if content.is_eof() else self._handler
                body, flaw = await read_body(content, headers, max_bytes, incoming)
        except Exception:
            # The timeout aborts the connection, which then fails in one of many ways.
            if total.expired and headers_arrived:
                raise BodyTimeoutError(TimeoutError()) from None
            if total.expired:
                raise TimeoutError from None
            raise
        finally:
            timer.stop(total)
        if total.expired:  # a body without a length ends where the connection does: no error above
            raise BodyTimeoutError(TimeoutError())
        if flaw is not None:
            self._connection.close()
        elif plain is None and self.usable:
            self._become_protocol()  # the handler's parser would keep half a response to itself
        return Response(status, headers, body, time.time(), flaw, self._transport.abort)

    async def _send(
        self, target: str, rest: bytes, read_timeout: float | None
    ) -> PlainResponse | None:
        """Send the request; return the plain response, or None if the handler receives it."""
        response, self._read_timeout = None, read_timeout
        if read_timeout is None:
            self._response = response = asyncio.get_running_loop().create_future()
            self._become_protocol()
        else:
            self._pass_to_handler(b"")  # which bounds the time between two reads
        self._transport.write(b"GET " + target.encode() + rest)
        return None if response is None else await response

    @property
    def usable(self) -> bool:
        """Return whether it is open and has received no unsolicited bytes."""
        return self._handler.is_connected() and not self._handler.should_close

    @property
    def clean(self) -> bool:
        """Return whether it is usable and its socket is empty."""
        return self.usable and self._socket.is_empty()

    def release(self) -> None:
        """Return the connection to its pool."""
        self._restore_handler()
        self._connection.release()

    def abort(self) -> None:
        """Close the connection at once; bytes that are not sent yet are dropped."""
        self._restore_handler()  # first: asyncio's TLS refuses a new protocol once it is closed
        self._transport.abort()
        self._connection.close()

    # --- the methods that the transport calls -----------------------------------------------------

    def data_received(self, data: bytes | bytearray) -> None:
        """Collect the data; parse them once all may have arrived."""
        if self._received:
            self._received += data
            if len(self._received) < self._needed:
                return
            data = self._received
        if self._response is None:
            # Unsolicited. The bytes after these could be read as the response to a later request.
            self._transport.abort()
            return
        parsed = parse_plain(data, self._max_bytes)
        if isinstance(parsed, int):
            self._needed = parsed
            if data is not self._received:
                self._received = bytearray(data)
        elif parsed is None:
            self._pass_to_handler(data)
        else:
            self._finish(parsed)

    def eof_received(self) -> None:
        """Pass the end of the stream to the handler."""
        self._pass_to_handler(self._received)
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the loss of the connection to the handler."""
        self._pass_to_handler(self._received)
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass the pause to the handler."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Pass the end of the pause to the handler."""
        self._handler.resume_writing()

    def _pass_to_handler(self, data: bytes | bytearray) -> None:
        """Make aiohttp's handler the protocol again, and feed it what has arrived so far."""
        self._restore_handler()
        self._handler.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=self._read_timeout,
            timeout_ceil_threshold=float("inf"),
        )
        self._handler.start_timeout()
        if data:
            self._handler.data_received(bytes(data))
        self._finish(None)

    def _become_protocol(self) -> None:
        if not self._is_protocol:
            self._is_protocol = True
            self._transport.set_protocol(self)

    def _restore_handler(self) -> None:
        if self._is_protocol:
            self._is_protocol = False
            self._transport.set_protocol(self._handler)

    def _finish(self, response: PlainResponse | None) -> None:
        self._received = bytearray()
        if self._response is not None and not self._response.done():
            self._response.set_result(response)
        self._response = None


async def _read_head(
    handler: "ResponseHandler",
) -> "tuple[RawResponseMessage, aiohttp.StreamReader]":
    """Return the head of the final response, and the reader of its body; skip interim responses."""
    try:
        while True:
            message, content = await handler.read()
            if message.code == 101 or not 100 <= message.code < 200:
                return message, content
            handler.start_timeout()  # the interim response has ended it
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise DisconnectedError(error) from None
