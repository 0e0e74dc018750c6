"""The example app at work: many readers, slow readers, readers who leave, a failing API.

uvicorn and the API run in the test's own loop, so that leftover tasks can be counted.
"""

import asyncio
import json
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from loopback import Answer, Asked, Loopback, conversation, message, page
from web import read_until_cut, serving, until

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.server import LocalServer
from examples.fastapi_app.app import create_app

KEY = "sk-canary-8f2e"
STREAM = "/api/completions/chatcmpl-1/messages/stream"


class Running:
    """The app, its client's connections, and a reader's session."""

    def __init__(self, url: str, upstream: aiohttp.ClientSession, here: Any) -> None:
        self.url = url
        self._upstream = upstream
        self.readers: aiohttp.ClientSession = here
        self._tasks = asyncio.all_tasks()

    def at_rest(self) -> bool:
        """Tell whether no request of the app is under way, and no task of one is left."""
        connector: Any = self._upstream.connector
        return not connector._acquired and not self._new_tasks()  # noqa: SLF001 no public name

    def _new_tasks(self) -> set[asyncio.Task[Any]]:
        left = asyncio.all_tasks() - self._tasks
        # Both servers that play the API keep a task for each connection that is kept alive.
        return {task for task in left if not re.search("Loopback|RequestHandler", repr(task))}


@asynccontextmanager
async def running(
    base_url: str, *, app_options: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Running]:
    """Serve the example app over an API; the options are its client's."""
    async with aiohttp.ClientSession() as upstream:

        def client() -> AsyncMessagesClient:
            retry = RetryPolicy(max_retries=1, initial_backoff=0.01)
            return AsyncMessagesClient(
                KEY, base_url=base_url, session=upstream, **{"retry": retry, **options}
            )

        async with (
            serving(create_app(client), **(app_options or {})) as url,
            aiohttp.ClientSession(url) as readers,
        ):
            yield Running(url, upstream, readers)


def stored(number: int, *, content: str = "a text") -> Callable[[Asked], Answer]:
    """Return the script of a conversation of that many messages."""
    return conversation(message(n, content=content) for n in range(number))


def hangs_behind(first: Answer, *, waiting: asyncio.Event) -> Any:
    """Return a script that gives one page and never the second; it reports who waits."""
    asked: list[Asked] = []

    async def never() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def script(this: Asked) -> Any:
        asked.append(this)
        return first if len(asked) == 1 and first.body else never()

    return script


async def lines_of(running: Running, query: str = "") -> list[str]:
    """Read a stream to its end, and return its ids."""
    async with running.readers.get(STREAM + query) as response:
        return [json.loads(line)["id"] async for line in response.content]


# --- readers --------------------------------------------------------------------------------------


async def test_many_readers_at_once_each_get_the_whole_conversation() -> None:
    """Twenty readers of one app share its client and its connections, and get all messages."""
    async with Loopback(stored(50)) as upstream, running(upstream.base_url) as app:
        found = await asyncio.gather(*(lines_of(app, "?limit=10") for _ in range(20)))
        assert found == [[f"chatcmpl-1-{n}" for n in range(50)]] * 20
        await until(app.at_rest)
        assert len(upstream.asked) == 100


async def test_a_reader_who_leaves_closes_the_upstream_request() -> None:
    """When a reader leaves, the request under way is cancelled, and no other follows."""
    waiting = asyncio.Event()
    first = Answer(page([message(0)], has_more=True))
    async with (
        Loopback(hangs_behind(first, waiting=waiting)) as upstream,
        running(upstream.base_url) as app,
    ):
        async with app.readers.get(STREAM) as response:
            await response.content.readline()
            await waiting.wait()
        await upstream.all_gone()
        await until(app.at_rest)
        assert len(upstream.asked) == 2


async def test_a_reader_who_leaves_before_the_first_page_closes_the_request_as_well() -> None:
    """A reader may leave before the first page as well."""
    waiting = asyncio.Event()
    async with (
        Loopback(hangs_behind(Answer(), waiting=waiting)) as upstream,
        running(upstream.base_url) as app,
    ):
        reading = asyncio.create_task(lines_of(app))
        await waiting.wait()
        reading.cancel()
        await upstream.all_gone()
        await until(app.at_rest)
        assert len(upstream.asked) == 1


async def test_readers_who_leave_do_not_disturb_those_who_stay() -> None:
    """Half of the readers leave after a line; the others get everything."""

    async def leave(app: Running) -> None:
        async with app.readers.get(f"{STREAM}?limit=5") as response:
            await response.content.readline()

    async with Loopback(stored(100)) as upstream, running(upstream.base_url) as app:
        results = await asyncio.gather(
            *(leave(app) if n % 2 else lines_of(app, "?limit=5") for n in range(20))
        )
        assert [len(ids) for ids in results if ids is not None] == [100] * 10
        await until(app.at_rest)


@asynccontextmanager
async def who_reads_nothing(app: Running) -> AsyncIterator[asyncio.StreamReader]:
    """Request a stream with one message a page, over a socket of small buffers, and wait."""
    host, _, port = app.url.removeprefix("http://").partition(":")
    mine = socket.socket()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    mine.setblocking(False)
    await asyncio.get_running_loop().sock_connect(mine, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=mine)
    try:
        writer.write(f"GET {STREAM}?limit=1 HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_slow_reader_slows_the_stream_down() -> None:
    """While nobody reads, the app requests no page beyond the next one."""
    text = "x" * 500_000  # two of them are more than fits into the buffers of the sockets
    async with (
        Loopback(stored(30, content=text)) as upstream,
        running(upstream.base_url, app_options={"send_buffer": 65_536}) as app,
        who_reads_nothing(app) as reader,
    ):
        await until(lambda: len(upstream.asked) >= 2)
        # A stream that does not wait for its reader requests all thirty pages meanwhile.
        async with AsyncMessagesClient(KEY, base_url=upstream.base_url) as another:
            assert len([item async for item in another.list("chatcmpl-1", limit=1)]) == 30
        assert len(upstream.asked) - 30 <= 5
        body = b""
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += await reader.read(1 << 20)
        assert body.count(b'"role"') == 30
        await until(app.at_rest)


async def test_a_slow_reader_who_leaves_leaves_nothing() -> None:
    """A stream that waits for its reader ends when the reader leaves."""
    async with (
        Loopback(stored(30, content="x" * 500_000)) as upstream,
        running(upstream.base_url, app_options={"send_buffer": 65_536}) as app,
    ):
        async with who_reads_nothing(app):
            await until(lambda: len(upstream.asked) >= 3)
        await until(app.at_rest)
        assert len(upstream.asked) <= 5


async def test_a_shutdown_cuts_the_streams_that_do_not_end_in_time() -> None:
    """At a shutdown the reader sees a cut stream, and the upstream request is closed."""
    waiting = asyncio.Event()
    first = Answer(page([message(0)], has_more=True))
    async with Loopback(hangs_behind(first, waiting=waiting)) as upstream:
        async with aiohttp.ClientSession() as readers:
            at_once = {"timeout_graceful_shutdown": 0}
            async with running(upstream.base_url, app_options=at_once) as app:
                response = await readers.get(app.url + STREAM)
                await response.content.readline()
                await waiting.wait()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        await upstream.all_gone()
        assert len(upstream.asked) == 2


@pytest.mark.parametrize(
    ("form", "ending"),
    [
        ("jsonl", rb'\n\{"error":\{"code":"closing",[^\n]+\}'),
        ("sse", rb'\n\nevent: error\ndata: \{"code":"closing",[^\n]+\}\n\n'),
        ("json", rb'"content_parts": null\}'),
    ],
)
async def test_a_shutdown_is_visible_over_http_1_0(form: str, ending: bytes) -> None:
    """Over HTTP/1.0, which has no cut, the body itself says that it is incomplete.

    Its only end is a closed connection.
    """
    waiting = asyncio.Event()
    first = Answer(page([message(0)], has_more=True))
    async with Loopback(hangs_behind(first, waiting=waiting)) as upstream:
        at_once = {"timeout_graceful_shutdown": 0, "http": "h11"}
        async with running(upstream.base_url, app_options=at_once) as app:
            host, _, port = app.url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            request = f"GET {STREAM}?format={form} HTTP/1.0\r\nhost: {host}\r\n\r\n"
            writer.write(request.encode())
            await waiting.wait()
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert received.count(b'"role"') == 1
    assert re.search(ending + rb"\Z", received)


# --- an API that fails ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["server-error@3", "rate-limited@3", "chunked-cut@3", "reset@3", "stalled-body@3"]
)
async def test_an_api_that_fails_midway_gives_its_earlier_pages_and_no_end(fault: str) -> None:
    """Two pages arrive whole in every format, and never look like everything."""
    url = "/api/completions/chatcmpl-vocabulary/messages/stream?limit=5&format="
    async with (
        LocalServer(sample=True, api_key=KEY) as server,
        running(server.base_url, timeout=0.3) as app,
    ):
        for form in ("jsonl", "sse", "json"):
            server.faults = fault  # which restarts the count of requests
            async with app.readers.get(url + form) as response:
                received, cut = await read_until_cut(response)
            assert cut == (form != "sse")
            assert (b"event: error" in received) == (form == "sse")
            assert b"event: end" not in received
            assert received.count(b'"role"') == 10
            assert KEY.encode() not in received
        await until(app.at_rest)


async def test_a_fault_that_passes_is_not_seen() -> None:
    """A fault that the client's retries overcome never reaches the reader."""
    async with LocalServer(sample=True, faults="server-error:1@2", api_key=KEY) as server:
        async with running(server.base_url) as app:
            url = "/api/completions/chatcmpl-vocabulary/messages/stream?format=json"
            async with app.readers.get(url) as response:
                assert len(await response.json()) > 100
        assert server.requests > 2


# --- what the app has of its own ------------------------------------------------------------------


async def test_the_app_lists_conversations_and_has_their_replies() -> None:
    """The newest conversations come first, and their replies are available."""
    async with LocalServer(sample=True, api_key=KEY) as server, running(server.base_url) as app:
        async with app.readers.get("/api/completions?limit=3") as response:
            listed = await response.json()
        async with app.readers.get(f"/html/completions/{listed[0]['id']}/replies") as response:
            (reply,) = await response.json()
    assert listed[0]["id"] == "chatcmpl-tides"
    assert len(listed) == 3
    assert listed[0]["reply"].split()[0] in reply
    assert reply.startswith('<article class="turn by-reply"')


async def test_the_app_answers_to_no_other_name() -> None:
    """The app refuses requests for another host name."""
    async with Loopback(stored(1)) as upstream, running(upstream.base_url) as app:
        async with app.readers.get(STREAM, headers={"host": "evil.example"}) as response:
            assert response.status == 400
        assert upstream.asked == []


async def test_the_page_loads_nothing_from_other_hosts() -> None:
    """Everything on the page comes from the app, and its policy allows nothing else."""
    async with Loopback(stored(1)) as upstream, running(upstream.base_url) as app:
        texts = {}
        for name in ("", "page.js", "page.css", "view/conversation.css", "view/icon.svg"):
            async with app.readers.get(f"/{name}") as response:
                assert response.status == 200
                texts[name] = await response.text()
    assert "default-src 'none'" in texts[""]
    assert not any(
        f"{scheme}://" in texts[name]
        for name in texts
        for scheme in ("http", "https")
        if not name.endswith("svg")
    )


async def test_the_example_runs_by_itself() -> None:
    """`python -m examples.fastapi_app` serves the sample, and ends on a signal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "examples.fastapi_app", str(port), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while b"Uvicorn running" not in (line := await process.stderr.readline()):
                assert line, "it ended before it served"
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            url = "/api/completions/chatcmpl-haiku/messages/stream?format=json"
            async with session.get(url) as response:
                assert len(await response.json()) == 1
    finally:
        process.terminate()
        await process.communicate()
