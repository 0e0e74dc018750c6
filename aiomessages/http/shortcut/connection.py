"""A line: a connection that is held for one request after another, and what comes back on it."""

import asyncio
import time
from typing import TYPE_CHECKING, cast

import aiohttp
from multidict import CIMultiDict

from aiomessages.http.body import check_length, read_body, whole_body
from aiomessages.http.failures import BodyTimeoutError, DisconnectedError
from aiomessages.http.idle_connections import Inbox
from aiomessages.settings import Timeout
from aiomessages.wire.responses import Response

from .parser import PlainAnswer, read_plain
from .timeouts import Alarm, AlarmClock

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.http import RawResponseMessage
    from multidict import MultiMapping


class Line(asyncio.Protocol):
    """Sends requests on a connection out of a pool, and takes plain answers off it by itself.

    An answer that is not plain it leaves to the connection's own handler, with all that came
    before, and so the connection's end. What comes unasked ends the connection.
    """

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._handler = cast("ResponseHandler", connection.protocol)  # an idle one has both
        self._transport = cast("asyncio.Transport", connection.transport)
        self._inbox = Inbox(self._transport)
        self._alarm = Alarm(self._transport.abort)
        self._listening = False
        self._read_timeout: float | None = None
        self._answer: asyncio.Future[PlainAnswer | None] | None = None
        self._received = bytearray()
        self._wanted = 0
        self._most = 0

    async def exchange(
        self, target: str, rest: bytes, timeout: Timeout, max_bytes: int, *, clock: AlarmClock
    ) -> Response:
        """Ask for a target, the rest of the request being as it is given; return the response.

        Raises what aiohttp does.
        """
        alarm, self._most, headers_came = self._alarm, max_bytes, False
        clock.set(alarm, timeout.total)
        try:
            plain = await self._ask(target, rest, timeout.read)
            headers: MultiMapping[str]
            if plain is not None:
                status, headers = 200, plain.headers
                body, flaw = whole_body(plain.body, headers, max_bytes)
            else:
                message, content = await _read_head(self._handler)
                status, headers, headers_came = message.code, CIMultiDict(message.headers), True
                check_length(headers)
                incoming = None if content.is_eof() else self._handler
                body, flaw = await read_body(content, headers, max_bytes, incoming)
        except Exception:
            if alarm.rung and headers_came:
                raise BodyTimeoutError(TimeoutError()) from None
            if alarm.rung:
                raise TimeoutError from None
            raise
        finally:
            clock.stop(alarm)
        if alarm.rung:  # a body without a length ends where the connection does
            raise BodyTimeoutError(TimeoutError())
        if flaw is not None:
            self._connection.close()
        elif plain is None and self.usable:
            self._listen()  # the handler's parser would keep the half of an answer to itself
        return Response(status, headers, body, time.time(), flaw, self._transport.abort)

    async def _ask(
        self, target: str, rest: bytes, read_timeout: float | None
    ) -> PlainAnswer | None:
        """Return the answer, or None where the handler has it."""
        answer, self._read_timeout = None, read_timeout
        if read_timeout is None:
            self._answer = answer = asyncio.get_running_loop().create_future()
            self._listen()
        else:
            self._hand_over(b"")  # it bounds the time between two reads
        self._transport.write(b"GET " + target.encode() + rest)
        return None if answer is None else await answer

    @property
    def usable(self) -> bool:
        """Tell whether it is open, and nothing has come on it that was not asked for."""
        return self._handler.is_connected() and not self._handler.should_close

    @property
    def clean(self) -> bool:
        """Tell whether it is usable, and nothing waits in its socket either."""
        return self.usable and self._inbox.is_empty()

    def give_back(self) -> None:
        """Return the connection to the pool that it is from."""
        self._stop_listening()
        self._connection.release()

    def hang_up(self) -> None:
        """End the connection at once; what was not sent yet is not sent any more."""
        self._stop_listening()  # once it is closed twice, asyncio's TLS takes no other protocol
        self._transport.abort()
        self._connection.close()

    # --- what the transport calls -----------------------------------------------------------------

    def data_received(self, data: bytes | bytearray) -> None:
        """Take in what arrived, and look whether it is all."""
        if self._received:
            self._received += data
            if len(self._received) < self._wanted:
                return
            data = self._received
        if self._answer is None:  # unasked: what follows could be taken for somebody's answer
            self._transport.abort()
            return
        answer = read_plain(data, self._most)
        if isinstance(answer, int):
            self._wanted = answer
            if data is not self._received:
                self._received = bytearray(data)
        elif answer is None:
            self._hand_over(data)
        else:
            self._end(answer)

    def eof_received(self) -> None:
        """Let the handler know."""
        self._hand_over(self._received)
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the handler know."""
        self._hand_over(self._received)
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Let the handler know."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Let the handler know."""
        self._handler.resume_writing()

    def _hand_over(self, data: bytes | bytearray) -> None:
        self._stop_listening()
        self._handler.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=self._read_timeout,
            timeout_ceil_threshold=float("inf"),
        )
        self._handler.start_timeout()
        if data:
            self._handler.data_received(bytes(data))
        self._end(None)

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._transport.set_protocol(self)

    def _stop_listening(self) -> None:
        if self._listening:
            self._listening = False
            self._transport.set_protocol(self._handler)

    def _end(self, answer: PlainAnswer | None) -> None:
        self._received = bytearray()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
        self._answer = None


async def _read_head(
    handler: "ResponseHandler",
) -> "tuple[RawResponseMessage, aiohttp.StreamReader]":
    try:
        while True:
            message, content = await handler.read()
            if message.code == 101 or not 100 <= message.code < 200:
                return message, content
            handler.start_timeout()  # which has ended with the interim answer
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise DisconnectedError(error) from None
