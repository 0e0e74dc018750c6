"""Odd stored completions: an export keeps every readable part, and names the rest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from loopback import Answer, Asked, Loopback

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.export import CreatedBetween, export

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HALF = rb'{"role":"assistant","content":"half an emoji: \ud83d"}'
FAR = b'{"role":"assistant","content":"far","confidence":1e400}'


def completion(reply: bytes, more: bytes = b"") -> bytes:
    """Return a stored completion as the server sends it."""
    return b'{"id":"c","choices":[{"index":0,"message":%b}]%b}' % (reply, more)


class Server(Loopback):
    """A server with one completion, in the form of `body`, and its messages."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.body = b""
        self.messages: list[bytes] = []

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("/messages"):
            data = b",".join(self.messages)
            return Answer(b'{"object":"list","data":[%b],"has_more":false}' % data)
        if asked.path.endswith("/c"):
            return Answer(self.body)
        return Answer(b'{"object":"list","data":[%b],"has_more":false}' % self.body)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Serve one completion."""
    async with Server() as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncMessagesClient]:
    """Give a client that asks once."""
    once = RetryPolicy(max_retries=0)
    async with AsyncMessagesClient("key", base_url=server.base_url, retry=once) as running:
        yield running


ODD = {
    "half an emoji in the reply": completion(HALF),
    "half an emoji beside it": completion(HALF, rb',"model":"\udc00","tools":["\ud83d"]'),
    "a number beyond all floats": completion(FAR, b',"usage":{"n":1e400},"new":-1e400'),
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
@pytest.mark.parametrize("listed", [False, True], ids=["by its id", "from a list"])
async def test_replies_are_the_servers_bytes(
    server: Server, client: AsyncMessagesClient, tmp_path: Path, body: bytes, listed: bool
) -> None:
    """A reply is exported as it was sent, even if Python could not represent it."""
    server.body = body
    for layout in ("messages", "conversations"):
        source: Any = client.completions() if listed else ["c"]
        path = tmp_path / f"{layout}.jsonl"
        report = await export(client, source, path, layout=layout)
        reply = FAR if FAR in body else HALF
        name = b'"message":' if layout == "messages" else b'"reply":'
        assert (report.rows, path.read_bytes().count(name + reply)) == (1, 1)
        assert layout == "messages" or body in path.read_bytes()


async def test_a_time_in_no_range(
    server: Server, client: AsyncMessagesClient, tmp_path: Path
) -> None:
    """A time that is not a valid number is in no range."""
    for created in (b"1e400", rb'"\ud83d"', b"[]"):
        server.body = completion(HALF, b',"created":' + created)
        path = tmp_path / f"{created.hex()}.jsonl"
        source = CreatedBetween(client.completions(), since=0)
        assert (await export(client, source, path)).rows == 0


@pytest.mark.parametrize("choices", [b"null", b"[]"])
@pytest.mark.parametrize("layout", ["messages", "conversations"])
async def test_a_completion_without_replies(
    server: Server, client: AsyncMessagesClient, tmp_path: Path, layout: str, choices: bytes
) -> None:
    """A completion without replies is written without them, and is no error."""
    server.body = b'{"id":"c","choices":%b}' % choices
    path = tmp_path / "out.jsonl"
    report = await export(client, client.completions(), path, layout=layout)
    assert (report.finished, report.failed) == (True, {})
    assert [json.loads(line)["reply"] for line in path.read_bytes().splitlines()] == (
        [None] if layout == "conversations" else []
    )


@pytest.mark.parametrize("choices", [b'"none"', b'[{"index":0}]', b"[7]"])
async def test_replies_in_another_shape(
    server: Server, client: AsyncMessagesClient, tmp_path: Path, choices: bytes
) -> None:
    """Choices of another shape have no reply, and the completion is written as stored."""
    server.body = b'{"id":"c","choices":%b}' % choices
    path = tmp_path / "out.jsonl"
    report = await export(client, client.completions(), path, layout="conversations")
    assert (report.finished, report.failed) == (True, {})
    (line,) = path.read_bytes().splitlines()
    assert line.endswith(b'"messages":[],"reply":null,"completion":%b}' % server.body)


OGX = (
    b'{"id":"c-%d","role":"%b","content":"%b","content_parts":null,"name":null,"tool_calls":null,'
    b'"tool_call_id":null,"refusal":null,"function_call":null,"annotations":null,"audio":null}'
)


@pytest.mark.parametrize("listed", [False, True], ids=["by its id", "from a list"])
async def test_a_server_that_lists_the_choices(
    server: Server, client: AsyncMessagesClient, tmp_path: Path, listed: bool
) -> None:
    """Inputs and replies are written once each, in every layout, for a list like OGX's."""
    said = [(b"user", b"Is it raining?"), (b"assistant", b"It is."), (b"assistant", b"It was.")]
    server.messages = [OGX % (n, *message) for n, message in enumerate(said)]
    replies = [b'{"role":"%b","content":"%b"}' % message for message in said[1:]]
    server.body = b'{"id":"c","choices":[%b],"input_messages":[{}]}' % b",".join(
        b'{"index":%d,"message":%b}' % pair for pair in enumerate(replies)
    )
    lines = {}
    for layout in ("messages", "conversations", "finetune"):
        source: Any = client.completions() if listed else ["c"]
        path = tmp_path / f"{layout}.jsonl"
        assert (await export(client, source, path, layout=layout)).finished
        lines[layout] = [json.loads(line) for line in path.read_bytes().splitlines()]
    question, *answers = ({"role": role.decode(), "content": text.decode()} for role, text in said)
    assert [(line["seq"], line.get("choice")) for line in lines["messages"]] == [
        (0, None),
        (1, 0),
        (2, 1),
    ]
    (conversation,) = lines["conversations"]
    assert [message["id"] for message in conversation["messages"]] == ["c-0"]
    assert conversation["reply"] == answers[0]
    assert lines["finetune"] == [{"messages": [question, answer]} for answer in answers]
