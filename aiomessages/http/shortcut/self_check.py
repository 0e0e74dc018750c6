"""Is aiohttp what the fast path takes it for? Tried out once, without a socket."""

import asyncio
import contextlib
from types import FunctionType
from typing import Any, Final

import aiohttp

from aiomessages.http.pool import Pool
from aiomessages.observe.logs import log
from aiomessages.settings import Timeout

from .connection import Line
from .timeouts import AlarmClock

# Who replaces it (mocks, recorders, tracers) wants to see every request.
REQUEST: Final = aiohttp.ClientSession._request  # noqa: SLF001

_VERDICTS: Final[dict[str, bool]] = {}


async def is_supported() -> bool:
    """Tell whether a request can be sent in this way, with the aiohttp that is installed."""
    if type(REQUEST) is not FunctionType or REQUEST.__globals__["__name__"] != "aiohttp.client":
        return False  # it was replaced before this module was loaded
    version = aiohttp.__version__
    if version not in _VERDICTS:
        _VERDICTS[version] = await _try_out()
    return _VERDICTS[version]


class Rehearsal(asyncio.Transport):
    """A connection to nowhere, on which each request gets the same answer at once."""

    ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-request-id: req_1\r\n\r\n{}"

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol: Any = protocol
        self.sent = b""
        protocol.connection_made(self)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol hear of what comes."""
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Note the request, and answer it."""
        self.sent += data
        self.protocol.data_received(self.ANSWER)

    def is_closing(self) -> bool:
        """Tell that it is open."""
        return False

    def close(self) -> None:
        """Lose the connection, soon."""
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
    transport = Rehearsal(protocol)
    key = ConnectionKey("nowhere", 80, False, True, None, None, None)
    async with (pool := Pool()):
        with contextlib.closing(Connection(pool, key, protocol, loop)) as connection:
            line = Line(connection)
            responses = [
                await line.exchange("/x", b"\r\n\r\n", timeout, 2, clock=AlarmClock())
                for timeout in (Timeout(read=60.0), Timeout())  # by its handler, and without it
            ]
            if not line.usable:
                return False
            line.give_back()
        again = await pool.idle(key)
        if again is None:
            return False
        with contextlib.closing(again), contextlib.closing(await pool.idle(key) or again) as other:
            if again.protocol is not protocol or other is not again:
                return False
            again.release()
        protocol.data_received(transport.ANSWER[:5])  # unasked, and not even all of a head
        usable, spoiled = line.usable, await pool.idle(key)
        if spoiled is not None:
            spoiled.close()
        if usable or spoiled is not None:
            return False
    return transport.sent == b"GET /x\r\n\r\n" * 2 and all(
        (response.status, response.headers["X-Request-Id"], response.body) == (200, "req_1", b"{}")
        for response in responses
    )
