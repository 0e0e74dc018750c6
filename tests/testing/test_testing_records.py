"""Claims about what a test may say of a conversation, and the record that comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from aiomessages import Message
from aiomessages.server.records import read_records
from aiomessages.server.sample import sample_records
from aiomessages.testing.records import record

OPTIONS = {"model": "gpt-x", "metadata": {}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


def written(messages: Any, reply: Any = None) -> dict[str, Any]:
    """Return a record that the server takes."""
    made = record("chatcmpl-1", 0, messages, reply, OPTIONS)
    assert [stored.id for stored in read_records([made])] == ["chatcmpl-1"]
    return made


def turns(messages: Any) -> list[tuple[str, str | None]]:
    """Return who says what."""
    return [(said["role"], said["content"]) for said in written(messages)["messages"]]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("Hi", [("user", "Hi")]),
        ({"role": "system", "content": "Be brief."}, [("system", "Be brief.")]),
        (Message(id="m", role="user", content="Hi"), [("user", "Hi")]),
        (0, []),
        ([], []),
        (3, [("user", "message 0"), ("assistant", "message 1"), ("user", "message 2")]),
        ((text for text in ("Hi", "Hello")), [("user", "Hi"), ("assistant", "Hello")]),
    ],
    ids=["str", "dict", "Message", "none", "empty", "number", "iterable"],
)
def test_messages(messages: Any, expected: list[tuple[str, str]]) -> None:
    """A text, a dict, a Message, several of them, or how many."""
    assert turns(messages) == expected


def test_who_says_a_text() -> None:
    """The model answers a person and goes on after a tool; else it is the person."""
    said = turns(
        [
            {"role": "system", "content": "Be brief."},
            "Find it.",
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "found", "tool_call_id": "call_1"},
            "There it is.",
            "Thanks.",
        ]
    )
    assert [role for role, _ in said] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


def test_a_message_from_a_server() -> None:
    """A Message goes back as it came, with its id and what this version does not know."""
    message = Message(id="mine-7", role="user", content="Hi", name="Ann")
    assert written([message])["messages"] == [message.to_dict()]
    assert stored_ids([message]) == ["mine-7"]


def stored_ids(messages: Any) -> list[str]:
    """Return the ids that the messages of a record have."""
    (stored,) = read_records([written(messages)])
    return [message.id for message in stored.messages]


def test_parts_as_they_are_given_to_the_api() -> None:
    """The list shows them as the live API does: each with every key, their text joined."""
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    content = [{"type": "text", "text": "What is"}, picture, {"type": "text", "text": "this?"}]
    (said,) = written({"role": "user", "content": content})["messages"]
    assert said["content"] == "What is  this?"
    assert said["content_parts"][1] == {
        **picture,
        "text": None,
        "input_audio": None,
        "file": None,
    }


def test_the_shape_is_that_of_the_sample() -> None:
    """A message and a completion have the keys that those of the sample have."""
    sample = next(item for item in sample_records() if "umbrella" in item["completion"]["id"])
    made = written("Hi", "Hello.")
    assert made["completion"].keys() == sample["completion"].keys()
    (choice,), (expected,) = made["completion"]["choices"], sample["completion"]["choices"]
    assert choice.keys() == expected.keys()
    assert choice["message"].keys() == {"refusal", *expected["message"]}
    assert {"id", *made["messages"][0]} == sample["messages"][0].keys()


@pytest.mark.parametrize(
    ("reply", "reason", "content"),
    [
        ("Hello.", "stop", "Hello."),
        ({"content": "Hello.", "refusal": None}, "stop", "Hello."),
        ({"tool_calls": [CALL]}, "tool_calls", None),
    ],
)
def test_a_reply(reply: Any, reason: str, content: str | None) -> None:
    """A text or a dict; one that calls tools ends for that reason."""
    (choice,) = written(0, reply)["completion"]["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == (reason, content)
    assert choice["message"]["role"] == "assistant"


def test_no_reply() -> None:
    """There is no choice then."""
    assert written(1)["completion"]["choices"] == []


def test_what_is_no_message() -> None:
    """The error names which, and of what kind it is."""
    with pytest.raises(TypeError, match="message 1 must be a str, a dict or a Message, not bytes"):
        record("chatcmpl-1", 0, ["Hi", b"Hi"], None, OPTIONS)  # type: ignore[list-item]
