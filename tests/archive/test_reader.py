"""Reading an archive: the values are those of the client, in batches, while a sync writes."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from beside import needed
from conftest_archive import NOW, completion, store, stored, write

from aiomessages import AsyncMessagesClient
from aiomessages.archive import (
    Archive,
    ArchiveError,
    CorruptError,
    IncompleteError,
    NotAnArchiveError,
    NotInArchiveError,
)
from aiomessages.archive.store import import_records
from aiomessages.errors import ConfigurationError
from aiomessages.models import OddMessage
from aiomessages.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Messages as other servers send them, or as nobody should: the kinds of wire/test_lenient.py.
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CITED = {"end_index": 9, "start_index": 1, "url": "https://h", "title": "T"}
VALUES: dict[str, list[Any]] = {
    "role": [None, 5, ["user"], {}, "critic"],
    "content": [5, False, {}, 1.5, [{"type": "text", "text": "as content"}], "half \ud83d"],
    "name": [5, [], {"a": 1}],
    "refusal": [False, 0, ["no"], {"why": 1}],
    "tool_call_id": [7, {}],
    "content_parts": [
        *(5, "text", {}, True, [{"type": "hologram", "depth": 3}], [{"type": 5}], ["text"]),
        [{"type": "text", "text": 5}, {"type": "text", "text": "t", "new": 1}],
        [{"type": "image_url", "image_url": {"url": 5}}, {"type": "refusal", "refusal": "no"}],
    ],
    "tool_calls": [
        *("f", CALL, 0, [CALL], [CALL | {"new": 2}], [{"type": "novel", "x": [1, 2]}], [None]),
        [{"id": 7, "type": "function"}, {"type": "custom", "id": "c", "custom": {"name": "n"}}],
    ],
    "annotations": ["", {}, [{"type": "?"}], [{"type": "url_citation", "url_citation": CITED}]],
    "function_call": ["f", [], False, {"name": "f"}, {"name": "f", "arguments": {}}],
    "audio": ["a", [], 3, {}, {"id": None}, {"id": "a", "expires_at": 1.5}],
    "mood": [{"happy": True}, None],
}
ODD: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi", name: value}
    for name, values in VALUES.items()
    for value in values
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where an archive may stand."""
    return tmp_path / "archive.db"


@pytest.fixture
async def archive(path: Path) -> AsyncIterator[Archive]:
    """Open an archive of four conversations, of which `d` lacks messages."""
    for n, name in enumerate("abcd"):
        store(
            path,
            name,
            f"first of {name}",
            f"second of {name}",
            created=NOW + n,
            replies=(f"reply of {name}",),
            model="gpt-4o" if n % 2 else "o1",
            metadata={"team": "red" if n < 2 else "blue", "name": name},
            state="lost" if name == "d" else "gone" if name == "c" else "complete",
        )
    async with Archive(path) as opened:
        yield opened


async def names(archive: Archive, **how: Any) -> str:
    """Return the names of the completions that are listed, one letter each."""
    return "".join([found.id[-1] async for found in archive.completions(**how)])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, "abc"),
        ({"order": "desc"}, "cba"),
        ({"max_items": 2}, "ab"),
        ({"order": "desc", "max_items": 1}, "c"),
        ({"model": "gpt-4o"}, "b"),
        ({"metadata": {"team": "red"}}, "ab"),
        ({"metadata": {"team": "red", "name": "b"}}, "b"),
        ({"metadata": {"team": "green"}}, ""),
        ({"since": NOW + 1}, "bc"),
        ({"until": NOW + 1.5}, "ab"),
        ({"since": datetime.fromtimestamp(NOW + 1, UTC), "until": NOW + 2}, "b"),
        ({"state": "gone"}, "c"),
        ({"state": "lost"}, "d"),
        ({"state": "expired"}, ""),
    ],
)
async def test_completions_that_are_selected(
    archive: Archive, how: dict[str, Any], expected: str
) -> None:
    """Completions come by time, narrowed by each filter; those that lack messages on request."""
    assert await names(archive, **how) == expected


@pytest.mark.parametrize(
    "how",
    [
        {"order": "up"},
        {"max_items": 0},
        {"state": "all"},
        {"since": "yesterday"},
        {"until": True},
    ],
)
async def test_options_that_cannot_be_used(archive: Archive, how: dict[str, Any]) -> None:
    """A wrong option is refused where it is given, before the list is read."""
    with pytest.raises(ConfigurationError, match=next(iter(how))):
        archive.completions(**how)


async def test_completions_of_one_second(path: Path) -> None:
    """Completions of one second, and of none, are each listed once, whatever the batches."""
    with stored(path) as insert:
        for n in range(450):
            insert(f"{n:03}", created=None if n < 5 else NOW)
    async with Archive(path) as archive:
        for order in ("asc", "desc"):
            found = [item.id async for item in archive.completions(order=order)]
            assert found == sorted(found, reverse=order == "desc")
            assert len(set(found)) == len(found) == 450
        assert len([item async for item in archive.completions(since=0)]) == 445
        assert len([item async for item in archive.completions(until=NOW + 1)]) == 445


async def test_a_conversation(archive: Archive) -> None:
    """A conversation has its messages, its reply and its completion."""
    found = await archive.conversation("chatcmpl-a")
    assert [message.content for message in found.messages] == ["first of a", "second of a"]
    assert found.reply is not None
    assert found.reply.content == "reply of a"
    assert found.completion == await archive.completion("chatcmpl-a")
    assert found.error is None


async def test_a_conversation_without_a_reply(path: Path) -> None:
    """Where a completion has no choice, the reply is None."""
    store(path, "a", "hello")
    async with Archive(path) as archive:
        assert (await archive.conversation("chatcmpl-a")).reply is None


async def test_messages(archive: Archive) -> None:
    """The messages are those that were sent to the model, in order, without the reply."""
    found = [message.content async for message in archive.messages("chatcmpl-b")]
    assert found == ["first of b", "second of b"]


async def test_a_conversation_that_lacks_messages(archive: Archive) -> None:
    """A conversation of which a part was read never looks whole."""
    conversation = await archive.conversation("chatcmpl-d")
    assert isinstance(conversation.error, IncompleteError)
    assert len(conversation.messages) == 2
    messages = archive.messages("chatcmpl-d")
    assert [(await anext(messages)).content for _ in range(2)] == ["first of d", "second of d"]
    with pytest.raises(IncompleteError, match="chatcmpl-d: its messages changed"):
        await anext(messages)


async def test_an_id_that_is_not_there(archive: Archive) -> None:
    """An unknown id is an error that names it, and a LookupError."""
    with pytest.raises(NotInArchiveError, match="chatcmpl-x"):
        await archive.completion("chatcmpl-x")
    with pytest.raises(LookupError, match="chatcmpl-x"):
        await archive.conversation("chatcmpl-x")
    with pytest.raises(NotInArchiveError, match="chatcmpl-x"):
        await anext(archive.messages("chatcmpl-x"))
    assert NotInArchiveError.exit_code == 3


async def equal_to_the_client(path: Path) -> int:
    """Require that an archive gives what the client gives for it; return how many messages."""
    count = 0
    async with (
        Archive(path) as archive,
        LocalServer(str(path)) as server,
        AsyncMessagesClient(server.api_key, base_url=server.base_url) as client,
    ):
        listed = [item async for item in client.completions(order="asc", limit=100)]
        assert [item async for item in archive.completions()] == listed
        async for expected in client.conversations(listed, include_reply=True, concurrency=4):
            found = await archive.conversation(expected.completion_id)
            messages = [item async for item in archive.messages(expected.completion_id)]
            assert found == expected
            assert found.to_dict() == expected.to_dict()
            assert messages == expected.messages
            assert list(map(type, messages)) == list(map(type, expected.messages))
            count += len(messages)
    return count


async def test_recorded_conversations_are_those_of_the_client(path: Path) -> None:
    """Every recorded conversation is what the client reads from a server with the same records."""
    records = needed("data/conversations.jsonl.gz")
    import_records(str(path), records)
    with gzip.open(records, "rt") as lines:
        count = sum(len(json.loads(line)["messages"]) for line in lines)
    assert await equal_to_the_client(path) == count


async def test_what_the_live_api_sent_is_that_of_the_client(path: Path) -> None:
    """So is every completion and every message that was recorded from the live API."""
    lines = needed("data/wire.jsonl").read_text("utf-8").splitlines()
    completions: dict[str, Any] = {}
    messages: dict[str, dict[str, Any]] = {}
    for exchange in map(json.loads, lines):
        body = exchange["body"] if exchange["status"] == 200 else {}
        for item in body.get("data") or [body]:
            if "choices" in item:
                completions[item["id"]] = item
            elif "role" in item:
                messages.setdefault(item["id"].rpartition("-")[0], {})[item["id"]] = item
    with stored(path) as insert:
        for name, sent in completions.items():
            insert(name, *messages.get(name, {}).values(), **sent)
    known = [len(found) for name, found in messages.items() if name in completions]
    assert await equal_to_the_client(path) == sum(known) > 0
    assert len(completions) > 100


async def test_the_sample_is_that_of_the_client(path: Path) -> None:
    """So are the conversations of the sample, with every kind of part and call."""
    async with LocalServer(str(path), sample=True):
        pass
    assert await equal_to_the_client(path) > 0


async def test_odd_values_are_those_of_the_client(path: Path) -> None:
    """So are messages, replies and completions with fields that are new or of a wrong type."""
    replies = [{"index": 0, "message": {"content": 5, "novel": 1}}, "no choice", {"message": None}]
    odd = {"choices": replies, "usage": [], "metadata": {"a": 1, "b": "c"}, "novel": [1]}
    store(path, "odd", *ODD, **odd)
    store(path, "odder", created=1.5, choices={}, model=5, metadata=[], usage={"x": None})
    assert await equal_to_the_client(path) == len(ODD)
    async with Archive(path) as archive:
        found = [message async for message in archive.messages("chatcmpl-odd")]
    assert isinstance(found[0], OddMessage)


async def test_json_that_cannot_be_read(path: Path) -> None:
    """JSON that was damaged in the file is an error of the archive."""
    store(path, "a", "hello")
    write(path, "UPDATE completions SET body = '{'", "UPDATE messages SET body = '{}'")
    async with Archive(path) as archive:
        with pytest.raises(CorruptError, match="cannot be read"):
            await archive.completion("chatcmpl-a")
        with pytest.raises(CorruptError, match="cannot be read"):
            await anext(archive.messages("chatcmpl-a"))


async def test_messages_that_are_large(path: Path) -> None:
    """Large messages come in smaller batches, and all of them."""
    store(path, "a", *("x" * 700_000 for _ in range(5)))
    async with Archive(path) as archive:
        assert len([message async for message in archive.messages("chatcmpl-a")]) == 5


async def test_a_sync_that_writes_meanwhile(path: Path) -> None:
    """Reading goes on while another connection replaces the conversation that is read."""
    texts = [f"message {n}" for n in range(450)]
    store(path, "a", *texts)
    async with Archive(path) as archive:
        found = []
        async for message in archive.messages("chatcmpl-a"):
            if len(found) in (100, 300):
                store(path, "a", *texts, metadata={"version": str(len(found))})
            found.append(message.content)
        assert found == texts
        assert (await archive.completion("chatcmpl-a")).metadata == {"version": "300"}


async def test_several_lists_at_once(archive: Archive) -> None:
    """Lists that are read at the same time do not disturb each other."""
    found = await asyncio.gather(*(names(archive) for _ in range(10)))
    assert found == ["abc"] * 10


async def test_a_list_that_is_left(archive: Archive) -> None:
    """After a list that was left in the middle, the archive is as good as new."""
    async for _ in archive.completions():
        break
    assert await names(archive) == "abc"


async def test_an_archive_that_is_not_open(path: Path) -> None:
    """Before it is entered and after it is left, an archive says how to use it."""
    store(path, "a")
    archive = Archive(path)
    assert repr(archive) == f"Archive({str(path)!r})"
    with pytest.raises(ArchiveError, match="async with Archive"):
        await archive.completion("chatcmpl-a")
    await archive.aclose()
    async with Archive(path) as archive:
        items = archive.completions()
    with pytest.raises(ArchiveError, match="async with Archive"):
        await anext(items)
    with pytest.raises(ArchiveError, match="was opened before"):
        await archive.__aenter__()


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    """A file of another kind is refused where it is opened."""
    (tmp_path / "x.db").write_bytes(b"no database, but long enough " * 40)
    with pytest.raises(NotAnArchiveError, match="no SQLite database"):
        await Archive(tmp_path / "x.db").__aenter__()


async def test_status(archive: Archive, path: Path) -> None:
    """The status has numbers, days, runs, and what waits."""
    write(
        path,
        'INSERT INTO runs (kind, selection, begin, "end", result, new, requests)'
        " VALUES ('sync', '{}', 1, 2, 'complete', 4, 9)",
        "INSERT INTO runs (kind, selection, begin) VALUES ('sync', '{}', 3)",
        "INSERT INTO waiting VALUES ('chatcmpl-w', 'failed', 'HTTP 500', 5, 2, 6)",
    )
    write(path, "INSERT INTO settings VALUES ('base_url', 'https://h/v1')")
    found = await archive.status()
    assert found.path == str(path)
    assert found.project == {"base_url": "https://h/v1"}
    assert found.completions == {"complete": 2, "gone": 1, "lost": 1}
    assert (found.messages, found.replies) == (8, 4)
    assert (found.first_created, found.last_created) == (NOW, NOW + 3)
    assert [(run.begin, run.end, run.new, run.requests) for run in found.runs] == [
        (3, None, 0, 0),
        (1, 2, 4, 9),
    ]
    (waiting,) = found.waiting
    assert (waiting.id, waiting.state, waiting.error) == ("chatcmpl-w", "failed", "HTTP 500")
    assert found.bytes > 4096


async def test_status_of_an_archive_without_completions(path: Path) -> None:
    """An archive of nothing has a status too."""
    write(path)
    async with Archive(path) as archive:
        found = await archive.status()
    assert (found.completions, found.messages, found.first_created) == ({}, 0, None)


def test_the_names_of_the_package() -> None:
    """`dir` has the public names, and each of them loads."""
    import aiomessages.archive as package  # noqa: PLC0415 - as a user types it

    assert set(package.__all__) <= set(dir(package))
    assert all(getattr(package, name) for name in package.__all__)
    assert completion("a")["id"] == "chatcmpl-a"
