"""The shortcut: the same requests and responses as through aiohttp's session, if it applies.

test_hostile_network.py tests its safety: it plays every fault on both ways.
"""

import asyncio
import copy
import functools
import logging
import pickle
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import client_proto, client_reqrep, connector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import HttpResponseParserPy
from aioresponses import aioresponses
from faults import addresses
from faults.plays import FAULTS
from faults.raw_server import COMPLETION, CONVERSATION, LIMIT, RawServer
from loopback import Answer, Asked, Loopback, message, page, replies

from aiomessages import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AsyncMessagesClient,
    ClientClosedError,
    RetryDetails,
    RetryPolicy,
    Timeout,
)
from aiomessages.client import caller_of
from aiomessages.http.idle_connections import drop_parser
from aiomessages.http.pool import Pool
from aiomessages.http.shortcut import self_check, sender

KEY = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def _self_check_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "_RESULTS", {})


@pytest.fixture
def by_session(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs of the requests that went through aiohttp's session."""
    urls: list[str] = []
    connect = aiohttp.TCPConnector.connect  # which the shortcut bypasses

    async def noted(self: Any, req: Any, *rest: Any, **named: Any) -> Any:
        urls.append(str(req.url))
        return await connect(self, req, *rest, **named)

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", noted)
    return urls


def _nothing_instead() -> None:
    """Stand in for a replacement of aiohttp's method."""


def pages(asked: Asked) -> Answer:
    """Answer with one page of three."""
    number = int(asked.query["after"].rpartition("-")[2]) + 1 if "after" in asked.query else 0
    return Answer(page([message(number)], has_more=number < 2))


async def walk(client: AsyncMessagesClient, **options: Any) -> list[str]:
    """Return the ids of a conversation's messages."""
    return [one.id async for one in client.list("chatcmpl-1", limit=1, **options)]


WHOLE = ["chatcmpl-1-0", "chatcmpl-1-1", "chatcmpl-1-2"]


async def test_the_session_opens_connections_and_no_more(by_session: list[str]) -> None:
    """Only the first request of a walk goes through the session, the others on its connection."""
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        assert await walk(client) == WHOLE
    assert len(by_session) == 1
    assert [asked.connection for asked in server.asked] == [1, 1, 1]


async def test_requests_are_those_of_the_session() -> None:
    """A request on the shortcut has the same headers, in the same order, as the session's."""
    options: dict[str, Any] = {"organization": "org", "default_headers": {"x-app": "a"}}
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, **options) as client,
    ):
        await walk(client, extra_headers={"x-call": "b"}, extra_query={"q": "ä&b c"})
    first, *others = server.asked
    assert {"host", "user-agent", "authorization", "x-app", "x-call"} <= first.headers.keys()
    for asked in others:
        assert list(asked.headers.items()) == list(first.headers.items())
        assert asked.path == first.path
        assert asked.query["q"] == "ä&b c"


async def test_new_headers_go_through_the_session_first(by_session: list[str]) -> None:
    """Headers that are new are sent as the session sends them, and no older ones instead."""
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        for name in ("a", "b", "a"):
            assert await walk(client, extra_headers={"x-call": name}) == WHOLE
    assert [asked.headers["x-call"] for asked in server.asked] == [*"aaabbbaaa"]
    assert len(by_session) == 2


async def test_two_origins(by_session: list[str]) -> None:
    """Two origins with the same headers each get their own requests, on their own connection."""
    async with (
        Loopback(pages) as one,
        Loopback(pages) as other,
        AsyncMessagesClient(KEY, base_url=one.base_url) as client,
    ):
        for server in (one, other, one, other):
            assert await walk(client.with_options(base_url=server.base_url)) == WHOLE
        for server in (one, other):
            assert [asked.connection for asked in server.asked] == [1] * 6
            assert {asked.headers["host"] for asked in server.asked} == {server.base_url[7:-3]}
    assert len(by_session) == 2


async def test_headers_that_are_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than MAX_HEADS sets of headers are remembered."""
    monkeypatch.setattr(sender, "MAX_HEADS", 3)
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        for number in range(8):
            await client.list("chatcmpl-1", extra_headers={"x-call": str(number)})
        heads = caller_of(client).attempts.transport._shortcut._heads  # type: ignore[union-attr]  # noqa: SLF001 there is no public way
    assert [asked.headers["x-call"] for asked in server.asked] == [str(n) for n in range(8)]
    assert len(heads) == 2


async def test_the_stored_key_never_shows() -> None:
    """The stored key is not shown, printed or pickled."""
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, default_headers={"x-k": KEY}) as client,
    ):
        await client.list("chatcmpl-1")
        heads = caller_of(client).attempts.transport._shortcut._heads  # type: ignore[union-attr]  # noqa: SLF001 there is no public way
    (head,) = heads.values()
    assert KEY.encode() in head.rest
    assert KEY not in f"{heads} {head.rest}"
    assert copy.copy(head.rest) is copy.deepcopy(head).rest is head.rest
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(head)


async def test_without_an_idle_connection_the_session_opens_one(by_session: list[str]) -> None:
    """If every connection is in use, or was closed by the server, the session opens another."""
    script = replies(
        Answer(page([message(0)])),
        Answer(page([message(1)]), headers={"connection": "close"}),
        Answer(page([message(2)])),
    )
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        for number in range(3):
            assert (await client.list("chatcmpl-1")).data[0].id == f"chatcmpl-1-{number}"
    assert [asked.connection for asked in server.asked] == [1, 1, 2]
    assert len(by_session) == 2


async def test_a_session_that_traces_sees_every_request() -> None:
    """With trace_configs, no request goes around the session."""
    traced: list[str] = []
    trace = aiohttp.TraceConfig()

    async def on_start(*seen: Any) -> None:
        traced.append(str(seen[2].url))

    trace.on_request_start.append(on_start)
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, trace_configs=[trace]) as client,
    ):
        assert await walk(client) == WHOLE
    assert len(traced) == 3


async def test_tracing_that_is_added_to_every_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instrumentation that adds trace_configs to every session sees every request."""
    traced: list[str] = []
    trace = aiohttp.TraceConfig()

    async def on_start(*seen: Any) -> None:
        traced.append(str(seen[2].url))

    trace.on_request_start.append(on_start)
    initial = aiohttp.ClientSession.__init__

    def instrumented(self: aiohttp.ClientSession, **options: Any) -> None:
        initial(self, **{**options, "trace_configs": [trace]})

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", instrumented)
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        assert await walk(client) == WHOLE
    assert len(traced) == 3


async def test_mocks_see_every_request(mocking: type[aioresponses]) -> None:
    """A mocked request is never sent, whatever was sent before."""
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        url = f"{server.base_url}/chat/completions/chatcmpl-1/messages?limit=1"
        for _ in range(2):
            with mocking() as mock:
                mock.get(url, payload=page([message(7)]))
                assert (await client.list("chatcmpl-1", limit=1)).data[0].id == "chatcmpl-1-7"
            assert await walk(client) == WHOLE
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "replaced", [_nothing_instead, functools.partial], ids=["function", "class"]
)
async def test_a_session_that_was_replaced_before(
    monkeypatch: pytest.MonkeyPatch, replaced: Any
) -> None:
    """If another request method was there first, it makes each request."""
    monkeypatch.setattr(self_check, "_ORIGINAL", replaced)
    assert not await self_check.is_supported()


async def test_a_session_that_was_handed_in_is_not_gone_around(by_session: list[str]) -> None:
    """A session that was handed in makes each request itself."""
    async with Loopback(pages) as server, aiohttp.ClientSession() as session:
        client = AsyncMessagesClient(KEY, base_url=server.base_url, session=session)
        assert await walk(client) == WHOLE
    assert len(by_session) == 3


def _gone(owner: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.delattr(owner, name)


def _instead(owner: Any, name: str, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(owner, name, value)


async def _nothing(*_: object) -> None:
    return None


async def _other_head(_: ResponseHandler) -> tuple[str, str]:
    return "HTTP/1.1 200 OK", "{}"


async def _other_status(self: ResponseHandler) -> Any:
    message, content = await aiohttp.DataQueue.read(self)
    return SimpleNamespace(code=204, headers=message.headers), content


async def _gives_twice(self: Any, key: Any, _: object) -> connector.Connection | None:
    idle = self._conns.get(key)
    return connector.Connection(self, key, idle[0][0], self._loop) if idle else None


def _keeps_nothing(self: Any, key: object, protocol: Any, *, should_close: bool = False) -> None:
    del self, key, protocol, should_close


def _releases_around_the_pool(self: Any) -> None:
    connector.BaseConnector._release(self._connector, self._key, self.protocol)  # noqa: SLF001 no other does it
    drop_parser(self.protocol)
    self._protocol = None


CHANGES = {
    "no ResponseHandler": _gone(client_proto, "ResponseHandler"),
    "no Connection": _gone(connector, "Connection"),
    "another ConnectionKey": _instead(client_reqrep, "ConnectionKey", tuple),
    "no should_close": _gone(ResponseHandler, "should_close"),
    "another should_close": _instead(ResponseHandler, "should_close", False),
    "a should_close that never lets go": _instead(ResponseHandler, "should_close", True),
    "no is_connected": _gone(ResponseHandler, "is_connected"),
    "no set_response_params": _gone(ResponseHandler, "set_response_params"),
    "other parameters": _instead(ResponseHandler, "set_response_params", lambda _: None),
    "another read": _instead(ResponseHandler, "read", _other_head),
    "a should_close that passes over a piece": _instead(
        ResponseHandler, "should_close", property(lambda self: len(self) > 0)
    ),
    "another status": _instead(ResponseHandler, "read", _other_status),
    "a _get that gives twice": _instead(aiohttp.BaseConnector, "_get", _gives_twice),
    "no _get": _gone(aiohttp.BaseConnector, "_get"),
    "another _get": _instead(aiohttp.BaseConnector, "_get", _nothing),
    "another _release": _instead(aiohttp.BaseConnector, "_release", _keeps_nothing),
    "a release around the pool": _instead(
        connector.Connection, "release", _releases_around_the_pool
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_another_aiohttp(
    change: Callable[[pytest.MonkeyPatch], None], caplog: pytest.LogCaptureFixture
) -> None:
    """If an undocumented name of aiohttp is missing or differs, that is detected."""
    caplog.set_level(logging.INFO, logger="aiomessages")
    with pytest.MonkeyPatch.context() as patch:
        change(patch)
        assert not await self_check.is_supported()
    assert aiohttp.__version__ in caplog.text


async def test_an_unsupported_aiohttp_is_not_used(
    monkeypatch: pytest.MonkeyPatch, by_session: list[str]
) -> None:
    """With an unknown aiohttp, each request goes through the session."""
    monkeypatch.delattr(self_check, "KeptConnection")
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        assert await walk(client) == WHOLE
    assert len(by_session) == 3


async def test_the_installed_aiohttp_is_supported(caplog: pytest.LogCaptureFixture) -> None:
    """The installed aiohttp is one that this module supports, and the log is silent."""
    caplog.set_level(logging.INFO, logger="aiomessages")
    assert await self_check.is_supported()
    assert caplog.records == []


async def test_an_aiohttp_is_tried_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsal is held once in a process."""
    assert await self_check.is_supported()
    monkeypatch.delattr(self_check, "KeptConnection")
    assert await self_check.is_supported()


async def test_without_a_timeout(by_session: list[str]) -> None:
    """Without a timeout, a request on the shortcut waits for its response indefinitely."""
    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, timeout=None) as client,
    ):
        assert await walk(client) == WHOLE
    assert len(by_session) == 1


async def test_no_timer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a response, the timers of its request stop."""
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    timers: list[asyncio.TimerHandle] = []

    def noted(*args: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*args, **options))
        return timers[-1]

    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, timeout=Timeout(read=30)) as client,
    ):
        await walk(client)
        monkeypatch.setattr(loop, "call_later", noted)
        await walk(client)
        assert len(timers) >= len(WHOLE)  # between reads
        assert all(timer.cancelled() for timer in timers)


async def test_one_timer_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests are sent, one timer serves them all."""
    loop = asyncio.get_running_loop()
    call_at, ends = loop.call_at, []

    def noted(when: float, *args: Any, **options: Any) -> asyncio.TimerHandle:
        ends.append(when - loop.time())
        return call_at(when, *args, **options)

    async with (
        Loopback(pages) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, timeout=1000) as client,
    ):
        await walk(client)
        monkeypatch.setattr(loop, "call_at", noted)
        for _ in range(5):
            await walk(client)
    assert len([seconds for seconds in ends if seconds > 900]) <= 1


async def test_each_request_has_a_time_of_its_own(by_session: list[str]) -> None:
    """A request times out after its own time, whatever other requests are under way."""
    hurry = asyncio.Event()

    async def script(asked: Asked) -> Answer:
        if "slow" in asked.query:
            await asyncio.sleep(0.25)
        if "never" in asked.query:
            await hurry.wait()
        return Answer(page([message(0)]))

    async with (
        Loopback(script) as server,
        AsyncMessagesClient(
            KEY, base_url=server.base_url, timeout=0.4, retry=RetryPolicy(0)
        ) as client,
    ):

        async def asked(name: str, timeout: float) -> str:
            try:
                await client.list("chatcmpl-1", extra_query={name: 1}, timeout=timeout)
            except APITimeoutError:
                return "late"
            return "here"

        await asyncio.gather(*(asked("first", 5) for _ in range(3)))  # three connections
        assert await asked("quick", 0.3) == "here"
        await asyncio.sleep(0.15)
        assert await asked("slow", 0.4) == "here"  # its end is 0.3 s behind the first one's
        several = (asked("slow", 5), asked("never", 0.1), asked("never", 0.2))
        assert await asyncio.gather(*several) == ["here", "late", "late"]
        assert len(by_session) == 3


async def test_timers_without_a_due_time(
    monkeypatch: pytest.MonkeyPatch, by_session: list[str]
) -> None:
    """A request may begin while another one times out, and uvloop's timer has no due time."""
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def as_in_uvloop(when: float, *args: Any, **options: Any) -> asyncio.Handle:
        at_once = when - loop.time() < 0.0005
        return loop.call_soon(*args, **options) if at_once else call_at(when, *args, **options)

    async def script(asked: Asked) -> Answer:
        await asyncio.sleep(0.05)
        return pages(asked)

    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=RetryPolicy(0)) as client,
    ):

        async def asked(timeout: float) -> str | None:
            return (await client.list("chatcmpl-1", timeout=timeout)).last_id

        await asyncio.gather(asked(5), asked(5))  # two connections
        monkeypatch.setattr(loop, "call_at", as_in_uvloop)
        late, here = await asyncio.gather(asked(0.0001), asked(5), return_exceptions=True)
    assert isinstance(late, APITimeoutError)
    assert here == "chatcmpl-1-0"
    assert len(by_session) == 2


async def test_a_cancelled_request_leaves_no_answer(by_session: list[str]) -> None:
    """A cancelled request closes its connection, and so drops the response that may arrive."""
    waiting = asyncio.Event()

    async def script(asked: Asked) -> Answer:
        if asked.query.get("after") == "chatcmpl-1-0":
            waiting.set()
            await asyncio.Event().wait()
        return pages(asked)

    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=RetryPolicy(0)) as client,
    ):
        await client.list("chatcmpl-1", limit=1)
        call = asyncio.ensure_future(client.list("chatcmpl-1", after="chatcmpl-1-0", limit=1))
        await waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        got = await client.list("chatcmpl-1", after="chatcmpl-1-1", limit=1)
    assert got.data[0].id == "chatcmpl-1-2"
    assert [asked.connection for asked in server.asked] == [1, 1, 2]
    assert len(by_session) == 2


ENDS = {
    "right": (None, []),
    "reset": ("reset", [APIConnectionError]),
    "closed": ("close-before-headers", [APIConnectionError]),
    "silence": ("silence", [APITimeoutError]),
    "slow": ("slow-body", [APITimeoutError]),
    "cut": ("body-short", [APIConnectionError]),
}


def _trust_the_test_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    trusting = ssl.create_default_context()
    addresses.AUTHORITY.configure_trust(trusting)
    initial = functools.partialmethod(aiohttp.TCPConnector.__init__, ssl=trusting)
    monkeypatch.setattr(aiohttp.TCPConnector, "__init__", initial)


@pytest.mark.parametrize(("fault", "errors"), ENDS.values(), ids=ENDS.keys())
async def test_over_tls(
    monkeypatch: pytest.MonkeyPatch,
    by_session: list[str],
    fault: str | None,
    errors: list[type[APIError]],
) -> None:
    """On a connection with TLS, faults are reported as on one without."""
    _trust_the_test_authority(monkeypatch)
    retries: list[RetryDetails] = []
    plays = {2: FAULTS[fault]} if fault else {}
    async with (
        RawServer(plays, times=1, tls=addresses.CERTIFICATES["good"]()) as server,
        AsyncMessagesClient(
            KEY,
            base_url=server.base_url,
            timeout=0.4,
            retry=RetryPolicy(initial_backoff=0.001, jitter=0),
            on_retry=retries.append,
        ) as client,
    ):
        got = [one.id async for one in client.list(COMPLETION, limit=LIMIT)]
    assert got == [one["id"] for one in CONVERSATION]
    assert [type(details.error) for details in retries] == errors
    assert len(by_session) == server.connections == 1 + len(errors)


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_a_call_over_tls_that_is_broken_off(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A call over TLS that is interrupted leaves nothing for the loop to report."""
    _trust_the_test_authority(monkeypatch)
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    async with (
        RawServer({2: FAULTS["silence"]}, tls=addresses.CERTIFICATES["good"]()) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        one = await client.list(COMPLETION, limit=LIMIT)
        call = asyncio.create_task(one.get_next_page())
        while len(server.asked) < 2:  # noqa: ASYNC110 the play has no event
            await asyncio.sleep(0)
        if end == "cancelled":
            call.cancel()
        else:
            await client.aclose()
        await asyncio.wait({call})
        assert call.cancelled() == (end == "cancelled")
        assert isinstance(None if call.cancelled() else call.exception(), ClientClosedError | None)
        await server.all_gone()
    assert problems == []


@pytest.mark.parametrize("end", ["timeout", "cancellation"])
async def test_a_request_that_nobody_reads(end: str) -> None:
    """A request longer than all buffers on its way ends in time, and what is left is not sent."""
    size = 12_000_000
    over = asyncio.Event()
    arrived: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(Answer(page([message(0)])).encode())
        await over.wait()
        arrived.set_result(len(await reader.read()))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with (
        server,
        AsyncMessagesClient(KEY, base_url=base_url, timeout=0.2, retry=RetryPolicy(0)) as client,
    ):
        await client.list("chatcmpl-1")
        call = asyncio.ensure_future(client.list("chatcmpl-1", extra_query={"q": "x" * size}))
        if end == "cancellation":
            asyncio.get_running_loop().call_later(0.05, call.cancel)
        with pytest.raises((APITimeoutError, asyncio.CancelledError)):
            await asyncio.wait_for(call, 5)
        assert call.cancelled() == (end == "cancellation")
        over.set()
        assert await asyncio.wait_for(arrived, 5) < size


@pytest.mark.parametrize("lax", [True, False])
async def test_two_lengths(monkeypatch: pytest.MonkeyPatch, *, lax: bool) -> None:
    """Two lengths of one body are refused with the parser in Python, which may take the first."""
    monkeypatch.setattr(HttpResponseParserPy, "lax", lax)  # it is strict in asyncio's debug mode
    monkeypatch.setattr("aiohttp.client_proto.HttpResponseParser", HttpResponseParserPy)
    right = Answer(page([message(0)])).encode()
    lengths = right.replace(b"\r\n\r\n", b"\r\ncontent-length: 1\r\n\r\n", 1)
    async with (
        Loopback(replies(right, lengths)) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        await client.list("chatcmpl-1")
        with pytest.raises(APIConnectionError, match="rules of HTTP"):
            await client.list("chatcmpl-1")
    assert len(server.asked) == 2


async def test_the_pool_bounds_the_fast_path_too(by_session: list[str]) -> None:
    """A connection in use by the shortcut counts in the pool."""
    held = asyncio.Event()

    async def script(asked: Asked) -> Answer:
        if "after" in asked.query:
            await held.wait()
        return pages(asked)

    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        await client.list("chatcmpl-1", limit=1)
        call = asyncio.ensure_future(client.list("chatcmpl-1", after="chatcmpl-1-0", limit=1))
        while len(server.asked) < 2:  # noqa: ASYNC110 the script has no event
            await asyncio.sleep(0)
        pool: Any = caller_of(client).attempts.transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 there is no public way to ask
        assert isinstance(pool, Pool)
        in_use = len(pool._acquired)  # noqa: SLF001 the same
        held.set()
        await call
        pool.release_kept()
        assert (in_use, len(pool._acquired)) == (1, 0)  # noqa: SLF001 the same
    assert len(by_session) == 1
