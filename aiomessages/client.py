"""The client that people use: its options, its calls, and the end of its life.

Longer than 300 lines: two thirds of it are signatures and their documentation.
"""

import inspect
from collections.abc import AsyncIterable, Mapping, Sequence
from functools import partial, singledispatch
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, TypedDict, Unpack, cast

from msgspec import UNSET, UnsetType

from ._version import __version__
from .calls.api_key import Key
from .calls.attempts import Attempts
from .calls.request import OnRetry, Rules
from .calls.retry import DEFAULT_POLICY, RetryPolicy
from .conversations import ConversationStream, Ids, OnError, Reader, check_options
from .errors import ConfigurationError
from .models import StoredCompletion
from .network.proxy import Proxies
from .observe.logs import show_log
from .paging.caller import Caller, CallOptions
from .paging.page_size import PageSize
from .paging.stream import CompletionStream, MessageStream
from .settings import (
    DEFAULT_MAX_RESPONSE_BYTES,
    DEFAULT_TIMEOUT,
    ApiKey,
    Settings,
    Timeout,
    check_count,
    check_query,
    check_seconds,
    custom_headers,
    log_level,
    selection_query,
)
from .values.secrets import hide, hide_values
from .wire.decoding import COMPLETIONS, MESSAGES
from .wire.requests import ACCEPT_ENCODING, check_page_options

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from .network.tls import ClientCert, StrPath

Order = Literal["asc", "desc"]
LookAheadMode = Literal["predict"] | bool

# A conversation of 32 pages of 100 messages is a long one; and 32 requests at once are a third of
# the connections that a client opens.
LOOKAHEAD_WINDOW: Final = 32


class ClientOptions(TypedDict, total=False):
    """The options that `with_options` can change."""

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

    The arguments:

    - `api_key`: a str, or an async callable that is called for each attempt, such as those of
      `aiomessages.keys`. Default: the environment's `OPENAI_API_KEY`. It may be missing if a header
      carries the credential, such as `Authorization` or `api-key`.
    - `base_url`, `organization`, `project`: the address of the API, and the account. Defaults:
      `OPENAI_BASE_URL`, `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID`.
    - `proxy`: the URL of an HTTP proxy, `http://user:password@host:port`. `trust_env`: use the
      proxy of `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, except for the hosts of `NO_PROXY`.
    - `ca_file`: a PEM file with the certificates to trust, in place of this machine's; `"system"`
      asks the trust store of the operating system. `client_cert`: the certificate of the client: a
      PEM file, or a tuple `(certificate, key)` or `(certificate, key, password)`. `ssl_context`: an
      ssl.SSLContext in place of both.
    - `session`: an aiohttp.ClientSession to use, which has its own proxy and certificates. The
      client never closes it. Without one, the client opens its own on first use, so that it can be
      built outside a running event loop.
    - `timeout`: seconds for one attempt, or a Timeout. `deadline`: seconds for a whole call, with
      its retries and waits.
    - `retry`: a RetryPolicy. `on_retry`: a function that is called with a RetryDetails before each
      wait.
    - `max_response_bytes`: the largest body of a response, decompressed.
    - `default_headers`, `default_query`: sent with each request, and so are the headers of
      `OPENAI_CUSTOM_HEADERS`, one `Name: value` a line.
    - `allow_http`: allow plain HTTP to other hosts than this machine. Others on the network can
      then read the key.
    - `trace_configs`: aiohttp.TraceConfigs for the client's own session.

    `AIOMESSAGES_LOG=debug` or `info` in the environment writes the log to standard error. A client
    belongs to one event loop and one process.

    Raises ConfigurationError for options that cannot be used.
    """

    def __init__(
        self,
        api_key: ApiKey | None = None,
        *,
        # address and account
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        session: "aiohttp.ClientSession | None" = None,
        # the way there
        proxy: str | None = None,
        trust_env: bool = False,
        ssl_context: "ssl.SSLContext | None" = None,
        ca_file: "StrPath | None" = None,
        client_cert: "ClientCert | None" = None,
        # limits
        timeout: Timeout | float | None = DEFAULT_TIMEOUT,
        deadline: float | None = None,
        retry: RetryPolicy = DEFAULT_POLICY,
        max_response_bytes: int = DEFAULT_MAX_RESPONSE_BYTES,
        # sent with each request
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        # permissions and observers
        allow_http: bool = False,
        trace_configs: "Sequence[aiohttp.TraceConfig] | None" = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        from .http.transport import Transport  # noqa: PLC0415 aiohttp takes 300 ms
        from .network.tls import ClientCertificate, hide_password, tls_context  # noqa: PLC0415 with aiohttp

        show_log(log_level())
        # before an error can show them in a traceback
        api_key, proxy, base_url = hide(api_key), hide(proxy), hide(base_url)
        default_headers, client_cert = hide_values(default_headers), hide_password(client_cert)
        default_headers = {**custom_headers(has_key=api_key is not None), **default_headers}
        self._settings = Settings.load(
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            default_headers=default_headers,
            default_query=default_query,
            allow_http=allow_http,
        )
        # With the values of the environment, so that a client derived later has the same account.
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
        self._session = session
        if session is not None:
            _refuse_for_session(
                proxy=proxy,
                trust_env=trust_env or None,
                ssl_context=ssl_context,
                ca_file=ca_file,
                client_cert=client_cert,
            )
        self._proxies = Proxies(proxy, trust_env=trust_env)
        self._proxies.check(self._settings.base_url, allow_http=allow_http)
        check_seconds("deadline", deadline)
        constant_headers = {
            "accept": "application/json",
            "accept-encoding": ACCEPT_ENCODING,
            "user-agent": f"aiomessages/{__version__}",
        }
        key = self._settings.api_key
        rules = Rules(
            key if callable(key) else Key(key or ""),
            policy=_checked_policy(retry),
            max_bytes=check_count("max_response_bytes", max_response_bytes),
            on_retry=_checked_hook(on_retry),
        )
        tls = tls_context(ssl_context, ca_file, client_cert)
        renewed = (
            None if tls is None or client_cert is None else ClientCertificate(tls, client_cert)
        )
        transport = Transport(
            session,
            headers=constant_headers,
            trace_configs=trace_configs,
            proxies=self._proxies,
            tls=tls,
            certificate=renewed,
        )
        self._caller = Caller(
            self._settings,
            Attempts(transport, rules),
            headers={**({} if session is None else constant_headers), **self._settings.headers},
            timeout=Timeout.of(timeout),
            deadline=deadline,
        )

    def __repr__(self) -> str:
        # A traceback may show a client that could not be built.
        base_url = self.base_url if hasattr(self, "_settings") else None
        return f"{type(self).__name__}({base_url=})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client cannot be pickled: make one in each process")

    def with_options(self, **changes: Unpack[ClientOptions]) -> Self:
        """Return a client with other options that shares this one's session.

        Closing this client closes the new one as well; closing the new one leaves this one open.
        `session` and `trace_configs` are shared, and so are the proxy and the certificates, so they
        cannot be changed.

        Raises ConfigurationError for options that cannot be used.
        """
        if unknown := changes.keys() - self._options.keys():
            raise ConfigurationError(f"with_options cannot change {', '.join(sorted(unknown))}")
        options: dict[str, Any] = {**self._options, **changes}
        child = type(self)(session=self._session, **options)
        child._caller = caller_of(child).child_of(self._caller)  # noqa: SLF001 one of its own
        child._proxies = self._proxies  # noqa: SLF001 the same
        self._proxies.check(child.base_url, allow_http=options["allow_http"])
        return child

    @property
    def base_url(self) -> str:
        """The URL of the API, without a slash at its end, such as `https://api.openai.com/v1`."""
        return self._settings.base_url

    # --- calls ------------------------------------------------------------------------------------

    def list(
        self,
        completion_id: str,
        *,
        # selection
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        max_items: int | None = None,
        # fetching
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

        The arguments:

        - `after`: the id of a message. The list begins with the message after it.
        - `limit`: messages a page. Default: the server's (20) for one page, 100 for an iteration.
        - `order`: `"asc"` or `"desc"`. Default: the server's, which is `asc`.
        - `max_items`: the number of messages in all.
        - `prefetch`: fetch the next page while the current one is consumed.
        - `lookahead`: fetch the middle of a long conversation at once, if the ids at both ends are
          numbered without a gap. At most `lookahead_window` pages (32) are fetched in advance. The
          order of the messages is the requested one in any case.
        - `wait_until_visible`: seconds in which a 404 is requested again, because a completion
          becomes visible only some seconds after it was stored.
        - `timeout`, `deadline`: in seconds, by default those of the client. The deadline counts
          from the first request of this list to its last.
        - `extra_headers`, `extra_query`: sent with each request of this list.

        Sends nothing yet. Raises ConfigurationError for arguments that cannot be used; awaiting and
        iterating raise APIError and ClientClosedError.
        """
        extra_headers = hide_values(extra_headers)
        wanted = check_page_options(after=after, limit=limit, order=order, max_items=max_items)
        window = None
        if lookahead not in (None, False):
            from .paging.lookahead import checked_window  # noqa: PLC0415 few need it

            window = checked_window(lookahead, lookahead_window, prefetch=prefetch)
        extra = check_query(extra_query or {})
        options = CallOptions(timeout, deadline, extra_headers, extra, wait_until_visible)
        listing = self._caller.messages(completion_id, wanted, options)
        codec = MESSAGES.fresh()
        return listing.stream(MessageStream, codec, prefetch=prefetch, lookahead=window)

    def completions(
        self,
        *,
        # selection
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        max_items: int | None = None,
        # fetching
        prefetch: bool = True,
        timeout: Timeout | float | UnsetType | None = UNSET,
        deadline: float | UnsetType | None = UNSET,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
    ) -> CompletionStream:
        """List the stored completions, each with its replies in `choices`.

        `model` and `metadata` select. The order is `asc`, oldest first, unless another one is
        given: it is always sent, since servers differ in their defaults. The other arguments and
        the errors are those of `list`.
        """
        extra_headers = hide_values(extra_headers)
        wanted = check_page_options(after=after, limit=limit, order=order, max_items=max_items)
        selecting = selection_query(model, metadata)
        extra = check_query(extra_query or {})
        options = CallOptions(timeout, deadline, extra_headers, extra)
        listing = self._caller.completions(wanted, selecting, options)
        stream = listing.stream(CompletionStream, COMPLETIONS, prefetch=prefetch)
        # The order matters only if the list is cut: a whole list has the same items in both.
        is_cut = wanted.after or wanted.max_items
        order_of_cut = (wanted.order or "asc") if is_cut else None
        cut = {"after": wanted.after, "max_items": wanted.max_items, "order": order_of_cut}
        asked = {**selecting, "extra_query": extra or None, **cut}
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

        The arguments are those of `list`. Raises ConfigurationError, APIError and
        ClientClosedError.
        """
        extra_headers = hide_values(extra_headers)
        extra = check_query(extra_query or {})
        options = CallOptions(timeout, deadline, extra_headers, extra, wait_until_visible)
        return await self._caller.completion(completion_id, options)

    async def raw_completion(self, completion_id: str) -> bytes:
        """Fetch one stored completion as the exact bytes that the server sent.

        Only its id is checked: the bytes are JSON with the requested id. Raises the errors of
        `completion`.
        """
        return await self._caller.raw_completion(completion_id)

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
        """Read many conversations at once.

        The arguments:

        - `ids`: an iterable or async iterable of completion ids, or a list of completions such as
          `client.completions()`, which carries the replies already. It is never read further ahead
          than `concurrency` conversations. An async iterator is closed with the stream.
        - `concurrency`: the number of conversations that are read at a time.
        - `ordered`: yield them in the order of `ids`, and not in the order of completion.
        - `include_reply`: fetch the completion of each conversation as well, with its reply.
        - `on_error`: `"raise"` stops at the first failure; `"continue"` yields a conversation with
          its `error`, and continues. An error that every other id would meet is raised in any case:
          a refused key, a used-up quota, three refused permissions in a row, and a Retry-After
          beyond the policy's `max_retry_after`.
        - `limit`: messages a page (100). If a page is too large for the client or the server,
          smaller ones are requested.

        Raises ConfigurationError for arguments that cannot be used; iterating raises APIError and
        ClientClosedError.
        """
        check_options(ids, concurrency=concurrency, on_error=on_error)
        wanted = check_page_options(after=None, limit=limit, order=None, max_items=None)
        size = PageSize(wanted.limit)
        reader = Reader(
            partial(self._caller.plain_walk, codec=MESSAGES.fresh(), page_size=size),
            self._caller.completion,
            include_reply=include_reply,
            on_error=on_error,
            longest_wait=self._options["retry"].max_retry_after,
        )
        # An iterable of ids or of completions is an iterable of both: its items are only read.
        items = cast("AsyncIterable[str | StoredCompletion]", ids)
        return ConversationStream(items, reader, concurrency=concurrency, ordered=ordered)

    # --- closing ----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End the calls under way, which raise ClientClosedError, and close the client's session.

        A session that was passed in stays open. A second call does nothing.
        """
        await self._caller.attempts.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _refuse_for_session(**options: object) -> None:
    if given := [f"{name}=" for name, value in options.items() if value is not None]:
        raise ConfigurationError(
            f"{' and '.join(given)} cannot change the session that you handed in: give them to the"
            " session, as in ClientSession(proxy=…, connector=TCPConnector(ssl=…)), or pass none"
        )


def _checked_policy(retry: object) -> RetryPolicy:
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError("retry must be a RetryPolicy, such as RetryPolicy(max_retries=0)")
    return retry


def _checked_hook(hook: OnRetry | None) -> OnRetry | None:
    if inspect.iscoroutinefunction(hook):
        raise ConfigurationError(
            "on_retry must be a plain function; start a task in it for async work"
        )
    return hook


@singledispatch
def caller_of(client: object) -> Caller:
    """Return the caller of a client, for exports and telemetry.

    Raises TypeError for any other object.
    """
    raise TypeError(f"{type(client).__name__} is not a client")


@caller_of.register
def _(client: AsyncMessagesClient) -> Caller:
    return client._caller  # noqa: SLF001 this module's own
