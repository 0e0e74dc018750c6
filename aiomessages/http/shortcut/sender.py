"""Send a request on an open connection, without the steps that a page of a list does not need.

`ClientSession` builds a URL, a request, a response, cookies and redirects for every request. Of the
CPU time of a page that is more than half (measured on CPython 3.11). Here the head of a request is
stored as the session has sent it once, and sent again with another target; `connection` reads the
response.

The session does the rest. It opens every connection, so that DNS, TLS and the timeout of connecting
are its own, and it sends each request whose headers are new. This package relies on names that
aiohttp does not document, so `is_supported` checks them first; if one is missing or does something
else, every request goes through the session.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp

from aiomessages.http.pool import Pool
from aiomessages.settings import Timeout
from aiomessages.values.secrets import Secret
from aiomessages.wire.responses import Response

from .connection import KeptConnection
from .self_check import is_replaced, is_supported
from .timeouts import SharedTimer

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey

# The sets of headers that are stored: a service has one, or one for each of its keys.
MAX_HEADS: Final = 64


class SecretBytes(Secret, bytes):
    """Bytes that no repr and no text shows."""

    def __repr__(self) -> str:
        return "b'**********'"

    __str__ = __repr__  # bytes.__str__ ignores an overridden __repr__


class _Head(NamedTuple):
    """The head of a request without its target; `key` finds connections to its origin."""

    key: "ConnectionKey"
    rest: SecretBytes


class ShortcutSender:
    """Send requests whose headers the session has sent before, on connections that it opened."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._heads: dict[object, _Head] = {}
        self._timer = SharedTimer()

    async def learn(
        self, origin: str, headers: Mapping[str, str], sent: aiohttp.RequestInfo
    ) -> None:
        """Store the head that the session has sent for these headers."""
        key = self._pool.keys.get(str(sent.url.origin()))
        if key is None or not await is_supported():
            return
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        lines = [f"{name}: {value}\r\n" for name, value in sent.headers.items()]
        rest = SecretBytes(f" HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
        self._heads[origin, *headers.items()] = _Head(key, rest)

    async def get(
        self,
        origin: str,
        target: str,
        headers: Mapping[str, str],
        *,
        timeout: Timeout,
        max_bytes: int,
    ) -> Response | None:
        """Send one GET request once and return the response; None if the session has to send it.

        Raises aiohttp's errors, DisconnectedError and BodyTimeoutError.
        """
        head = self._heads.get((origin, *headers.items()))
        if head is None or is_replaced():
            return None
        connection = self._pool.take_kept(head.key) or await self._idle_connection(head.key)
        if connection is None:
            return None
        try:
            response = await connection.exchange(
                target, head.rest, timeout, max_bytes, timer=self._timer
            )
        except BaseException:
            connection.abort()
            raise
        self._pool.keep(head.key, connection)
        return response

    async def _idle_connection(self, key: "ConnectionKey") -> KeptConnection | None:
        connection = await self._pool.idle(key)
        return None if connection is None else KeptConnection(connection)
