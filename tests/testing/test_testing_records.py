"""Claims about the short forms of conversations, and the records that they make."""

from __future__ import annotations

from typing import Any

import pytest

from aiomessages import Message
from aiomessages.archive.records import read_records
from aiomessages.server.sample import sample_records
from aiomessages.testing.records import record

OPTIONS = {"model": "gpt-x", "metadata": {}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


def written(messages: Any, reply: Any = None) -> dict[str, Any]:
    """Return the record, and check that the server accepts it."""
    made = record("chatcmpl-1", 0, messages, reply, OPTIONS)
    assert [stored.id for stored in read_records([made])] == ["chatcmpl-1"]
    return made


def turns(messages: Any) -> list[tuple[str, str | None]]:
    """Return the role and the content of each message."""
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
    """The messages are a text, a dict, a Message, several of them, or their number."""
    assert turns(messages) == expected


def test_who_says_a_text() -> None:
    """A text after a user or a tool is the assistant's; any other is the user's."""
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
    """A Message keeps its id and its unknown members."""
    message = Message(id="mine-7", role="user", content="Hi", name="Ann")
    assert written([message])["messages"] == [message.to_dict()]
    assert stored_ids([message]) == ["mine-7"]


def stored_ids(messages: Any) -> list[str]:
    """Return the ids that the messages of a record have."""
    (stored,) = read_records([written(messages)])
    return [message_id for message_id, _ in stored.messages]


def test_parts_as_they_are_given_to_the_api() -> None:
    """Parts get every member and `content` their joined text, as in the live API."""
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
    """A reply is a text or a dict; tool calls set the finish reason."""
    (choice,) = written(0, reply)["completion"]["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == (reason, content)
    assert choice["message"]["role"] == "assistant"


def test_no_reply() -> None:
    """Without a reply the completion has no choice."""
    assert written(1)["completion"]["choices"] == []


def test_an_invalid_message() -> None:
    """The error holds the position of the message and its type."""
    with pytest.raises(TypeError, match="message 1 must be a str, a dict or a Message, not bytes"):
        record("chatcmpl-1", 0, ["Hi", b"Hi"], None, OPTIONS)  # type: ignore[list-item]
