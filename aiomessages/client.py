"""The client that people use: its options, its calls, and what closing it means."""

import inspect
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, TypedDict, Unpack, cast

from msgspec import UNSET, UnsetType, structs

from ._version import __version__
from .calls.attempts import Attempts
from .calls.queue import Turns
from .calls.rate_limit import Pace
from .calls.request import Deadline, OnRetry, Request
from .calls.retry import DEFAULT_POLICY, RetryPolicy
from .conversations import ConversationStream, Ids, OnError, Reader, check_options
from .errors import ConfigurationError
from .models import StoredCompletion
from .observe.logs import show_log
from .observe.operation import Operation, Telemetry, Watch, watch
from .paging.listing import CompletionStream, Listing, MessageStream
from .paging.page_size import PageSize
from .paging.plain_walk import PlainWalk
from .settings import (
    DEFAULT_MAX_RESPONSE_BYTES,
    DEFAULT_TIMEOUT,
    ApiKey,
    Settings,
    Timeout,
    check_headers,
    check_query,
    check_seconds,
    log_level,
    metadata_query,
)
from .values.secrets import hide, hide_values
from .wire import requests, responses
from .wire.decoding import COMPLETIONS, MESSAGES
from .wire.page_content import Codec

if TYPE_CHECKING:
    import aiohttp

Order = Literal["asc", "desc"]
LookAheadMode = Literal["predict"] | bool

# A conversation of 32 pages of 100 messages is a long one; and 32 requests at once are a third of
# the connections that a client opens.
LOOKAHEAD_WINDOW: Final = 32


class ClientOptions(TypedDict, total=False):
    """What `with_options` may change."""

    api_key: ApiKey | None
    base_url: str | None
    organization: str | None
    project: str | None
    timeout: Timeout | float | None
    deadline: float | None
    retry: RetryPolicy
    max_response_bytes: int
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None
    allow_http: bool
    on_retry: OnRetry | None


class AsyncMessagesClient:
    """Read the messages of stored chat completions.

    `api_key` is a str, or an async callable that is asked anew for each attempt; without it,
    `OPENAI_API_KEY` counts, and `OPENAI_BASE_URL`, `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` for
    `base_url`, `organization` and `project`. `session` is an aiohttp.ClientSession of the caller's,
    used and never closed; without one the client opens its own on first use, so it can be built
    outside a running loop.

    `timeout` is in seconds for one attempt, `deadline` in seconds for a whole call, with its
    retries and waits. `max_response_bytes` bounds a page, decompressed. `default_headers` and
    `default_query` go along with each request.

    `allow_http` allows plain HTTP to other hosts than this machine, by which the key can be read
    on its way. `on_retry` is called with a RetryDetails before each wait. `AIOMESSAGES_LOG=debug`
    or `info` in the environment writes the log to standard error.

    Raises ConfigurationError for options that cannot be used. A client belongs to one event loop.
    """

    _base_url: str | None = None  # so that one that could not be built has a repr as well

    def __init__(
        self,
        api_key: ApiKey | None = None,
        *,
        # where to, and as whom
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        session: "aiohttp.ClientSession | None" = None,
        # how long, how often, how much
        timeout: Timeout | float | None = DEFAULT_TIMEOUT,
        deadline: float | None = None,
        retry: RetryPolicy = DEFAULT_POLICY,
        max_response_bytes: int = DEFAULT_MAX_RESPONSE_BYTES,
        # what goes along with each request
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        # what is allowed, and who is told
        allow_http: bool = False,
        trace_configs: "Sequence[aiohttp.TraceConfig] | None" = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        from .http.transport import Transport  # noqa: PLC0415 aiohttp, 300 ms: now, and not on import

        show_log(log_level())
        api_key = hide(api_key)  # before anything can fail and show it in a traceback
        base_url, default_headers = hide(base_url), hide_values(default_headers)
        self._settings = Settings.load(
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            default_headers=default_headers,
            default_query=default_query,
            allow_http=allow_http,
        )
        # With what the environment said, so that a twin made later is of the same account.
        self._options: ClientOptions = {
            "api_key": self._settings.api_key,
            "base_url": self._settings.base_url,
            "organization": self._settings.organization,
            "project": self._settings.project,
            "timeout": timeout,
            "deadline": deadline,
            "retry": retry,
            "max_response_bytes": max_response_bytes,
            "default_headers": default_headers,
            "default_query": default_query,
            "allow_http": allow_http,
            "on_retry": on_retry,
        }
        self._base_url = self._settings.base_url
        self._session = session
        check_seconds("deadline", deadline)
        self._timeout = Timeout.of(timeout)
        self._deadline = deadline
        constant_headers = {
            "accept": "application/json",
            "accept-encoding": responses.ACCEPT_ENCODING,
            "user-agent": f"aiomessages/{__version__}",
        }
        self._headers = {**({} if session is None else constant_headers), **self._settings.headers}
        self._attempts = Attempts(
            Transport(session, headers=constant_headers, trace_configs=trace_configs),
            api_key=self._settings.api_key,
            policy=_checked_policy(retry),
            max_bytes=_checked_bytes(max_response_bytes),
            on_retry=_checked_hook(on_retry),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._base_url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client is not pickled: make one in each process")

    def with_options(self, **changes: Unpack[ClientOptions]) -> Self:
        """Return a client with some options changed that shares this one's session.

        It ends when this one is closed; closing it leaves this one open. `session` and
        `trace_configs` are what it shares, so they cannot be changed.
        """
        if unknown := changes.keys() - self._options.keys():
            raise ConfigurationError(f"with_options cannot change {', '.join(sorted(unknown))}")
        options: dict[str, Any] = {**self._options, **changes}
        twin = type(self)(session=self._session, **options)
        twin._attempts.share(self._attempts)  # noqa: SLF001 a twin of its own
        return twin

    def _paced(
        self,
        pace: Pace,
        *,
        timeout: Timeout | float | UnsetType | None = UNSET,
        max_retry_after: float | None = None,
        on_sent: Callable[[], object] | None = None,
    ) -> "AsyncMessagesClient":
        """Return a client that sends at a pace, shares this one's session and ends with it.

        A 429 never fails a call of it, short of ten minutes of nothing else, or of one that asks to
        wait for longer than `max_retry_after` seconds (None: the policy's). `on_sent` is called
        once for each attempt as it goes out, whatever becomes of it.
        """
        changes: ClientOptions = {} if timeout is UNSET else {"timeout": timeout}
        if max_retry_after is not None:
            policy = self._options["retry"]
            changes["retry"] = structs.replace(policy, max_retry_after=max_retry_after)
        twin = self.with_options(**changes)
        twin._attempts.take_turns(Turns(pace, on_sent))  # noqa: SLF001 a twin of its own
        return twin

    def _instrument(self, telemetry: Telemetry) -> None:
        """Let it hear of the work of this client, and of those that with_options makes from now."""
        self._attempts.telemetry = telemetry

    def _watch(self, operation: Operation) -> Watch:
        return watch(self._attempts.telemetry, operation)

    @property
    def base_url(self) -> str:
        """Where requests go, without a slash at the end."""
        return self._settings.base_url

    # --- calls ------------------------------------------------------------------------------------

    def list(
        self,
        completion_id: str,
        *,
        # which messages
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        max_items: int | None = None,
        # how they are fetched
        prefetch: bool = True,
        lookahead: LookAheadMode | None = None,
        lookahead_window: int = LOOKAHEAD_WINDOW,
        wait_until_visible: float = 0,
        timeout: Timeout | float | UnsetType | None = UNSET,
        deadline: float | UnsetType | None = UNSET,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
    ) -> MessageStream:
        """List the messages of one completion: `await` it for a page, iterate it for all of them.

        `limit` is the size of a page, `max_items` the number of messages in all. A page without
        `limit` is the server's to size (20); a walk asks for 100. `after` is the id of a message:
        the list begins behind it. `wait_until_visible` is how many seconds to go on asking for a
        completion that answers 404, as a fresh one does for some seconds. `prefetch=False` fetches
        each page when it is needed, and not before.

        `timeout` and `deadline` are the client's unless they are given; `deadline` counts from the
        first request of this list to its last. `extra_headers` and `extra_query` go along with its
        requests.

        `lookahead=True`, or `"predict"`, requests the middle of a long conversation at once where
        the ids at both ends are numbered without a gap; otherwise, and from where that turns out to
        be wrong, the list is walked page by page. At most `lookahead_window` pages are fetched in
        advance, beyond the two of a walk. Messages come in the order that was asked for.

        Nothing is sent yet. Raises ConfigurationError for arguments that cannot be used; awaiting
        and iterating raise APIError and ClientClosedError.
        """
        extra_headers = hide_values(extra_headers)
        completion_id = requests.check_completion_id(completion_id)
        wanted = requests.check_page_options(
            after=after, limit=limit, order=order, max_items=max_items
        )
        check_seconds("wait_until_visible", wait_until_visible or None)
        window = None
        if lookahead not in (None, False):
            from .paging.lookahead import checked_window  # noqa: PLC0415 few need it: now, and not on import

            window = checked_window(lookahead, lookahead_window, prefetch=prefetch)
        listing = Listing(
            self._attempts,
            self._messages_request(
                completion_id,
                extra_headers,
                timeout=timeout,
                deadline=deadline,
                patience=wait_until_visible,
            ),
            query={
                **self._settings.query,
                **({"order": wanted.order} if wanted.order else {}),
                **check_query(extra_query or {}),
            },
            after=wanted.after,
            limit=wanted.limit,
            max_items=wanted.max_items,
        )
        codec = MESSAGES.fresh()
        return listing.stream(MessageStream, codec, prefetch=prefetch, lookahead=window)

    def _one_by_one(
        self,
        completion_id: str,
        codec: Codec[Any] = MESSAGES,
        *,
        after: str | None = None,
        limit: int | None = None,
        page_size: PageSize | None = None,
        wait_until_visible: float = 0,
    ) -> PlainWalk[Any]:
        """List what `list` does, for whoever reads many lists at once and none of them ahead.

        A page that is too large is asked for again with half the limit, down to 1. `page_size` is
        what the walks of one run share of that; `limit` is for a walk that shares nothing. Whoever
        was given the limit has checked it.
        """
        completion_id = requests.check_completion_id(completion_id)
        wanted = requests.check_page_options(after=after, limit=limit, order=None, max_items=None)
        listing = Listing(
            self._attempts,
            self._messages_request(completion_id, patience=wait_until_visible),
            query=self._settings.query,
            after=wanted.after,
            limit=None,
            max_items=None,
        )
        return listing.plain_walk(codec, page_size or PageSize(wanted.limit))

    def _messages_request(
        self,
        completion_id: str,
        extra_headers: Mapping[str, str] | None = None,
        *,
        timeout: Timeout | float | UnsetType | None = UNSET,
        deadline: float | UnsetType | None = UNSET,
        patience: float = 0,
    ) -> Request:
        return self._request(
            requests.completion_url(self._settings.base_url, completion_id) + "/messages",
            extra_headers,
            completion_id=completion_id,
            timeout=timeout,
            deadline=deadline,
            patience=patience,
        )

    def completions(
        self,
        *,
        # which completions
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        max_items: int | None = None,
        # how they are fetched
        prefetch: bool = True,
        timeout: Timeout | float | UnsetType | None = UNSET,
        deadline: float | UnsetType | None = UNSET,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
    ) -> CompletionStream:
        """List the stored completions, of a model or with certain metadata where that is given.

        Each carries its replies in `choices`. The order is `asc`, oldest first, unless another is
        asked for: it is always sent, since servers differ in what they do without. Everything
        else is as in `list`.
        """
        extra_headers = hide_values(extra_headers)
        options = requests.check_page_options(
            after=after, limit=limit, order=order, max_items=max_items
        )
        model_query = {} if model is None else {"model": model}
        wanted = check_query({**model_query, **metadata_query(metadata)})
        extra = check_query(extra_query or {})
        listing = Listing(
            self._attempts,
            self._request(
                f"{self._settings.base_url}/chat/completions",
                extra_headers,
                timeout=timeout,
                deadline=deadline,
            ),
            query={
                **self._settings.query,
                "order": options.order or "asc",
                **wanted,
                **extra,
            },
            after=options.after,
            limit=options.limit,
            max_items=options.max_items,
        )
        stream = listing.stream(CompletionStream, COMPLETIONS, prefetch=prefetch)
        # The order decides only where the list is cut: a whole list holds the same in both.
        is_cut = options.after or options.max_items
        order_of_cut = (options.order or "asc") if is_cut else None
        cut = {"after": options.after, "max_items": options.max_items, "order": order_of_cut}
        asked = {**wanted, "extra_query": extra or None, **cut}
        stream.selection = {name: value for name, value in asked.items() if value is not None}
        return stream

    async def completion(
        self,
        completion_id: str,
        *,
        wait_until_visible: float = 0,
        timeout: Timeout | float | UnsetType | None = UNSET,
        deadline: float | UnsetType | None = UNSET,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
    ) -> StoredCompletion:
        """Fetch one stored completion, with the model's replies in `choices`.

        Raises ConfigurationError, APIError and ClientClosedError as `list` does.
        """
        request = self._completion_request(
            completion_id,
            extra_headers,
            extra_query,
            timeout=timeout,
            deadline=deadline,
            patience=wait_until_visible,
        )
        read = partial(responses.read_one_completion, completion_id=request.completion_id)
        completion, _ = await self._attempts.call(request, read)
        return completion

    async def raw_completion(self, completion_id: str) -> bytes:
        """Fetch one stored completion as the exact bytes that the server sent.

        It has to be JSON with the id that was asked for; whatever else it is, it is delivered.
        Raises what `completion` does.
        """
        request = self._completion_request(completion_id)
        read = partial(responses.read_raw_completion, completion_id=request.completion_id)
        body, _ = await self._attempts.call(request, read)
        return body

    def _completion_request(
        self,
        completion_id: str,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        *,
        timeout: Timeout | float | UnsetType | None = UNSET,
        deadline: float | UnsetType | None = UNSET,
        patience: float = 0,
    ) -> Request:
        extra_headers = hide_values(extra_headers)
        completion_id = requests.check_completion_id(completion_id)
        check_seconds("wait_until_visible", patience or None)
        return self._request(
            requests.with_query(
                requests.completion_url(self._settings.base_url, completion_id),
                {**self._settings.query, **check_query(extra_query or {})},
            ),
            extra_headers,
            completion_id=completion_id,
            timeout=timeout,
            deadline=deadline,
            patience=patience,
        )

    def conversations(
        self,
        ids: Ids,
        *,
        concurrency: int = 64,
        ordered: bool = False,
        include_reply: bool = False,
        on_error: OnError = "raise",
        limit: int | None = None,
    ) -> ConversationStream:
        """Read many conversations at once, and give each as it is done, or in the order of `ids`.

        `ids` is any iterable or async iterable of completion ids, or a list of completions such as
        `client.completions()`, which carries the replies already. It is never read further ahead
        than `concurrency` conversations. `include_reply` fetches what the model answered as well.
        With `on_error="continue"` an id that fails gives a conversation with its `error`, and the
        others go on; else the error is raised, and nothing more is asked for. AuthenticationError,
        InsufficientQuotaError, PermissionDeniedError for three completions with none read between
        them, and a Retry-After beyond the policy's `max_retry_after` are raised either way. `limit`
        is the size of a page, 100 unless it is given; where a page is too large for the client or
        the server, smaller ones are asked for. The stream closes an async iterator of ids, and a
        list of completions, when it ends.

        Raises ConfigurationError for arguments that cannot be used.
        """
        check_options(ids, concurrency=concurrency, on_error=on_error)
        wanted = requests.check_page_options(after=None, limit=limit, order=None, max_items=None)
        size = PageSize(wanted.limit)
        reader = Reader(
            partial(self._one_by_one, codec=MESSAGES.fresh(), page_size=size),
            self.completion,
            include_reply=include_reply,
            on_error=on_error,
            longest_wait=self._options["retry"].max_retry_after,
        )
        # An iterable of either is one of both: what it gives is only looked at.
        items = cast("AsyncIterable[str | StoredCompletion]", ids)
        return ConversationStream(items, reader, concurrency=concurrency, ordered=ordered)

    def _request(
        self,
        url: str,
        extra_headers: Mapping[str, str] | None,
        *,
        timeout: Timeout | float | UnsetType | None,
        deadline: float | UnsetType | None,
        completion_id: str | None = None,
        patience: float = 0.0,
    ) -> Request:
        seconds = self._deadline if deadline is UNSET else deadline
        check_seconds("deadline", seconds)
        return Request(
            url,
            {**self._headers, **check_headers(extra_headers)} if extra_headers else self._headers,
            timeout=self._timeout if timeout is UNSET else Timeout.of(timeout),
            deadline=None if seconds is None else Deadline(seconds),
            completion_id=completion_id,
            patience=patience,
        )

    # --- its life ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End the calls under way, which raise ClientClosedError, and close the client's session.

        A session that was handed in stays open. Calling it again does nothing.
        """
        await self._attempts.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _checked_policy(retry: object) -> RetryPolicy:
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError("retry must be a RetryPolicy; RetryPolicy(max_retries=0) is none")
    return retry


def _checked_bytes(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ConfigurationError(f"max_response_bytes must be an int of 1 or more, not {number!r}")
    return number


def _checked_hook(hook: OnRetry | None) -> OnRetry | None:
    if inspect.iscoroutinefunction(hook):
        raise ConfigurationError(
            "on_retry must be a plain function; have it start a task if need be"
        )
    return hook
