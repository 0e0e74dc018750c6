"""Labels: the roles and the called tools of each conversation, whatever happens to it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from conftest_archive import NOW, completion, store
from conftest_browsing import reading

from aiomessages.archive.database import open_to_write
from aiomessages.archive.insert import insert_conversation, update_completion
from aiomessages.archive.labels import called_tools, tool_call_id_of

if TYPE_CHECKING:
    from pathlib import Path

Labels = set[tuple[str, str, int]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where an archive may stand."""
    return tmp_path / "archive.db"


def labels(path: Path) -> Labels:
    """Return all labels of an archive."""
    with reading(path) as db:
        return set(db.execute("SELECT kind, value, count FROM labels"))


def calls(*tools: Any) -> dict[str, Any]:
    """Return a message that calls tools."""
    called = [{"id": "c", "function": {"name": tool, "arguments": "{}"}} for tool in tools]
    return {"role": "assistant", "content": None, "tool_calls": called}


def test_roles_and_tools(path: Path) -> None:
    """Each role and each tool is there once, with how many messages or calls have it."""
    answer = {"role": "tool", "tool_call_id": "c", "content": "_call"}
    message = {"index": 0, "message": calls("find"), "finish_reason": "tool_calls"}
    store(path, "a", "hi", "hi", calls("find", "find", "book"), answer, choices=[message])
    wanted = {("role", "user", 2), ("role", "assistant", 2), ("role", "tool", 1)}
    assert labels(path) == wanted | {("tool", "find", 3), ("tool", "book", 1)}


def test_a_call_whose_names_are_escaped(path: Path) -> None:
    """The name of a field may be written with escapes, as JSON allows: the call has its label."""
    (call,) = calls("find")["tool_calls"]
    message = json.dumps({"role": "assistant", "tool_calls": [call]})
    escaped = "".join(f"\\u{ord(letter):04X}" for letter in "tool_calls")
    body = message.replace("tool_calls", escaped).encode()
    with closing(open_to_write(path)) as db:
        insert_conversation(db, json.dumps(completion("a")).encode(), [body], seen=NOW)
    assert ("tool", "find", 1) in labels(path)


def test_a_conversation_that_is_replaced(path: Path) -> None:
    """It has the labels of its new messages alone; those of others stay."""
    store(path, "a", calls("find"), "hi")
    store(path, "b", "hi")
    store(path, "a", calls("book"))
    assert labels(path) == {("role", "assistant", 1), ("tool", "book", 1), ("role", "user", 1)}


def test_a_completion_that_is_updated(path: Path) -> None:
    """Its messages stay, and so do its labels."""
    store(path, "a", calls("find"), replies=("yes",))
    before = labels(path)
    changed = completion("a", replies=("yes",), metadata={"k": "v"})
    with closing(open_to_write(path)) as db:
        update_completion(db, json.dumps(changed).encode(), seen=NOW)
    assert labels(path) == before == {("role", "assistant", 2), ("tool", "find", 1)}


@pytest.mark.parametrize(
    ("sent", "tools"),
    [
        ('{"function_call": {"name": "old"}}', ["old"]),
        ('{"tool_calls": [{"type": "custom", "custom": {"name": "own"}}]}', ["own"]),
        (
            '{"tool_calls": [{"function": {"name": "a"}}], "function_call": {"name": "b"}}',
            ["a", "b"],
        ),
        ('{"tool_calls": [{"function": {"name": ""}}]}', [""]),
        ('{"tool_calls": [{"function": {"name": "\\u0000"}}]}', ["\0"]),
        ('{"tool_calls": [{"function": {"name": "\\ud83d"}}]}', ["\ufffd"]),
        ('{"x": "\\ud83d", "tool_calls": [{"function": {"name": "a"}}]}', ["a"]),
        ('{"tool_calls": [null, 5, "a", [], {}, {"function": null}, {"function": 5}]}', []),
        ('{"tool_calls": [{"function": {"name": 5}}, {"function": {"name": null}}]}', []),
        ('{"tool_calls": {"function": {"name": "a"}}}', []),
        ('{"tool_calls": null, "function_call": "auto"}', []),
        ("[]", []),
        ("5", []),
        ("", []),
        ("{", []),
        ('{"tool_calls": ' + "[" * 100_000, []),
        ('{"tool_calls": ' + "[" * 5000 + "]" * 5000 + "}", []),
    ],
)
def test_called_tools(sent: str, tools: list[str]) -> None:
    """A call that has a name is found, whatever stands beside it."""
    assert list(called_tools(sent.encode())) == tools


@pytest.mark.parametrize(
    ("sent", "id"),
    [
        ('{"tool_call_id": "call_1"}', "call_1"),
        ('{"tool_call_id": "call_1", "content": "\\ud83d"}', "call_1"),
        ('{"tool_call_id": 5}', None),
        ("{}", None),
        ("[]", None),
    ],
)
def test_the_call_that_a_message_answers(sent: str, id: str | None) -> None:
    """Its id is that of the message, if it is a text."""
    assert tool_call_id_of(sent.encode()) == id
