"""Check that the installed aiohttp has the names that the shortcut needs, without a socket."""

import asyncio
import contextlib
from types import FunctionType
from typing import Any, Final

import aiohttp

from aiomessages.http.pool import Pool
from aiomessages.observe.logs import log
from aiomessages.settings import Timeout

from .connection import KeptConnection
from .timeouts import SharedTimer


def _request_method() -> object:
    """Return the method of aiohttp that every request of a session goes through."""
    return vars(aiohttp.ClientSession)["_request"]


_ORIGINAL: Final = _request_method()
_RESULTS: Final[dict[str, bool]] = {}  # by version of aiohttp


def is_replaced() -> bool:
    """Return whether something has replaced aiohttp's method since this module was loaded.

    Mocks, recorders and tracers do that to see every request.
    """
    return _request_method() is not _ORIGINAL


async def is_supported() -> bool:
    """Return whether the shortcut works with the installed aiohttp."""
    if type(_ORIGINAL) is not FunctionType or _ORIGINAL.__globals__["__name__"] != "aiohttp.client":
        return False  # it was replaced before this module was loaded
    version = aiohttp.__version__
    if version not in _RESULTS:
        _RESULTS[version] = await _check()
    return _RESULTS[version]


class FakeTransport(asyncio.Transport):
    """A transport without a socket that answers each request with RESPONSE at once."""

    RESPONSE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-request-id: req_1\r\n\r\n{}"

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol: Any = protocol
        self.sent = b""
        protocol.connection_made(self)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Pass what arrives to another protocol from now on."""
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Store the request, and answer it."""
        self.sent += data
        self.protocol.data_received(self.RESPONSE)

    def is_closing(self) -> bool:
        """Return False: it is open."""
        return False

    def close(self) -> None:
        """Report the loss of the connection in the next iteration of the loop."""
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


async def _check() -> bool:
    try:
        works = await _try_requests()
    except Exception:  # noqa: BLE001 whatever it is, aiohttp has changed
        works = False
    if not works:
        log.info(
            "aiohttp %s is not known: each request goes through a session", aiohttp.__version__
        )
    return works


async def _try_requests() -> bool:
    """Return whether two requests, a reuse and unsolicited bytes go as they should."""
    from aiohttp.client_proto import ResponseHandler  # noqa: PLC0415 it may be gone
    from aiohttp.client_reqrep import ConnectionKey  # noqa: PLC0415 the same
    from aiohttp.connector import Connection  # noqa: PLC0415 the same

    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    transport = FakeTransport(protocol)
    key = ConnectionKey("nowhere", 80, False, True, None, None, None)
    async with (pool := Pool()):
        with contextlib.closing(Connection(pool, key, protocol, loop)) as connection:
            kept = KeptConnection(connection)
            responses = [
                await kept.exchange("/x", b"\r\n\r\n", timeout, 2, timer=SharedTimer())
                for timeout in (Timeout(read=60.0), Timeout())  # by aiohttp's parser, and by ours
            ]
            kept.release()
        again = await pool.idle(key)
        if again is None:
            return False
        with contextlib.closing(again), contextlib.closing(await pool.idle(key) or again) as other:
            if again.protocol is not protocol or other is not again:
                return False
            again.release()
        protocol.data_received(transport.RESPONSE[:5])  # unsolicited, and not even a whole head
        usable, spoiled = kept.usable, await pool.idle(key)
        if spoiled is not None:
            spoiled.close()
        if usable or spoiled is not None:
            return False
    return transport.sent == b"GET /x\r\n\r\n" * 2 and all(
        (response.status, response.headers["X-Request-Id"], response.body) == (200, "req_1", b"{}")
        for response in responses
    )
