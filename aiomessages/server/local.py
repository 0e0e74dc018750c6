"""The life cycle of the local server: open the store, import, listen on loopback, close.

The server never listens on an address that other machines can reach.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Self

from aiohttp import web

from aiomessages.archive.store import Store

from .app import build_app
from .faults import Plan
from .middleware import TokenBucket, middleware
from .sample import sample_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomessages.archive.errors import ArchiveError
    from aiomessages.archive.records import Source

    from .faults import Faults

# On shutdown aiohttp gives a request in flight this many seconds twice: to finish, and to handle
# its cancellation. Closing so takes less than a second.
_SHUTDOWN_SECONDS = 0.2


class LocalServer:
    """Serve stored completions from SQLite on a loopback port, as the live API serves them.

    `database` is a path or ":memory:". `sample` loads the conversations that come with the
    package; `records` is a `.jsonl` or `.jsonl.gz` file or an iterable of dicts. Port 0 takes a
    free port. `api_key` is generated unless given. `latency` is the delay of each response in
    seconds; a completion stays invisible for `visibility_delay` seconds after its import. `rate`
    is the limit in requests a second, with bursts of one second's worth. `faults` switches on
    faults: "server-error", ["reset:1", "slow-body@2"] or {"server-error": 2}; docs/faults.md
    lists them. `on_request` is called with each request when it arrives, and `on_failure` with the
    error when the database turns out to be damaged; the request then gets a 500.

    Raises ValueError for a host that is not loopback, a setting below zero or an unknown fault.
    Entering raises RecordError for invalid records, ArchiveError for a file that cannot be used,
    and OSError if the port is taken.
    """

    api_key: str
    """The key that a client needs."""

    def __init__(
        self,
        database: str | os.PathLike[str] = ":memory:",
        *,
        sample: bool = False,
        records: Source | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        latency: float = 0.0,
        rate: float | None = None,
        visibility_delay: float = 0.0,
        faults: Faults = (),
        on_request: Callable[[web.Request], object] | None = None,
        on_failure: Callable[[ArchiveError], object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if latency < 0 or visibility_delay < 0 or (rate is not None and rate <= 0):
            raise ValueError("latency and visibility_delay must be >= 0, and rate > 0")
        self.api_key = api_key or f"sk-local-{secrets.token_urlsafe(24)}"
        self._database = os.fspath(database)
        self._open = partial(Store, self._database, visibility_delay=visibility_delay, clock=clock)
        self._sample = sample
        self._records = records
        self._host = _loopback(host)
        self._port = port
        self._plan = Plan(faults)
        self._requests = 0
        self._on_request = on_request
        self._middleware = middleware(
            self._count,
            latency=latency,
            api_key=self.api_key,
            bucket=None if rate is None else TokenBucket(rate),
            plan=lambda: self._plan,
            clock=clock,
            on_failure=on_failure,
        )
        self._store: Store | None = None
        self._runner: web.AppRunner | None = None
        self._address: tuple[str, int] | None = None

    def __repr__(self) -> str:
        state = self.base_url if self._address else "not running"
        return f"<LocalServer {self._database!r} {state}>"

    @property
    def base_url(self) -> str:
        """The URL to give to a client, "/v1" included. Raises RuntimeError unless running."""
        if self._address is None:
            raise RuntimeError("the server is not running")
        host, port = self._address
        return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"

    @property
    def requests(self) -> int:
        """The number of requests that arrived, rejected ones included."""
        return self._requests

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults that are switched on. Setting it replaces them, also while serving.

        Setting raises ValueError for an unknown fault.
        """
        return self._plan.specs

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._plan = Plan(faults)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Open the database, import the sample and the records, and listen.

        Raises OSError if the port is taken, and RecordError for invalid records.
        """
        if self._store is not None:
            raise RuntimeError("the server is running already")
        self._store = self._open()
        self._lock = asyncio.Lock()
        try:
            if self._sample:
                await self.import_records(sample_records())
            if self._records is not None:
                await self.import_records(self._records)
            await self._listen(self._store, (self._host, self._port))
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop listening, drop open connections and close the database; idempotent.

        It takes less than a second, but waits for an import that is running.
        """
        await self.pause()
        self._address = None
        store, self._store = self._store, None
        if store is not None:
            async with self._lock:
                store.close()

    async def pause(self) -> None:
        """Drop open connections and refuse new ones until `resume`. Stored data stays."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def resume(self) -> None:
        """Listen again on the same port. Raises OSError if another process took it meanwhile."""
        if self._store is None or self._address is None:
            raise RuntimeError("the server is not running")
        if self._runner is None:
            await self._listen(self._store, self._address)

    async def import_records(self, source: Source) -> int:
        """Import records while serving, and return the number of completions.

        Requests wait until the import ends. If the caller is cancelled the import continues,
        because a thread cannot be stopped; it still stores all records or none. Raises RecordError
        for an invalid record, and stores nothing then.
        """
        return await asyncio.shield(asyncio.create_task(self._import(source)))

    async def _import(self, source: Source) -> int:
        async with self._lock:
            if self._store is None:
                raise RuntimeError("the server is not running")
            return await asyncio.to_thread(self._store.load, source)

    async def _listen(self, store: Store, address: tuple[str, int]) -> None:
        runner = web.AppRunner(
            build_app(store, self._lock, self._middleware),
            access_log=None,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            handler_cancellation=True,  # else a stalling fault would outlive its client
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, *address).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        host, port = runner.addresses[0][:2]
        self._address = (host, port)

    def _count(self, request: web.Request) -> None:
        self._requests += 1
        if self._on_request is not None:
            self._on_request(request)


def _loopback(host: str) -> str:
    """Return the address to bind, or raise ValueError unless it is a loopback address.

    "localhost" means 127.0.0.1 alone: with port 0, each of two addresses would get its own port.
    """
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise ValueError(f"host must be a loopback address, not {host!r}")
