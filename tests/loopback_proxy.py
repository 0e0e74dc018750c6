"""A real proxy on a loopback socket: CONNECT and forwarded requests, with or without a password."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit


@dataclass
class LoopbackProxy:
    """Connect to `target` whatever host is asked for, or answer each request with `answer`.

    `authorization` is the value of Proxy-Authorization that a request needs.
    """

    target: str
    answer: bytes | None = None
    authorization: str | None = None
    offers: str = 'Basic realm="corp"'
    tls: ssl.SSLContext | None = None
    heads: list[str] = field(default_factory=list)  # of the requests that arrived, in order

    @property
    def url(self) -> str:
        """The URL for a client."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port at which it listens."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        task.add_done_callback(self._open.pop)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = await reader.readuntil(b"\r\n\r\n")
        head = raw.decode("latin-1")
        self.heads.append(head)
        if self.authorization and f"Proxy-Authorization: {self.authorization}\r\n" not in head:
            writer.write(
                f"HTTP/1.1 407 X\r\nProxy-Authenticate: {self.offers}\r\n"
                "content-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
            await writer.drain()
        elif self.answer is not None:
            writer.write(self.answer)
            await writer.drain()
        else:
            await self._connect(raw, reader, writer)

    async def _connect(
        self, raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        to = urlsplit(self.target)
        there_reader, there_writer = await asyncio.open_connection(to.hostname, to.port)
        try:
            if raw.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                there_writer.write(raw)
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        finally:
            there_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends, and end the other."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
