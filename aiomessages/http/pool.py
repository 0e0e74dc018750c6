"""The connections of a client's own session."""

import asyncio
import contextlib
import weakref
from collections.abc import Coroutine, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
from aiohttp.connector import Connection

from .idle_connections import forget_parser, is_clean

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.tracing import Trace

# aiohttp's default of 100 halves the speed of a walk through many completions at once; whoever
# wants fewer bounds the work, not the pool.
MAX_CONNECTIONS: Final = 1000

# bytes; asyncio asks for 256 KiB at each read, and most pages are smaller than this
READ_SIZE: Final = 64 * 1024

# seconds; less than a server waits for the next request on a connection
HOLD: Final = 1.0


_fresh: Final = ContextVar("fresh", default=False)


@contextlib.contextmanager
def fresh_connections() -> Iterator[None]:
    """Have a Pool open a new connection for each request in this block, whatever waits in it."""
    token = _fresh.set(True)
    try:
        yield
    finally:
        _fresh.reset(token)


class Held(Protocol):
    """A connection that is held: see line."""

    @property
    def usable(self) -> bool:
        """Whether it is open, and nothing was read on it that was not asked for."""
        ...

    @property
    def clean(self) -> bool:
        """Whether it is usable, and nothing waits in its socket either."""
        ...

    def give_back(self) -> None:
        """Return it to the pool."""
        ...


class Pool(aiohttp.TCPConnector):
    """A pool that passes over unclean connections, and in which those who wait have their turn.

    Aiohttp would take what came on an idle connection for the answer to the next request; and
    whoever gives a connection back could take it again before one who was woken to have it.
    """

    def __init__(self) -> None:
        super().__init__(limit=MAX_CONNECTIONS)
        self._held: dict[ConnectionKey, list[Held]] = {}
        self._end_of_hold: asyncio.TimerHandle | None = None
        self._used: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()
        self.keys: dict[str, ConnectionKey] = {}
        """By origin, what the pool itself calls it, once a request went there."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection for a request, out of the pool or new."""
        self.keys[str(req.url.origin())] = req.connection_key
        self.take_back()
        if self._somebody_was_woken():
            await asyncio.sleep(0)
        connection = await super().connect(req, traces, timeout)
        while not await self._is_fit(connection):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        _read_in_small_steps(connection.transport)
        return connection

    async def idle(self, key: "ConnectionKey") -> Connection | None:
        """Return a connection that waits in the pool, or None where a new one would be needed.

        There is no public way to ask for that: raises AttributeError or TypeError once aiohttp has
        no such method any more.
        """
        if self._somebody_was_woken():
            await asyncio.sleep(0)
        connection = await self._get(key, [])
        while connection is not None and not await self._is_fit(connection):
            connection.close()
            connection = await self._get(key, [])
        return connection

    async def _is_fit(self, connection: Connection) -> bool:
        """Tell whether a request may be sent on it. A new one is fit: no other would be better."""
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
        """Take a connection back. What comes on it from now on was not asked for."""
        super()._release(key, protocol, should_close=should_close)
        self._used.add(protocol)
        forget_parser(protocol)

    # --- connections that are held --------------------------------------------------------------

    def hold(self, key: "ConnectionKey", held: Held) -> None:
        """Keep a connection at hand for the next request, for HOLD seconds at most.

        To aiohttp it is in use for so long. Whoever has to wait for one gets it instead.
        """
        if not held.usable or self._somebody_was_woken():
            held.give_back()
            return
        self._held.setdefault(key, []).append(held)
        if self._end_of_hold is None:
            self._end_of_hold = asyncio.get_running_loop().call_later(HOLD, self.take_back)

    def held(self, key: "ConnectionKey") -> Any:
        """Return what was held last and is clean yet, or None.

        One in whose socket something waits goes back into the pool, where it can be read.
        """
        held = self._held.get(key)
        while held:
            last = held.pop()
            if last.clean:
                return last
            last.give_back()
        return None

    def take_back(self) -> None:
        """Have all that are held returned."""
        if self._end_of_hold is not None:
            self._end_of_hold.cancel()
            self._end_of_hold = None
        while self._held:
            _, held = self._held.popitem()
            for one in held:
                one.give_back()

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections."""
        self.take_back()
        await super().close(abort_ssl=abort_ssl)

    def _get(
        self, key: "ConnectionKey", traces: "list[Trace]"
    ) -> "Coroutine[Any, Any, Connection | None]":
        return _nothing_idle() if _fresh.get() else super()._get(key, traces)

    def _somebody_was_woken(self) -> bool:
        # Who was woken stays listed until its task has run. Without that list, nobody is let go.
        return bool(getattr(self, "_waiters", None))


async def _nothing_idle() -> None:
    """Find no connection in a pool."""


def _read_in_small_steps(transport: object) -> None:
    """Have asyncio read READ_SIZE at a time, where its transport is one that can be told so.

    Measured on CPython 3.11 where malloc fetches large blocks from the system each time: 98 µs of
    CPU a page of 20 messages instead of 145. Where it keeps such blocks, it makes no difference.
    """
    if getattr(transport, "max_size", 0) > READ_SIZE:
        with contextlib.suppress(AttributeError):
            transport.max_size = READ_SIZE  # type: ignore[attr-defined]  # no public way
