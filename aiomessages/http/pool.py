"""The connection pool of a client's own session."""

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.connector import Connection

from .idle_connections import drop_parser, is_clean
from .proxied import PROXY_FAILURES, ProxyFailedError

if TYPE_CHECKING:
    import ssl

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.tracing import Trace

    from .shortcut.connection import KeptConnection

# aiohttp's default of 100 halves the speed of a walk through many completions at once. The
# work is bounded by `concurrency`, not by the pool.
MAX_CONNECTIONS: Final = 1000

# bytes; asyncio asks for 256 KiB at each read, and most pages are smaller than this
READ_SIZE: Final = 64 * 1024

# seconds that a connection is kept out of the pool for the next request; servers keep an idle
# connection open for longer
KEEP_FOR: Final = 1.0


_fresh: Final = ContextVar("fresh", default=False)


@contextlib.contextmanager
def fresh_connections() -> Iterator[None]:
    """Make each Pool open a new connection for each request in this block, even if one is idle."""
    token = _fresh.set(True)
    try:
        yield
    finally:
        _fresh.reset(token)


class Pool(aiohttp.TCPConnector):
    """A connection pool without two races of aiohttp's: stale bytes, and queue jumping.

    Stale bytes: aiohttp reads what arrived on an idle connection as the response to the next
    request. This pool closes such a connection. Queue jumping: when a connection is released,
    aiohttp wakes the request that waits longest; until that task runs, the task that released it
    can take it again, and may do so forever. This pool lets the waiting request run first.
    """

    def __init__(
        self,
        tls: "ssl.SSLContext | None" = None,
        before_connecting: "Callable[[], object] | None" = None,
    ) -> None:
        trust: dict[str, Any] = {} if tls is None else {"ssl": tls}
        super().__init__(limit=MAX_CONNECTIONS, **trust)
        self._before_connecting = before_connecting or (lambda: None)
        self._kept: dict[ConnectionKey, list[KeptConnection]] = {}
        self._release_timer: asyncio.TimerHandle | None = None
        self._used: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()
        self.keys: dict[str, ConnectionKey] = {}
        """aiohttp's key of each origin to which a request went."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection for a request: an idle one of the pool, or a new one."""
        self.keys[str(req.url.origin())] = req.connection_key
        self.release_kept()  # otherwise a full pool waits for unused connections
        if self._has_waiters():
            await asyncio.sleep(0)
        connection = await super().connect(req, traces, timeout)
        while not await self._is_fit(connection):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        _read_in_small_steps(connection.transport)
        return connection

    async def idle(self, key: "ConnectionKey") -> Connection | None:
        """Return an idle connection of the pool; None if a new one would be needed.

        aiohttp has no public way to ask. Raises AttributeError or TypeError with a version whose
        private method has another name or signature.
        """
        if self._has_waiters():
            await asyncio.sleep(0)
        while (connection := await self._get(key, [])) is not None:
            if await self._is_fit(connection):
                return connection
            connection.close()
        return None

    async def _is_fit(self, connection: Connection) -> bool:
        """Return whether a request may use this connection.

        A new connection is fit even if it was lost already: no other would be better, and the
        request that it was opened for must count the attempt.
        """
        handler = connection.protocol
        if handler is None or handler not in self._used:
            return True
        try:
            return await is_clean(handler)
        except BaseException:
            connection.close()
            raise

    def _release(
        self, key: "ConnectionKey", protocol: "ResponseHandler", *, should_close: bool = False
    ) -> None:
        """Take a connection back. All later bytes on it are unsolicited."""
        super()._release(key, protocol, should_close=should_close)
        self._used.add(protocol)
        drop_parser(protocol)

    # --- kept connections -----------------------------------------------------------------------

    def keep(self, key: "ConnectionKey", connection: "KeptConnection") -> None:
        """Keep a connection for the next request, for at most KEEP_FOR seconds.

        aiohttp counts it as in use meanwhile. If a request waits for a connection, that gets it.
        """
        if not connection.usable or self._has_waiters():
            connection.release()
            return
        self._kept.setdefault(key, []).append(connection)
        if self._release_timer is None:
            loop = asyncio.get_running_loop()
            self._release_timer = loop.call_later(KEEP_FOR, self.release_kept)

    def take_kept(self, key: "ConnectionKey") -> "KeptConnection | None":
        """Return the connection that was kept last and is clean; None without one.

        One whose socket is not empty goes back to the pool, which reads the bytes: they may be
        TLS's own.
        """
        kept = self._kept.get(key)
        while kept:
            last = kept.pop()
            if last.clean:
                return last
            last.release()
        return None

    def release_kept(self) -> None:
        """Return all kept connections to the pool."""
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        while self._kept:
            _, kept = self._kept.popitem()
            for connection in kept:
                connection.release()

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections."""
        self.release_kept()
        await super().close(abort_ssl=abort_ssl)

    def _get(
        self, key: "ConnectionKey", traces: "list[Trace]"
    ) -> "Coroutine[Any, Any, Connection | None]":
        return _no_connection() if _fresh.get() else super()._get(key, traces)

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> "ResponseHandler":
        """Open a connection. With another name in aiohttp, a new certificate is not noticed."""
        self._before_connecting()
        return await super()._create_connection(req, traces, timeout)

    async def _create_proxy_connection(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> "tuple[asyncio.BaseTransport, ResponseHandler]":
        """Connect to a proxy and through it, within the timeout of connecting.

        aiohttp raises the same errors for the proxy as for the server, and has no time limit for
        the answer to CONNECT. If a version of aiohttp has another name for this method, only the
        texts of the errors are worse.
        """
        try:
            async with asyncio.timeout(timeout.sock_connect):
                return await super()._create_proxy_connection(req, traces, timeout)
        except PROXY_FAILURES as error:
            raise ProxyFailedError(error) from None

    def _has_waiters(self) -> bool:
        # A request that was woken stays in aiohttp's list until its task has run. Without that list
        # (another version of aiohttp) no request is let go first.
        return bool(getattr(self, "_waiters", None))


async def _no_connection() -> None:
    """Return None, as aiohttp's `_get` does for an empty pool."""


def _read_in_small_steps(transport: object) -> None:
    """Set asyncio's read size to READ_SIZE; leave a transport without that setting as it is.

    Measured on CPython 3.11 with a malloc that fetches large blocks from the system each time: 98
    µs of CPU per page of 20 messages instead of 145. With a malloc that keeps such blocks there is
    no difference.
    """
    if getattr(transport, "max_size", 0) > READ_SIZE:
        with contextlib.suppress(AttributeError):
            transport.max_size = READ_SIZE  # type: ignore[attr-defined]  # no public way
