"""A FastAPI app that shows conversations: one client for the app, each stream to its reader.

    app = FastAPI(lifespan=messages_lifespan())
    add_exception_handlers(app)
    app.include_router(messages_router(), dependencies=[Depends(may_read)])

A stream is sent as the API's own bytes, page by page, for as long as somebody reads it, and one
that could not finish never looks finished. What goes wrong is told in words of our own: nothing
that the API said, and nothing of the key, reaches a reader. Who may read what is the app's matter.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Final, Literal, NamedTuple

import anyio
import msgspec
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.requests import HTTPConnection
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Lifespan, Receive, Scope, Send

from .client import AsyncMessagesClient, Order
from .errors import (
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    InsufficientQuotaError,
    MessagesError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from .observe.logs import escape_unprintable, log
from .pages import RawPage
from .paging.listing import MessageStream
from .settings import UnusableKeyError

# --- one client for the app -----------------------------------------------------------------------

_STATE: Final = "messages_client"


def messages_lifespan(
    lifespan: Lifespan[Any] | None = None,
    *,
    client: Callable[[], AsyncMessagesClient] = AsyncMessagesClient,
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan that holds one client open, around the app's own lifespan if it has one.

    `client` makes it when the app starts, so that an app can be imported where there is no key.
    The app's own lifespan ends first: what it runs may use the client to its last line.
    """

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            state: dict[str, Any] = {_STATE: await stack.enter_async_context(client())}
            if lifespan is not None:
                own: Any = lifespan(app)
                state |= await stack.enter_async_context(own) or {}
            yield state

    return opened


async def get_messages_client(connection: HTTPConnection) -> AsyncMessagesClient:
    """Return the app's client; the key under which `app.dependency_overrides` puts another."""
    client: AsyncMessagesClient | None = getattr(connection.state, _STATE, None)
    if client is None:
        raise RuntimeError(
            "the app has no client: make it by FastAPI(lifespan=messages_lifespan()), and in tests"
            " run it by `with TestClient(app)`; the lifespan of a mounted app is never run"
        )
    return client


MessagesClient = Annotated[AsyncMessagesClient, Depends(get_messages_client)]
"""What an endpoint asks for: `async def show(client: MessagesClient): …`."""


# --- what goes wrong, as a reader is told ---------------------------------------------------------


class Problem(BaseModel):
    """Why there is no answer: a `code` for programs, a sentence for people."""

    code: str
    detail: str


class InvalidParameters(BaseModel):
    """The parameters that FastAPI refuses by itself, each with its place and why."""

    detail: list[dict[str, Any]]


class _Told(NamedTuple):
    status: int
    code: str
    detail: str


_INTERNAL: Final = _Told(500, "internal_error", "Something went wrong here.")

# An error → what a reader is told; its nearest ancestor counts. Nothing in here is the API's text.
_TOLD: Final[dict[type[Exception], _Told]] = {
    Exception: _INTERNAL,
    ConfigurationError: _Told(422, "invalid_request", "The request cannot be used as it is."),
    UnusableKeyError: _INTERNAL,
    ClientClosedError: _Told(503, "closing", "The service is closing; try again in a moment."),
    APIError: _Told(502, "upstream_failed", "The API behind this service gave no usable answer."),
    APITimeoutError: _Told(504, "upstream_timeout", "The API behind this service did not answer."),
    BadRequestError: _Told(400, "bad_request", "The API refuses this; check the parameters."),
    UnprocessableEntityError: _Told(422, "invalid_request", "The API cannot make sense of this."),
    AuthenticationError: _Told(502, "upstream_refused", "The API refuses this service."),
    PermissionDeniedError: _Told(502, "upstream_refused", "The API refuses this service."),
    NotFoundError: _Told(404, "not_found", "No such completion, or not yet, or no longer."),
    RateLimitError: _Told(429, "rate_limited", "The API is asked too much; try again later."),
    InsufficientQuotaError: _Told(503, "quota_exhausted", "The service has no quota left."),
}
_READERS_OWN: Final = {400, 404, 422}


def add_exception_handlers(app: FastAPI) -> None:
    """Answer a request that fails with a MessagesError by the status that it means, as a Problem.

    404 for what is not there, 429 with Retry-After, 504 for a timeout, 502 for all else that the
    API did wrong; the log has the details. An argument that cannot be used is a 422.
    """

    async def answer(_: Request, error: Exception) -> Response:
        told = _tell(error)
        wait = _seconds_to_wait(error)
        return Response(
            _problem(told),
            told.status,
            {"retry-after": str(wait)} if wait else None,
            "application/json",
        )

    app.add_exception_handler(MessagesError, answer)


def _tell(error: Exception) -> _Told:
    """Look up what a reader is told, and tell the log what really happened."""
    told = next(_TOLD[kind] for kind in type(error).__mro__ if kind in _TOLD)
    if told is _TOLD[ConfigurationError]:
        return told._replace(detail=str(error))  # of our own making, and it says what to change
    if told.status not in _READERS_OWN:
        log.warning("a reader was told %d %s: %s", told.status, told.code, _facts_of(error))
    return told


def _facts_of(error: Exception) -> str:
    """Say which error it is; its text is for whoever catches it, and may be the API's own."""
    names = {"status": "status", "completion_id": "completion", "request_id": "request"}
    facts = {word: getattr(error, name, None) for name, word in names.items()}
    told = [f"{word} {escape_unprintable(str(fact))}" for word, fact in facts.items() if fact]
    return ", ".join([type(error).__name__, *told])


def _problem(told: _Told) -> bytes:
    return msgspec.json.encode({"code": told.code, "detail": told.detail})


def _seconds_to_wait(error: Exception) -> int | None:
    """Return the whole seconds after which to come again: what the API said, else 1 for a 429."""
    asked = error.retry_after if isinstance(error, APIStatusError) else None
    if asked is not None:
        return math.ceil(asked) or 1
    waiting_helps = isinstance(error, RateLimitError) and error.retryable
    return 1 if waiting_helps else None


# --- the formats of a stream ----------------------------------------------------------------------

Format = Literal["jsonl", "sse", "json"]

# The id of the event `end`. An EventSource comes back with it and is sent away for good (204), as
# HTML wants.
_END_ID: Final = "#end"

# An id comes back in a header, and goes on to the API in a URL, where it may take three times the
# room. aiohttp and nginx refuse lines of more than 8 kB, gunicorn request lines of more than 4 kB.
_LONGEST_ID: Final = 1_024  # characters


class _Form(NamedTuple):
    """How messages are written: `head`, the items with `between` in between, and the `end`.

    `failed` is what comes in place of the end, from a Problem and the seconds to wait.
    """

    media_type: str
    item: Callable[[str, bytes], bytes]
    failed: Callable[[bytes, int | None], bytes]
    head: bytes = b""
    between: bytes = b""
    end: bytes = b""
    tells_its_end: bool = False


def _one_line(message: bytes) -> bytes:
    # Some servers indent. Inside a string a line break is always escaped, so this one is layout.
    return message.replace(b"\r", b" ").replace(b"\n", b" ")


def _event(message_id: str, message: bytes) -> bytes:
    # Without an id an EventSource keeps that of the message before it, and resumes behind that one.
    id_line = b"id: %b\n" % message_id.encode() if _can_come_back(message_id) else b""
    return b"%bdata: %b\n\n" % (id_line, _one_line(message))


def _can_come_back(message_id: str) -> bool:
    """Tell whether a header brings this id back as it is, and not as the end or the beginning."""
    fits = 0 < len(message_id) <= _LONGEST_ID and message_id != _END_ID
    plain = message_id.isascii() and message_id.isprintable()
    return fits and plain and message_id == message_id.strip()


def _error_event(problem: bytes, wait: int | None) -> bytes:
    retry = b"retry: %d\n" % (wait * 1000) if wait else b""  # an EventSource then waits so long
    return b"event: error\n%bdata: %b\n\n" % (retry, problem)


_FORMS: Final[dict[str, _Form]] = {
    # The line is torn on purpose: middlewares of Starlette's BaseHTTPMiddleware end a body that was
    # cut as if it were whole.
    "jsonl": _Form(
        "application/jsonl",
        item=lambda _, message: _one_line(message) + b"\n",
        failed=lambda problem, _: b'{"error":' + problem,
    ),
    "sse": _Form(
        "text/event-stream",
        item=_event,
        failed=_error_event,
        end=b"event: end\nid: %b\ndata: {}\n\n" % _END_ID.encode(),
        tells_its_end=True,
    ),
    "json": _Form(
        "application/json",
        item=lambda _, message: message,
        failed=lambda *_: b"",
        head=b"[",
        between=b",\n",
        end=b"]",
    ),
}


# --- a stream to its reader -----------------------------------------------------------------------

# As much as a socket takes at once: small messages go together, and of a large page no more than
# this waits in the server for a slow reader.
_CHUNK: Final = 65_536  # bytes

# As long as a server that is going down is held up to tell a reader that there will be no more.
_LAST_WORDS: Final = 1.0  # seconds

# nginx's word for a client that closed the connection. Nobody reads it but middlewares and logs.
_READER_LEFT: Final = 499


def stream_messages(
    stream: MessageStream,
    format: Format = "jsonl",  # noqa: A002 the word that an app's own users know
) -> Response:
    """Answer with the messages of a stream, as the exact bytes that the API sends.

    `jsonl` has a message a line, `sse` an event a message and then the event `end`, `json` is one
    array. Nothing is answered before the first page is here, so an unknown id is raised as the
    NotFoundError that it is; see add_exception_handlers. A stream that fails later ends with the
    event `error`, or as a body that is cut: in a torn line, or without its closing bracket.

    The upstream request is closed as soon as the reader leaves. A slow reader slows the stream
    down; two pages at most are held for it. Raises ConfigurationError for an unknown format.
    """
    if format not in _FORMS:
        raise ConfigurationError(f"format must be 'jsonl', 'sse' or 'json', not {format!r}")
    return _MessagesResponse(stream, _FORMS[format])


class StreamCutError(Exception):
    """A stream failed in the middle; what a server does then is to cut the body short.

    None of our MessagesErrors, so that no handler tries to answer a second time.
    """


class _MessagesResponse(Response):
    """The messages of a stream, which it owns, sent for as long as the reader is there.

    Starlette's StreamingResponse would leave the stream open when the reader leaves.
    """

    def __init__(self, stream: MessageStream, form: _Form) -> None:
        # Conversations are no matter for caches, and a proxy that buffers would hold them back.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type=form.media_type)
        del self.headers["content-length"]  # that of the empty body which this one replaces
        self._stream = stream
        self._form = form
        self._lead = form.head
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stream:
            with anyio.CancelScope() as stay:
                # From before the first page on: also who waits for that one may leave.
                watch = asyncio.create_task(_cancel_once_gone(receive, stay))
                try:
                    await self._answer(send, head_only=scope.get("method") == "HEAD")
                except asyncio.CancelledError:
                    if self._begun and not stay.cancel_called:
                        await self._say_goodbye(send)
                    raise
                finally:
                    watch.cancel()
        if not self._begun:
            with contextlib.suppress(OSError):  # a server may say that nobody is there
                await Response(status_code=_READER_LEFT)(scope, receive, send)
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
            page = None  # let go of it first: the next one is here, and one behind it begun
            try:
                page = await anext(pages, None)
            except Exception as error:
                await self._end_early(send, error)
                if self._form.tells_its_end and isinstance(error, MessagesError):
                    return
                raise StreamCutError(str(error)) from error
        opening = self._lead if self._lead is self._form.head else b""
        await _send_body(send, opening + self._form.end, more=False)

    def _items(self, page: RawPage) -> Iterator[bytes]:
        for message_id, message in zip(page.ids, page.data, strict=True):
            yield self._lead + self._form.item(message_id, message)
            self._lead = self._form.between

    async def _end_early(self, send: Send, error: Exception) -> None:
        tail = self._form.failed(_problem(_tell(error)), _seconds_to_wait(error))
        await _send_body(send, tail, more=not self._form.tells_its_end)

    async def _say_goodbye(self, send: Send) -> None:
        """Tell a reader that the server is going down: over HTTP/1.0 a cut looks like the end."""
        with anyio.move_on_after(_LAST_WORDS, shield=True):
            await self._end_early(send, ClientClosedError("the server ended the stream"))


async def _cancel_once_gone(receive: Receive, stay: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stay.cancel()


async def _send_body(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces: a chunk each would cost a turn of the loop and a packet each."""
    gathered, size = [], 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


# --- the two routes that an app wants -------------------------------------------------------------


class StoredMessage(BaseModel):
    """One message; what a newer API adds is there as well."""

    model_config = ConfigDict(extra="allow")

    id: str
    role: str = Field(examples=["system", "user", "assistant", "tool"])
    content: str | None = None
    name: str | None = None
    content_parts: list[dict[str, Any]] | None = Field(
        default=None, description="Texts, images, recordings and files, each told by its `type`."
    )
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StoredMessagePage(BaseModel):
    """One page of messages; `last_id` is the `after` of the next one where there `has_more`."""

    model_config = ConfigDict(extra="allow")

    object: Literal["list"]
    data: list[StoredMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


_AfterQuery = Annotated[
    str | None, Query(description="The id of a message: begin with the one behind it.")
]
_LimitQuery = Annotated[
    int | None,
    Query(ge=1, description="Messages a page. A stream has them all; this is how many at a time."),
]
_OrderQuery = Annotated[Order | None, Query(description="The oldest or the newest message first.")]


async def resume_after(
    after: _AfterQuery = None,
    last_event_id: Annotated[
        str | None, Header(description="What an EventSource sends when it comes back.")
    ] = None,
) -> str | None:
    """Return where a reader wants to go on; send away for good who has seen the end (204)."""
    if last_event_id == _END_ID:
        raise HTTPException(204)
    return last_event_id or after  # an EventSource comes back with its first `after` in the URL


ResumeAfter = Annotated[str | None, Depends(resume_after)]
"""Where an endpoint's stream begins: `client.list(id, after=after)` with `after: ResumeAfter`."""


async def _page(
    client: MessagesClient,
    completion_id: str,
    after: _AfterQuery = None,
    limit: _LimitQuery = None,
    order: _OrderQuery = None,
) -> Response:
    stream = client.list(completion_id, after=after, limit=limit, order=order)
    page = await stream.raw()
    return Response(page.body, media_type="application/json", headers={"cache-control": "no-store"})


async def _stream(
    client: MessagesClient,
    completion_id: str,
    after: ResumeAfter,
    limit: _LimitQuery = None,
    order: _OrderQuery = None,
    format: Annotated[  # noqa: A002 the parameter's name in the URL
        Format, Query(description="A message a line; an event a message; one array.")
    ] = "jsonl",
) -> Response:
    stream = client.list(completion_id, after=after, limit=limit, order=order)
    return stream_messages(stream, format)


def messages_router() -> APIRouter:
    """Return a router of two routes, for `app.include_router` with a prefix and dependencies.

    `GET /completions/{completion_id}/messages` gives one page, and `…/messages/stream` all of them
    in one of the formats of stream_messages. They show whatever the key can read: include them
    with a dependency that says who may read which completion.
    """
    router = APIRouter(tags=["messages"])
    path = "/completions/{completion_id}/messages"
    router.add_api_route(
        path,
        _page,
        name="list_messages",
        summary="List one page of a completion's messages",
        response_model=StoredMessagePage,
        responses=_documented_problems(),
    )
    router.add_api_route(
        f"{path}/stream",
        _stream,
        name="stream_messages",
        summary="Stream every message of a completion",
        response_class=Response,
        responses={200: _documented_stream(), 204: _NOTHING_LEFT, **_documented_problems()},
    )
    return router


_NOTHING_LEFT: Final = {"description": "An EventSource that has seen the end came back."}


def _documented_stream() -> dict[str, Any]:
    message = StoredMessage.model_json_schema()
    # The `itemSchema` of OpenAPI 3.2 makes a document of 3.1, which FastAPI's are, invalid.
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": message}
    of_each = {"jsonl": text, "sse": text, "json": {"type": "array", "items": message}}
    return {
        "description": "Every message: of `jsonl` each line, of `sse` each event's data is one. An"
        " SSE stream closes with the event `end` or `error`; the other formats are cut where they"
        " fail.",
        "content": {_FORMS[name].media_type: {"schema": of} for name, of in of_each.items()},
    }


def _documented_problems() -> dict[int | str, dict[str, Any]]:
    problems: dict[int | str, dict[str, Any]] = {
        told.status: {"model": Problem, "description": told.detail}
        for told in _TOLD.values()
        if told is not _INTERNAL  # nobody wants it
    }
    return problems | {422: {"model": Problem | InvalidParameters, "description": "Not usable."}}
