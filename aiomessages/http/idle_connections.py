"""Check that an idle connection holds no unsolicited bytes before a request reuses it.

A late second response of a proxy, half a response or the end of a connection may wait in the socket
while the event loop is busy elsewhere. aiohttp would read it as the response to the next request.
So the socket itself is polled before each request, which costs about 1 µs.
"""

import asyncio
import contextlib
import select
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiohttp import BaseConnector
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey

# A transport has read by the second iteration of the loop; the first one only finds the socket
# readable. More bytes may arrive meanwhile, but a transport whose socket still has some after this
# many iterations has stopped reading.
MAX_ITERATIONS: Final = 10

# Windows has no poll. Its default loop reads ahead by itself, so that a socket stays empty.
_POLL: Final[Any] = getattr(select, "poll", None)


class SocketProbe:
    """Report whether the socket of a transport has something to read.

    A transport without a socket never has. Do not ask about a closed transport: its file descriptor
    may belong to another socket by then.
    """

    __slots__ = ("_poll",)

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._poll = None
        socket = transport.get_extra_info("socket")
        if socket is not None and _POLL is not None:
            # Not select.select(), which fails for file descriptors above 1023.
            poll = _POLL()
            poll.register(socket.fileno(), select.POLLIN)
            self._poll = poll.poll

    def is_empty(self) -> bool:
        """Return whether neither bytes nor the end of the connection wait to be read."""
        return self._poll is None or not self._poll(0)


async def is_clean(handler: "ResponseHandler") -> bool:
    """Return whether an idle connection is open and has received no unsolicited bytes.

    Under TLS, the bytes in the socket may be a session ticket, which the transport consumes. So the
    transport reads them first, and only what it passes on makes the connection unclean.
    """
    for iteration in range(MAX_ITERATIONS):
        transport = handler.transport
        if transport is None or not handler.is_connected() or handler.should_close:
            return False
        if SocketProbe(transport).is_empty():
            return True
        if transport.get_extra_info("ssl_object") is None:
            return False
        if iteration == 0:
            drop_parser(handler)
        await asyncio.sleep(0)
    return False


def drop_parser(handler: "ResponseHandler") -> None:
    """Make an idle connection set `should_close` on any byte that arrives.

    With the parser of the last response still there, aiohttp would feed it half a head and report
    nothing. For the next response aiohttp makes a new parser in any case.
    """
    with contextlib.suppress(AttributeError):  # where aiohttp has other names
        handler._parser = None  # noqa: SLF001 there is no public way


def drop_parser_if_idle(
    connector: "BaseConnector | None", handler: "ResponseHandler | None"
) -> None:
    """Call `drop_parser` if the connection is back in the pool and no request uses it."""
    in_use = getattr(connector, "_acquired", None)
    if handler is not None and in_use is not None and handler not in in_use:
        drop_parser(handler)


async def close_unclean(connector: "BaseConnector | None", key: "ConnectionKey") -> None:
    """Close unclean idle connections until the one that aiohttp uses next is clean.

    aiohttp has no public way to list them; with a connector that has other private names, nothing
    is closed.
    """
    while (handler := _next_idle(connector, key)) is not None:
        clean = await is_clean(handler)
        if _next_idle(connector, key) is not handler:
            continue  # another request took it meanwhile, or it was closed
        if clean:
            return
        handler.close()


def _next_idle(connector: "BaseConnector | None", key: "ConnectionKey") -> "ResponseHandler | None":
    try:
        idle = connector._conns.get(key, ())  # type: ignore[union-attr]  # noqa: SLF001 see above
        return next((handler for handler, _ in idle if handler.is_connected()), None)
    except (AttributeError, TypeError, ValueError):  # another version of aiohttp
        return None
