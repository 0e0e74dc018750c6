"""The pages of one conversation: each message on one, and none too large to hold."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest_archive import NOW, store, stored
from conftest_browsing import reading

from aiomessages.archive.conversation_pages import (
    answers,
    completion_json,
    conversation_page,
    message,
)
from aiomessages.archive.errors import NotInArchiveError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where an archive may stand."""
    return tmp_path / "archive.db"


def test_a_page(path: Path) -> None:
    """It has what the archive knows of the conversation, and its messages and replies."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    id = store(
        path,
        "a",
        {"role": "user", "name": "Ada", "content": "hi"},
        replies=("yes", "no"),
        usage=usage,
        metadata={"b": "2", "a": "1"},
        service_tier="flex",
    )
    with reading(path) as db:
        page = conversation_page(db, id)
    assert page.metadata == [("a", "1"), ("b", "2")]
    assert (page.prompt_tokens, page.completion_tokens, page.summary.total_tokens) == (1, 2, 3)
    assert (page.finish_reason, page.service_tier, page.gone_since) == ("stop", "flex", None)
    assert (page.first_seen, page.last_seen, page.summary.id) == (NOW, NOW, id)
    assert json.loads(page.body)["id"] == id
    assert (page.first, page.last, page.total) == (0, 2, 3)
    shown = [(m.n, m.choice, m.role, m.name, m.text) for m in page.messages]
    assert shown == [
        (0, None, "user", "Ada", "hi"),
        (1, 0, "assistant", None, "yes"),
        (2, 1, "assistant", None, "no"),
    ]
    assert all(m.size == len(m.body) for m in page.messages)
    assert json.loads(page.messages[0].body)["name"] == "Ada"


@pytest.mark.parametrize(
    ("at", "first", "last"),
    [(0, 0, 99), (99, 0, 99), (100, 100, 199), (250, 200, 250), (-5, 0, 99), (10**30, 200, 250)],
)
def test_the_page_of_a_message(path: Path, at: int, first: int, last: int) -> None:
    """Pages begin at fixed numbers, so that a link stays on its page; beyond the end: the last."""
    id = store(path, "a", *(f"text {n}" for n in range(250)), replies=("yes",))
    store(path, "b", "another")
    with reading(path) as db:
        page = conversation_page(db, id, at=at)
    assert (page.first, page.last, page.total) == (first, last, 251)
    assert [m.n for m in page.messages] == list(range(first, last + 1))


def test_a_conversation_without_messages(path: Path) -> None:
    """Its page is empty."""
    id = store(path, "a")
    with reading(path) as db:
        page = conversation_page(db, id, at=5)
    assert (page.messages, page.first, page.last, page.total) == ([], 0, -1, 0)


@pytest.mark.parametrize("id", ["chatcmpl-none", "", "\ud800", "\0", "x" * 10_000])
def test_what_is_not_there(path: Path, id: str) -> None:
    """An id that the archive has not is said to be none, whatever its characters are."""
    known = store(path, "a", "hi")
    with reading(path) as db:
        for ask in (
            lambda: conversation_page(db, id),
            lambda: message(db, id, 0),
            lambda: completion_json(db, id),
            lambda: answers(db, id, [], behind=0),
        ):
            with pytest.raises(NotInArchiveError, match="no such completion"):
                ask()
        for n in (1, -1, 10**30, -(10**30)):
            with pytest.raises(NotInArchiveError, match="has no message"):
                message(db, known, n)
        assert not db.in_transaction


def test_a_large_message(path: Path) -> None:
    """A page has the beginning of its text, and its size; asked for alone, it is whole."""
    text = "\0日" * 200_000
    id = store(path, "a", "small", text, metadata={"k": "v" * 300_000})
    with reading(path) as db:
        page = conversation_page(db, id)
        whole = message(db, id, 1)
    small, large = page.messages
    assert (small.text, json.loads(small.body)["content"]) == ("small", "small")
    assert (large.text, large.body) == (text[:20_001], b"")
    assert page.body == b""
    assert (whole.text, whole.size, whole.size) == (text, len(whole.body), large.size)
    assert json.loads(whole.body)["content"] == text


def test_many_messages_that_are_large_together(path: Path) -> None:
    """The JSON of a page has an end; of the messages behind it the texts are cut."""
    texts = [f"{n} " + "x" * 250_000 for n in range(80)]
    id = store(path, "a", *texts)
    with reading(path) as db:
        page = conversation_page(db, id)
    with_body = [m for m in page.messages if m.body]
    assert 60 < len(with_body) < 80
    assert sum(len(m.body) for m in with_body) <= 16 * 2**20
    assert with_body == page.messages[: len(with_body)]
    for m, text in zip(page.messages, texts, strict=True):
        assert m.text == (text if m.body else text[:20_001])


PEAK = """
import sys
from contextlib import closing
from aiomessages.archive.browsing import find
from aiomessages.archive.conversation_pages import conversation_page
from aiomessages.archive.database import open_to_read
from aiomessages.archive.facets import facets
from aiomessages.archive.filters import Filters


def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


with closing(open_to_read(sys.argv[1])) as db:
    before = peak()
    assert find(db, Filters()).results
    assert facets(db, Filters(), utc=True).total
    assert len(conversation_page(db, "chatcmpl-a").messages) == 3
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it asks Linux for the memory")
def test_messages_of_50_mb(path: Path) -> None:
    """A page never holds two of them at a time."""
    with stored(path) as insert:
        insert("a", *["x" * 50_000_000] * 3)
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, path], check=True, capture_output=True, text=True
    )
    assert int(ran.stdout) < 80_000  # kB


def test_the_json_of_a_completion(path: Path) -> None:
    """It is whole, however large it is, and says how many messages and replies there are."""
    metadata = {"k": "v" * 300_000}
    id = store(path, "a", "hi", "you", replies=("yes",), metadata=metadata)
    with reading(path) as db:
        body, total = completion_json(db, id)
    assert (json.loads(body)["metadata"], total) == (metadata, 3)


def test_answers_on_another_page(path: Path) -> None:
    """The calls of a page may be answered behind it, by the first message that says so."""
    tool = [{"role": "tool", "tool_call_id": f"call_{n}", "content": "x"} for n in range(5)]
    odd = {"role": "tool", "content": "of no call"}
    large = {"role": "tool", "tool_call_id": "call_9", "content": "x" * 300_000}
    id = store(path, "a", "hi", *tool, *tool, odd, large, "bye")
    with reading(path) as db:
        found = answers(db, id, ["call_1", "call_3", "call_9", "none"], behind=2)
        assert found == {"call_3": 4, "call_1": 7}
        assert answers(db, id, [], behind=0) == {}
