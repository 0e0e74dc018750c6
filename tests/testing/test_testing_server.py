"""Claims about the server of a test: stored completions, received requests, faults."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from aiomessages import (
    APIConnectionError,
    APITimeoutError,
    AsyncMessagesClient,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
)
from aiomessages.server import LocalServer
from aiomessages.testing import MessagesServer
from aiomessages.testing.faults import STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message as Headers
    from pathlib import Path

    Store = Callable[..., str]

NEVER = RetryPolicy(max_retries=0)


def get(server: MessagesServer, path: str = "/chat/completions", **headers: str) -> Any:
    """Return the JSON of a response, requested with the server's key by urllib."""
    headers = headers or {"Authorization": f"Bearer {server.api_key}"}
    request = urllib.request.Request(server.base_url + path, headers=headers)  # noqa: S310 - ours
    with urllib.request.urlopen(request) as response:  # noqa: S310 - our own server
        return json.loads(response.read())


def refusal(server: MessagesServer, path: str = "/chat/completions") -> tuple[int, Headers]:
    """Return the status and the headers of an error response."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        get(server, path)
    with raised.value as error:
        return error.code, error.headers


def statuses(server: MessagesServer, count: int, path: str = "/chat/completions") -> list[int]:
    """Send `count` requests in sequence, and return the statuses."""
    return [status(server, path) for _ in range(count)]


def status(server: MessagesServer, path: str) -> int:
    """Send a request, and return the status."""
    try:
        get(server, path)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


# --- its life -------------------------------------------------------------------------------------


def test_it_serves_while_its_block_runs() -> None:
    """Before and after the block it raises RuntimeError and refuses connections."""
    server = MessagesServer()
    for _ in range(2):  # it can be used again
        with pytest.raises(RuntimeError, match="not running"):
            server.store()
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.base_url
        with server:
            assert len(get(server)["data"]) == 0
            url = server.base_url
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(url)  # noqa: S310 - nobody


def test_an_error_in_its_block() -> None:
    """The error passes unchanged, and the server stops."""
    server = MessagesServer()
    with pytest.raises(ZeroDivisionError), server:
        raise ZeroDivisionError
    assert "not running" in repr(server)


def test_an_error_at_the_start() -> None:
    """Invalid records raise the error of the local server, and leave no thread."""
    before = threading.active_count()
    with pytest.raises(ValueError, match="line 1"), MessagesServer(records=[{}]):
        pass
    assert threading.active_count() == before


def test_its_options(tmp_path: Path) -> None:
    """The options for the sample, the file and the key are those of the local server."""
    with MessagesServer(tmp_path / "stored.db", sample=True, api_key="sk-chosen") as server:
        assert get(server, "/chat/completions/chatcmpl-tides")["id"] == "chatcmpl-tides"
    with MessagesServer(tmp_path / "stored.db", api_key="sk-chosen") as server:
        assert get(server, "/chat/completions/chatcmpl-tides")["id"] == "chatcmpl-tides"
        assert server.environment == {
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "sk-chosen",
        }


def test_its_key_is_not_shown(messages_server: MessagesServer) -> None:
    """The reprs show neither the key of the server nor a key that an app sent by mistake."""
    assert messages_server.base_url in repr(messages_server)
    assert messages_server.api_key not in repr(messages_server)
    with pytest.raises(urllib.error.HTTPError) as raised:
        get(messages_server, Authorization="Bearer sk-real-0123456789")
    raised.value.close()
    (request,) = messages_server.requests
    assert request.headers["authorization"] == "Bearer sk-real-0123456789"
    assert "sk-real" not in repr(request)


# --- stored completions and received requests -----------------------------------------------------


async def test_a_stored_conversation(
    stored_completion: Store, messages_client: AsyncMessagesClient
) -> None:
    """A client reads the stored messages, reply and metadata."""
    id = stored_completion(
        ["Is it raining?", "Yes."], model="gpt-x", metadata={"user": "u1"}, reply="Still."
    )
    said = [(item.id, item.role, item.content) async for item in messages_client.list(id)]
    assert said == [(f"{id}-0", "user", "Is it raining?"), (f"{id}-1", "assistant", "Yes.")]
    (found,) = [item async for item in messages_client.completions(metadata={"user": "u1"})]
    assert (found.id, found.model) == (id, "gpt-x")
    assert found.choices[0].message.content == "Still."


async def test_a_conversation_of_many_pages(
    messages_server: MessagesServer, stored_completion: Store, messages_client: AsyncMessagesClient
) -> None:
    """A number stores that many messages, and the requests show the pages."""
    id = stored_completion(250)
    assert len([item async for item in messages_client.list(id)]) == 250
    asked = [(request.completion_id, request.query) for request in messages_server.requests]
    assert asked == [
        (id, {"limit": "100"}),
        (id, {"limit": "100", "after": f"{id}-99"}),
        (id, {"limit": "100", "after": f"{id}-199"}),
    ]


def test_ids_of_their_own(stored_completion: Store, messages_server: MessagesServer) -> None:
    """Each completion gets a free id, and is one second younger than the previous one."""
    ids = [stored_completion(), stored_completion(id="chatcmpl-3"), stored_completion()]
    assert ids == ["chatcmpl-1", "chatcmpl-3", "chatcmpl-4"]
    listed = get(messages_server, "/chat/completions?order=asc")["data"]
    assert [item["id"] for item in listed] == ids
    assert listed[2]["created"] - listed[0]["created"] == 2


def test_an_id_that_is_stored_already(
    stored_completion: Store, messages_server: MessagesServer
) -> None:
    """The new completion replaces the stored one with all its messages."""
    assert stored_completion(9, id="mine") == stored_completion(1, id="mine") == "mine"
    assert len(get(messages_server, "/chat/completions/mine/messages")["data"]) == 1


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"messages": [{"content": "Hi"}]}, r"cannot be stored: .*role"),
        ({"metadata": {"n": 1}}, r"cannot be stored: .*metadata"),
        ({"id": "a/b"}, r"cannot be stored: .*id"),
        ({"messages": -1}, "0 messages or more, not -1"),
    ],
)
def test_an_invalid_completion(
    stored_completion: Store, messages_server: MessagesServer, given: Any, complaint: str
) -> None:
    """The error holds the reason, and nothing is stored."""
    with pytest.raises(ValueError, match=complaint):
        stored_completion(**given)
    assert get(messages_server)["data"] == []


def test_received_requests(messages_server: MessagesServer) -> None:
    """The list has every request, failed ones too, until it is cleared."""
    statuses(messages_server, 1, "/chat/completions/nobody?limit=3")
    statuses(messages_server, 1, "/nowhere")
    first, second = messages_server.requests
    assert (first.method, first.path) == ("GET", "/v1/chat/completions/nobody")
    assert (first.query, first.completion_id) == ({"limit": "3"}, "nobody")
    assert first.headers["host"] in messages_server.base_url
    assert (second.path, second.completion_id) == ("/v1/nowhere", None)
    messages_server.requests.clear()
    statuses(messages_server, 1)
    assert len(messages_server.requests) == 1


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", STATUSES)
def test_a_status(messages_server: MessagesServer, code: int) -> None:
    """The server responds with the status `times` times."""
    messages_server.fail(code, times=2)
    assert statuses(messages_server, 3) == [code, code, 200]


def test_faults_one_after_the_other(messages_server: MessagesServer) -> None:
    """The next fault starts when one is used up; a used-up fault does not start again."""
    messages_server.fail(500, times=1)
    assert statuses(messages_server, 1) == [500]
    messages_server.fail(503, times=2)
    messages_server.fail("conflict")
    assert statuses(messages_server, 4) == [503, 503, 409, 409]
    messages_server.recover()
    assert statuses(messages_server, 1) == [200]
    messages_server.fail(500, times=1)
    assert statuses(messages_server, 2) == [500, 200]


def test_the_first_request_to_strike(messages_server: MessagesServer) -> None:
    """Requests are counted from the moment of the call."""
    statuses(messages_server, 3)
    messages_server.fail(500, first=2, times=1)
    messages_server.fail(503, first=3)
    assert statuses(messages_server, 4) == [200, 500, 503, 503]


def test_one_completion_of_several(
    messages_server: MessagesServer, stored_completion: Store
) -> None:
    """Requests for other completions are neither affected nor counted."""
    good, bad = stored_completion(), stored_completion()
    messages_server.fail(500, completion_id=bad, first=2)
    path = "/chat/completions"
    assert statuses(messages_server, 1) == [200]
    assert statuses(messages_server, 3, f"{path}/{bad}/messages") == [200, 500, 500]
    assert statuses(messages_server, 3, f"{path}/{good}/messages") == [200, 200, 200]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, ("0", "0")), (0.02, ("1", "20")), (90, ("90", "90000"))]
)
def test_an_answer_that_asks_to_wait(
    messages_server: MessagesServer, seconds: float, expected: tuple[str, str]
) -> None:
    """Retry-After holds whole seconds, and retry-after-ms milliseconds."""
    messages_server.fail(429, retry_after=seconds)
    code, headers = refusal(messages_server)
    assert (code, headers["Retry-After"], headers["retry-after-ms"]) == (429, *expected)


def test_a_fault_that_asks_to_wait_and_has_nothing_to_strike(
    messages_server: MessagesServer,
) -> None:
    """A fault that does not apply to an empty page adds no headers either."""
    messages_server.fail("wrong-type", retry_after=1)
    assert statuses(messages_server, 1) == [200]


async def test_a_429_reaches_the_app_with_its_wait(
    messages_server: MessagesServer, stored_completion: Store, messages_client: AsyncMessagesClient
) -> None:
    """A wait beyond the deadline raises immediately, with the wait in the error."""
    messages_server.fail(429, retry_after=90)
    with pytest.raises(RateLimitError) as raised:
        await messages_client.list(stored_completion(), deadline=10)
    assert raised.value.retry_after == 90


async def test_a_page_that_breaks_off(
    messages_server: MessagesServer, stored_completion: Store, messages_client: AsyncMessagesClient
) -> None:
    """The earlier page is delivered, and a client with retries delivers everything."""
    id = stored_completion(6)
    messages_server.fail("body-short", first=2)
    walk = messages_client.with_options(retry=NEVER).list(id, limit=3)
    assert [(await anext(walk)).content for _ in range(3)] == [f"message {n}" for n in range(3)]
    with pytest.raises(APIConnectionError):
        await anext(walk)
    messages_server.recover()
    messages_server.fail("body-short", first=2, times=2)
    assert len([item async for item in messages_client.list(id, limit=3)]) == 6


async def test_a_completion_that_is_not_visible_yet(
    messages_server: MessagesServer, stored_completion: Store, messages_client: AsyncMessagesClient
) -> None:
    """The first requests get a 404, and `wait_until_visible` retries them."""
    id = stored_completion()
    messages_server.fail(404, times=1, completion_id=id)
    with pytest.raises(NotFoundError):
        await messages_client.list(id)
    messages_server.fail(404, times=1, completion_id=id)
    assert len((await messages_client.list(id, wait_until_visible=5)).data) == 1


def test_a_slow_answer(messages_server: MessagesServer) -> None:
    """The delayed response is correct, and arrives no earlier than the delay."""
    messages_server.slow_down(0.05, times=1)
    began = time.monotonic()
    assert get(messages_server)["data"] == []
    assert time.monotonic() - began >= 0.05
    assert len(messages_server.requests) == 1


async def test_an_answer_too_slow_for_a_client(
    messages_server: MessagesServer, stored_completion: Store, messages_client: AsyncMessagesClient
) -> None:
    """The client times out, and the server stops without waiting for the delay."""
    messages_server.slow_down(3600)
    with pytest.raises(APITimeoutError):
        await messages_client.with_options(timeout=0.02, retry=NEVER).list(stored_completion())


async def test_a_server_that_cannot_be_reached(
    messages_server: MessagesServer, stored_completion: Store, messages_client: AsyncMessagesClient
) -> None:
    """The server refuses connections, also to a client that had one; stored data stays."""
    id, url = stored_completion(), messages_server.base_url
    await messages_client.list(id)
    before = len(messages_server.requests)
    with messages_server.unreachable():
        with pytest.raises(APIConnectionError, match="no connection"):
            await messages_client.list(id)
        assert messages_server.base_url == url
        later = stored_completion()
    assert len(messages_server.requests) == before
    assert (await messages_client.list(id)).data
    assert (await messages_client.list(later)).data


@pytest.mark.parametrize(
    ("arguments", "options", "complaint"),
    [
        ((418,), {}, "no fault with status 418; there are 400, 401"),
        (("server-eror",), {}, "no fault 'server-eror'; the nearest are server-error"),
        ((500,), {"times": 0}, "counted from 1"),
        ((500,), {"first": 0}, "counted from 1"),
        ((429,), {"retry_after": -1}, "seconds from 0, not -1"),
        ((429,), {"retry_after": float("nan")}, "seconds from 0, not nan"),
    ],
)
def test_an_unknown_fault(
    messages_server: MessagesServer, arguments: Any, options: Any, complaint: str
) -> None:
    """The call raises the error, and later responses are correct."""
    with pytest.raises(ValueError, match=complaint):
        messages_server.fail(*arguments, **options)
    with pytest.raises(ValueError, match="seconds from 0, not -1"):
        messages_server.slow_down(-1)
    assert statuses(messages_server, 1) == [200]


# --- what the local server has for it -------------------------------------------------------------


async def test_a_local_server_that_pauses() -> None:
    """A server can pause twice, resume twice, and close while paused."""
    server = LocalServer()
    with pytest.raises(RuntimeError, match="not running"):
        await server.resume()
    async with server:
        url = server.base_url
        await server.resume()
        await server.pause()
        await server.pause()
        async with LocalServer(port=int(url.rsplit(":")[-1].removesuffix("/v1"))):
            with pytest.raises(OSError, match="address already in use"):
                await server.resume()
        await server.resume()
        assert server.base_url == url
        await server.pause()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.base_url
