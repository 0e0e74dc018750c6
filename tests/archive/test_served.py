"""Claims about a served archive: the official package lists conversations that the API forgot.

The archive is served by `aiomessages serve ARCHIVE`, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import openai
import pytest

from aiomessages.archive import import_file
from aiomessages.archive.database import open_to_write
from aiomessages.archive.insert import insert_conversation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON = dict[str, Any]
YEAR_2024 = 1_704_067_200  # two years before the API would still have them


def _record(n: int) -> JSON:
    """Return a conversation in the shape of the contract; five were made in each second."""
    id = f"chatcmpl-{n:02}"
    reply = {"role": "assistant", "content": f"reply {n}", "refusal": None}
    completion = {
        "id": id,
        "object": "chat.completion",
        "created": YEAR_2024 + n // 5,
        "model": ("gpt-4o", "gpt-4o-mini")[n % 2],
        "metadata": {"team": ("blue", "red", "green")[n % 3], "n": str(n)},
        "choices": [{"index": 0, "message": reply, "finish_reason": "stop", "logprobs": None}],
    }
    messages = [
        {"id": f"{id}-{k}", "role": "assistant", "content": f"message {k}: 日本\0", "refusal": None}
        for k in range(n)
    ]
    return {"completion": completion, "messages": messages}


RECORDS = [_record(n) for n in range(47)]
COMPLETIONS = [record["completion"] for record in RECORDS]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JSON]:
    """Import the conversations in another order, and serve the archive; return a client's options.

    One more completion is there in part alone.
    """
    folder: Path = tmp_path_factory.mktemp("served")
    shuffled = RECORDS[1::2][::-1] + RECORDS[::2]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, shuffled)), "utf-8")
    import_file(folder / "a.jsonl", folder / "a.db")
    db = open_to_write(folder / "a.db")
    lost = json.dumps(COMPLETIONS[5] | {"id": "chatcmpl-lost"}).encode()
    insert_conversation(db, lost, [b'{"id":"m","role":"user"}'], seen=1.0, state="lost")
    gone = "UPDATE completions SET state = 'expired', gone_since = 1.0 WHERE state = 'complete'"
    db.execute(gone)
    db.close()
    command = [sys.executable, "-m", "aiomessages", "serve", folder / "a.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout
        url, key = (server.stdout.readline().decode().strip().partition("=")[2] for _ in "ab")
        yield {"base_url": url, "api_key": key, "max_retries": 0}
        server.terminate()
    assert [path.name for path in folder.iterdir() if path.suffix != ".jsonl"] == ["a.db"]


@pytest.fixture
def client(served: JSON) -> Iterator[openai.OpenAI]:
    """Open the package's sync client."""
    with openai.OpenAI(**served) as opened:
        yield opened


FILTERS: dict[str, tuple[JSON, Any]] = {
    "all": ({}, lambda _: True),
    "a model": ({"model": "gpt-4o-mini"}, lambda c: c["model"] == "gpt-4o-mini"),
    "metadata": (
        {"metadata": {"team": "red"}},
        lambda c: c["metadata"]["team"] == "red",
    ),
    "a model and metadata": (
        {"model": "gpt-4o", "metadata": {"team": "blue"}},
        lambda c: (c["model"], c["metadata"]["team"]) == ("gpt-4o", "blue"),
    ),
    "two pairs of metadata": (
        {"metadata": {"team": "blue", "n": "12"}},
        lambda c: c["id"] == "chatcmpl-12",
    ),
    "no match": ({"metadata": {"team": "red", "n": "12"}}, lambda _: False),
}
each_filter = pytest.mark.parametrize(("given", "matches"), FILTERS.values(), ids=FILTERS)
each_order = pytest.mark.parametrize("order", ["asc", "desc"])


def expected(matches: Any, order: str) -> list[JSON]:
    """Return the completions that match, in their order."""
    found = [completion for completion in COMPLETIONS if matches(completion)]
    return found if order == "asc" else found[::-1]


@each_filter
@each_order
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_completions_page_by_page(
    client: openai.OpenAI, given: JSON, matches: Any, order: Any, limit: int
) -> None:
    """Each page has as many as were asked for, and all pages are what was put in."""
    page = client.chat.completions.list(order=order, limit=limit, **given)
    found = [item.to_dict() for item in page.data]
    while page.has_next_page():
        assert len(page.data) == limit
        page = page.get_next_page()
        found += [item.to_dict() for item in page.data]
    assert found == expected(matches, order)


@each_order
@pytest.mark.parametrize("n", [0, 1, 20, 46])
def test_messages_page_by_page(client: openai.OpenAI, order: Any, n: int) -> None:
    """The messages of a conversation come in their order, or in reverse."""
    sent = RECORDS[n]["messages"]
    for limit in (1, 10, 100):
        listed = client.chat.completions.messages.list(f"chatcmpl-{n:02}", order=order, limit=limit)
        found = [message.to_dict() for message in listed]
        assert found == (sent if order == "asc" else sent[::-1])


def test_one_completion(client: openai.OpenAI) -> None:
    """Each completion is found by its id, with its reply."""
    for completion in COMPLETIONS[::9]:
        assert client.chat.completions.retrieve(completion["id"]).to_dict() == completion


def test_a_completion_of_which_a_part_was_lost(client: openai.OpenAI) -> None:
    """It is not served: its list of messages would look complete."""
    assert "chatcmpl-lost" not in [item.id for item in client.chat.completions.list(limit=100)]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve("chatcmpl-lost")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.messages.list("chatcmpl-lost")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.list(after="chatcmpl-lost")


@each_filter
@each_order
async def test_completions_for_the_async_client(
    served: JSON, given: JSON, matches: Any, order: Any
) -> None:
    """The async client walks the same pages."""
    async with openai.AsyncOpenAI(**served) as client:
        listed = client.chat.completions.list(order=order, limit=7, **given)
        assert [item.to_dict() async for item in listed] == expected(matches, order)


@each_order
async def test_whole_conversations_for_the_async_client(served: JSON, order: Any) -> None:
    """Whoever walks all completions and their messages has all that was put in."""
    found = []
    async with openai.AsyncOpenAI(**served) as client:
        async for item in client.chat.completions.list(order="asc", limit=20):
            listed = client.chat.completions.messages.list(item.id, order=order, limit=20)
            messages = [message.to_dict() async for message in listed]
            messages = messages if order == "asc" else messages[::-1]
            found.append({"completion": item.to_dict(), "messages": messages})
    assert found == RECORDS
