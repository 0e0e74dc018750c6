"""The connections of a client's own session."""

from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.connector import Connection

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.tracing import Trace

# aiohttp's default of 100 halves the speed of a walk through many completions at once; whoever
# wants fewer bounds the work, not the pool.
MAX_CONNECTIONS: Final = 1000


class Pool(aiohttp.TCPConnector):
    """A pool that passes over connections on which something came that nobody had asked for.

    aiohttp would take it for the answer to the next request.
    """

    def __init__(self) -> None:
        super().__init__(limit=MAX_CONNECTIONS)
        self.keys: dict[str, ConnectionKey] = {}
        """By origin, what the pool itself calls it, once a request went there."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection for a request, out of the pool or new."""
        self.keys[str(req.url.origin())] = req.connection_key
        connection = await super().connect(req, traces, timeout)
        while _has_unread(connection):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        return connection

    async def idle(self, key: "ConnectionKey") -> Connection | None:
        """Return a connection that waits in the pool, or None where a new one would be needed.

        There is no public way to ask for that: raises AttributeError or TypeError once aiohttp has
        no such method any more.
        """
        connection = await self._get(key, [])
        while connection is not None and _has_unread(connection):
            connection.close()
            connection = await self._get(key, [])
        return connection


def _has_unread(connection: Connection) -> bool:
    return connection.protocol is not None and len(connection.protocol) > 0
