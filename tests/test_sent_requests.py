"""Requests: what a call sends for each form of its arguments, and what is never sent."""

import copy
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from loopback import Answer, Asked, Loopback, message, page, replies

from aiomessages import (
    APIResponseError,
    AsyncMessagesClient,
    ConfigurationError,
    DecodeError,
    RetryPolicy,
)
from aiomessages.http.shortcut import self_check

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)
PAGE = Answer(page([message(0)]))


@pytest.fixture(params=["fast path", "session"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of requests on an open connection."""
    fast = request.param == "fast path"
    monkeypatch.setattr(self_check, "_RESULTS", {aiohttp.__version__: fast})


@asynccontextmanager
async def client_of(server: Loopback, **options: Any) -> AsyncIterator[AsyncMessagesClient]:
    """Give a client that sends each request once."""
    options = {"api_key": KEY, "base_url": server.base_url, "retry": ONCE, **options}
    async with AsyncMessagesClient(**options) as client:
        yield client


# --- enum members ---------------------------------------------------------------------------------


class Old(str, Enum):  # noqa: UP042 the older way, which formats as Old.MODEL
    """Strings that format as another text."""

    ID = "chatcmpl-1"
    MODEL = "gpt-4o-mini"
    KEY = "topic"
    CURSOR = "chatcmpl-1-0"
    ORDER = "desc"
    HEADER = "x-team"
    SECRET = "sk-canary-0123456789"


class New(StrEnum):
    """The same strings, which format as their value."""

    ID = "chatcmpl-1"
    MODEL = "gpt-4o-mini"
    KEY = "topic"
    CURSOR = "chatcmpl-1-0"
    ORDER = "desc"
    HEADER = "x-team"
    SECRET = "sk-canary-0123456789"


class Limit(int, Enum):
    """An int that formats as another text."""

    FIVE = 5


class Integer:
    """An integer that is no int, as numpy's are."""

    def __index__(self) -> int:
        return 5


@pytest.mark.parametrize("names", [Old, New])
@pytest.mark.parametrize("five", [Limit.FIVE, Integer()], ids=["enum", "integer"])
async def test_members_are_sent_by_their_value(names: Any, five: Any) -> None:
    """An enum member that is a string or a number is sent as its value in every place."""
    script: Callable[[Asked], Answer] = lambda asked: (  # noqa: E731 one line of it
        Answer(page([message(1)]))
        if asked.path.endswith("/messages")
        else Answer({"id": names.ID.value, "choices": []})
        if asked.path.endswith(names.ID.value)
        else Answer(page([]))
    )
    headers = {names.HEADER: names.MODEL}
    async with (
        Loopback(script) as server,
        client_of(
            server,
            api_key=names.SECRET,
            organization=names.MODEL,
            project=names.MODEL,
            default_headers={"x-default": names.MODEL},
            default_query={names.HEADER: names.MODEL},
        ) as client,
    ):
        which: dict[str, Any] = {"after": names.CURSOR, "limit": five, "order": names.ORDER}
        await client.list(names.ID, **which, max_items=five, extra_headers=headers)
        stream = client.completions(
            model=names.MODEL, metadata={names.KEY: names.MODEL}, **which, max_items=five
        )
        await stream
        await client.completion(names.ID, extra_query={names.KEY: names.MODEL})
        [one async for one in client.conversations([names.ID], limit=five)]
    shown = repr([server.asked, stream.selection])
    assert not [member.name for member in names if str(member.name) in shown]
    assert "Integer" not in shown
    listed, completions, completion, conversation = server.asked
    assert listed.query == {
        "after": "chatcmpl-1-0",
        "limit": "5",
        "order": "desc",
        "x-team": "gpt-4o-mini",
    }
    assert listed.headers["authorization"] == f"bearer {KEY}"
    assert {name: listed.headers[name] for name in ("x-team", "x-default")} == {
        "x-team": "gpt-4o-mini",
        "x-default": "gpt-4o-mini",
    }
    assert listed.headers["openai-organization"] == "gpt-4o-mini"
    assert (completions.query["model"], completions.query["metadata[topic]"]) == (
        "gpt-4o-mini",
        "gpt-4o-mini",
    )
    assert json.dumps(stream.selection)
    assert completion.query["topic"] == "gpt-4o-mini"
    assert conversation.query["limit"] == "5"


# --- headers that are not the caller's ------------------------------------------------------------

CALLS: dict[str, Callable[[AsyncMessagesClient, dict[str, str]], Awaitable[object]]] = {
    "list": lambda client, headers: client.list("chatcmpl-1", extra_headers=headers),
    "completions": lambda client, headers: client.completions(extra_headers=headers),
    "completion": lambda client, headers: client.completion("chatcmpl-1", extra_headers=headers),
}
REFUSED = [
    ("content-length", "40"),
    ("Transfer-Encoding", "chunked"),
    ("CONNECTION", "close"),
    ("Keep-Alive", "timeout=5"),
    ("Host", "elsewhere.example"),
    ("Upgrade", "h2c"),
    ("TE", "trailers"),
    ("Trailer", "x"),
    ("Expect", "100-continue"),
    ("Proxy-Authorization", "Basic canary"),
    ("Accept-Encoding", "br"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[name for name, _ in REFUSED])
async def test_headers_that_are_not_the_callers(name: str, value: str) -> None:
    """A header that frames a request is refused in any place, before anything is sent."""
    headers = {name: value}
    async with Loopback(replies(PAGE)) as server, client_of(server) as client:
        for call in CALLS.values():
            with pytest.raises(ConfigurationError, match=f"(?i){name}"):
                await call(client, headers)
        with pytest.raises(ConfigurationError, match=f"(?i){name}"):
            client.with_options(default_headers=headers)
        with pytest.raises(ConfigurationError, match=f"(?i){name}") as caught:
            async with client_of(server, default_headers=headers):
                pass  # pragma: no cover
    assert "canary" not in str(caught.value)
    assert server.asked == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"range": "bytes=0-99"}, 206),
        ({"if-none-match": '"x"'}, 304),
        ({"if-modified-since": "Mon, 01 Jan 2024 00:00:00 GMT"}, 304),
        ({"if-match": '"x"'}, 412),
        ({"range": "bytes=9999-"}, 416),
    ],
    ids=str,
)
@pytest.mark.usefixtures("way")
async def test_a_part_of_a_page(headers: dict[str, str], status: int) -> None:
    """The answer to a conditional request is a page or an error, never part of a page."""
    answers = iter([PAGE, PAGE, Answer(page([message(0)]) if status == 206 else b"", status)])
    async with Loopback(lambda _: next(answers)) as server, client_of(server) as client:
        for _ in range(2):  # a server may ignore such headers
            assert len((await client.list("chatcmpl-1", extra_headers=headers)).data) == 1
        with pytest.raises(APIResponseError) as caught:
            await client.list("chatcmpl-1", extra_headers=headers)
    assert caught.value.status == status


# --- codings of the answer ------------------------------------------------------------------------

BODY = json.dumps(page([message(0)])).encode()
CODED = {
    "x-gzip": gzip.compress(BODY),
    "GZip": gzip.compress(BODY),
    "identity, gzip": gzip.compress(BODY),
    "gzip , identity": gzip.compress(BODY),
    "gzip, gzip": gzip.compress(gzip.compress(BODY)),
    "gzip, deflate": zlib.compress(gzip.compress(BODY)),
    "utf-8": BODY,
    "UTF-8": BODY,
    "none": BODY,
    "identity": BODY,
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("status", [200, 203])
@pytest.mark.parametrize(("coding", "body"), CODED.items(), ids=CODED.keys())
async def test_codings_of_the_answer(coding: str, body: bytes, status: int) -> None:
    """A page is read whatever its coding is called, and whether or not a proxy changed it."""
    answer = Answer(body, status, {"content-encoding": coding})
    async with Loopback(replies(answer)) as server, client_of(server) as client:
        for _ in range(2):
            assert [one.id for one in (await client.list("chatcmpl-1")).data] == ["chatcmpl-1-0"]
    assert len(server.asked) == 2


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("coding", ["br", "gzip, br", "gzip, gzip, gzip", "compress"])
async def test_an_unknown_coding(coding: str) -> None:
    """A page in an unknown coding is an error, and requested once."""
    answers = iter([PAGE, PAGE, Answer(BODY, headers={"content-encoding": coding})])
    retry = RetryPolicy(initial_backoff=0.001)
    async with (
        Loopback(lambda _: next(answers)) as server,
        client_of(server, retry=retry) as client,
    ):
        for _ in range(2):
            await client.list("chatcmpl-1")
        with pytest.raises(DecodeError, match="unknown compression"):
            await client.list("chatcmpl-1")
    assert len(server.asked) == 3


# --- what sessions bring along --------------------------------------------------------------------


async def test_a_session_with_a_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials from a .netrc cannot be sent with the key: the error says what to change."""
    async with (
        Loopback(replies(PAGE)) as server,
        aiohttp.ClientSession(trust_env=True) as session,
        client_of(server, session=session) as client,
    ):
        monkeypatch.setenv("NETRC", str(tmp_path / "none"))
        await client.list("chatcmpl-1")  # without one, nothing is wrong with the session
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password canary\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with pytest.raises(ConfigurationError, match="netrc, by trust_env=True") as caught:
            await client.list("chatcmpl-1")
    assert caught.value.__context__ is None
    assert "canary" not in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_session_with_credentials() -> None:
    """A session that has credentials of its own is refused before anything is sent."""
    auth = aiohttp.BasicAuth("me", "canary")
    async with Loopback(replies(PAGE)) as server, aiohttp.ClientSession(auth=auth) as session:
        with pytest.raises(ConfigurationError, match="from auth=") as caught:
            async with client_of(server, session=session):
                pass  # pragma: no cover
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Expect"])
async def test_a_session_with_framing_headers(name: str) -> None:
    """A session that sends framing headers is refused as well."""
    async with (
        Loopback(replies(PAGE)) as server,
        aiohttp.ClientSession(headers={name: "1"}) as session,
    ):
        with pytest.raises(ConfigurationError, match=f"(?i)sends {name} with each request"):
            async with client_of(server, session=session):
                pass  # pragma: no cover


async def test_a_session_that_closes_each_connection() -> None:
    """The session decides how its connections are used."""
    async with (
        Loopback(replies(PAGE)) as server,
        aiohttp.ClientSession(headers={"Connection": "close"}) as session,
        client_of(server, session=session) as client,
    ):
        await client.list("chatcmpl-1")
    assert server.asked[0].headers["connection"] == "close"


async def test_a_value_error_of_a_middleware() -> None:
    """A ValueError of a middleware passes unchanged."""

    async def middleware(_: aiohttp.ClientRequest, __: aiohttp.ClientHandlerType) -> Any:
        raise ValueError("mine")

    async with (
        Loopback(replies(PAGE)) as server,
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        client_of(server, session=session) as client,
    ):
        with pytest.raises(ValueError, match="mine"):
            await client.list("chatcmpl-1")


async def test_a_request_that_is_copied() -> None:
    """A recorder may copy the headers of a request, deeply too; its copy shows no key."""
    copies: list[Any] = []

    async def record(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        copies.append(copy.deepcopy(request.headers))
        return await handler(request)

    trace = aiohttp.TraceConfig()

    async def on_start(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
        copies.append(copy.deepcopy(params.headers))

    trace.on_request_start.append(on_start)
    async with (
        Loopback(replies(PAGE)) as server,
        aiohttp.ClientSession(middlewares=[record], trace_configs=[trace]) as session,
        client_of(server, session=session, default_headers={"x-team": "canary"}) as client,
    ):
        got = await client.list("chatcmpl-1")
    assert len(copies) == 2
    assert all(headers["authorization"] == f"Bearer {KEY}" for headers in copies)
    assert "canary" not in repr(copies)
    assert copy.deepcopy(got.headers) == got.headers


async def test_an_invalid_base_url() -> None:
    """A base URL that aiohttp could not parse is refused before any request."""
    with pytest.raises(ConfigurationError, match="not a URL"):
        AsyncMessagesClient(KEY, base_url="http://localhost[::1%25x]")
