"""Bytes that nobody asked for, looked for on a connection before it is used again.

A late second answer of a proxy, half of one, or the end of a connection may wait in its socket
while the event loop is busy elsewhere, and would be taken for the answer to the next request. So
the socket itself is asked, which costs about 1 µs.
"""

import asyncio
import contextlib
import select
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiohttp import BaseConnector
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey

# A transport has read by the second turn of the loop: the first one only finds out that it may.
# More may come meanwhile; a transport whose socket is not empty after so many has stopped reading.
TURNS: Final = 10

# Windows has none. Its usual loop reads ahead by itself, so that nothing would wait in a socket.
_POLL: Final[Any] = getattr(select, "poll", None)


class Inbox:
    """The socket of a transport, as far as it tells whether something waits in it.

    A transport that has no socket never has anything waiting. Of a transport that is closed nothing
    may be asked: its number may be another socket's by then.
    """

    __slots__ = ("_poll",)

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._poll = None
        socket = transport.get_extra_info("socket")
        if socket is not None and _POLL is not None:
            # select.select() does not know the sockets behind the 1024th.
            poll = _POLL()
            poll.register(socket.fileno(), select.POLLIN)
            self._poll = poll.poll

    def is_empty(self) -> bool:
        """Tell whether neither bytes nor the connection's end wait to be read."""
        return self._poll is None or not self._poll(0)


async def is_clean(handler: "ResponseHandler") -> bool:
    """Tell whether an idle connection is open, and nothing has come on it that nobody asked for.

    What waits in its socket may be a mere session ticket under TLS, which the transport keeps for
    itself. So it is read first.
    """
    for turn in range(TURNS):
        transport = handler.transport
        if transport is None or not handler.is_connected() or handler.should_close:
            return False
        if Inbox(transport).is_empty():
            return True
        if transport.get_extra_info("ssl_object") is None:
            return False
        if turn == 0:
            forget_parser(handler)
        await asyncio.sleep(0)
    return False


def forget_parser(handler: "ResponseHandler") -> None:
    """Have an idle connection say of whatever comes that it should be closed, however little it is.

    The parser of the last answer would keep the half of a head to itself. For the next answer
    aiohttp makes a new one in any case, and reads with it what came meanwhile.
    """
    with contextlib.suppress(AttributeError):  # where aiohttp has other names
        handler._parser = None  # noqa: SLF001 there is no public way


def forget_parser_once_idle(
    connector: "BaseConnector | None", handler: "ResponseHandler | None"
) -> None:
    """Do so if the connection is back in the pool, and nobody has taken it meanwhile."""
    in_use = getattr(connector, "_acquired", None)
    if handler is not None and in_use is not None and handler not in in_use:
        forget_parser(handler)


async def close_unclean(connector: "BaseConnector | None", key: "ConnectionKey") -> None:
    """Close the idle connections that are not clean, up to the one that would be used next.

    There is no public way to ask for them: without the private one, nothing is closed.
    """
    while (handler := _next_idle(connector, key)) is not None:
        clean = await is_clean(handler)
        if _next_idle(connector, key) is not handler:
            continue  # somebody has taken it meanwhile, or it is closed
        if clean:
            return
        handler.close()


def _next_idle(connector: "BaseConnector | None", key: "ConnectionKey") -> "ResponseHandler | None":
    try:
        idle = connector._conns.get(key, ())  # type: ignore[union-attr]  # noqa: SLF001 see above
        return next((handler for handler, _ in idle if handler.is_connected()), None)
    except (AttributeError, TypeError, ValueError):  # another aiohttp, with which nobody can tell
        return None
