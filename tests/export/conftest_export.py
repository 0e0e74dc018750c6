"""A real server with conversations, a client of it, and the expected content of exports."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from backports import zstd

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Json = Any


def record(number: int, messages: int = 3) -> dict[str, Json]:
    """Return a record of a completion for the server."""
    name = f"chatcmpl-{number:03}"
    reply = {"role": "assistant", "content": f"reply {number} ü"}
    completion = {
        "id": name,
        "object": "chat.completion",
        "created": 1_700_000_000 + number,
        "model": "gpt-x",
        "metadata": {"n": str(number)},
        "choices": [{"index": 0, "message": reply, "finish_reason": "stop"}],
    }
    said = [
        {"id": f"{name}-{n}", "role": "user", "content": f"message {n} of {number} é", "name": None}
        for n in range(messages)
    ]
    return {"completion": completion, "messages": said}


RECORDS = [record(number, messages=number % 7 + 1) for number in range(30)]
IDS = [item["completion"]["id"] for item in RECORDS]


def expected_messages(records: list[dict[str, Json]] = RECORDS) -> list[tuple[str, int, Json]]:
    """Return completion id, seq and message of every line that the layout `messages` has."""
    return sorted(
        (item["completion"]["id"], seq, message)
        for item in records
        for seq, message in enumerate(
            [*item["messages"], item["completion"]["choices"][0]["message"]]
        )
    )


def lines(path: Path) -> list[Json]:
    """Read JSON lines back from a file of any compression."""
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        data = gzip.decompress(data)
    if path.name.endswith(".zst"):
        data = zstd.decompress(data)
    return [json.loads(line) for line in data.splitlines()]


def written(path: Path) -> list[tuple[str, int, Json]]:
    """Return the content of a file in the layout `messages`, in a fixed order."""
    return sorted((line["completion_id"], line["seq"], line["message"]) for line in lines(path))


@pytest.fixture(autouse=True)
def _at_full_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin at a high rate, as the server has no limit: a ramp would only take time."""
    monkeypatch.setattr("aiomessages.calls.rate_limit.FIRST_RATE", 1e6)


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    """Serve the records."""
    async with LocalServer() as running:
        await running.import_records(RECORDS)
        yield running


@pytest.fixture
async def client(server: LocalServer) -> AsyncIterator[AsyncMessagesClient]:
    """Give a client of the server that does not wait between attempts."""
    at_once = RetryPolicy(initial_backoff=0, max_backoff=0)
    async with AsyncMessagesClient(
        server.api_key, base_url=server.base_url, retry=at_once
    ) as running:
        yield running
