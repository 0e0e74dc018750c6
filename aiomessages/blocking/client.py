"""The blocking client, and the export for it."""

import contextlib
import inspect
from collections.abc import AsyncIterable, Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    NoReturn,
    ParamSpec,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
)

from aiomessages.client import AsyncMessagesClient, ClientOptions, caller_of
from aiomessages.conversations import Conversation, OnError
from aiomessages.errors import ClientClosedError, ConfigurationError
from aiomessages.models import Message, StoredCompletion
from aiomessages.network.tls import hide_password
from aiomessages.paging.caller import Caller
from aiomessages.values.secrets import hide, hide_values

from .caller_items import CallerItems
from .streams import Results, Stream, async_stream
from .thread import LoopThread

if TYPE_CHECKING:
    from aiomessages.export import ExportReport, Progress

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

Ids = Iterable[str] | Stream[StoredCompletion]


def _like(
    model: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[..., ResultT]], Callable[Concatenate[Any, P], ResultT]]:
    """Declare that a method takes the arguments of the async one, to type checkers and `help`."""

    def as_model(method: Callable[..., ResultT]) -> Callable[Concatenate[Any, P], ResultT]:
        returned = inspect.signature(method).return_annotation
        signature = inspect.signature(model).replace(return_annotation=returned)
        method.__signature__ = signature  # type: ignore[attr-defined]  # where inspect looks
        return method

    return as_model


class MessagesClient:
    """Read the messages of stored chat completions, in code without `async`.

    The arguments are those of AsyncMessagesClient, without `session`, which belongs to an event
    loop. The first call starts one thread with one event loop; it runs until the client is closed,
    and calls `on_retry` and an async `api_key`. Several threads may use a client.

    A call raises RuntimeError in async code, because it would block the event loop (a notebook is
    no async code here), and if gevent or eventlet has replaced threads.

    Raises ConfigurationError for arguments that cannot be used.
    """

    _client: AsyncMessagesClient
    _thread: LoopThread
    _owns_thread: bool

    @_like(AsyncMessagesClient.__init__)
    def __init__(self, api_key: Any = None, **options: Any) -> None:
        api_key = hide(api_key)  # before an error can show it in a traceback
        options = {name: hide(value) for name, value in options.items()}
        options["client_cert"] = hide_password(options.get("client_cert"))
        if options.get("default_headers") is not None:
            options["default_headers"] = hide_values(options["default_headers"])
        if options.get("session") is not None:
            raise ConfigurationError(
                "pass no session: it belongs to your event loop, and the client runs its own"
            )
        self._client = AsyncMessagesClient(api_key, **options)
        self._thread = LoopThread(self._client.aclose)
        self._owns_thread = True

    def __repr__(self) -> str:
        # A traceback may show a client that could not be built.
        base_url = self._client.base_url if hasattr(self, "_client") else None
        return f"{type(self).__name__}({base_url=})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client cannot be pickled: make one in each process")

    def with_options(self, **changes: Unpack[ClientOptions]) -> Self:
        """Return a client with some options changed that shares this one's session and thread.

        Closing this client closes the new one; closing the new one leaves this one open.
        """
        child = object.__new__(type(self))
        child._client = self._client.with_options(**changes)
        child._thread = self._thread
        child._owns_thread = False
        return child

    @property
    def base_url(self) -> str:
        """The URL of the API, without a slash at its end, such as `https://api.openai.com/v1`."""
        return self._client.base_url

    @_like(AsyncMessagesClient.list)
    def list(self, completion_id: str, **options: Any) -> Stream[Message]:
        """List the messages of one completion: iterate for all messages, `page()` for one page.

        The arguments, and the errors, are those of the async client's `list`.
        """
        return Stream(self._thread, self._client.list(completion_id, **options))

    @_like(AsyncMessagesClient.completions)
    def completions(self, **options: Any) -> Stream[StoredCompletion]:
        """List the stored completions: iterate for all completions, `page()` for one page.

        The arguments, and the errors, are those of the async client's `completions`.
        """
        return Stream(self._thread, self._client.completions(**options))

    @_like(AsyncMessagesClient.completion)
    def completion(self, completion_id: str, **options: Any) -> StoredCompletion:
        """Fetch one stored completion, with the model's replies in `choices`.

        The arguments, and the errors, are those of the async client's `completion`.
        """
        return self._thread.run(partial(self._client.completion, completion_id, **options))

    @_like(AsyncMessagesClient.raw_completion)
    def raw_completion(self, completion_id: str, **options: Any) -> bytes:
        """Fetch one stored completion as the exact bytes that the server sent.

        The arguments, and the errors, are those of the async client's `raw_completion`.
        """
        return self._thread.run(partial(self._client.raw_completion, completion_id, **options))

    @_like(AsyncMessagesClient.conversations)
    def conversations(self, ids: Any, **options: Any) -> Results[Conversation]:
        """Read many conversations at once. Return each as it is done, or in the order of `ids`.

        `ids` is any iterable of completion ids, or this client's `completions()`. The thread that
        waits for a conversation reads it, never further ahead than `concurrency`. The other
        arguments, and the errors, are those of the async client's `conversations`.
        """
        for_loop, read_here = _for_the_loop(ids)
        conversations = self._client.conversations(for_loop, **options)
        return Results(self._thread, conversations, convert=lambda result: result, ids=read_here)

    def close(self) -> None:
        """End the thread, and the calls under way: they raise ClientClosedError.

        Closing again does nothing.
        """
        if self._owns_thread:
            self._thread.close()
        else:
            with contextlib.suppress(ClientClosedError):  # the parent's closing closed this one
                self._thread.run(self._client.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@caller_of.register
def _(client: MessagesClient) -> Caller:
    return caller_of(client._client)  # noqa: SLF001 this module's own


class ExportOptions(TypedDict, total=False):
    """The options of `aiomessages.export.export`."""

    layout: str
    include_reply: bool
    media: str | Path | None
    part_bytes: int
    limit: int | None
    concurrency: int
    max_rps: float | None
    on_error: OnError
    refresh: bool
    origin: str | None
    on_progress: "Callable[[Progress], object] | None"


def export(
    client: MessagesClient, source: Ids, destination: str | Path, **options: Unpack[ExportOptions]
) -> "ExportReport":
    """Write the conversations of many completions to files, each exactly once.

    The options and errors are those of `aiomessages.export.export`. `source` is an iterable of ids,
    a list of completions of this client, or a CreatedBetween. `on_progress` is called in the
    client's thread. Returns an ExportReport.
    """
    from aiomessages import export as exporting  # noqa: PLC0415 a list needs no sqlite3

    for_loop, read_here = _for_the_loop(source)
    asynchronous, thread = client._client, client._thread  # noqa: SLF001 of this module
    work = partial(exporting.export, asynchronous, for_loop, destination, **options)
    return thread.run(work, read_here)


def _for_the_loop(ids: Any) -> tuple[Any, CallerItems[Any] | None]:
    """Return the ids for the loop to iterate, and the items for the calling thread to read."""
    if isinstance(ids, Stream):
        return async_stream(ids), None
    if isinstance(ids, Collection | AsyncIterable) or not isinstance(ids, Iterable):
        return ids, None  # the async client refuses what is no iterable
    read_here = CallerItems(ids)
    return read_here, read_here
