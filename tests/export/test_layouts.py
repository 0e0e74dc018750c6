"""Layouts: the lines that each makes. test_run.py tests whole exports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiomessages import Message, SchemaError
from aiomessages.export.layouts import (
    conversations_layout,
    incomplete_lines,
    joined,
    messages_layout,
)
from aiomessages.export.stored import Fetched, Lines

JSON = dict[str, Any]


def test_messages() -> None:
    """Each message is a line with its number, and each reply one more, with that of its choice."""
    completion = b'{"choices":[{"message":{"r":1}},{"message":{"r":2}}],"created":7,"model":"m"}'
    assert joined(messages_layout(Fetched('"c', [[b'{"a":1}', b"2"]], completion))) == Lines(
        b'{"completion_id":"\\"c","created":7,"model":"m","seq":0,"message":{"a":1}}\n'
        b'{"completion_id":"\\"c","created":7,"model":"m","seq":1,"message":2}\n'
        b'{"completion_id":"\\"c","created":7,"model":"m","seq":2,"choice":0,"message":{"r":1}}\n'
        b'{"completion_id":"\\"c","created":7,"model":"m","seq":3,"choice":1,"message":{"r":2}}\n',
        number=4,
    )


def test_lines_for_columns() -> None:
    """For columns, each line of `messages` has the metadata, too."""
    completion = b'{"choices":[],"metadata":{"team":"search"}}'
    lines = joined(messages_layout(Fetched("c", [[b"{}"]], completion), columns=True))
    assert lines.text == (
        b'{"completion_id":"c","created":null,"model":null,"metadata":{"team":"search"},"seq":0,'
        b'"message":{}}\n'
    )


ODD_ABOUT = {
    "missing": (b"{}", b"null", b"null"),
    "null": (b'{"created":null,"model":null}', b"null", b"null"),
    "a float": (b'{"created":1.5,"model":1}', b"null", b"null"),
    "a whole float": (b'{"created":1e9,"model":[]}', b"null", b"null"),
    "an integer of 64 bits": (b'{"created":9223372036854775807}', b"9223372036854775807", b"null"),
    "a larger one": (b'{"created":9223372036854775808}', b"null", b"null"),
    "far too many digits": (b'{"created":1%b}' % (b"0" * 5000), b"null", b"null"),
    "a negative integer": (b'{"created":-9223372036854775808}', b"-9223372036854775808", b"null"),
    "another type": (b'{"created":"1","model":{}}', b"null", b"null"),
    "half an emoji": (rb'{"created":1,"model":"\ud83d"}', b"1", rb'"\ufffd"'),
    "an escape": (rb'{"created":1,"model":"\u006d\/"}', b"1", rb'"\u006d\/"'),
}


@pytest.mark.parametrize(("completion", "created", "model"), ODD_ABOUT.values(), ids=ODD_ABOUT)
def test_an_odd_time_or_model_is_null(completion: bytes, created: bytes, model: bytes) -> None:
    """A time that is no integer of 64 bits, or a model that is no text, is null in each line."""
    for columns in (False, True):
        lines = joined(messages_layout(Fetched("c", [[b"{}"]], completion), columns=columns))
        about = b'{"completion_id":"c","created":%b,"model":%b,' % (created, model)
        assert bytes(lines.text).startswith(about)
        assert json.loads(lines.text)["message"] == {}


def test_a_listed_completion_without_its_reply() -> None:
    """Without replies, the completion in a list still names the model, the time and metadata."""
    about = {"model": "m", "created": 7, "metadata": {"n": "1"}}
    listed = json.dumps({**about, "choices": [{"message": SAID}]}).encode()
    conversation = Fetched("c", [[b"{}"]], None, listed)
    lines = joined(messages_layout(conversation, columns=True))
    assert json.loads(lines.text) == {"completion_id": "c", **about, "seq": 0, "message": {}}
    (line,) = conversations_of(conversation)
    rest = {"messages": [{}], "reply": None, "completion": None}
    assert line == {"completion_id": "c", **about, **rest}


def test_incomplete_lines() -> None:
    """The part of a lost conversation has the same lines as a whole one."""
    lines = incomplete_lines("c", [[b"{}"], [], [b"[]"]], b'{"created":7,"model":"m"}')
    assert b"".join(lines) == (
        b'{"completion_id":"c","created":7,"model":"m","seq":0,"message":{}}\n'
        b'{"completion_id":"c","created":7,"model":"m","seq":1,"message":[]}\n'
    )


def test_without_a_completion() -> None:
    """Without a completion there are only the messages, and no line for an empty list."""
    assert joined(messages_layout(Fetched("c", []))) == Lines(b"", 0)
    assert said_in(Fetched("c", [wire(ASKED)])) == [(None, ASKED)]
    (line,) = conversations_of(Fetched("c", [wire(ASKED)]))
    assert (line["reply"], line["completion"]) == (None, None)


# --- what there is to read in a completion --------------------------------------------------------

ASKED = {"id": "c-0", "role": "user", "content": "Is it raining?", "name": None}
SAID = {"role": "assistant", "content": "It is.", "refusal": None}


def wire(*items: Any) -> list[bytes]:
    """Return items as a server sends them."""
    return [json.dumps(item).encode() for item in items]


def fetched(messages: list[JSON], *replies: JSON, **more: Any) -> Fetched:
    """Return a conversation, with its replies in a completion."""
    choices = [{"index": n, "message": reply} for n, reply in enumerate(replies)]
    return Fetched("c", [wire(*messages)], *wire({"id": "c", "choices": choices, **more}))


def said_in(conversation: Fetched) -> list[tuple[int | None, JSON]]:
    """Return the choice and the message of each line; check that numbers have no gaps."""
    lines = joined(messages_layout(conversation))
    listed = [json.loads(line) for line in bytes(lines.text).splitlines()]
    assert [line["seq"] for line in listed] == [*range(lines.number)]
    return [(line.get("choice"), line["message"]) for line in listed]


def conversations_of(conversation: Fetched) -> list[JSON]:
    """Return the lines of the layout `conversations`."""
    lines = bytes(joined(conversations_layout(conversation)).text).splitlines()
    return [json.loads(line) for line in lines]


ODD_CHOICES = {
    "null": (None, []),
    "no list": ("none", []),
    "a number": (7, []),
    "an object": ({"message": SAID}, []),
    "no objects": ([7, None, "x", [SAID]], []),
    "no message": ([{"index": 0}, {"index": 1, "message": SAID}], [1]),
    "messages that are none": (
        [{"message": odd} for odd in (None, 7, "x", [])] + [{"message": SAID}],
        [4],
    ),
    "keys in other types": ([{"index": "x", "message": SAID, "logprobs": 7}], [0]),
}


@pytest.mark.parametrize(("choices", "numbers"), ODD_CHOICES.values(), ids=ODD_CHOICES)
def test_choices_in_another_shape(choices: Any, numbers: list[int]) -> None:
    """Readable choices are written with their own numbers, and the completion is complete."""
    completion = {"id": "c", "choices": choices, "created": "now", "metadata": {"n": 5}, "model": 1}
    odd = Fetched("c", [wire(ASKED)], *wire(completion))
    assert said_in(odd) == [(None, ASKED), *((number, SAID) for number in numbers)]
    (line,) = conversations_of(odd)
    assert line == {
        "completion_id": "c",
        "model": 1,
        "created": "now",
        "metadata": {"n": 5},
        "messages": [ASKED],
        "reply": SAID if numbers else None,
        "completion": completion,
    }


def test_a_completion_that_is_no_object() -> None:
    """A completion that is not an object is a SchemaError."""
    with pytest.raises(SchemaError, match="shape"):
        joined(messages_layout(Fetched("c", [], b"[]")))


# --- replies that are listed ----------------------------------------------------------------------

CALL = {"id": "t", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
NOTHING: JSON = dict.fromkeys(Message.__struct_fields__)
REPLIES = {
    "a text": (SAID, SAID),
    "nulls for what is absent": ({**NOTHING, **SAID}, SAID),
    "absent for what is null": (SAID, {**NOTHING, **SAID}),
    "calls": (CALLS, CALLS),
    "calls with nulls in them": ({**CALLS, "tool_calls": [{**CALL, "index": None}]}, CALLS),
    "no calls": ({**SAID, "tool_calls": []}, SAID),
    "keys of no matter": ({**SAID, "annotations": [], "new": 1}, {**SAID, "reasoning": "…"}),
    "parts": (
        {**SAID, "content": None, "content_parts": [{"type": "text", "text": "…"}]},
        {**SAID, "content": [{"type": "text", "text": "…", "image_url": None}]},
    ),
    "a refusal": ({**CALLS, "refusal": "No."}, {**CALLS, "refusal": "No."}),
    "half an emoji": ({**SAID, "content": "\ud83d"}, {**SAID, "content": "\ud83d"}),
}


@pytest.mark.parametrize(("listed", "reply"), REPLIES.values(), ids=REPLIES)
def test_a_reply_that_is_listed_is_written_once(listed: JSON, reply: JSON) -> None:
    """A reply that the server lists among the messages is written once, as the reply."""
    conversation = fetched([ASKED, {**listed, "id": "c-1"}], reply)
    assert said_in(conversation) == [(None, ASKED), (0, reply)]
    (line,) = conversations_of(conversation)
    assert (line["messages"], line["reply"]) == ([ASKED], reply)


DIFFERENT = {
    "another text": ({**SAID, "content": "It was."}, SAID),
    "another role": ({**SAID, "role": "user", "name": "assistant"}, SAID),
    "a name": ({**SAID, "name": "Ada"}, SAID),
    "another call": ({**CALLS, "tool_calls": [{**CALL, "id": "u"}]}, CALLS),
    "one call more": ({**CALLS, "tool_calls": [CALL, CALL]}, CALLS),
    "no call": ({**CALLS, "tool_calls": None, "content": ""}, CALLS),
    "a call of old": (
        {"role": "assistant", "function_call": {"name": "f", "arguments": "1"}},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "2"}},
    ),
    "another refusal": ({**CALLS, "refusal": "No."}, {**CALLS, "refusal": "Never."}),
    "another sound": ({**SAID, "audio": {"id": "a"}}, {**SAID, "audio": {"id": "b"}}),
    "another half of an emoji": ({**SAID, "content": "\ud83d"}, {**SAID, "content": "\ud83e"}),
    "a number that is no text": ({**SAID, "content": 1}, {**SAID, "content": "1"}),
    "other parts": (
        {**CALLS, "content_parts": [{"type": "text", "text": "…"}]},
        CALLS,
    ),
}


@pytest.mark.parametrize(("listed", "reply"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_last_message_that_is_not_the_reply(listed: JSON, reply: JSON) -> None:
    """A last message that differs from the reply is kept, and both are written."""
    sent = [ASKED, {"id": "c-1", **listed}]
    conversation = fetched(sent, reply)
    assert said_in(conversation) == [(None, sent[0]), (None, sent[1]), (0, reply)]
    (line,) = conversations_of(conversation)
    assert (line["messages"], line["reply"]) == (sent, reply)


def test_only_the_last_message_may_be_the_reply() -> None:
    """An equal message in the middle, or before a listed reply, is an input."""
    listed = [{"id": f"c-{n}", **SAID} for n in range(3)]
    middle = [ASKED, listed[0], ASKED]
    assert said_in(fetched(middle, SAID)) == [*((None, sent) for sent in middle), (0, SAID)]
    twice = [ASKED, listed[0], listed[1]]
    assert said_in(fetched(twice, SAID)) == [(None, ASKED), (None, listed[0]), (0, SAID)]


@pytest.mark.parametrize("ends", [[0, 1, 2], [0], [1], [2]], ids=str)
def test_several_choices_that_are_listed(ends: list[int]) -> None:
    """A list may end with all of the choices or with one: each is written once, as a reply."""
    replies = [{**SAID, "content": f"It is {n}."} for n in range(3)]
    sent = [ASKED, *({"id": f"c-{n}", **replies[n]} for n in ends)]
    conversation = fetched(sent, *replies)
    assert said_in(conversation) == [(None, ASKED), *enumerate(replies)]
    (line,) = conversations_of(conversation)
    assert (line["messages"], line["reply"]) == ([ASKED], replies[0])


@pytest.mark.parametrize(("inputs", "kept"), [(0, 0), (1, 1), (2, 2), (3, 2), ("odd", 1)])
def test_a_server_that_stores_the_input_with_the_completion(inputs: Any, kept: int) -> None:
    """The stored number of inputs separates inputs from replies, as OGX stores it."""
    sent = [{"id": f"c-{n}", **SAID} for n in range(2)]
    stored = [SAID] * inputs if isinstance(inputs, int) else inputs
    conversation = fetched(sent, SAID, input_messages=stored)
    assert len(conversations_of(conversation)[0]["messages"]) == max(kept, 1)
    assert len(said_in(conversation)) == max(kept, 1) + 1


def test_choices_that_are_equal_are_counted_by_the_input() -> None:
    """An input that equals the choices is kept if the number of inputs is known."""
    sent = [ASKED, *({"id": f"c-{n}", **SAID} for n in range(1, 4))]
    known = fetched(sent, SAID, SAID, input_messages=[ASKED, SAID])
    assert said_in(known)[:2] == [(None, sent[0]), (None, sent[1])]
    assert len(said_in(known)) == 4
    one = fetched(sent[:3], SAID, SAID, input_messages=[ASKED, SAID])
    assert said_in(one) == [(None, sent[0]), (None, sent[1]), (0, SAID), (1, SAID)]


def test_an_input_of_the_live_api_that_equals_the_reply() -> None:
    """The live API lists no replies, so a last message that equals the reply is kept."""
    live = {"id": "c-0", "role": "assistant", "content": "It is.", "content_parts": None}
    sent = [{**live, "name": None}]
    assert said_in(fetched(sent, SAID, request_id=None)) == [(None, sent[0]), (0, SAID)]
    assert said_in(fetched([live], SAID, request_id="r")) == [(0, SAID)]
    assert said_in(fetched(sent, SAID)) == [(0, SAID)]


def test_a_message_too_deep_to_be_compared() -> None:
    """A message that is too deep to be compared is written unchanged, and the reply too."""
    deep = b'{"id":"c-0","role":"assistant","content":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    completion = b'{"choices":[{"message":{"role":"assistant"}}]}'
    assert joined(messages_layout(Fetched("c", [[deep]], completion))).number == 2


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("listed", [0, 1, 3])
def test_a_conversation_in_pieces(size: int, count: int, listed: int) -> None:
    """Laid out in pieces, a conversation has the same lines as in one piece."""
    replies = [{**SAID, "content": f"It is {n}."} for n in range(3)]
    ends = [{"id": f"r-{n}", **replies[n]} for n in range(listed)]
    whole = fetched([{**ASKED, "id": f"c-{n}"} for n in range(count)] + ends, *replies)
    (messages,) = whole.blocks
    blocks = [messages[at : at + size] for at in range(0, len(messages), size)]
    pieces = Fetched(whole.completion_id, blocks, whole.completion)
    assert joined(messages_layout(pieces)) == joined(messages_layout(whole))
    assert joined(conversations_layout(pieces)) == joined(conversations_layout(whole))
    assert len(conversations_of(pieces)[0]["messages"]) == count


def test_a_conversation_counts_as_one_line() -> None:
    """The layout `conversations` has one line per completion, whatever it holds."""
    assert joined(conversations_layout(Fetched("c", [[b"{}", b"{}"]]))).number == 1
