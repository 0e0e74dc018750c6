"""Claims about the routes, requested with plain aiohttp over a loopback socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from aiomessages.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest_server import Ask

    Build = Callable[..., dict[str, Any]]

MESSAGES = "/chat/completions/chatcmpl-c1/messages"


@pytest.fixture(autouse=True)
async def _filled(server: LocalServer, record: Build) -> None:
    await server.import_records(
        [
            record("c1", 25, created=1),
            record("c2", 0, created=2, model="o4", metadata={"team": "a b", "x": "1"}),
            record("c3", 1, created=3, metadata={"team": "a b"}),
        ]
    )


async def test_messages_come_in_pages_of_twenty_oldest_first(ask: Ask) -> None:
    """A request without a query gets the default page of the API."""
    page = await ask(MESSAGES)
    assert page.status == 200
    assert page.ids == [f"chatcmpl-c1-{n}" for n in range(20)]
    assert {k: v for k, v in page.json.items() if k != "data"} == {
        "object": "list",
        "first_id": "chatcmpl-c1-0",
        "last_id": "chatcmpl-c1-19",
        "has_more": True,
    }


async def test_after_limit_and_order_are_obeyed(ask: Ask) -> None:
    """In descending order the page after a cursor holds older messages."""
    page = await ask(MESSAGES, after="chatcmpl-c1-5", limit=3, order="desc")
    assert page.ids == ["chatcmpl-c1-4", "chatcmpl-c1-3", "chatcmpl-c1-2"]
    rest = await ask(MESSAGES, after="chatcmpl-c1-2", limit=3, order="desc")
    assert (rest.ids, rest.json["has_more"]) == (["chatcmpl-c1-1", "chatcmpl-c1-0"], False)


async def test_a_large_limit_is_not_refused(ask: Ask) -> None:
    """The API documents no maximum; a very large limit returns every message."""
    assert len((await ask(MESSAGES, limit=10**17)).ids) == 25


async def test_messages_are_served_as_they_were_stored(
    server: LocalServer, ask: Ask, record: Build
) -> None:
    """The JSON of a message arrives on one line, with its unknown fields."""
    odd = record("odd", 1)
    odd["messages"][0] |= {"mood": {"pride": 1.0}, "content": "\x1b\u202e \U0001f600\u2028"}
    await server.import_records([odd])
    page = await ask("/chat/completions/chatcmpl-odd/messages")
    assert page.json["data"] == odd["messages"]
    compact = json.dumps(odd["messages"], separators=(",", ":"), ensure_ascii=False)
    assert compact.encode() in page.body


async def test_completions_come_newest_first_unless_asked(ask: Ask) -> None:
    """The default order is that of the live API, not that of its contract."""
    newest_first = ["chatcmpl-c3", "chatcmpl-c2", "chatcmpl-c1"]
    assert (await ask()).ids == newest_first
    assert (await ask(order="asc")).ids == newest_first[::-1]
    assert (await ask(after="chatcmpl-c3", limit=1)).ids == ["chatcmpl-c2"]


async def test_completions_are_filtered(ask: Ask) -> None:
    """The filters are `model` and `metadata[key]=value`."""
    assert (await ask(model="o4")).ids == ["chatcmpl-c2"]
    assert (await ask(**{"metadata[team]": "a b"})).ids == ["chatcmpl-c3", "chatcmpl-c2"]
    both = {"metadata[team]": "a b", "metadata[x]": "1"}
    assert (await ask(**both)).ids == ["chatcmpl-c2"]


async def test_no_match_is_an_empty_page(ask: Ask) -> None:
    """The ids of an empty page are null."""
    page = (await ask(model="none")).json
    assert (page["data"], page["first_id"], page["last_id"]) == ([], None, None)


async def test_one_completion_is_served_whole(ask: Ask, record: Build) -> None:
    """The response is the object as it was stored."""
    answer = await ask("/chat/completions/chatcmpl-c2")
    stored = record("c2", created=2, model="o4", metadata={"team": "a b", "x": "1"})
    assert answer.json == stored["completion"]


async def test_every_response_has_the_headers_of_the_api(ask: Ask) -> None:
    """Responses and errors have the API's headers and their own request id, but no rate limit."""
    answers = [await ask(MESSAGES), await ask(MESSAGES), await ask("/nowhere")]
    for answer in answers:
        names = {name.lower() for name in answer.headers}
        assert names >= {"x-request-id", "openai-processing-ms", "openai-version"}
        assert not [name for name in names if name.startswith("x-ratelimit")]
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["openai-processing-ms"].isdecimal()
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 3


@pytest.mark.parametrize("rest", ["", "/messages"])
async def test_an_unknown_completion_is_404(ask: Ask, rest: str) -> None:
    """The error body is the recorded one, indented by two."""
    answer = await ask(f"/chat/completions/nope{rest}")
    assert answer.status == 404
    expected = {
        "message": "Completion nope not found",
        "type": "invalid_request_error",
        "param": "completion_id",
        "code": "not_found",
    }
    assert answer.body.decode() == json.dumps({"error": expected}, indent=2)


BAD_QUERIES = [
    ({"limit": "0"}, "limit", "integer_below_min_value"),
    ({"limit": "-3"}, "limit", "integer_below_min_value"),
    ({"limit": "many"}, "limit", "invalid_type"),
    ({"limit": ""}, "limit", "invalid_type"),
    ({"limit": "1.5"}, "limit", "invalid_type"),
    ({"limit": "٣"}, "limit", "invalid_type"),
    ({"limit": "9" * 5000}, "limit", "invalid_type"),
    ({"order": "newest"}, "order", "invalid_value"),
    ({"after": "chatcmpl-c9-0"}, "after", "invalid_value"),
    ({"after": ""}, "after", "invalid_value"),
]


@pytest.mark.parametrize("path", ["/chat/completions", MESSAGES])
@pytest.mark.parametrize(("query", "param", "code"), BAD_QUERIES)
async def test_a_bad_query_is_400(
    ask: Ask, path: str, query: dict[str, str], param: str, code: str
) -> None:
    """On both lists the error names the parameter; an unknown cursor is a bad query."""
    answer = await ask(path, **query)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "sk-1"])
async def test_a_missing_key_is_401(ask: Ask, header: str | None) -> None:
    """A header without a bearer key counts as missing."""
    answer = await ask(headers={} if header is None else {"Authorization": header})
    assert answer.status == 401
    assert "didn't provide an API key" in (answer.error["message"] or "")


@pytest.mark.parametrize("key", ["sk-wrong-and-secret", "schl\u00fcssel-\u2603"])
async def test_a_wrong_key_is_401(ask: Ask, key: str) -> None:
    """The code is invalid_api_key, and the body does not repeat the key."""
    answer = await ask(headers={"Authorization": f"Bearer {key}"})
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert key.encode() not in answer.body


async def test_a_key_that_is_not_utf_8(server: LocalServer) -> None:
    """A key that is not UTF-8 is a wrong key, and the response is UTF-8 regardless."""
    url = urlsplit(server.base_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b"GET /v1/chat/completions HTTP/1.1\r\nHost: local\r\nConnection: close\r\n")
    writer.write(b"Authorization: Bearer sk-0123456789abcd\xff\xfe\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 401 ")
    assert json.loads(body)["error"]["code"] == "invalid_api_key"


async def test_the_scheme_may_be_lower_case(server: LocalServer, ask: Ask) -> None:
    """Schemes are case-insensitive (RFC 9110, 11.1)."""
    answer = await ask(headers={"Authorization": f"bearer {server.api_key}"})
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/chat/completions", "/chat/completions/chatcmpl-c1", MESSAGES])
@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD"])
async def test_another_method_is_405(ask: Ask, path: str, method: str) -> None:
    """The only method is GET."""
    answer = await ask(path, method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")
    assert method == "HEAD" or answer.error["code"] == "method_not_supported"


async def test_another_url_is_404(ask: Ask) -> None:
    """The error names the URL, and differs from that of an unknown completion."""
    answer = await ask("/models")
    assert (answer.status, answer.error["code"]) == (404, None)
    assert answer.error["message"] == "Invalid URL (GET /v1/models)"


async def test_beyond_the_rate_is_429(ask_at: Callable[[LocalServer], Ask]) -> None:
    """The error holds the time to wait, in seconds and in milliseconds."""
    async with LocalServer(rate=0.001) as slow:
        ask = ask_at(slow)
        assert (await ask()).status == 200
        answer = await ask()
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    milliseconds = int(answer.headers["retry-after-ms"])
    assert 0 < milliseconds <= 1_000_000
    assert int(answer.headers["Retry-After"]) == -(-milliseconds // 1000)


async def test_a_wrong_key_does_not_use_up_the_rate(
    ask_at: Callable[[LocalServer], Ask],
) -> None:
    """A request that fails authentication takes no token."""
    async with LocalServer(rate=0.001) as slow:
        ask = ask_at(slow)
        assert (await ask(headers={})).status == 401
        assert (await ask()).status == 200


async def test_latency_is_part_of_the_processing_time(
    ask_at: Callable[[LocalServer], Ask],
) -> None:
    """The response header reports at least the latency."""
    async with LocalServer(latency=0.02) as slow:
        answer = await ask_at(slow)()
    assert int(answer.headers["openai-processing-ms"]) >= 20


async def test_a_failure_of_the_server_is_500_and_is_logged(
    tmp_path: Any, ask_at: Callable[[LocalServer], Ask], caplog: pytest.LogCaptureFixture
) -> None:
    """The error has the API's shape and hides the cause, which is in the log."""

    def broken_clock() -> float:
        raise ZeroDivisionError("the clock fell down")

    async with LocalServer(tmp_path / "a.db", clock=broken_clock) as broken:
        answer = await ask_at(broken)()
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert b"clock" not in answer.body
    assert "the clock fell down" in caplog.text
