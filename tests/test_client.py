"""The client over a real loopback socket: its requests, its results, and its closing."""

import asyncio
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest
from loopback import Answer, Asked, Loopback, conversation, error, message, page, replies

from aiomessages import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncMessagesClient,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    InternalServerError,
    MessagePage,
    NotFoundError,
    RateLimitError,
    RedirectError,
    RetryDetails,
    RetryPolicy,
    Timeout,
)
from aiomessages.client import caller_of

KEY = "sk-canary-0123456789"
AT_ONCE = RetryPolicy(initial_backoff=0, max_backoff=0)


def client_of(server: Loopback, **options: Any) -> AsyncMessagesClient:
    """Return a client of a scripted server."""
    return AsyncMessagesClient(KEY, base_url=server.base_url, **options)


async def page_of(client: AsyncMessagesClient) -> MessagePage:
    """Await one page, as a coroutine."""
    return await client.list("x")


async def page_of_nothing(_: RetryDetails) -> None:
    """Stand for an async hook, which nobody would await."""


async def test_awaiting_a_list() -> None:
    """An awaited list is one page of the server's default size, with the response's facts."""
    answer = Answer(page([message(0)]), headers={"x-request-id": "req_7"})
    async with Loopback(replies(answer)) as server, client_of(server) as client:
        got = await client.list("chatcmpl-1")
    assert isinstance(got, MessagePage)
    assert [m.to_dict() for m in got.data] == [message(0)]
    assert (got.object, got.first_id, got.last_id) == ("list", "chatcmpl-1-0", "chatcmpl-1-0")
    assert (got.has_more, got.has_next_page(), got.request_id) == (False, False, "req_7")
    assert got.headers["X-Request-Id"] == "req_7"
    assert got.body == answer.encode().partition(b"\r\n\r\n")[2]
    assert server.asked[0].path == "/v1/chat/completions/chatcmpl-1/messages"
    assert server.asked[0].query == {}
    assert server.asked[0].headers["authorization"] == f"bearer {KEY}"


async def test_turning_pages_by_hand() -> None:
    """get_next_page() goes on behind the page, in the same order and size, up to the end."""
    script = conversation(message(n) for n in range(5))
    async with Loopback(script) as server, client_of(server) as client:
        first = await client.list("chatcmpl-1", limit=2, order="desc")
        second = await first.get_next_page()
        third = await second.get_next_page()
        with pytest.raises(RuntimeError, match="has_next_page"):
            await third.get_next_page()
    ids = [m.id for p in (first, second, third) for m in p.data]
    assert ids == [f"chatcmpl-1-{n}" for n in (4, 3, 2, 1, 0)]
    assert [p.has_next_page() for p in (first, second, third)] == [True, True, False]


async def test_iterating_a_list() -> None:
    """`async for` gives every message of every page once, in order, and requests 100 a page."""
    script = conversation(message(n) for n in range(250))
    async with Loopback(script) as server, client_of(server) as client:
        ids = [m.id async for m in client.list("chatcmpl-1")]
    assert ids == [f"chatcmpl-1-{n}" for n in range(250)]
    assert [a.query for a in server.asked] == [
        {"limit": "100"},
        {"limit": "100", "after": "chatcmpl-1-99"},
        {"limit": "100", "after": "chatcmpl-1-199"},
    ]


async def test_max_items() -> None:
    """max_items bounds the messages, and no further request is sent."""
    script = conversation(message(n) for n in range(250))
    async with Loopback(script) as server, client_of(server) as client:
        stream = client.list("chatcmpl-1", max_items=130)
        assert len([m async for m in stream]) == 130
        assert stream.cursor == "chatcmpl-1-129"
        assert len([m async for m in client.list("chatcmpl-1", limit=50, max_items=10)]) == 10
        assert len((await client.list("chatcmpl-1", max_items=7)).data) == 7
        assert len((await client.list("chatcmpl-1", max_items=30)).data) == 20
    assert [a.query.get("limit") for a in server.asked] == ["100", "30", "10", "7", None]


async def test_extra_headers_and_query() -> None:
    """Headers and query parameters of the client and of the call are sent, the call's first."""
    options = {
        "organization": "org-1",
        "project": "proj-1",
        "default_headers": {"X-A": "client", "X-B": "client"},
        "default_query": {"api-version": "v1", "b": 1},
    }
    script = replies(Answer(page([])))
    async with Loopback(script) as server, client_of(server, **options) as client:
        await client.list(
            "x", extra_headers={"x-b": "call"}, extra_query={"b": True, "c": "ü &", "d": ""}
        )
    asked = server.asked[0]
    assert asked.headers["openai-organization"] == "org-1"
    assert asked.headers["openai-project"] == "proj-1"
    assert (asked.headers["x-a"], asked.headers["x-b"]) == ("client", "call")
    assert asked.query == {"api-version": "v1", "b": "true", "c": "ü &", "d": ""}


async def test_an_authorization_header_of_the_callers_own() -> None:
    """A caller's own Authorization header replaces the bearer token."""
    script = replies(Answer(page([])))
    headers = {"Authorization": "Basic abc"}
    async with Loopback(script) as server, client_of(server, default_headers=headers) as client:
        await client.list("x")
    assert server.asked[0].headers["authorization"] == "basic abc"


async def test_unusual_completion_ids() -> None:
    """An id that another server may use is quoted into one name of the path."""
    script = replies(Answer(page([])))
    async with Loopback(script) as server, client_of(server) as client:
        await client.list("run:é+1@x")
    assert server.asked[0].path == "/v1/chat/completions/run:é+1@x/messages"


@pytest.mark.parametrize(
    "arguments",
    [
        {"completion_id": ""},
        {"completion_id": "a/b"},
        {"limit": 0},
        {"limit": True},
        {"max_items": 0},
        {"order": "up"},
        {"after": ""},
        {"timeout": -1},
        {"deadline": 0},
        {"wait_until_visible": -1},
        {"extra_headers": {"x": "a\nb"}},
        {"extra_query": {"x": object()}},
        {"extra_query": {"limit": 5}},
        {"extra_query": {"x": "half \ud83d"}},
        {"extra_headers": {"x": "half \ud83d"}},
        {"extra_headers": {"half\ud83d": "x"}},
    ],
    ids=lambda arguments: "-".join(f"{k}={v!r}"[:24] for k, v in arguments.items()),
)
async def test_arguments_that_cannot_be_used(arguments: dict[str, Any]) -> None:
    """A wrong argument is refused at the call, by name, and nothing is sent."""
    async with Loopback(replies(Answer(page([])))) as server, client_of(server) as client:
        with pytest.raises(ConfigurationError):
            client.list(**{"completion_id": "chatcmpl-1", **arguments})
    assert server.asked == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "half \ud83d"},
        {"model": ["gpt-4o"]},
        {"metadata": {"k": "half \ud83d"}},
        {"metadata": {"half \ud83d": "v"}},
        {"extra_query": {"x": "half \ud83d"}},
        {"extra_headers": {"x": "half \ud83d"}},
    ],
    ids=["model", "models", "metadata", "its key", "query", "header"],
)
async def test_filters_that_cannot_be_used(arguments: dict[str, Any]) -> None:
    """A wrong filter of a list of completions is refused at the call as well."""
    async with Loopback(replies(Answer(page([])))) as server, client_of(server) as client:
        with pytest.raises(ConfigurationError):
            client.completions(**arguments)
    assert server.asked == []


@pytest.mark.parametrize(
    "options",
    [
        {"retry": 3},
        {"max_response_bytes": 0},
        {"deadline": "soon"},
        {"timeout": "soon"},
        {"default_headers": {"a b": "c"}},
        {"base_url": "http://example.com/v1"},
        {"on_retry": page_of_nothing},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_cannot_be_used(options: dict[str, Any]) -> None:
    """A wrong option is refused when the client is built."""
    with pytest.raises(ConfigurationError):
        AsyncMessagesClient(KEY, **options)


def test_a_client_shows_no_key() -> None:
    """Neither the repr of a client nor of anything in it shows the key, nor can it be pickled."""
    client = AsyncMessagesClient(KEY, default_headers={"X-Key": KEY})
    assert repr(client) == "AsyncMessagesClient(base_url='https://api.openai.com/v1')"
    assert KEY not in repr(vars(client)) + repr(vars(caller_of(client).attempts))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(client)


def test_a_wrong_key_shows_in_no_traceback() -> None:
    """A traceback that shows local variables does not show a key that was refused."""
    import traceback  # noqa: PLC0415 for this test alone

    try:
        AsyncMessagesClient("sk-canary with spaces")
    except ConfigurationError as problem:
        frames = traceback.TracebackException.from_exception(problem, capture_locals=True)
    ours = [frame for frame in frames.stack if "test_client" not in frame.filename]
    assert ours
    assert not any("canary" in value for frame in ours for value in (frame.locals or {}).values())


async def test_a_client_built_outside_a_loop() -> None:
    """A client may be built where no loop runs, and opens its session when it is first used."""
    async with Loopback(replies(Answer(page([message(0)])))) as server:
        client = await asyncio.to_thread(client_of, server)
        assert len((await client.list("chatcmpl-1")).data) == 1
        await client.aclose()
        await client.aclose()
        await server.all_gone()


async def test_a_borrowed_session() -> None:
    """A session that was handed in is used with its own middlewares, and stays open."""
    seen = []

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(request.url.path)
        return await handler(request)

    async with (
        Loopback(replies(Answer(page([])))) as server,
        aiohttp.ClientSession(middlewares=[middleware], raise_for_status=True) as session,
    ):
        async with client_of(server, session=session) as client:
            await client.list("x")
        assert not session.closed
    assert seen == ["/v1/chat/completions/x/messages"]


async def test_a_borrowed_session_that_its_owner_closed() -> None:
    """A call over a session that its owner has closed is a ClientClosedError."""
    session = aiohttp.ClientSession()
    await session.close()
    client = AsyncMessagesClient(KEY, base_url="http://127.0.0.1:9/v1", session=session)
    with pytest.raises(ClientClosedError, match="session was closed"):
        await client.list("x")


async def test_trace_configs() -> None:
    """Trace configs see the client's requests, and are refused with a borrowed session."""
    paths = []
    trace = aiohttp.TraceConfig()

    async def on_start(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        paths.append(params.url.path)

    trace.on_request_start.append(on_start)
    async with Loopback(replies(Answer(page([])))) as server:
        async with client_of(server, trace_configs=[trace]) as client:
            await client.list("x")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ConfigurationError, match="trace_configs"):
                client_of(server, session=session, trace_configs=[trace])
    assert paths == ["/v1/chat/completions/x/messages"]


async def test_an_async_key_provider() -> None:
    """An async callable is called for the key at each attempt."""
    keys = iter(["sk-first", "sk-second"])

    async def provide() -> str:
        return next(keys)

    script = replies(error(500), Answer(page([])))
    async with Loopback(script) as server:
        client = AsyncMessagesClient(provide, base_url=server.base_url, retry=AT_ONCE)
        async with client:
            await client.list("x")
    assert [a.headers["authorization"] for a in server.asked] == [
        "bearer sk-first",
        "bearer sk-second",
    ]


@pytest.mark.parametrize("way", ["one page", "a walk"])
async def test_a_key_callable_that_was_cancelled(way: str) -> None:
    """A cancelled api_key callable is an error that names the list, and not a cancellation."""

    async def provide() -> str:
        raise asyncio.CancelledError

    async with (
        Loopback(replies()) as server,
        AsyncMessagesClient(provide, base_url=server.base_url) as client,
    ):
        stream = client.list("chatcmpl-1", after="chatcmpl-1-4")
        with pytest.raises(APIConnectionError, match="was cancelled") as caught:
            await (stream if way == "one page" else anext(stream))
    error = caught.value
    assert (error.completion_id, error.cursor) == ("chatcmpl-1", "chatcmpl-1-4")
    assert error.attempts == len(server.asked) == 0


async def test_a_key_provider_that_hangs() -> None:
    """The wait for a key counts against the attempt's timeout."""

    async def provide() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    client = AsyncMessagesClient(provide, timeout=0.01, retry=RetryPolicy(max_retries=0))
    with pytest.raises(APITimeoutError, match="api_key") as caught:
        await client.list("x")
    assert (type(caught.value), caught.value.attempts) == (APITimeoutError, 0)


def hang(times: int, *, seconds: float = 5) -> Callable[[], Any]:
    """Return a provider of a key that hangs so many times."""
    left = times

    async def provide() -> str:
        nonlocal left
        left -= 1
        await asyncio.sleep(seconds if left >= 0 else 0)
        return KEY

    return provide


def fails_by_itself(times: int) -> Callable[[], Any]:
    """Return a provider of a key that asks an API itself, which fails so many times."""
    left = times

    async def provide() -> str:
        nonlocal left
        left -= 1
        if left >= 0:
            raise APIConnectionError("no key today").at(
                completion_id="elsewhere", cursor=None, attempts=7
            )
        return KEY

    return provide


@pytest.mark.parametrize("provider", [hang, fails_by_itself])
async def test_attempts_that_are_never_sent(provider: Any) -> None:
    """A failure before a request is sent counts no attempt: in a page, an error, and the hook."""
    retries: list[RetryDetails] = []
    options: dict[str, Any] = {"timeout": 0.2, "retry": AT_ONCE, "on_retry": retries.append}
    script = replies(error(500), Answer(page([])), error(400))
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(provider(1), base_url=server.base_url, **options) as client,
    ):
        got = await client.list("x")
        assert got.attempts == len(server.asked) == 2
        assert [details.attempt for details in retries] == [0, 1]
        assert {type(details.error).__name__[:1] for details in retries} == {"A", "I"}
        with pytest.raises(BadRequestError) as caught:
            await client.list("x")
        assert caught.value.attempts == 1
        never = client.with_options(api_key=provider(9))
        with pytest.raises(APIConnectionError) as unsent:
            await never.list("x", timeout=0.01)
    assert type(unsent.value) in (APITimeoutError, APIConnectionError)
    assert (unsent.value.attempts, unsent.value.sent, caught.value.sent) == (0, False, True)
    assert unsent.value.completion_id == "x"
    assert len(server.asked) == 3


@pytest.mark.parametrize("way", ["one page", "a walk", "in bulk", "a completion"])
async def test_a_deadline_that_is_over_before_the_first_request(way: str) -> None:
    """A deadline that is over is an APITimeoutError without an attempt, in each kind of call."""
    provide = hang(9, seconds=0.05)
    async with (
        Loopback(replies(Answer(page([])))) as server,
        AsyncMessagesClient(provide, base_url=server.base_url, deadline=0.02) as client,
    ):
        stream = client.list("x")
        calls: dict[str, Callable[[], Any]] = {
            "a walk": lambda: anext(stream),
            "in bulk": lambda: anext(caller_of(client).plain_walk("x")),
            "a completion": lambda: client.completion("x"),
        }
        with pytest.raises(APITimeoutError) as caught:
            await (stream if way == "one page" else calls[way]())
    assert (type(caught.value), caught.value.attempts, server.asked) == (APITimeoutError, 0, [])


async def test_headers_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_CUSTOM_HEADERS is sent with each request, also of a derived client."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: search\nX-Tenant: 7\nAuthorization: mine")
    headers = {"x-TEAM": "view"}
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with (
        Loopback(replies(Answer(page([])))) as server,
        AsyncMessagesClient(base_url=server.base_url, default_headers=headers) as client,
    ):
        await client.list("x")
        monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")
        await client.with_options(timeout=1).list("x")
    sent = [(one.headers["x-team"], one.headers["x-tenant"]) for one in server.asked]
    assert sent == [("view", "7"), ("view", "7")]
    assert [one.headers["authorization"] for one in server.asked] == ["mine", "mine"]


async def test_a_key_before_the_headers_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is passed outweighs an Authorization of the environment."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer another")
    async with Loopback(replies(Answer(page([])))) as server, client_of(server) as client:
        await client.list("x")
    assert server.asked[0].headers["authorization"] == f"bearer {KEY}"


async def test_with_options() -> None:
    """A client with other options shares the session, and closes nothing but itself."""
    script = replies(Answer(page([])))
    async with Loopback(script) as server, client_of(server) as client:
        await client.list("x")
        other = client.with_options(organization="org-2", api_key="sk-2")
        await other.list("x")
        await other.aclose()
        with pytest.raises(ClientClosedError):
            await other.list("x")
        await client.list("x")
        third = client.with_options(timeout=1)
        with pytest.raises(ConfigurationError, match="session"):
            client.with_options(session=None)  # type: ignore[call-arg]
    with pytest.raises(ClientClosedError):
        await third.list("x")
    assert {a.connection for a in server.asked} == {1}
    assert [a.headers["authorization"] for a in server.asked] == [
        f"bearer {KEY}",
        "bearer sk-2",
        f"bearer {KEY}",
    ]


async def test_with_options_of_a_borrowed_session() -> None:
    """A derived client sends what its parent does, over the borrowed session as well."""
    async with aiohttp.ClientSession() as session, Loopback(replies(Answer(page([])))) as server:
        client = client_of(server, session=session)
        await client.list("x")
        await client.with_options(timeout=1).list("x")
    first, second = (asked.headers for asked in server.asked)
    assert first == second


async def test_with_options_in_a_changed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A derived client keeps the environment's settings of its parent."""
    async with Loopback(replies(Answer(page([])))) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
        async with AsyncMessagesClient() as client:
            for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID"):
                monkeypatch.delenv(f"OPENAI_{name}")
            await client.with_options(timeout=1).list("x")
            await client.with_options(organization="org-2").list("x")
    first, second = (asked.headers for asked in server.asked)
    assert first["authorization"] == f"bearer {KEY}"
    assert (first["openai-organization"], second["openai-organization"]) == ("org-1", "org-2")
    assert first["openai-project"] == second["openai-project"] == "proj-1"


async def test_a_base_url_that_is_empty() -> None:
    """An empty base_url is refused, so that the key is not sent to an unintended host."""
    with pytest.raises(ConfigurationError, match="base_url"):
        AsyncMessagesClient(KEY, base_url="")


async def test_an_order_for_every_list() -> None:
    """An order in the default query applies, and one given to a list takes precedence."""
    async with (
        Loopback(replies(Answer(page([])))) as server,
        client_of(server, default_query={"order": "desc"}) as client,
    ):
        await client.list("x")
        await client.list("x", order="asc")
    assert [asked.query for asked in server.asked] == [{"order": "desc"}, {"order": "asc"}]


async def test_pages_of_a_bounded_walk() -> None:
    """If max_items ends a walk within a page, that page is the last, and has_more stays true."""
    script = conversation(message(n) for n in range(50))
    async with Loopback(script) as server, client_of(server) as client:
        stream = client.list("chatcmpl-1", limit=20, max_items=30)
        first, last = [one async for one in stream.pages()]
        assert (last.last_id, last.has_more) == ("chatcmpl-1-29", True)
        assert (last.has_next_page(), last.next_cursor) == (False, None)
        with pytest.raises(RuntimeError, match="within max_items"):
            await last.get_next_page()
        assert (await first.get_next_page()).ids == last.ids
        behind = await client.list("chatcmpl-1", after=last.last_id)
    assert [m.id for m in behind.data] == [f"chatcmpl-1-{n}" for n in range(30, 50)]


@pytest.mark.parametrize(
    ("limit", "max_items", "sizes"),
    [(None, 1, [1]), (1, 1, [1]), (2, 5, [2, 2, 1]), (5, 10, [5, 5]), (4, 11, [4, 4, 2])],
)
async def test_turning_bounded_pages_by_hand(
    limit: int | None, max_items: int, sizes: list[int]
) -> None:
    """Turning pages ends at max_items; the page still says whether the list continues."""
    script = conversation(message(n) for n in range(10))
    async with Loopback(script) as server, client_of(server) as client:
        pages = [await client.list("chatcmpl-1", limit=limit, max_items=max_items)]
        while pages[-1].has_next_page():
            pages.append(await pages[-1].get_next_page())
        with pytest.raises(RuntimeError, match=r"no (further|next) page"):
            await pages[-1].get_next_page()
    assert [len(one.data) for one in pages] == sizes
    assert pages[-1].has_more is (sum(sizes) < 10)
    assert len(server.asked) == len(sizes)


async def test_one_page_of_few_messages() -> None:
    """An awaited page has no more messages than max_items, even if limit allows more."""
    script = conversation(message(n) for n in range(9))
    async with Loopback(script) as server, client_of(server) as client:
        got = await client.list("chatcmpl-1", limit=5, max_items=3)
    assert [m.id for m in got.data] == [f"chatcmpl-1-{n}" for n in range(3)]


async def test_going_on_by_hand_from_a_walk() -> None:
    """The page after one of a walk is requested in the walk's size."""
    script = conversation(message(n) for n in range(250))
    async with Loopback(script) as server, client_of(server) as client:
        async with client.list("chatcmpl-1", prefetch=False).pages() as pages:
            first = await anext(pages)
        behind = await first.get_next_page()
    assert [len(first.data), len(behind.data)] == [100, 100]


async def test_a_client_in_two_loops() -> None:
    """A client that is used in a second event loop raises an error."""
    async with Loopback(replies(Answer(page([])))) as server, client_of(server) as client:
        await client.list("x")

        def elsewhere() -> None:
            asyncio.run(page_of(client))

        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(elsewhere)


async def test_a_client_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is used in a forked process raises an error."""
    async with Loopback(replies(Answer(page([])))) as server, client_of(server) as client:
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="fork"):
            await client.list("x")


# --- attempts -------------------------------------------------------------------------------------


async def test_a_failure_that_passes() -> None:
    """A passing failure of the server is retried, and on_retry is called."""
    retries: list[RetryDetails] = []
    script = replies(error(500), error(429, "rate_limit_exceeded"), Answer(page([message(0)])))
    async with (
        Loopback(script) as server,
        client_of(server, retry=AT_ONCE, on_retry=retries.append) as client,
    ):
        got = await client.list("chatcmpl-1", after="chatcmpl-1-x")
    assert got.attempts == len(server.asked) == 3
    assert [(d.attempt, type(d.error)) for d in retries] == [
        (1, InternalServerError),
        (2, RateLimitError),
    ]
    assert (retries[0].completion_id, retries[0].cursor) == ("chatcmpl-1", "chatcmpl-1-x")


async def test_a_failure_that_stays() -> None:
    """After the last retry the error has the completion, the cursor and the attempts."""
    async with Loopback(replies(error(503))) as server, client_of(server, retry=AT_ONCE) as client:
        with pytest.raises(InternalServerError) as caught:
            await client.list("chatcmpl-1", after="chatcmpl-1-3")
    assert len(server.asked) == 3
    assert (caught.value.completion_id, caught.value.cursor) == ("chatcmpl-1", "chatcmpl-1-3")
    assert (caught.value.attempts, caught.value.status) == (3, 503)


async def test_on_retry_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """An on_retry that raises is logged and does not end the call."""
    script = replies(error(500), Answer(page([])))

    def on_retry(_: RetryDetails) -> None:
        raise ZeroDivisionError

    async with (
        Loopback(script) as server,
        client_of(server, retry=AT_ONCE, on_retry=on_retry) as client,
    ):
        await client.list("x")
    assert "on_retry failed" in caplog.text


async def test_a_spent_quota() -> None:
    """Once the retries of all calls have spent the quota, a failing call is not repeated.

    500 tokens at 5 a retry pay for 100 retries, whichever call makes them.
    """
    async with Loopback(replies(error(500))) as server, client_of(server, retry=AT_ONCE) as client:
        for _ in range(60):
            with pytest.raises(InternalServerError):
                await client.list("x")
    assert len(server.asked) == 60 + 100


async def test_a_server_that_loses_connections() -> None:
    """A connection that is lost before the response is one attempt; the next follows at once."""
    waits: list[float] = []
    script = replies(None, Answer(page([])))
    async with (
        Loopback(script) as server,
        client_of(server, on_retry=lambda d: waits.append(d.delay)) as client,
    ):
        got = await client.list("x")
    assert (got.attempts, len(server.asked), waits) == (2, 2, [0.0])


async def test_a_timeout_of_an_attempt() -> None:
    """A server that does not answer in time is an APITimeoutError, and a TimeoutError."""

    async def never(_: Asked) -> None:
        await asyncio.Event().wait()

    async with (
        Loopback(never) as server,
        client_of(server, timeout=0.02, retry=AT_ONCE) as client,
    ):
        with pytest.raises(APITimeoutError) as caught:
            await client.list("x")
        with pytest.raises(TimeoutError):
            await client.list("x", timeout=Timeout(total=0.01))
    assert caught.value.attempts == 3


async def test_a_deadline_of_a_call() -> None:
    """A deadline cuts the attempts short, and a wait beyond it does not start."""

    async def never(_: Asked) -> None:
        await asyncio.Event().wait()

    async with Loopback(never) as server, client_of(server, deadline=0.03) as client:
        with pytest.raises(APITimeoutError) as caught:
            await client.list("x")
    assert caught.value.attempts == 1


async def test_a_deadline_that_is_over() -> None:
    """A walk whose deadline is over raises an error, after the items before it."""
    script = conversation(message(n) for n in range(3))
    async with Loopback(script) as server, client_of(server) as client:
        stream = client.list("chatcmpl-1", limit=1, deadline=0.05, prefetch=False)
        assert (await anext(stream)).id == "chatcmpl-1-0"
        await asyncio.sleep(0.06)
        with pytest.raises(APITimeoutError, match=r"deadline of 0.05 s .* after chatcmpl-1-0") as e:
            await anext(stream)
    assert (type(e.value), e.value.attempts, len(server.asked)) == (APITimeoutError, 0, 1)


async def test_a_retry_after_beyond_the_deadline() -> None:
    """If the server asks to wait beyond the deadline, the error comes at once."""
    script = replies(error(429, "rate_limit_exceeded", retry_after="30"))
    async with Loopback(script) as server, client_of(server, deadline=5) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.list("x")
    assert (caught.value.retry_after, len(server.asked)) == (30.0, 1)


@pytest.mark.parametrize("status", [404, 408, 409, 425, 429, 500, 503])
@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "3500"},
        {"retry_after": "9" * 30},
        {"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT"},
        {"retry_after_ms": "100000000", "retry_after": "0"},
        {"retry_after": "3500", "x_should_retry": "true"},
    ],
    ids=str,
)
async def test_a_retry_after_beyond_the_policy(status: int, headers: dict[str, str]) -> None:
    """A wait of more than max_retry_after raises at once, with the server's wait."""
    script = replies(error(status, "not_found" if status == 404 else "odd", **headers))
    async with Loopback(script) as server, client_of(server) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.list("chatcmpl-1", wait_until_visible=10_000)
    assert (caught.value.retry_after or 0) >= 3500
    assert (caught.value.attempts, len(server.asked)) == (1, 1)


async def test_clocks_that_differ() -> None:
    """A Retry-After date is compared with the response's Date, so a wrong clock is harmless."""
    ahead = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    script = replies(error(503, retry_after=ahead, date=ahead), Answer(page([message(0)])))
    async with Loopback(script) as server, client_of(server) as client:
        assert (await client.list("chatcmpl-1", deadline=5)).attempts == 2
    assert len(server.asked) == 2


async def test_a_completion_that_is_not_visible_yet() -> None:
    """With wait_until_visible a 404 is polled until the completion exists."""
    script = replies(error(404, "not_found"), Answer(page([message(0)])))
    async with Loopback(script) as server, client_of(server) as client:
        got = await client.list("chatcmpl-1", wait_until_visible=5)
        assert len(got.data) == 1
    assert len(server.asked) == 2


async def test_a_completion_that_stays_invisible() -> None:
    """When the wait is over, the 404 is raised with the time that was waited."""
    async with Loopback(replies(error(404, "not_found"))) as server, client_of(server) as client:
        with pytest.raises(NotFoundError):
            await client.list("x")
        with pytest.raises(NotFoundError):
            await client.list(
                "x", wait_until_visible=0.24
            )  # shorter than the wait before the first poll
    assert len(server.asked) == 3


# --- closing --------------------------------------------------------------------------------------


async def test_closing_during_a_call() -> None:
    """A call that closing interrupts ends with ClientClosedError, also when it was awaited."""
    arrived = asyncio.Event()

    async def never(_: Asked) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with Loopback(never) as server:
        client = client_of(server)
        call = asyncio.ensure_future(client.list("x"))
        await arrived.wait()
        await client.aclose()
        with pytest.raises(ClientClosedError, match="during the call"):
            await call
        await server.all_gone()


async def test_cancelling_a_call() -> None:
    """Another task's cancellation passes unchanged, and leaves no connection behind."""
    arrived = asyncio.Event()

    async def never(_: Asked) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with Loopback(never) as server, client_of(server) as client:
        call = asyncio.ensure_future(client.list("x"))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.all_gone()


# --- completions ----------------------------------------------------------------------------------


def completion(n: int) -> dict[str, Any]:
    """Return a stored completion with a field that is new."""
    return {
        "id": f"chatcmpl-{n}",
        "object": "chat.completion",
        "model": "gpt-x",
        "created": 1_700_000_000 + n,
        "metadata": {"n": str(n)},
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": f"reply {n}"}, "new": 1}
        ],
        "something_new": {"a": 1},
    }


async def test_listing_completions() -> None:
    """Completions are listed with their replies, oldest first unless asked, filtered as asked."""
    script = conversation(completion(n) for n in range(3))
    async with Loopback(script) as server, client_of(server) as client:
        got = [c async for c in client.completions(model="gpt-x", metadata={"k": "v"})]
        newest = await client.completions(order="desc", limit=1)
        raw = [r async for r in client.completions(limit=2).raw()]
    assert [c.to_dict() for c in got] == [completion(n) for n in range(3)]
    assert got[1].choices[0].message.content == "reply 1"
    assert newest.data[0].id == "chatcmpl-2"
    assert len(raw) == 3
    assert server.asked[0].query == {
        "order": "asc",
        "model": "gpt-x",
        "metadata[k]": "v",
        "limit": "100",
    }


async def test_fetching_one_completion() -> None:
    """One completion comes with everything that the server sent; an unknown one is a 404."""
    script = replies(Answer(completion(7)), error(404, "not_found"))
    async with Loopback(script) as server, client_of(server, default_query={"v": 1}) as client:
        got = await client.completion("chatcmpl-7")
        with pytest.raises(NotFoundError, match="completion chatcmpl-8"):
            await client.completion("chatcmpl-8")
    assert got.to_dict() == completion(7)
    assert pickle.loads(pickle.dumps(got)) == got  # noqa: S301 our own bytes
    assert server.asked[0].path == "/v1/chat/completions/chatcmpl-7"
    assert server.asked[0].query == {"v": "1"}


async def test_a_raw_completion() -> None:
    """A raw completion is returned as it was sent, whatever its fields hold."""
    odd = {"created": 1.5, "metadata": {"n": 5}, "seed": 1.0, "choices": [{"message": {}}]}
    sent = json.dumps({"id": "chatcmpl-7", **odd}, indent=2).encode()
    async with Loopback(replies(Answer(sent))) as server, client_of(server) as client:
        assert await client.raw_completion("chatcmpl-7") == sent


async def test_a_completion_of_another_request() -> None:
    """A response for another request is refused, and its connection is closed."""
    answers = [Answer(completion(8)), Answer(completion(7))] * 2
    async with (
        Loopback(lambda _: answers.pop(0)) as server,
        client_of(server, retry=AT_ONCE) as client,
    ):
        assert json.loads(await client.raw_completion("chatcmpl-7")) == completion(7)
        assert (await client.completion("chatcmpl-7")).id == "chatcmpl-7"
    assert [asked.connection for asked in server.asked] == [1, 2, 2, 3]


async def test_a_400_that_says_not_found() -> None:
    """A 400 for a completion that does not exist yet is polled like a 404.

    OGX does so, with the id in its text and neither code nor param.
    """
    missing = Answer({"error": {"message": "Completion chatcmpl-7 not found"}}, 400)
    script = replies(missing, Answer(completion(7)), missing)
    async with Loopback(script) as server, client_of(server) as client:
        assert (await client.completion("chatcmpl-7", wait_until_visible=5)).id == "chatcmpl-7"
        with pytest.raises(NotFoundError) as caught:
            await client.list("chatcmpl-7")
    assert (caught.value.status, caught.value.is_of_api) == (400, True)


async def test_a_wrong_key() -> None:
    """A 401 is an AuthenticationError, and a key that the server repeats is taken out of it."""
    answer = error(401, "invalid_api_key")
    answer.body["error"]["message"] = f"Incorrect API key provided: {KEY}"
    answer.headers = {"x-echo": KEY}
    async with Loopback(replies(answer)) as server, client_of(server) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.list("x")
    problem = caught.value
    assert "Incorrect API key provided: [the API key]" in str(problem)
    assert KEY not in f"{problem}{problem!r}{problem.args}{problem.body!r}{problem.headers}"
    assert KEY.encode() not in pickle.dumps(problem)


async def test_no_server() -> None:
    """A refused connection is an APIConnectionError that keeps its cause."""
    async with Loopback(replies(None)) as server:
        url = server.base_url
    async with AsyncMessagesClient(KEY, base_url=url, retry=AT_ONCE) as client:
        with pytest.raises(APIConnectionError, match="no connection to the host") as caught:
            await client.list("x")
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)
    assert caught.value.attempts == 3


# --- answers that are errors in an unusual way ----------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({**page([]), "error": {"message": "no", "code": "not_found"}}, NotFoundError),
        ({"error": {"message": "no", "code": 404}}, NotFoundError),
    ],
    ids=["beside data", "code is a status"],
)
async def test_errors_that_come_with_200(body: Any, expected: type[Exception]) -> None:
    """An error in the body counts, even with status 200."""
    async with Loopback(replies(Answer(body))) as server, client_of(server) as client:
        with pytest.raises(expected):
            await client.list("x")


async def test_a_redirect_to_an_invalid_url() -> None:
    """A redirect to an invalid Location is still a RedirectError."""
    answer = Answer(b"", 302, {"location": "http://[::1"})
    async with Loopback(replies(answer)) as server, client_of(server) as client:
        with pytest.raises(RedirectError) as caught:
            await client.list("x")
    assert caught.value.location_host is None


async def test_headers_of_an_error() -> None:
    """The headers of an error are found whatever the case of their names."""
    async with Loopback(replies(error(404, x_odd="1"))) as server, client_of(server) as client:
        with pytest.raises(NotFoundError) as caught:
            await client.list("x")
    headers = caught.value.headers
    assert (headers["X-Odd"], headers.get("X-ODD"), "x-Odd" in headers) == ("1", "1", True)
    assert ("nothing" in headers, headers.get("nothing")) == (False, None)


async def test_a_server_that_ignores_the_limit() -> None:
    """A page of more than max_items is cut, and says that the list continues."""
    script = conversation(message(n) for n in range(6))

    def generous(asked: Asked) -> Answer:
        return script(Asked(asked.path, {**asked.query, "limit": "4"}, {}, 1))

    async with Loopback(generous) as server, client_of(server) as client:
        first = await client.list("chatcmpl-1", max_items=2)
        second = await client.list("chatcmpl-1", after=first.last_id)
    assert ([m.id for m in first.data], first.last_id, first.has_more, first.has_next_page()) == (
        ["chatcmpl-1-0", "chatcmpl-1-1"],
        "chatcmpl-1-1",
        True,
        False,
    )
    assert second.data[0].id == "chatcmpl-1-2"


def test_a_name_that_the_package_does_not_have() -> None:
    """A misspelled name is an AttributeError, as in any module."""
    import aiomessages  # noqa: PLC0415 for this test alone

    assert "AsyncMessagesClient" in dir(aiomessages)
    with pytest.raises(AttributeError, match="AsyncMessageClient"):
        aiomessages.AsyncMessageClient  # type: ignore[attr-defined]  # noqa: B018 looking is the test
