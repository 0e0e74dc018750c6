"""What can be saved: ids, messages and whole conversations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from conftest_view import opened, store

from aiomessages.archive.importing import import_file

if TYPE_CHECKING:
    from pathlib import Path

    from conftest_view import Opened


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of two conversations."""
    path = tmp_path / "few.db"
    store(path, "rain", "Will it rain?", replies=("Take an umbrella.",), created=86_400)
    store(path, "sun", "Will the sun shine?", created=2 * 86_400)
    return path


async def test_the_ids_of_a_selection(archive: Path) -> None:
    """The ids come one a line, as an export reads them, as a file of their own."""
    async with opened(archive) as room:
        everything = await room.get("/ids.txt")
        assert everything.body == b"chatcmpl-sun\nchatcmpl-rain\n"
        assert everything.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert everything.headers["Content-Disposition"] == 'attachment; filename="ids.txt"'
        assert everything.has_all_headers()
        some = await room.get("/ids.txt", {"q": "umbrella"})
        assert some.body == b"chatcmpl-rain\n"
        assert (await room.get("/ids.txt", {"model": "none"})).body == b""
        assert (await room.get("/ids.txt", {"q": '"'})).status == 400
        head = await room.get("/ids.txt", method="HEAD")
        assert (head.status, head.body) == (200, b"")


async def test_ids_that_no_request_can_name(tmp_path: Path) -> None:
    """An id that a line of the file could not hold becomes a comment: it adds no other id."""
    path = tmp_path / "odd.db"
    for odd in ("a\nchatcmpl-other", "#a", '"a"', "a/b", "..", "\u2003a", "\ufeffa", ""):
        store(path, "x", "text", id=odd)
    store(path, "fine", "text")
    async with opened(path) as room:
        lines = (await room.get("/ids.txt")).body.decode().splitlines()
    assert len(lines) == 9
    assert [line for line in lines if not line.startswith("# left out")] == ["chatcmpl-fine"]


async def test_a_raw_message(archive: Path) -> None:
    """The JSON of a message is sent as it is stored, its text as text; neither is a page."""
    hostile = "<script>alert(1)</script>"
    store(archive, "b", hostile)
    async with opened(archive) as room:
        raw = await room.get("/c/chatcmpl-b/0.json")
        assert raw.body == b'{"role": "user", "content": "<script>alert(1)</script>"}'
        assert raw.headers["Content-Type"] == "application/json; charset=utf-8"
        text = await room.get("/c/chatcmpl-b/0.txt")
        assert text.body == hostile.encode()
        assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert text.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_message_without_text(archive: Path) -> None:
    """A message without text has none, and no error."""
    store(archive, "b", {"role": "assistant", "content": None})
    async with opened(archive) as room:
        answer = await room.get("/c/chatcmpl-b/0.txt")
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "odd", ["a/b", "..", ".", "", "~", "a b?c#d%", "{x}", "\u202e\x00\n", "ü😀"]
)
async def test_ids_of_any_characters(tmp_path: Path, odd: str) -> None:
    """A conversation with an odd id is reached by the links of the page."""
    path = tmp_path / "odd.db"
    store(path, "x", "the text", id=odd)
    async with opened(path) as room:
        page = await room.get("/")
        (link,) = {part.partition('"')[0] for part in page.body.decode().split('href="./c/')[1:]}
        answer = await room.get(f"/c/{link}/0.txt")
        assert (answer.status, answer.body) == (200, b"the text")
        assert "the text" in (await room.get(f"/c/{link}")).text


async def test_a_whole_conversation_as_a_record(archive: Path) -> None:
    """The JSON of a conversation is a record: `aiomessages import` takes it, reply and all."""
    async with opened(archive) as room:
        answer = await room.get("/c/chatcmpl-rain/conversation.json")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    disposition = 'attachment; filename="chatcmpl-rain.json"'
    assert answer.headers["Content-Disposition"] == disposition
    record = json.loads(answer.body)
    assert [message["content"] for message in record["messages"]] == ["Will it rain?"]
    source, again = archive.with_name("record.jsonl"), archive.with_name("again.db")
    source.write_bytes(answer.body)
    assert import_file(source, again).new == 1
    async with opened(again) as room:
        copy = await room.get("/c/chatcmpl-rain/conversation.json")
        assert json.loads(copy.body)["completion"] == record["completion"]
        assert "Will it rain?" in copy.text


async def test_a_long_conversation(archive: Path) -> None:
    """A conversation is sent in parts, and has all of its messages in their order."""
    texts = [f"{n} " + "word " * 2000 for n in range(300)]
    store(archive, "long", *texts)
    async with opened(archive) as room:
        answer = await room.get("/c/chatcmpl-long/conversation.json")
        assert [message["content"] for message in json.loads(answer.body)["messages"]] == texts
        text = (await room.get("/c/chatcmpl-long/conversation.md")).body.decode()
        assert text.count("\n## user\n") == 300


async def test_a_whole_conversation_as_markdown(archive: Path) -> None:
    """Each message has its role as a heading; what is more than text stands behind a fence."""
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "```"}}
    parts: list[str | dict[str, Any]] = [
        "**Hello**",
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "x\n# y", "content": "hm"},
        {"content": [{"type": "text", "text": "a part"}]},
    ]
    store(archive, "b", *parts, replies=("Bye.",))
    async with opened(archive) as room:
        answer = await room.get("/c/chatcmpl-b/conversation.md")
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    shown = answer.body.decode()
    assert shown.startswith("# chatcmpl-b\n\n## user\n\n**Hello**\n\n## assistant\n\n")
    assert "Call of `find`:\n\n````\n```\n````\n" in shown
    assert "\n## x␊# y\n\nhm\n" in shown
    assert "\n## unknown role\n\na part\n" in shown
    assert shown.endswith("\n## assistant, reply\n\nBye.\n")


async def test_downloads_of_what_is_not_there(room: Opened) -> None:
    """A conversation that is not there is a page, and no empty file."""
    for kind in ("json", "md"):
        answer = await room.get(f"/c/none/conversation.{kind}")
        assert answer.status == 404
        assert "Content-Disposition" not in answer.headers
        assert "not in the archive" in answer.text


async def test_names_of_files(tmp_path: Path) -> None:
    """The name of a file has nothing of an id that a header or a system would understand."""
    path = tmp_path / "odd.db"
    store(path, "x", "text", id='a"; filename=../../\r\nb.exe' + "x" * 200)
    async with opened(path) as room:
        page = await room.get("/")
        link = page.body.decode().split('href="./c/')[1].partition('"')[0]
        answer = await room.get(f"/c/{link}/conversation.json")
    name = answer.headers["Content-Disposition"].partition("filename=")[2]
    assert name == '"a___filename_________b_exe' + "x" * 74 + '.json"'
