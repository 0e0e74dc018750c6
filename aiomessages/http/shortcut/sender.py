"""A shorter way to send a request: on a connection that is there, and with no more than it needs.

`ClientSession` builds for every request what one page of a walk has no use for: a URL, a request, a
response, cookies, redirects. Measured on CPython 3.11, that is more than half of a page's CPU time.
Here the head of a request is remembered as the session has sent it once, and sent again with
another target; `line` takes the answer off the connection.

All else stays with the session: it opens every connection, so that names, TLS and the timeouts of
connecting are its own, and it sends each request whose headers are new. This module rests on names
that aiohttp does not document, so `is_supported` tries them out beforehand; where they are gone, or
do something else, every request goes through the session.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import aiohttp

from aiomessages.http.pool import Pool
from aiomessages.settings import Timeout
from aiomessages.wire.responses import Response

from .connection import Line
from .self_check import REQUEST, is_supported
from .timeouts import AlarmClock

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey

# As many sets of headers are remembered: a service has one, or one for each of its keys.
MAX_HEADS: Final = 64


class SecretBytes(bytes):
    """Bytes that never show themselves: not in a repr, nor as text, nor in a pickle.

    A copy of them is themselves.
    """

    def __repr__(self) -> str:
        return "b'**********'"

    __str__ = __repr__  # that of bytes is not made of the repr above

    def __copy__(self) -> "SecretBytes":
        return self

    def __deepcopy__(self, memo: object) -> "SecretBytes":
        return self

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
        self._clock = AlarmClock()

    async def learn(
        self, origin: str, headers: Mapping[str, str], sent: aiohttp.RequestInfo
    ) -> None:
        """Remember what the session has sent for these headers."""
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
        """Send one GET request once, and return the response; None if the session has to.

        Raises what aiohttp does.
        """
        head = self._heads.get((origin, *headers.items()))
        if head is None or aiohttp.ClientSession._request is not REQUEST:  # noqa: SLF001 see there
            return None
        line = self._pool.held(head.key) or await self._free_line(head.key)
        if line is None:
            return None
        try:
            response = await line.exchange(target, head.rest, timeout, max_bytes, clock=self._clock)
        except BaseException:
            line.hang_up()
            raise
        self._pool.hold(head.key, line)
        return response

    async def _free_line(self, key: "ConnectionKey") -> Line | None:
        connection = await self._pool.idle(key)
        return None if connection is None else Line(connection)
