"""The package in a FastAPI app: the bytes that a reader gets over a real socket."""

import asyncio
import gc
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
import pytest
from fastapi import BackgroundTasks, FastAPI, Request, Response
from loopback import Answer, Asked, Loopback, conversation, error, message, page, replies
from virtual_time import now, run
from web import read_until_cut, serving, until

import aiomessages.fastapi
from aiomessages import AsyncMessagesClient, ConfigurationError, RetryPolicy
from aiomessages.fastapi import (
    ClientDependency,
    Format,
    StreamCutError,
    add_exception_handlers,
    get_messages_client,
    messages_lifespan,
    messages_router,
    stream_messages,
)
from aiomessages.pages import RawPage
from aiomessages.server import LocalServer

KEY = "sk-canary-8f2e"
PATH = "/completions/chatcmpl-1/messages"
ONCE = RetryPolicy(max_retries=0)

five = conversation(message(n) for n in range(5))


def client_of(base_url: str, **options: Any) -> Callable[[], AsyncMessagesClient]:
    """Return a function that makes a client of a server, without retries."""
    return partial(AsyncMessagesClient, KEY, base_url=base_url, **{"retry": ONCE, **options})


def app_of(base_url: str, **options: Any) -> FastAPI:
    """Return an app with everything from aiomessages.fastapi."""
    app = FastAPI(lifespan=messages_lifespan(client=client_of(base_url, **options)))
    add_exception_handlers(app)
    app.include_router(messages_router())
    return app


@asynccontextmanager
async def reading(app: FastAPI) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve an app, and give a session whose requests go to it."""
    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield session


@asynccontextmanager
async def app_over(script: Any, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve an app over a scripted API, and give a session whose requests go to it."""
    async with (
        Loopback(script) as upstream,
        reading(app_of(upstream.base_url, **options)) as session,
    ):
        yield session


def wire(*numbers: int) -> list[bytes]:
    """Return messages as the scripted API writes them."""
    return [json.dumps(message(n)).encode() for n in numbers]


def fails_behind(*numbers: int, answer: Answer | bytes | None) -> Any:
    """Return a script that gives one page with has_more, and then this response."""
    return replies(Answer(page((message(n) for n in numbers), has_more=True)), answer)


# --- one client for the app -----------------------------------------------------------------------


async def test_an_app_opens_one_client_and_closes_it_after_its_own_lifespan() -> None:
    """The client is open before the app's own lifespan begins, until after that has ended."""
    happened: list[str] = []

    class Observed(AsyncMessagesClient):
        async def __aenter__(self) -> Self:
            happened.append("client opened")
            return self

        async def aclose(self) -> None:
            happened.append("client closed")
            await super().aclose()

    @asynccontextmanager
    async def own(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        happened.append("app opened")
        yield {"colour": "green"}
        happened.append("app closed")

    app = FastAPI(lifespan=messages_lifespan(own, client=partial(Observed, KEY)))

    @app.get("/")
    async def show(client: ClientDependency, request: Request) -> list[Any]:
        return [id(client), type(client).__name__, request.state.colour]

    async with reading(app) as session:
        first, second = [await (await session.get("/")).json() for _ in range(2)]
    assert first == second
    assert first[1:] == ["Observed", "green"]
    assert happened == ["client opened", "app opened", "app closed", "client closed"]


async def test_a_lifespan_of_the_apps_own_may_yield_nothing() -> None:
    """A lifespan that yields nothing works together with the client's."""

    @asynccontextmanager
    async def own(_: FastAPI) -> AsyncIterator[None]:
        yield

    lifespan = messages_lifespan(own, client=partial(AsyncMessagesClient, KEY))
    async with lifespan(FastAPI()) as state:
        (client,) = state.values()
    assert isinstance(client, AsyncMessagesClient)


async def test_the_key_is_asked_for_when_the_app_starts() -> None:
    """An app can be imported without a key, and fails when it starts without one."""
    lifespan = messages_lifespan()
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        async with lifespan(FastAPI()):
            pass


async def test_an_app_without_the_lifespan_gets_an_error() -> None:
    """The error for a missing lifespan names the code to write."""
    words = r"lifespan=messages_lifespan\(\).*with TestClient\(app\)"
    with pytest.raises(RuntimeError, match=words):
        await get_messages_client(SimpleNamespace(state=SimpleNamespace()))  # type: ignore[arg-type]


def test_the_dependencys_old_name_still_works_and_warns() -> None:
    """`MessagesClient` is the blocking client's name; here it is a deprecated alias."""
    with pytest.warns(DeprecationWarning, match="use ClientDependency"):
        assert aiomessages.fastapi.MessagesClient is ClientDependency
    with pytest.raises(AttributeError, match=r"'aiomessages.fastapi' has no attribute 'Nothing'"):
        aiomessages.fastapi.Nothing  # type: ignore[attr-defined] # noqa: B018


async def test_a_test_may_override_the_client() -> None:
    """`dependency_overrides` puts another client in the place of the app's."""
    async with Loopback(five) as upstream, client_of(upstream.base_url)() as mine:
        app = app_of("http://127.0.0.1:9/v1")
        app.dependency_overrides[get_messages_client] = lambda: mine
        async with reading(app) as session, session.get(PATH) as response:
            assert len((await response.json())["data"]) == 5


async def test_a_client_of_a_dependency_lives_as_long_as_the_stream() -> None:
    """The client of a dependency stays open until the stream has ended."""
    async with Loopback(five) as upstream:

        async def mine() -> AsyncIterator[AsyncMessagesClient]:
            async with client_of(upstream.base_url)() as client:
                yield client

        app = app_of("http://127.0.0.1:9/v1")
        app.dependency_overrides[get_messages_client] = mine
        async with reading(app) as session, session.get(f"{PATH}/stream?limit=2") as response:
            assert len((await response.read()).splitlines()) == 5


# --- what a reader gets ---------------------------------------------------------------------------


async def test_a_page_is_passed_on_byte_by_byte() -> None:
    """A page is the API's own bytes, with fields that no model knows."""
    body = json.dumps(page([message(0, mood={"calm": True})]), indent=2).encode()
    async with app_over(replies(Answer(body))) as session, session.get(PATH) as response:
        assert await response.read() == body
        assert response.content_type == "application/json"
        assert response.headers["cache-control"] == "no-store"


async def test_jsonl_has_a_message_a_line_as_the_api_wrote_it() -> None:
    """Each line of jsonl is the exact bytes of a message, over all pages."""
    async with app_over(five) as session, session.get(f"{PATH}/stream?limit=2") as response:
        assert await response.read() == b"".join(line + b"\n" for line in wire(0, 1, 2, 3, 4))
        assert response.content_type == "application/jsonl"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"


async def test_sse_has_an_event_a_message_and_says_its_end() -> None:
    """Each event has the message's id to resume from, and the last one is `end`."""
    events = [
        b"id: chatcmpl-1-%d\ndata: %b\n\n" % (n, line) for n, line in enumerate(wire(*range(5)))
    ]
    async with (
        app_over(five) as session,
        session.get(f"{PATH}/stream?limit=2&format=sse") as response,
    ):
        end = b"event: end\nid: #end\ndata: {}\n\n"
        assert await response.read() == b"".join([*events, end])
        assert response.content_type == "text/event-stream"


async def test_json_is_one_array() -> None:
    """The whole body is one JSON document."""
    async with (
        app_over(five) as session,
        session.get(f"{PATH}/stream?limit=2&format=json") as response,
    ):
        assert await response.read() == b"[" + b",\n".join(wire(0, 1, 2, 3, 4)) + b"]"
        assert response.content_type == "application/json"


@pytest.mark.parametrize(
    ("form", "body"),
    [("jsonl", b""), ("sse", b"event: end\nid: #end\ndata: {}\n\n"), ("json", b"[]")],
)
async def test_a_conversation_without_messages_is_complete(form: str, body: bytes) -> None:
    """A conversation without messages ends as complete."""
    async with (
        app_over(replies(Answer(page([])))) as session,
        session.get(f"{PATH}/stream?format={form}") as response,
    ):
        assert (response.status, await response.read()) == (200, body)


async def test_an_indented_message_becomes_one_line() -> None:
    """An indented message of the server breaks neither lines nor events."""
    body = json.dumps(page([message(0, content="two\nlines")]), indent=1).replace("\n", "\r\n")
    async with app_over(replies(Answer(body.encode()))) as session:
        async with session.get(f"{PATH}/stream") as response:
            (line,) = (await response.read()).splitlines()
        async with session.get(f"{PATH}/stream?format=sse") as response:
            _, data, *_ = (await response.read()).split(b"\n")
    assert json.loads(line) == message(0, content="two\nlines")
    assert data == b"data: " + line


async def test_an_id_that_is_no_header_cannot_forge_an_event() -> None:
    """An id with line breaks never breaks out of its event."""
    forged = "x\ndata: {}\n\nevent: end"
    script = replies(Answer(page([message(0, id=forged)])))
    async with app_over(script) as session, session.get(f"{PATH}/stream?format=sse") as response:
        first, _ = (await response.read()).split(b"\n\n", 1)
    assert first == b"data: " + json.dumps(message(0, id=forged)).encode()


UNFIT = {
    "it is that of the end": "#end",
    "a header loses its spaces": " x",
    "a header loses the ones behind it": "x ",
    "no server takes it back": "x" * 100_000,
    "it is a character too long": "x" * 1_025,
    "it is not ASCII": "é",
    "it breaks the line": "x\ny",
    "it is cut at its NUL": "x\0y",
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
async def test_a_message_with_an_unusable_id_is_sent_without_it(unfit: str) -> None:
    """An event without a usable id has its message, and a reader resumes before it."""
    stored = [message(0), message(1, id=unfit), message(2)]
    url = f"{PATH}/stream?format=sse"
    async with app_over(conversation(stored)) as session:
        async with session.get(url) as response:
            first, second, third, *_ = (await response.read()).split(b"\n\n")
        assert first.startswith(b"id: chatcmpl-1-0\ndata: ")
        assert second == b"data: " + json.dumps(stored[1]).encode()
        assert third.startswith(b"id: chatcmpl-1-2\ndata: ")
        async with session.get(url, headers={"last-event-id": "chatcmpl-1-0"}) as response:
            assert (await response.read()).startswith(second)


async def test_the_longest_id_is_sent_and_resumed_after() -> None:
    """The longest id that is sent comes back in a header, and is sent to the API."""
    longest = "%" * 1_024  # in a URL three times as long
    url = f"{PATH}/stream?format=sse"
    async with app_over(conversation([message(0, id=longest), message(1)])) as session:
        async with session.get(url) as response:
            assert (await response.read()).startswith(b"id: %b\n" % longest.encode())
        async with session.get(url, headers={"last-event-id": longest}) as response:
            assert (await response.read()).startswith(b"id: chatcmpl-1-1\n")


async def test_a_large_page_goes_out_in_pieces() -> None:
    """At most a piece of a page waits in the server for a slow reader."""
    sent: list[int] = []

    async def send(event: Any) -> None:
        sent.append(len(event.get("body", b"")))

    async def receive() -> Any:
        return await asyncio.Event().wait()

    stored = [message(n, content="x" * 30_000) for n in range(10)]
    async with Loopback(conversation(stored)) as upstream, client_of(upstream.base_url)() as client:
        await stream_messages(client.list("chatcmpl-1"))({"type": "http"}, receive, send)
    assert max(sent) < 100_000
    assert sum(sent) > 300_000


async def test_a_head_request_costs_one_page() -> None:
    """HEAD has the status and headers of GET, for the cost of one page."""
    many = conversation(message(n) for n in range(50))
    async with Loopback(many) as upstream:
        app = app_of(upstream.base_url)

        @app.head("/")
        async def show(client: ClientDependency) -> Response:
            return stream_messages(client.list("chatcmpl-1", limit=1))

        async with reading(app) as session, session.head("/") as response:
            assert (response.status, response.content_type) == (200, "application/jsonl")
    assert len(upstream.asked) <= 2


async def test_a_response_runs_its_background_tasks() -> None:
    """A response runs the background tasks of its endpoint."""
    done = asyncio.Event()
    async with Loopback(five) as upstream:
        app = app_of(upstream.base_url)

        @app.get("/")
        async def show(client: ClientDependency, tasks: BackgroundTasks) -> Response:
            tasks.add_task(done.set)
            return stream_messages(client.list("chatcmpl-1"), "json")

        async with reading(app) as session, session.get("/") as response:
            assert len(await response.json()) == 5
    assert done.is_set()


@pytest.mark.parametrize("form", ["jsonl", "sse", "json"])
async def test_what_is_sent_for_a_message_can_be_converted(form: Format) -> None:
    """`convert` makes what is sent of each message, and events keep the ids of the messages."""

    def shout(sent: bytes) -> bytes:
        return json.dumps({"said": json.loads(sent)["content"].upper()}, indent=1).encode()

    async with Loopback(five) as upstream:
        app = app_of(upstream.base_url)

        @app.get("/")
        async def show(client: ClientDependency) -> Response:
            return stream_messages(client.list("chatcmpl-1", limit=2), form, convert=shout)

        async with reading(app) as session, session.get("/") as response:
            body = await response.text()
    assert re.findall(r'"MESSAGE \d"', body) == [f'"MESSAGE {n}"' for n in range(5)]
    assert "role" not in body
    ids = [f"chatcmpl-1-{n}" for n in range(5)] if form == "sse" else []
    assert re.findall(r"^id: (c.*)$", body, re.MULTILINE) == ids
    if form == "json":
        assert len(json.loads(body)) == 5
    else:
        assert len(re.findall(r'^(?:data: )?\{ ?"said".*\}$', body, re.MULTILINE)) == 5


async def test_a_format_that_does_not_exist_is_refused() -> None:
    """An unknown format is refused with the names of the known ones."""
    async with AsyncMessagesClient(KEY) as client:
        with pytest.raises(ConfigurationError, match="'jsonl', 'sse' or 'json', not 'xml'"):
            stream_messages(client.list("chatcmpl-1"), "xml")  # type: ignore[arg-type]


# --- coming back ----------------------------------------------------------------------------------


async def test_an_event_source_that_comes_back_goes_on_where_it_was() -> None:
    """Last-Event-ID takes precedence over the `after` in the URL."""
    url = f"{PATH}/stream?format=json&after=chatcmpl-1-0"
    async with app_over(five) as session:
        async with session.get(url) as response:
            assert [sent["id"][-1] for sent in await response.json()] == ["1", "2", "3", "4"]
        async with session.get(url, headers={"Last-Event-ID": "chatcmpl-1-2"}) as response:
            assert [sent["id"][-1] for sent in await response.json()] == ["3", "4"]


@pytest.mark.parametrize("format", ["jsonl", "sse", "json"])
async def test_an_event_source_that_comes_back_to_an_api_that_repeats(format: str) -> None:  # noqa: A002
    """If the API repeats the `after` message, the reader does not get it again."""
    messages = [message(n) for n in range(5)]

    def inclusive(asked: Asked) -> Answer:
        begin = int(asked.query.get("after", "-0").rpartition("-")[2])
        return Answer(page(messages[begin : begin + 3], has_more=begin + 3 < len(messages)))

    async with app_over(inclusive) as session:
        headers = {"Last-Event-ID": "chatcmpl-1-1"}
        url = f"{PATH}/stream?format={format}&limit=3"
        async with session.get(url, headers=headers) as response:
            assert re.findall(rb'"id": ?"chatcmpl-1-(.)"', await response.read()) == [
                b"2",
                b"3",
                b"4",
            ]


async def test_an_event_source_that_has_seen_the_end_is_sent_away_for_good() -> None:
    """After the end an EventSource gets 204, which stops it; the API is not asked."""
    async with Loopback(five) as upstream, reading(app_of(upstream.base_url)) as session:
        headers = {"Last-Event-ID": "#end"}
        async with session.get(f"{PATH}/stream?format=sse", headers=headers) as response:
            assert response.status == 204
        assert upstream.asked == []


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATH, *(f"{PATH}/stream?format={f}" for f in ("jsonl", "sse"))])
async def test_an_unknown_completion_is_a_clean_404(path: str) -> None:
    """The answer begins after the first page, so an unknown completion is a 404."""
    async with app_over(replies(error(404, "not_found"))) as session, session.get(path) as response:
        assert response.status == 404
        assert (await response.json())["code"] == "not_found"


FAULTS = {
    "bad-request": (400, "bad_request"),
    "not-found": (404, "not_found"),
    "unprocessable": (422, "invalid_request"),
    "rate-limited": (429, "rate_limited"),
    "retry-after-seconds": (429, "rate_limited"),
    "unauthorized": (502, "upstream_refused"),
    "forbidden": (502, "upstream_refused"),
    "server-error": (502, "upstream_failed"),
    "bad-gateway-html": (502, "upstream_failed"),
    "html": (502, "upstream_failed"),
    "redirect-elsewhere": (502, "upstream_failed"),
    "reset": (502, "upstream_failed"),
    "chunked-cut": (502, "upstream_failed"),
    "more-without-data": (502, "upstream_failed"),
    "quota": (503, "quota_exhausted"),
    "stalled-body": (504, "upstream_timeout"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_error_is_answered_by_the_status_that_it_means(fault: str) -> None:
    """Status and code describe the error, without the key or the API's own words."""
    async with LocalServer(sample=True, faults=fault, api_key=KEY) as server:
        app = app_of(server.base_url, timeout=0.3 if fault == "stalled-body" else 10)
        async with reading(app) as session:
            for path in ("messages", "messages/stream", "messages/stream?format=sse"):
                async with session.get(f"/completions/chatcmpl-tides/{path}") as response:
                    problem = await response.json()
                    answer = str(response.headers) + await response.text()
                assert (response.status, problem["code"]) == FAULTS[fault]
                assert set(problem) == {"code", "detail"}
                assert not any(word in answer for word in (KEY, "Rehearsal", "provided", "gateway"))


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (error(429, "rate_limit_exceeded"), "1"),
        (error(429, "rate_limit_exceeded", retry_after="0"), "1"),
        (error(429, "rate_limit_exceeded", retry_after_ms="2300"), "3"),
        (error(503, retry_after="7"), "7"),
        (error(503), None),
        (error(429, "insufficient_quota"), None),
    ],
)
async def test_a_reader_gets_retry_after(answer: Answer, wait: str | None) -> None:
    """Retry-After is in whole seconds, and is sent if waiting helps."""
    async with app_over(replies(answer)) as session, session.get(PATH) as response:
        assert response.headers.get("retry-after") == wait


async def test_an_argument_that_cannot_be_used_is_the_readers_matter() -> None:
    """An unusable argument is a 422 that says what to change."""
    async with app_over(five) as session:
        async with session.get("/completions/a%20b/messages") as response:
            assert response.status == 422
            assert "must not hold spaces" in (await response.json())["detail"]
        async with session.get(f"{PATH}?limit=0") as response:
            assert response.status == 422


async def test_a_key_that_cannot_be_sent_is_not_the_readers_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unusable key from an api_key callable is a 500, and a warning in the log."""

    async def key() -> str:
        return f"{KEY}\n"

    async with Loopback(five) as upstream:
        lifespan = messages_lifespan(
            client=partial(AsyncMessagesClient, key, base_url=upstream.base_url)
        )
        app = FastAPI(lifespan=lifespan)
        add_exception_handlers(app)
        app.include_router(messages_router())
        async with reading(app) as session:
            for path in (PATH, f"{PATH}/stream"):
                async with session.get(path) as response:
                    answer = await response.json()
                    assert (response.status, answer["code"]) == (500, "internal_error")
                    assert "key" not in answer["detail"]
    assert "answered 500 internal_error" in caplog.text
    assert KEY not in caplog.text


async def test_a_client_that_was_closed_is_a_503() -> None:
    """A closed client is a 503 with the code `closing`."""
    async with Loopback(five) as upstream, client_of(upstream.base_url)() as mine:
        app = app_of(upstream.base_url)
        app.dependency_overrides[get_messages_client] = lambda: mine
        await mine.aclose()
        async with reading(app) as session, session.get(f"{PATH}/stream") as response:
            assert (response.status, (await response.json())["code"]) == (503, "closing")


async def test_the_log_of_an_app_is_safe_to_show(caplog: pytest.LogCaptureFixture) -> None:
    """A request id that could act on a terminal is escaped in the warning."""
    caplog.set_level(logging.WARNING, "aiomessages")
    async with (
        app_over(replies(error(500, x_request_id="r\x1b[2J\u202e"))) as session,
        session.get(PATH) as response,
    ):
        assert response.status == 502
    (line,) = caplog.messages
    assert line.endswith(r"request r\x1b[2J\u202e")


async def test_the_log_has_the_details(caplog: pytest.LogCaptureFixture) -> None:
    """The completion and the status are in one warning; a 404 writes none."""
    caplog.set_level(logging.WARNING, "aiomessages")
    failure = Answer({"error": {"message": "it hurts", "code": "hurts"}}, 500)
    async with app_over(replies(error(404), failure)) as session:
        async with session.get(PATH) as response:
            assert response.status == 404
        assert caplog.messages == []
        async with session.get(PATH) as response:
            assert response.status == 502
    (line,) = caplog.messages
    assert line.startswith("answered 502 upstream_failed: ")
    assert "InternalServerError, status 500, completion chatcmpl-1" in line
    assert KEY not in line
    assert "hurts" not in line  # nothing of the server's own text is ever logged


# --- what goes wrong in the middle ----------------------------------------------------------------


async def test_jsonl_that_fails_midway_is_cut_in_a_torn_line() -> None:
    """After a failure the messages so far are whole, and the last line is no JSON."""
    async with (
        app_over(fails_behind(0, 1, answer=error(500))) as session,
        session.get(f"{PATH}/stream") as response,
    ):
        received, cut = await read_until_cut(response)
    *lines, torn = received.split(b"\n")
    assert (response.status, cut, lines) == (200, True, wire(0, 1))
    assert json.loads(torn + b"}")["error"]["code"] == "upstream_failed"


async def test_json_that_fails_midway_is_cut_without_its_bracket() -> None:
    """After a failure no parser takes the JSON for a whole document."""
    async with (
        app_over(fails_behind(0, 1, answer=error(500))) as session,
        session.get(f"{PATH}/stream?format=json") as response,
    ):
        assert await read_until_cut(response) == (b"[" + b",\n".join(wire(0, 1)), True)


@pytest.mark.parametrize(
    ("answer", "head"),
    [
        (error(500), b"event: error\n"),
        (error(429, retry_after="7"), b"event: error\nretry: 7000\n"),
    ],
)
async def test_sse_that_fails_midway_ends_in_an_error_event(answer: Answer, head: bytes) -> None:
    """After a failure the event `error` has a Problem, and the time to wait."""
    async with (
        app_over(fails_behind(0, 1, answer=answer)) as session,
        session.get(f"{PATH}/stream?format=sse") as response,
    ):
        received, cut = await read_until_cut(response)
    assert not cut
    last = received.removesuffix(b"\n\n").rpartition(b"\n\n")[2]
    assert last.startswith(head + b'data: {"code":')
    assert b"event: end" not in received


@pytest.mark.parametrize("form", ["jsonl", "sse", "json"])
async def test_no_middleware_makes_a_failed_stream_look_finished(form: str) -> None:
    """A reader notices a failure even behind BaseHTTPMiddleware, which ends a cut body."""
    async with Loopback(fails_behind(0, 1, answer=error(500))) as upstream:
        app = app_of(upstream.base_url)

        @app.middleware("http")
        async def touch(request: Request, call_next: Any) -> Response:
            answer: Response = await call_next(request)
            return answer

        async with reading(app) as session, session.get(f"{PATH}/stream?format={form}") as response:
            received, _ = await read_until_cut(response)
    assert wire(0)[0] in received
    if form == "sse":
        assert b"event: error" in received
        assert b"event: end" not in received
    else:
        with pytest.raises(json.JSONDecodeError):
            json.loads(received.splitlines()[-1] if form == "jsonl" else received)


async def test_a_reader_who_leaves_before_the_answer_disturbs_no_middleware() -> None:
    """BaseHTTPMiddleware needs an answer even after the reader left: it is a 499."""
    asked, left = asyncio.Event(), asyncio.Event()
    statuses: list[int] = []

    async def never(_: Asked) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with Loopback(never) as upstream:
        app = app_of(upstream.base_url)

        @app.middleware("http")
        async def note(request: Request, call_next: Any) -> Response:
            try:
                answer: Response = await call_next(request)
                statuses.append(answer.status_code)
                return answer
            finally:
                left.set()

        async with reading(app) as session:
            request = asyncio.ensure_future(session.get(f"{PATH}/stream"))
            await asked.wait()
            request.cancel()
            await left.wait()
    assert statuses == [499]


@pytest.mark.parametrize("form", ["jsonl", "sse", "json"])
async def test_no_error_of_another_kind_looks_finished_either(form: str) -> None:
    """An error of the app's own api_key callable cuts a stream too, without its text."""
    keys = iter([KEY])

    async def key() -> str:
        try:
            return next(keys)
        except StopIteration:
            raise LookupError("the vault at 10.0.0.1 is sealed") from None

    many = conversation(message(n) for n in range(4))
    async with Loopback(many) as upstream:
        lifespan = messages_lifespan(
            client=partial(AsyncMessagesClient, key, base_url=upstream.base_url)
        )
        app = FastAPI(lifespan=lifespan)
        app.include_router(messages_router())

        @app.middleware("http")
        async def touch(request: Request, call_next: Any) -> Response:
            answer: Response = await call_next(request)
            return answer

        url = f"{PATH}/stream?limit=2&format={form}"
        async with reading(app) as session, session.get(url) as response:
            received, _ = await read_until_cut(response)
    assert received.count(b'"role"') == 2
    assert b"vault" not in received
    if form == "sse":
        assert received.rpartition(b"\n\n")[0].rpartition(b"\n\n")[2].startswith(b"event: error\n")
        assert b"event: end" not in received
    else:
        with pytest.raises(json.JSONDecodeError):
            json.loads(received.splitlines()[-1] if form == "jsonl" else received)


async def test_a_cut_body_names_its_cause_in_the_log() -> None:
    """The server's log has one StreamCutError, with the API's error as its cause."""

    async def ignore(_: Any) -> None:
        pass

    async def receive() -> Any:
        return await asyncio.Event().wait()

    script = fails_behind(0, answer=error(500))
    async with Loopback(script) as upstream, client_of(upstream.base_url)() as client:
        with pytest.raises(StreamCutError, match="status 500, completion chatcmpl-1") as raised:
            await stream_messages(client.list("chatcmpl-1"))({"type": "http"}, receive, ignore)
    assert KEY not in str(raised.getrepr(showlocals=True))


def test_a_shutdown_waits_a_second_for_a_reader_who_reads_nothing() -> None:
    """A shutdown waits a second for the last bytes; then the cancellation continues."""

    async def cancelled_in_the_middle() -> float:
        begun = asyncio.Event()

        async def send(event: Any) -> None:
            if event["type"] == "http.response.body":
                begun.set()
                await asyncio.Event().wait()

        async def receive() -> Any:
            return await asyncio.Event().wait()

        async with Loopback(five) as upstream, client_of(upstream.base_url)() as client:
            response = stream_messages(client.list("chatcmpl-1"))
            answering = asyncio.ensure_future(response({"type": "http"}, receive, send))
            await begun.wait()
            began = now()
            answering.cancel()
            await asyncio.wait({answering})
            assert answering.cancelled()
            return now() - began

    assert run(cancelled_in_the_middle(), grace=0.05) == 1.0


async def test_two_pages_are_held_for_a_slow_reader_and_no_more() -> None:
    """While one page is sent, the next one is fetched, and no third is requested."""
    held: list[int] = []
    asked: list[int] = []

    def pages() -> int:
        return sum(isinstance(thing, RawPage) for thing in gc.get_objects())

    async def send(event: Any) -> None:
        if event["type"] == "http.response.start" or not event["more_body"]:
            return
        asked.append(len(upstream.asked))
        await until(lambda: pages() == 2 or len(asked) == 6)
        held.append(pages())

    async def receive() -> Any:
        return await asyncio.Event().wait()

    many = conversation(message(n) for n in range(12))
    gc.freeze()  # the bytes so far need not be searched each time
    try:
        async with Loopback(many) as upstream, client_of(upstream.base_url)() as client:
            response = stream_messages(client.list("chatcmpl-1", limit=2))
            await response({"type": "http"}, receive, send)
    finally:
        gc.unfreeze()
    assert held == [2, 2, 2, 2, 2, 1]
    assert all(now_asked <= sent + 2 for sent, now_asked in enumerate(asked))


# --- what is documented ---------------------------------------------------------------------------


def test_the_routes_are_documented_with_their_types() -> None:
    """OpenAPI has both routes, their types, and each status of an error."""
    schema = app_of("http://127.0.0.1:9/v1").openapi()
    paths = schema["paths"]
    one = paths["/completions/{completion_id}/messages"]["get"]
    whole = paths["/completions/{completion_id}/messages/stream"]["get"]
    shape = one["responses"]["200"]["content"]["application/json"]["schema"]
    assert shape == {"$ref": "#/components/schemas/StoredMessagePage"}
    assert {"id", "role", "content"} <= set(
        schema["components"]["schemas"]["StoredMessage"]["properties"]
    )
    content = whole["responses"]["200"]["content"]
    assert set(content) == {"application/jsonl", "text/event-stream", "application/json"}
    # With the keywords of OpenAPI 3.1, the version of these documents: `itemSchema` is of 3.2.
    assert {name for shape in content.values() for name in shape} == {"schema"}
    assert content["application/jsonl"]["schema"]["contentSchema"]["title"] == "StoredMessage"
    assert content["application/json"]["schema"]["items"]["title"] == "StoredMessage"
    for route in (one, whole):
        problems = {status for status, _ in FAULTS.values()} | {503}
        assert {str(status) for status in problems} <= set(route["responses"])
        refers = route["responses"]["404"]["content"]["application/json"]["schema"]["$ref"]
        assert refers.endswith("/Problem")
        ours, fastapis = route["responses"]["422"]["content"]["application/json"]["schema"]["anyOf"]
        assert ours["$ref"].endswith("/Problem")
        assert fastapis["$ref"].endswith("/InvalidParameters")
    named = {p["name"]: p["in"] for p in whole["parameters"]}
    assert named == {
        "completion_id": "path",
        "after": "query",
        "last-event-id": "header",
        "limit": "query",
        "order": "query",
        "format": "query",
    }
