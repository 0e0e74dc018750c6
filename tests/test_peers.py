"""The client compared with others: the official package, recorded traffic, real conversations.

The recordings and the conversations are read from ../shared/data, and skipped where it is missing.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import openai
import pytest
from loopback import Answer, Asked, Loopback

from aiomessages import APIStatusError, AsyncMessagesClient, Message, NotFoundError
from aiomessages.server import LocalServer
from aiomessages.server.sample import sample_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.unmeasured

JSON = dict[str, Any]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WIRE = DATA / "wire.jsonl"
CONVERSATIONS = DATA / "conversations.jsonl.gz"
needs_wire = pytest.mark.skipif(not WIRE.exists(), reason=f"{WIRE.name} is not on this machine")
needs_conversations = pytest.mark.skipif(
    not CONVERSATIONS.exists(), reason=f"{CONVERSATIONS.name} is not on this machine"
)

SAMPLE = {record["completion"]["id"]: record for record in sample_records()}


def ours(server: LocalServer) -> AsyncMessagesClient:
    """Return this project's client of a server."""
    return AsyncMessagesClient(server.api_key, base_url=server.base_url)


def theirs(server: LocalServer) -> openai.AsyncOpenAI:
    """Return the official package's client of a server."""
    return openai.AsyncOpenAI(api_key=server.api_key, base_url=server.base_url, max_retries=0)


def plain(message: Any) -> JSON:
    """Return the official package's message as a dict; it warns of kinds it does not know."""
    fields: JSON = message.to_dict(warnings=False)
    return fields


def assert_same(message: Message, expected: JSON) -> None:
    """Compare a message with its JSON: as a dict, and attribute by attribute."""
    assert message.to_dict() == expected
    for name in ("id", "role", "content", "name", "refusal", "tool_call_id"):
        assert getattr(message, name) == expected.get(name)
    kinds = [part["type"] for part in expected["content_parts"] or ()]
    assert [part.type for part in message.content_parts or ()] == kinds
    calls = expected.get("tool_calls") or ()
    assert [call.type for call in message.tool_calls or ()] == [call["type"] for call in calls]
    for call, wanted in zip(message.tool_calls or (), calls, strict=True):
        if call.type == "function":
            assert call.id == wanted["id"]
            assert call.function.name == wanted["function"]["name"]
            assert call.function.arguments == wanted["function"]["arguments"]


# --- the official package -------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [3, 20, 100])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_the_official_package_sees_the_same_messages(limit: int, order: Any) -> None:
    """Both walk every sample conversation to its end, and both get what was stored."""
    async with LocalServer(sample=True) as server, ours(server) as client, theirs(server) as peer:
        for id, record in SAMPLE.items():
            stored = record["messages"] if order == "asc" else record["messages"][::-1]
            listing = peer.chat.completions.messages.list(id, limit=limit, order=order)
            seen_by_peer = [plain(message) async for message in listing]
            messages = [message async for message in client.list(id, limit=limit, order=order)]
            assert [message.to_dict() for message in messages] == seen_by_peer == stored


async def test_the_official_package_sees_the_same_page() -> None:
    """One page without options, and the one after a cursor, agree in their members."""
    async with LocalServer(sample=True) as server, ours(server) as client, theirs(server) as peer:
        for after in (None, "chatcmpl-lighthouse-40", "chatcmpl-lighthouse-60"):
            query = {} if after is None else {"after": after}
            page = await client.list("chatcmpl-lighthouse", **query)
            other = await peer.chat.completions.messages.list("chatcmpl-lighthouse", **query)
            assert [m.to_dict() for m in page.data] == [plain(message) for message in other.data]
            assert page.has_next_page() == other.has_next_page()
            assert (page.first_id, page.last_id) == (other.first_id, other.last_id)


async def test_the_official_package_sees_the_same_completions() -> None:
    """Lists, filters and single completions agree, and are what was stored."""
    filters: list[JSON] = [{}, {"model": "gpt-4o-2024-08-06"}, {"metadata": {"topic": "travel"}}]
    async with LocalServer(sample=True) as server, ours(server) as client, theirs(server) as peer:
        for wanted in filters:
            listing = peer.chat.completions.list(**wanted, order="asc", limit=7)
            seen_by_peer = [completion.id async for completion in listing]
            completions = [c async for c in client.completions(**wanted, limit=7)]
            assert [completion.id for completion in completions] == seen_by_peer
            for completion in completions:
                assert completion.to_dict() == SAMPLE[completion.id]["completion"]
        one = await client.completion("chatcmpl-tides")
        other = await peer.chat.completions.retrieve("chatcmpl-tides")
        assert one.choices[0].message.content == other.choices[0].message.content


async def test_the_official_package_knows_the_servers_errors() -> None:
    """The official package maps errors as those of the live API, with the same code and param."""
    async with LocalServer(sample=True) as server, ours(server) as client, theirs(server) as peer:
        with pytest.raises(openai.NotFoundError) as their_error:
            await peer.chat.completions.messages.list("chatcmpl-none")
        with pytest.raises(NotFoundError) as our_error:
            await client.list("chatcmpl-none")
        assert (our_error.value.code, our_error.value.param) == ("not_found", "completion_id")
        assert (their_error.value.code, their_error.value.param) == ("not_found", "completion_id")
        with pytest.raises(openai.BadRequestError, match="'limit'"):
            await peer.chat.completions.messages.list("chatcmpl-tides", limit=0)
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            await peer.with_options(api_key="sk-another").chat.completions.list()


# --- recorded traffic -----------------------------------------------------------------------------


def recorded() -> list[JSON]:
    """Read the GET exchanges that were recorded."""
    lines = WIRE.read_text("utf-8").splitlines()
    return [exchange for exchange in map(json.loads, lines) if exchange["method"] == "GET"]


def answer(exchange: JSON) -> Answer:
    """Rebuild the answer: a list on one line, an error indented, as the live API writes them."""
    how: JSON = {"separators": (",", ":")} if exchange["status"] == 200 else {"indent": 2}
    body = json.dumps(exchange["body"], ensure_ascii=False, **how).encode()
    framing = ("connection", "content-length", "transfer-encoding")
    headers = {k: v for k, v in exchange["headers"].items() if k not in framing}
    # The recordings have the lengths of short bodies, so these are rebuilt to the byte.
    assert exchange["headers"].get("content-length") in (None, str(len(body)))
    return Answer(body, exchange["status"], headers)


def call(client: AsyncMessagesClient, url: str) -> Any:
    """Make the call that requests a recorded URL."""
    path, query = unquote(urlsplit(url).path), dict(parse_qsl(urlsplit(url).query))
    limit = {"limit": int(query["limit"])} if "limit" in query else {}
    paging: JSON = {key: query[key] for key in ("after", "order") if key in query} | limit
    match path.split("/")[4:]:
        case [completion_id, "messages"]:
            return client.list(completion_id, **paging)
        case [completion_id]:
            return client.completion(completion_id)
    metadata = {key[9:-1]: query[key] for key in query if key.startswith("metadata[")}
    return client.completions(model=query.get("model"), metadata=metadata, **paging)


async def replay(exchange: JSON) -> tuple[Any, Asked]:
    """Answer one call as it was recorded; return the client's result."""
    async with (
        Loopback(lambda _: answer(exchange)) as server,
        AsyncMessagesClient("sk-replay", base_url=server.base_url) as client,
    ):
        try:
            outcome = await call(client, exchange["url"])
        except APIStatusError as error:
            outcome = error
        (asked,) = server.asked
        return outcome, asked


def succeeded(exchange: JSON) -> bool:
    """Return whether a call succeeded."""
    return bool(exchange["status"] == 200)


@needs_wire
async def test_recorded_pages_decode_as_they_were() -> None:
    """Each page has the recorded items, ids and end, each item all of its members."""
    pages = [x for x in recorded() if succeeded(x) and x["body"]["object"] == "list"]
    assert len(pages) > 30
    for exchange in pages:
        page, _ = await replay(exchange)
        body = exchange["body"]
        assert [item.to_dict() for item in page.data] == body["data"]
        assert (page.first_id, page.last_id) == (body["first_id"], body["last_id"])
        assert (page.object, page.has_more) == ("list", body["has_more"])
        assert page.headers["openai-version"] == exchange["headers"]["openai-version"]


@needs_wire
async def test_recorded_messages_decode_attribute_by_attribute() -> None:
    """The attributes of each message equal its JSON."""
    lists = [x for x in recorded() if succeeded(x) and "/messages" in x["url"]]
    expected = [message for exchange in lists for message in exchange["body"]["data"]]
    pages = [(await replay(exchange))[0] for exchange in lists]
    for message, wanted in zip([m for p in pages for m in p.data], expected, strict=True):
        assert_same(message, wanted)
    assert len(expected) == 10


@needs_wire
async def test_recorded_urls_are_asked_for() -> None:
    """The client requests the recorded path, with every recorded parameter."""
    for exchange in recorded():
        _, asked = await replay(exchange)
        url = urlsplit(exchange["url"])
        assert asked.path == unquote(url.path)
        assert dict(parse_qsl(url.query)).items() <= asked.query.items()


@needs_wire
async def test_recorded_errors_are_raised_as_they_were() -> None:
    """Each 404 becomes a NotFoundError with the recorded message, type, param and code."""
    errors = [exchange for exchange in recorded() if not succeeded(exchange)]
    assert errors
    for exchange in errors:
        error, _ = await replay(exchange)
        assert isinstance(error, NotFoundError)
        wanted = exchange["body"]["error"]
        for name in ("message", "type", "param", "code"):
            assert getattr(error, name) == wanted[name]
        assert error.status == exchange["status"]


@needs_wire
async def test_a_recorded_completion_decodes_as_it_was() -> None:
    """A completion that was fetched by itself has every recorded member."""
    single = [x for x in recorded() if succeeded(x) and x["body"]["object"] != "list"]
    assert single
    for exchange in single:
        completion, _ = await replay(exchange)
        assert completion.to_dict() == exchange["body"]


def conversation_of_two_pages() -> tuple[str, dict[str | None, JSON]]:
    """Find the recorded walk: a completion, and its pages by their cursors."""
    pages = [x for x in recorded() if succeeded(x) and "/messages" in x["url"]]
    (first,) = [exchange for exchange in pages if exchange["body"]["has_more"]]
    path = urlsplit(first["url"]).path
    queries = {x["url"]: dict(parse_qsl(urlsplit(x["url"]).query)) for x in pages}
    walk = {queries[x["url"]].get("after"): x for x in pages if x["url"].startswith(path)}
    return path.split("/")[4], walk


@needs_wire
async def test_a_recorded_walk_is_walked_again() -> None:
    """The client walks the pages as recorded, and gets each message once."""
    completion_id, walk = conversation_of_two_pages()
    script: Callable[[Asked], Answer] = lambda asked: answer(walk[asked.query.get("after")])  # noqa: E731
    async with (
        Loopback(script) as server,
        AsyncMessagesClient("sk-replay", base_url=server.base_url) as client,
    ):
        messages = [message async for message in client.list(completion_id, limit=2)]
        assert len(server.asked) == len(walk) == 2
    expected = [message for exchange in walk.values() for message in exchange["body"]["data"]]
    assert [message.to_dict() for message in messages] == expected


# --- real conversations ---------------------------------------------------------------------------


def conversations() -> Iterator[JSON]:
    """Read the records of the real conversations."""
    with gzip.open(CONVERSATIONS, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


@needs_conversations
async def test_real_conversations_come_back_field_by_field() -> None:
    """Imported, served and read, each of the 2,326 messages equals the one in the file."""
    count = 0
    async with LocalServer(records=CONVERSATIONS) as server, ours(server) as client:
        for record in conversations():
            id = record["completion"]["id"]
            messages = [message async for message in client.list(id)]
            for message, expected in zip(messages, record["messages"], strict=True):
                assert_same(message, expected)
            raw = [json.loads(body) async for body in client.list(id, limit=7).raw()]
            assert raw == record["messages"]
            count += len(messages)
    assert count == 2326


@needs_conversations
async def test_real_completions_come_back_whole() -> None:
    """The list of completions has all hundred, each with its reply and every other member."""
    stored = {record["completion"]["id"]: record["completion"] for record in conversations()}
    async with LocalServer(records=CONVERSATIONS) as server, ours(server) as client:
        completions = [completion async for completion in client.completions()]
    assert len(completions) == len(stored) == 100
    assert {c.id: c.to_dict() for c in completions} == stored
