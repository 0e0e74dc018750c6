"""The response that sends a stream of messages, page by page, while its reader is connected."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import anyio
from fastapi import Response
from starlette.types import Receive, Scope, Send

from aiomessages.errors import ClientClosedError, ConfigurationError, MessagesError
from aiomessages.pages import RawPage
from aiomessages.paging.stream import MessageStream

from .formats import LAYOUTS, Format, Layout, converted
from .problems import answer_to, seconds_to_wait

# The amount that a socket takes at once. Small messages are sent together; of a large page no more
# than this waits in the server for a slow reader.
_CHUNK_SIZE: Final = 65_536  # bytes

# The longest delay of a server's shutdown for the last bytes of one stream.
_GOODBYE_TIMEOUT: Final = 1.0  # seconds

# nginx's status for a client that closed the connection. Only middlewares and logs see it.
_CLIENT_CLOSED_REQUEST: Final = 499


def stream_messages(
    stream: MessageStream,
    format: Format = "jsonl",  # noqa: A002 - the word that an app's own users know
    *,
    convert: Callable[[bytes], bytes] | None = None,
) -> Response:
    """Return a response with the messages of a stream, as the exact bytes that the API sends.

    `jsonl` is one message per line, `sse` one event per message and then the event `end`, `json`
    one array. The answer begins when the first page has arrived, so an unknown id is raised as a
    NotFoundError; see add_exception_handlers. A stream that fails later ends with the event
    `error`, or its body is cut: in a torn line, or without its closing bracket.

    `convert` returns the JSON to send instead of a message's, for example one with its HTML. It
    runs in the event loop. The id of an event stays that of the message.

    The upstream request is closed as soon as the reader leaves. A slow reader slows the stream
    down; at most two pages are held for it. Raises ConfigurationError for an unknown format.
    """
    if format not in LAYOUTS:
        raise ConfigurationError(f"format must be 'jsonl', 'sse' or 'json', not {format!r}")
    layout = LAYOUTS[format]
    return _MessagesResponse(stream, layout if convert is None else converted(layout, convert))


class StreamCutError(Exception):
    """A stream failed after its answer began. The server reacts by cutting the body.

    It is no MessagesError, so that no handler tries to answer a second time.
    """


class _MessagesResponse(Response):
    """The messages of a stream, which it owns and closes.

    Starlette's StreamingResponse would leave the stream open when the reader leaves.
    """

    def __init__(self, stream: MessageStream, layout: Layout) -> None:
        # Conversations are private, so no cache keeps them; a proxy that buffers would delay them.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type=layout.media_type)
        del self.headers["content-length"]  # Response counted an empty body
        self._stream = stream
        self._layout = layout
        self._lead = layout.head
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stream:
            with anyio.CancelScope() as connected:
                # It starts before the first page: a reader may leave while waiting for that.
                watcher = asyncio.create_task(_cancel_on_disconnect(receive, connected))
                try:
                    await self._answer(send, head_only=scope.get("method") == "HEAD")
                except asyncio.CancelledError:
                    if self._begun and not connected.cancel_called:
                        await self._say_goodbye(send)
                    raise
                finally:
                    watcher.cancel()
        if not self._begun:
            with contextlib.suppress(OSError):  # a server may refuse to send to nobody
                await Response(status_code=_CLIENT_CLOSED_REQUEST)(scope, receive, send)
        if self.background is not None:
            await self.background()

    async def _answer(self, send: Send, *, head_only: bool) -> None:
        pages = self._stream.raw().pages()
        page = await anext(pages, None)
        self._begun = True
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        while page is not None and not head_only:
            for chunk in _chunks(self._items(page)):
                await _send_body(send, chunk)
            page = None  # free its memory: the stream holds the next page, and fetches another
            try:
                page = await anext(pages, None)
            except Exception as error:
                await self._end_early(send, error)
                if self._layout.marks_end and isinstance(error, MessagesError):
                    return
                raise StreamCutError(str(error)) from error
        opening = self._lead if self._lead is self._layout.head else b""
        await _send_body(send, opening + self._layout.end, more=False)

    def _items(self, page: RawPage) -> Iterator[bytes]:
        for message_id, message in zip(page.ids, page.data, strict=True):
            yield self._lead + self._layout.item(message_id, message)
            self._lead = self._layout.between

    async def _end_early(self, send: Send, error: Exception) -> None:
        tail = self._layout.failed(answer_to(error).body(), seconds_to_wait(error))
        await _send_body(send, tail, more=not self._layout.marks_end)

    async def _say_goodbye(self, send: Send) -> None:
        """Send that the server shuts down: over HTTP/1.0 a cut body looks complete."""
        with anyio.move_on_after(_GOODBYE_TIMEOUT, shield=True):
            await self._end_early(send, ClientClosedError("the server ended the stream"))


async def _cancel_on_disconnect(receive: Receive, connected: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    connected.cancel()


async def _send_body(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces, which would cost a loop iteration and a packet each."""
    gathered, size = [], 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _CHUNK_SIZE:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)
