"""A shorter way to send a request: on an idle connection, with aiohttp's own parser, and no more.

`ClientSession` builds for every request what one page of a walk has no use for: a URL, a request, a
response, cookies, redirects. Measured on CPython 3.11, that is more than half of a page's CPU time.
Here the head of a request is remembered as the session has sent it once, and sent again with
another target; its answer is read from the connection's protocol.

All else stays with the session: it opens every connection, so that names, TLS and the timeouts of
connecting are its own, and it sends each request whose headers are new. This module rests on names
that aiohttp does not document, so `is_supported` tries them out beforehand; where they are gone, or
do something else, every request goes through the session.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, cast

import aiohttp

from .body import check_length, read_body
from .failures import DisconnectedError
from .logs import log
from .pool import Pool
from .protocol import Response
from .settings import Timeout

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.http import RawResponseMessage

# As many sets of headers are remembered: a service has one, or one for each of its keys.
MAX_HEADS: Final = 64


# Who replaces it (mocks, recorders, tracers) wants to see every request.
_REQUEST: Final = aiohttp.ClientSession._request  # noqa: SLF001


class SecretBytes(bytes):
    """Bytes that never show themselves: not in a repr, nor as text, nor in a pickle."""

    def __repr__(self) -> str:
        return "b'**********'"

    __str__ = __repr__  # that of bytes is not made of the repr above

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: make a client in each process")


class _Head(NamedTuple):
    key: "ConnectionKey"
    rest: SecretBytes


class FastPath:
    """Send requests like those that the session has sent, on connections that it has opened."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._heads: dict[object, _Head] = {}
        self._clock = _Clock()

    async def learn(self, url: str, headers: Mapping[str, str], sent: aiohttp.RequestInfo) -> None:
        """Remember what the session has sent for these headers."""
        key = self._pool.keys.get(str(sent.url.origin()))
        if key is None or not await is_supported():
            return
        origin, _ = _split(url)
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        lines = [f"{name}: {value}\r\n" for name, value in sent.headers.items()]
        rest = SecretBytes(f" HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
        self._heads[origin, *headers.items()] = _Head(key, rest)

    async def get(
        self, url: str, headers: Mapping[str, str], *, timeout: Timeout, max_bytes: int
    ) -> Response | None:
        """Send one GET request once, and return the response; None if the session has to.

        Raises what aiohttp does.
        """
        origin, target = _split(url)
        head = self._heads.get((origin, *headers.items()))
        if head is None or aiohttp.ClientSession._request is not _REQUEST:  # noqa: SLF001 see there
            return None
        connection = await self._pool.idle(head.key)
        if connection is None:
            return None
        try:
            response = await _exchange(
                connection, target, head.rest, timeout, max_bytes, clock=self._clock
            )
        except BaseException:
            if connection.transport is not None:
                connection.transport.abort()  # else what is left of the request is still sent
            connection.close()
            raise
        connection.release()
        return response


class _Alarm:
    """What ends a connection when its time is over, and tells whether it has."""

    __slots__ = ("abort", "rung")

    def __init__(self, abort: Callable[[], object]) -> None:
        self.abort = abort
        self.rung = False


class _Clock:
    """Rings the alarms that are set, by one timer of the loop.

    The timer stays when an alarm is stopped, as the next one is mostly set for later. To begin and
    to cancel one for each request takes four times as long.
    """

    def __init__(self) -> None:
        self._ends: dict[_Alarm, float] = {}
        self._timer: asyncio.Handle | None = None
        self._due = math.inf  # not to be asked of it: uvloop gives what is due at once no time

    def set(self, seconds: float | None, abort: Callable[[], object]) -> _Alarm:
        """Return an alarm that rings in so many seconds, or never."""
        alarm = _Alarm(abort)
        if seconds is not None:
            loop = asyncio.get_running_loop()
            ends = self._ends[alarm] = loop.time() + seconds
            if ends < self._due:
                self._wake_at(ends, loop)
        return alarm

    def stop(self, alarm: _Alarm) -> None:
        """Let it ring no more."""
        self._ends.pop(alarm, None)

    def _wake_at(self, when: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = loop.call_at(when, self._look), when

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._due, now = math.inf, loop.time()
        for alarm in [alarm for alarm, ends in self._ends.items() if ends <= now]:
            self.stop(alarm)
            alarm.rung = True
            alarm.abort()
        if self._ends:
            self._wake_at(min(self._ends.values()), loop)


async def _exchange(
    connection: "Connection",
    target: str,
    rest: bytes,
    timeout: Timeout,
    max_bytes: int,
    *,
    clock: _Clock,
) -> Response:
    protocol = cast("ResponseHandler", connection.protocol)  # an idle connection has both
    transport = cast("asyncio.Transport", connection.transport)
    alarm = clock.set(timeout.total, transport.abort)
    try:
        protocol.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=timeout.read,
            timeout_ceil_threshold=float("inf"),
        )
        transport.write(b"GET " + target.encode() + rest)
        protocol.start_timeout()
        message, content = await _read_head(protocol)
        check_length(message.headers)
        incoming = None if content.is_eof() else protocol
        body, flaw = await read_body(content, message.headers, max_bytes, incoming)
    except Exception:
        if alarm.rung:
            raise TimeoutError from None
        raise
    finally:
        clock.stop(alarm)
    if alarm.rung:  # a body without a length ends where the connection does
        raise TimeoutError
    if flaw is not None:
        connection.close()
    return Response(message.code, message.headers, body, time.time(), flaw, transport.abort)


async def _read_head(
    protocol: "ResponseHandler",
) -> "tuple[RawResponseMessage, aiohttp.StreamReader]":
    try:
        while True:
            message, content = await protocol.read()
            if message.code == 101 or not 100 <= message.code < 200:
                return message, content
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise DisconnectedError(error) from None


def _split(url: str) -> tuple[str, str]:
    """Return where a URL leads to, and what is asked for there."""
    slash = url.index("/", url.index("://") + 3)
    return url[:slash], url[slash:]


# --- is aiohttp what this module takes it for? ----------------------------------------------------

_VERDICTS: Final[dict[str, bool]] = {}


async def is_supported() -> bool:
    """Tell whether a request can be sent in this way, with the aiohttp that is installed."""
    if type(_REQUEST) is not FunctionType or _REQUEST.__globals__["__name__"] != "aiohttp.client":
        return False  # it was replaced before this module was loaded
    version = aiohttp.__version__
    if version not in _VERDICTS:
        _VERDICTS[version] = await _try_out()
    return _VERDICTS[version]


class _Rehearsal(asyncio.Transport):
    """A connection to nowhere, on which each request gets the same answer at once."""

    ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-request-id: req_1\r\n\r\n{}"

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.sent = b""
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data
        self.protocol.data_received(self.ANSWER)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


async def _try_out() -> bool:
    """Hold one exchange without a socket, and see whether all of it is as it should be."""
    try:
        works = await _rehearse()
    except Exception:  # noqa: BLE001 whatever it is, aiohttp is not what it was
        works = False
    if not works:
        log.info(
            "aiohttp %s is not known: each request goes through a session", aiohttp.__version__
        )
    return works


async def _rehearse() -> bool:
    from aiohttp.client_proto import ResponseHandler  # noqa: PLC0415 they may be gone
    from aiohttp.client_reqrep import ConnectionKey  # noqa: PLC0415
    from aiohttp.connector import Connection  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    transport = _Rehearsal(protocol)
    key = ConnectionKey("nowhere", 80, False, True, None, None, None)
    async with (pool := Pool()):
        with contextlib.closing(Connection(pool, key, protocol, loop)) as connection:
            response = await _exchange(
                connection, "/x", b" HTTP/1.1\r\n\r\n", Timeout(), max_bytes=2, clock=_Clock()
            )
            connection.release()
        again = await pool.idle(key)
        if again is None:
            return False
        with contextlib.closing(again), contextlib.closing(await pool.idle(key) or again) as other:
            if again.protocol is not protocol or other is not again:
                return False
            again.release()
        protocol.data_received(transport.ANSWER)  # unasked
        if (spoiled := await pool.idle(key)) is not None:
            spoiled.close()
            return False
    return (
        transport.sent == b"GET /x HTTP/1.1\r\n\r\n"
        and response.headers["X-Request-Id"] == "req_1"
        and (response.status, response.body) == (200, b"{}")
    )
