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
from aiomessages.paging.caller import Caller
from aiomessages.values.secrets import hide, hide_values

from .streams import Results, Stream
from .thread import LoopThread
from .thread_bridge import Inbox, OutsideItems

if TYPE_CHECKING:
    from aiomessages.export import ExportReport, Progress

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

Ids = Iterable[str] | Stream[StoredCompletion]


def _like(
    model: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[..., ResultT]], Callable[Concatenate[Any, P], ResultT]]:
    """Give a method the arguments of the async client's, for type checkers and for `help`."""

    def as_model(method: Callable[..., ResultT]) -> Callable[Concatenate[Any, P], ResultT]:
        returned = inspect.signature(method).return_annotation
        signature = inspect.signature(model).replace(return_annotation=returned)
        method.__signature__ = signature  # type: ignore[attr-defined]  # where inspect looks
        return method

    return as_model


class MessagesClient:
    """Read the messages of stored chat completions, and wait for them.

    Its options are those of AsyncMessagesClient, but for `session`, which belongs to an event loop
    of the caller's. Nothing is started before the first call; then one thread with one event loop
    runs until the client is closed. `on_retry` and an async `api_key` are called there. In async
    code, where waiting would hold up everything else, a call raises RuntimeError; in a notebook it
    does not. It raises RuntimeError as well where gevent or eventlet has replaced threads.

    Raises ConfigurationError for options that cannot be used. Several threads may use a client.
    """

    _client: AsyncMessagesClient
    _thread: LoopThread
    _owns_thread: bool

    @_like(AsyncMessagesClient.__init__)
    def __init__(self, api_key: Any = None, **options: Any) -> None:
        api_key = hide(api_key)  # before anything can fail and show it in a traceback
        options = {name: hide(value) for name, value in options.items()}
        if options.get("default_headers") is not None:
            options["default_headers"] = hide_values(options["default_headers"])
        if options.get("session") is not None:
            raise ConfigurationError("a session belongs to your event loop: the client has its own")
        self._client = AsyncMessagesClient(api_key, **options)
        self._thread = LoopThread(self._client.aclose)
        self._owns_thread = True

    def __repr__(self) -> str:
        # Also of one that could not be built: a traceback may show it.
        base_url = self._client.base_url if hasattr(self, "_client") else None
        return f"{type(self).__name__}({base_url=})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client is not pickled: make one in each process")

    def with_options(self, **changes: Unpack[ClientOptions]) -> Self:
        """Return a client with some options changed that shares this one's session and thread.

        It ends when this one is closed; closing it leaves this one open.
        """
        twin = object.__new__(type(self))
        twin._client = self._client.with_options(**changes)
        twin._thread = self._thread
        twin._owns_thread = False
        return twin

    @property
    def base_url(self) -> str:
        """Where requests go, without a slash at the end."""
        return self._client.base_url

    @_like(AsyncMessagesClient.list)
    def list(self, completion_id: str, **options: Any) -> Stream[Message]:
        """List the messages of one completion: iterate it for all, `page()` gives one page.

        The arguments, and the errors, are those of the async client's `list`.
        """
        return Stream(self._thread, self._client.list(completion_id, **options))

    @_like(AsyncMessagesClient.completions)
    def completions(self, **options: Any) -> Stream[StoredCompletion]:
        """List the stored completions: iterate it for all, `page()` gives one page.

        The arguments, and the errors, are those of the async client's `completions`.
        """
        return Stream(self._thread, self._client.completions(**options))

    @_like(AsyncMessagesClient.completion)
    def completion(self, completion_id: str, **options: Any) -> StoredCompletion:
        """Fetch one stored completion, with the model's replies in `choices`.

        The arguments, and the errors, are those of the async client's `completion`.
        """
        return self._thread.run(partial(self._client.completion, completion_id, **options))

    def raw_completion(self, completion_id: str) -> bytes:
        """Fetch one stored completion as the exact bytes that the server sent.

        Raises what `completion` does.
        """
        return self._thread.run(partial(self._client.raw_completion, completion_id))

    def conversations(
        self,
        ids: Ids,
        *,
        concurrency: int = 64,
        ordered: bool = False,
        include_reply: bool = False,
        on_error: OnError = "raise",
        limit: int | None = None,
    ) -> Results[Conversation]:
        """Read many conversations at once, and give each as it is done, or in the order of `ids`.

        `ids` is any iterable of completion ids, or this client's `completions()`. It is read by
        the thread that waits for a conversation, never further ahead than `concurrency`. All else
        is as the async client's `conversations`.

        Raises ConfigurationError for arguments that cannot be used.
        """
        source, inbox = _for_the_loop(ids)
        conversations = self._client.conversations(
            source,
            concurrency=concurrency,
            ordered=ordered,
            include_reply=include_reply,
            on_error=on_error,
            limit=limit,
        )
        return Results(self._thread, conversations, convert=_as_it_is, inbox=inbox)

    def close(self) -> None:
        """End the calls under way, which raise ClientClosedError, and the thread.

        Closing it again does nothing.
        """
        if self._owns_thread:
            self._thread.close()
        else:
            with contextlib.suppress(ClientClosedError):  # then this one is closed as well
                self._thread.run(self._client.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@caller_of.register
def _(client: MessagesClient) -> Caller:
    return caller_of(client._client)  # noqa: SLF001 this module's own


class ExportOptions(TypedDict, total=False):
    """What `aiomessages.export.export` may be told."""

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

    As `aiomessages.export.export`, whose options and errors these are. `source` is what
    `client.conversations` takes; `on_progress` is called in the client's thread.
    """
    from aiomessages import export as exporting  # noqa: PLC0415 sqlite3 and all: not for a list

    given, inbox = _for_the_loop(source)
    asynchronous, thread = client._client, client._thread  # noqa: SLF001 as a method of it
    work = partial(exporting.export, asynchronous, given, destination, **options)
    return thread.run(work, inbox)


def _for_the_loop(ids: Any) -> tuple[Any, Inbox | None]:
    """Return what the loop may iterate over, and where it asks for what it may not."""
    if isinstance(ids, Stream):
        return ids.for_the_loop(), None
    if isinstance(ids, Collection | AsyncIterable) or not isinstance(ids, Iterable):
        return ids, None  # what is no iterable is refused by whoever gets it
    items = OutsideItems(ids)
    return items, items.inbox


def _as_it_is(result: ResultT) -> ResultT:
    return result
