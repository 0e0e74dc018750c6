"""A server in a thread of its own: it sends while the client's loop is blocked."""

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Self

from loopback import Answer, Asked

Script = Callable[[Asked], Answer]


class BlockingServer:
    """Answers each request by its script; the test sends all other bytes.

    Every connection is served by its own thread, so that bytes arrive while the loop of the test
    is blocked. `connections` are those that were accepted, in this order.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._one_at_a_time = threading.Lock()  # OpenSSL allows only one thread on a connection
        self.connections: list[socket.socket] = []
        self.asked: list[Asked] = []
        scheme = "http" if tls is None else "https"
        self.base_url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for connection in self.connections:
            with contextlib.suppress(OSError):  # it may be gone already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for connection in (self._listening, *self.connections):
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the test is over
            while True:
                connection, _ = self._listening.accept()
                # Otherwise the system holds a small piece back until the one before is
                # acknowledged.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with self._one_at_a_time:
                self.connections.append(connection)
                number = len(self.connections)
            with connection:
                for head in self._heads(connection):
                    asked = _asked(head, number)
                    self.asked.append(asked)
                    with self._one_at_a_time:
                        connection.sendall(self._script(asked).encode())

    def _heads(self, connection: socket.socket) -> Iterator[str]:
        data = b""
        while piece := self._received(connection):
            data += piece
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                yield head.decode("latin-1")

    def _received(self, connection: socket.socket) -> bytes:
        if not isinstance(connection, ssl.SSLSocket) or not connection.pending():
            select.select([connection], [], [])
        with self._one_at_a_time:
            return connection.recv(65536)

    def send(self, data: bytes) -> None:
        """Send unsolicited bytes on every open connection; they are in the sockets on return."""
        for connection in self.connections:
            with contextlib.suppress(OSError), self._one_at_a_time:  # the client has closed it
                connection.sendall(data)

    def ask_for_certificate(self) -> None:
        """Send a TLS record that is no data of the connection, as a session ticket is.

        OpenSSL sends tickets only by itself; this request can be sent once on each connection.
        """
        for connection in self.connections:
            assert isinstance(connection, ssl.SSLSocket)
            with self._one_at_a_time:
                connection.verify_client_post_handshake()
                connection.do_handshake()

    def finish(self, data: bytes = b"") -> None:
        """Send, and shut down the writing side of every connection."""
        self.send(data)
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

    def reset(self, data: bytes = b"") -> None:
        """Send, and end every connection with a reset."""
        self.send(data)
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RD)  # its thread stops reading, and closes it
        for thread in self._threads[1:]:
            thread.join(5)


def _asked(head: str, number: int) -> Asked:
    target = head.split(" ", 2)[1]
    path, _, query = target.partition("?")
    pairs = (pair.split("=", 1) for pair in query.split("&") if pair)
    return Asked(path, dict(pairs), {}, number)
