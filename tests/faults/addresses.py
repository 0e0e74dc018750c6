"""Servers that no request reaches: nobody listens or answers, or no certificate is trusted."""

import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import aiohttp
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

AUTHORITY: Final = trustme.CA()


@contextlib.contextmanager
def nobody_listens() -> Iterator[str]:
    """Yield an address that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


@contextlib.contextmanager
def blackhole() -> Iterator[str]:
    """Yield an address where a connection is neither made nor refused: its queue is full."""
    with contextlib.ExitStack() as held:
        listening = held.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


@contextlib.contextmanager
def no_handshake() -> Iterator[str]:
    """Yield an address that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/v1"


class NoNames(AbstractResolver):
    """A resolver that knows no name."""

    async def resolve(
        self,
        host: str,  # noqa: ARG002 the signature is aiohttp's
        port: int = 0,  # noqa: ARG002 the same
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 the same
    ) -> list[ResolveResult]:
        """Find no name."""
        raise OSError(socket.EAI_NONAME, "Name or service not known")

    async def close(self) -> None:
        """Do nothing."""


@contextlib.asynccontextmanager
async def knowing_no_names() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session for which no name resolves."""
    connector = aiohttp.TCPConnector(resolver=NoNames())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@contextlib.asynccontextmanager
async def trusting() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session that trusts AUTHORITY."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def _certificate(*names: str, by: trustme.CA = AUTHORITY, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    by.issue_cert(*names, **options).configure_cert(context)
    return context


CERTIFICATES: Final[dict[str, Callable[[], ssl.SSLContext]]] = {
    "good": lambda: _certificate("127.0.0.1"),
    "expired": lambda: _certificate(
        "127.0.0.1",
        not_before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        not_after=dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
    ),
    "self-signed": lambda: _certificate("127.0.0.1", by=trustme.CA()),
    "wrong-host": lambda: _certificate("elsewhere.example"),
}
