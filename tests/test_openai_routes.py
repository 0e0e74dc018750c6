"""The local server, called as the official package's own tests call these routes.

That package runs its tests on a mock made from the contract: each route by a plain call, by its raw
and by its streamed response, by the sync and by the async client, with validation loose and strict.
Here the server holds conversations in the shape of the contract, so the results are compared as
well. Its tests ask for `limit=0`, which the API refuses; here it is 1.
"""

from __future__ import annotations

from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import openai
import pytest
from openai.pagination import AsyncCursorPage, SyncCursorPage
from openai.types.chat import ChatCompletion, ChatCompletionStoreMessage

from aiomessages.testing import MessagesServer

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = dict[str, Any]

SECOND, FIRST = "chatcmpl-b", "chatcmpl-a"  # the newest first, as they are listed


def _completion(completion_id: str, created: int) -> JSON:
    """Return a completion with all fields that the contract requires, of the right types."""
    reply = {"role": "assistant", "content": f"reply of {completion_id}", "refusal": None}
    return {
        "id": completion_id,
        "object": "chat.completion",
        "created": created,
        "model": "gpt-4o",
        "metadata": {"team": "blue"},
        "choices": [{"index": 0, "message": reply, "finish_reason": "stop", "logprobs": None}],
    }


def _message(completion_id: str, number: int) -> JSON:
    """Return a message of the contract, in which every role is `assistant`."""
    text = f"message {number}"
    return {
        "id": f"{completion_id}-{number}",
        "role": "assistant",
        "content": text,
        "refusal": None,
    }


COMPLETIONS = {
    completion_id: _completion(completion_id, created)
    for completion_id, created in ((SECOND, 1_700_000_001), (FIRST, 1_700_000_000))
}
MESSAGES = [_message(FIRST, number) for number in range(3)]
RECORDS = [
    {"completion": completion, "messages": MESSAGES if completion_id == FIRST else []}
    for completion_id, completion in COMPLETIONS.items()
]


class Use(NamedTuple):
    """A call of the package, the type of its result, and the content of that."""

    resource: str
    method: str
    arguments: JSON
    kind: type
    expected: list[JSON]

    def of(self, client: Any, way: str = "") -> Any:
        """Return the call of a client, bound to its arguments; `way` is a with_…_response."""
        method = attrgetter(".".join(filter(None, [self.resource, way, self.method])))(client)
        return lambda: method(**self.arguments)


CHAT, STORED = "chat.completions", "chat.completions.messages"
ALL_OF_A_MESSAGE_LIST = {"after": MESSAGES[0]["id"], "limit": 1, "order": "asc"}
ALL_OF_A_LIST = {"after": FIRST, "limit": 1, "order": "asc", "model": "gpt-4o"}
ALL_OF_A_LIST |= {"metadata": {"team": "blue"}}
USES = {
    "the messages": Use(
        STORED, "list", {"completion_id": FIRST}, ChatCompletionStoreMessage, MESSAGES
    ),
    "the messages, by every argument": Use(
        STORED,
        "list",
        {"completion_id": FIRST, **ALL_OF_A_MESSAGE_LIST},
        ChatCompletionStoreMessage,
        MESSAGES[1:2],
    ),
    "the completions": Use(CHAT, "list", {}, ChatCompletion, list(COMPLETIONS.values())),
    "the completions, by every argument": Use(
        CHAT, "list", ALL_OF_A_LIST, ChatCompletion, [COMPLETIONS[SECOND]]
    ),
    "one completion": Use(
        CHAT, "retrieve", {"completion_id": FIRST}, ChatCompletion, [COMPLETIONS[FIRST]]
    ),
}
each_use = pytest.mark.parametrize("use", USES.values(), ids=USES)
strictly_or_not = pytest.mark.parametrize("strict", [False, True], ids=["loose", "strict"])
by_each_transport = pytest.mark.parametrize("transport", ["httpx", "aiohttp"])


@pytest.fixture(scope="module")
def server() -> Iterator[MessagesServer]:
    """Serve both conversations."""
    with MessagesServer(records=RECORDS) as running:
        yield running


def _options(server: MessagesServer, *, strict: bool) -> JSON:
    return {
        "api_key": server.api_key,
        "base_url": server.base_url,
        "max_retries": 0,
        "_strict_response_validation": strict,  # otherwise it accepts any JSON
    }


def blocking(server: MessagesServer, *, strict: bool = True) -> openai.OpenAI:
    """Return the package's sync client."""
    return openai.OpenAI(**_options(server, strict=strict))


def asynchronous(
    server: MessagesServer, transport: str = "httpx", *, strict: bool = True
) -> openai.AsyncOpenAI:
    """Return the package's async client, over either of its transports."""
    http_client = openai.DefaultAioHttpClient() if transport == "aiohttp" else None
    return openai.AsyncOpenAI(**_options(server, strict=strict), http_client=http_client)


def hold(use: Use, result: Any, page: Any) -> None:
    """Compare a result with its use: its type, the type of each item, and every field."""
    assert type(result) is (page[use.kind] if use.method == "list" else use.kind)
    items = result.data if use.method == "list" else [result]
    assert [type(item) for item in items] == [use.kind] * len(items)
    assert [item.to_dict() for item in items] == use.expected


# --- the sync client ------------------------------------------------------------------------------


@each_use
@strictly_or_not
def test_a_call(use: Use, strict: bool, server: MessagesServer) -> None:
    """The sync client gets a page, or the completion, of its own types."""
    with blocking(server, strict=strict) as client:
        hold(use, use.of(client)(), SyncCursorPage)


@each_use
def test_a_raw_response(use: Use, server: MessagesServer) -> None:
    """The response is read whole, and is then parsed into the same."""
    with blocking(server) as client:
        response = use.of(client, "with_raw_response")()
        assert response.is_closed
        assert response.http_request.method == "GET"
        hold(use, response.parse(), SyncCursorPage)


@each_use
def test_a_streamed_response(use: Use, server: MessagesServer) -> None:
    """The response is open inside its block and closed behind it, and is parsed into the same."""
    with blocking(server) as client:
        with use.of(client, "with_streaming_response")() as response:
            assert not response.is_closed
            hold(use, response.parse(), SyncCursorPage)
        assert response.is_closed


def test_a_walk_of_single_items(server: MessagesServer) -> None:
    """Pages of one message, and of one completion, lead to the end of each list."""
    with blocking(server) as client:
        messages = client.chat.completions.messages.list(FIRST, limit=1)
        assert [message.to_dict() for message in messages] == MESSAGES
        completions = client.chat.completions.list(limit=1)
        assert [completion.id for completion in completions] == [SECOND, FIRST]


# --- the async client -----------------------------------------------------------------------------


@each_use
@strictly_or_not
@by_each_transport
async def test_an_async_call(
    use: Use,
    strict: bool,
    transport: str,
    server: MessagesServer,
) -> None:
    """The async client gets the same, over each of its transports."""
    async with asynchronous(server, transport, strict=strict) as client:
        hold(use, await use.of(client)(), AsyncCursorPage)


@each_use
@by_each_transport
async def test_an_async_raw_response(use: Use, transport: str, server: MessagesServer) -> None:
    """The response is read whole, and is then parsed into the same."""
    async with asynchronous(server, transport) as client:
        response = await use.of(client, "with_raw_response")()
        assert response.is_closed
        hold(use, response.parse(), AsyncCursorPage)


@each_use
@by_each_transport
async def test_an_async_streamed_response(use: Use, transport: str, server: MessagesServer) -> None:
    """The response is open inside its block and closed behind it, and is parsed into the same."""
    async with asynchronous(server, transport) as client:
        async with use.of(client, "with_streaming_response")() as response:
            assert not response.is_closed
            hold(use, await response.parse(), AsyncCursorPage)
        assert response.is_closed


@by_each_transport
async def test_an_async_walk_of_single_items(transport: str, server: MessagesServer) -> None:
    """Pages of one message, and of one completion, lead to the end of each list."""
    async with asynchronous(server, transport) as client:
        messages = client.chat.completions.messages.list(FIRST, limit=1)
        assert [message.to_dict() async for message in messages] == MESSAGES
        completions = client.chat.completions.list(limit=1)
        assert [completion.id async for completion in completions] == [SECOND, FIRST]


# --- what is refused ------------------------------------------------------------------------------


WITH_AN_ID = {"the messages": (STORED, "list"), "one completion": (CHAT, "retrieve")}


@contextmanager
def nothing_sent(server: MessagesServer) -> Iterator[None]:
    """Expect the package's own error for an empty id, and no request."""
    before = len(server.requests)
    with pytest.raises(ValueError, match="non-empty value for `completion_id`"):
        yield
    assert len(server.requests) == before


@pytest.mark.parametrize(("resource", "method"), WITH_AN_ID.values(), ids=WITH_AN_ID)
async def test_an_empty_id_is_never_sent(
    resource: str, method: str, server: MessagesServer
) -> None:
    """Both clients refuse an empty id themselves: it would be another route."""
    use = Use(resource, method, {"completion_id": ""}, ChatCompletion, [])
    with blocking(server) as client, nothing_sent(server):
        use.of(client, "with_raw_response")()
    async with asynchronous(server) as async_client:
        with nothing_sent(server):
            await use.of(async_client, "with_raw_response")()


def test_a_limit_of_zero_is_refused(server: MessagesServer) -> None:
    """The package's mock takes the `limit=0` of its tests; the server answers 400, as the API."""
    with blocking(server) as client:
        for resource, arguments in ((STORED, {"completion_id": FIRST}), (CHAT, {})):
            use = Use(resource, "list", {**arguments, "limit": 0}, ChatCompletion, [])
            with pytest.raises(openai.BadRequestError) as caught:
                use.of(client)()
            assert caught.value.param == "limit"


WRITING = {
    "create": {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "store": True},
    "update": {"completion_id": FIRST, "metadata": {"team": "red"}},
    "delete": {"completion_id": FIRST},
}


@pytest.mark.parametrize("method", WRITING)
def test_the_server_is_read_only(method: str, server: MessagesServer) -> None:
    """The server is read-only: create, update and delete are answered 405, and change nothing."""
    with blocking(server) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            Use(CHAT, method, WRITING[method], ChatCompletion, []).of(client)()
        assert (caught.value.status_code, caught.value.code) == (405, "method_not_supported")
        assert client.chat.completions.retrieve(FIRST).to_dict() == COMPLETIONS[FIRST]
