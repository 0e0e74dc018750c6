"""Fine-tuning examples: their format, and each reason why a conversation is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiomessages.export.finetune import Reason, finetune_layout
from aiomessages.export.stored import Fetched, Lines, SkipError
from aiomessages.server.sample import sample_records

JSON = dict[str, Any]
QUESTION = {"id": "m-0", "role": "user", "content": "Is it raining?", "name": None}
REPLY = {"role": "assistant", "content": "It is.", "refusal": None, "tool_calls": None}
PNG = "data:image/png;base64,iVBORw0KGgo="


def wire(*messages: Any) -> list[bytes]:
    """Return messages as the server sends them."""
    return [json.dumps(message).encode() for message in messages]


def fetched(messages: list[bytes], *replies: Any, **more: Any) -> Fetched:
    """Return a conversation with the replies of its completion."""
    choices = [{"index": n, "message": reply} for n, reply in enumerate(replies)]
    return Fetched("c", [messages], json.dumps({"choices": choices, **more}).encode())


def example(*messages: JSON, reply: Any = REPLY) -> list[JSON]:
    """Return the messages of a conversation's example."""
    lines = finetune_layout(fetched(wire(*messages), reply))
    assert (lines.number, lines.left_out) == (1, ())
    line = json.loads(lines.text)
    assert list(line) == ["messages"]
    said: list[JSON] = line["messages"]
    return said


def user(*parts: JSON) -> JSON:
    """Return a user's message in parts, each with every key as the API sends it."""
    empty = {"text": None, "image_url": None, "input_audio": None, "file": None}
    return {"role": "user", "content": "", "content_parts": [{**empty, **part} for part in parts]}


def calls(*ids: str, content: str | None = None) -> JSON:
    """Return a message that calls functions."""
    function = {"name": "look", "arguments": "{}"}
    listed = [{"id": id, "type": "function", "function": function} for id in ids]
    return {"role": "assistant", "content": content, "tool_calls": listed}


def answer(id: str | None) -> JSON:
    """Return a tool's answer."""
    return {"role": "tool", "content": "wet", "tool_call_id": id, "name": "look"}


def test_a_conversation_becomes_an_example() -> None:
    """Roles and contents are kept, ids and nulls are left out, and the reply comes last."""
    assert example(QUESTION) == [
        {"role": "user", "content": "Is it raining?"},
        {"role": "assistant", "content": "It is."},
    ]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_are_the_systems(role: str) -> None:
    """FineTuneChatRequestInput has no developer message; its role for instructions is system."""
    said = example({"role": role, "content": "Be brief.", "name": "boss"}, QUESTION)
    assert said[0] == {"role": "system", "content": "Be brief.", "name": "boss"}


def test_text_and_pictures_in_parts() -> None:
    """A part holds its type and its content only; the detail is kept if there is one."""
    url = "https://images.example.org/a.png"
    said = example(
        user(
            {"type": "text", "text": "Look."},
            {"type": "image_url", "image_url": {"url": url, "detail": None}},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        )
    )
    assert said[0]["content"] == [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
    ]


def test_parts_in_content() -> None:
    """A list as content is read as parts."""
    parts = [{"type": "text", "text": "Look."}]
    assert example({"role": "user", "content": parts})[0]["content"] == parts


def test_calls_and_their_answers_are_kept() -> None:
    """Calls have id, name and arguments, answers the id of their call, in whatever order."""
    said = example(QUESTION, calls("a", "b"), answer("b"), answer("a"))
    function = {"name": "look", "arguments": "{}"}
    assert said[1] == {
        "role": "assistant",
        "tool_calls": [{"id": id, "type": "function", "function": function} for id in "ab"],
    }
    assert said[2] == {"role": "tool", "content": "wet", "tool_call_id": "b"}


def test_a_reply_may_be_a_call() -> None:
    """A reply may be a call, which needs no answer: calling a tool is to be learnt."""
    assert example(QUESTION, reply=calls("a", content="Wait."))[1]["content"] == "Wait."


def test_functions_as_they_once_were() -> None:
    """The deprecated call and its answer, which the format still takes, are matched by name."""
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    said = example(QUESTION, called, {"role": "function", "name": "f", "content": "1"})
    assert said[1] == {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}
    assert said[2] == {"role": "function", "name": "f", "content": "1"}


def test_a_refusal_is_a_part() -> None:
    """The format wants content, and has a part for a refusal."""
    said = example(QUESTION, reply={"role": "assistant", "content": None, "refusal": "No."})
    assert said[1]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_a_reply_that_the_server_lists_is_written_once() -> None:
    """A reply that the server lists among the messages is at the end of the example, once."""
    assert len(example(QUESTION, {"id": "m-1", **REPLY})) == 2


def test_an_empty_text_is_a_text() -> None:
    """An empty text is content."""
    assert example({"role": "user", "content": ""})[0] == {"role": "user", "content": ""}


def test_half_an_emoji_is_replaced() -> None:
    """A line is UTF-8, which has no lone surrogates."""
    assert example({"role": "user", "content": "\ud83d!"})[0]["content"] == "\ufffd!"


def part(**held: Any) -> JSON:
    """Return a user's message with one part."""
    (kind,) = held
    return user({"type": kind, **held})


REFUSED = {
    "an unknown role": ([{"role": "ambassador", "content": "Hm."}], Reason.ROLE),
    "no role": ([{"content": "Hm."}], Reason.NOT_A_MESSAGE),
    "no object": ([[]], Reason.NOT_A_MESSAGE),
    "a number for a text": ([{"role": "user", "content": 1}], Reason.NOT_A_MESSAGE),
    "a text part without text": ([part(text=None)], Reason.NOT_A_MESSAGE),
    "no content": ([{"role": "assistant", "content": None}], Reason.NO_CONTENT),
    "no parts": ([{"role": "user", "content": []}], Reason.NO_CONTENT),
    "an unknown part": ([part(scent="vanilla")], Reason.PART),
    "a part without a type": ([user({})], Reason.PART),
    "a refusal by the user": ([{**QUESTION, "content": None, "refusal": "No."}], Reason.PART),
    "recorded speech": ([part(input_audio={"data": "", "format": "wav"})], Reason.AUDIO),
    "spoken words": ([{"role": "assistant", "content": None, "audio": {"id": "a"}}], Reason.AUDIO),
    "a file": ([part(file={"file_id": "file-1"})], Reason.FILE),
    "a picture from a file": ([part(image_url={"url": "9f86d0.png"})], Reason.IMAGE),
    "a moving picture": ([part(image_url={"url": "data:image/gif;base64,R0"})], Reason.IMAGE),
    "a picture that is none": ([part(image_url=None)], Reason.IMAGE),
    "a picture by the model": (
        [{**part(image_url={"url": PNG}), "role": "assistant"}],
        Reason.IMAGE,
    ),
    "a custom tool": (
        [{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]}],
        Reason.CALL,
    ),
    "no answer": ([calls("a"), QUESTION], Reason.UNANSWERED),
    "one answer of two": ([calls("a", "b"), answer("a")], Reason.UNANSWERED),
    "an answer to nothing": ([answer("a")], Reason.UNASKED),
    "an answer that came twice": ([calls("a"), answer("a"), answer("a")], Reason.UNASKED),
    "an answer without an id": ([calls("a"), answer(None)], Reason.UNASKED),
    "a function never called": ([{"role": "function", "content": "1"}], Reason.UNASKED),
}


@pytest.mark.parametrize(("messages", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_conversation_that_cannot_be_expressed_has_a_reason(
    messages: list[JSON], reason: Reason
) -> None:
    """A conversation that is no example is refused for a reason of the closed set."""
    with pytest.raises(SkipError) as caught:
        example(*messages)
    assert caught.value.args == (reason,)


@pytest.mark.parametrize("broken", [b"{", b'{"role":"\xff"}', b"[" * 100_000])
def test_invalid_json(broken: bytes) -> None:
    """Invalid JSON is no message."""
    with pytest.raises(SkipError, match=Reason.NOT_A_MESSAGE.value):
        finetune_layout(fetched([broken], REPLY))


def test_without_an_assistants_reply_there_is_nothing_to_learn() -> None:
    """A conversation without an assistant's reply is no example."""
    with pytest.raises(SkipError, match=Reason.NO_REPLY.value):
        example(QUESTION, reply=QUESTION)


# --- the layout -----------------------------------------------------------------------------------


def spoken(choice: int) -> JSON:
    """Return one of several replies."""
    return {**REPLY, "content": f"It is {choice}."}


def examples(lines: Lines) -> list[list[JSON]]:
    """Return the messages of each line."""
    text = bytes(lines.text)
    assert (lines.number, text[-2:]) == (text.count(b"\n"), b"}\n")
    return [json.loads(line)["messages"] for line in text.splitlines()]


def test_each_choice_is_an_example_of_its_own() -> None:
    """Several replies to the same messages are alternatives, and never follow each other."""
    lines = finetune_layout(fetched(wire(QUESTION), spoken(0), spoken(1), calls("a")))
    assert examples(lines) == [
        example(QUESTION, reply=reply) for reply in (spoken(0), spoken(1), calls("a"))
    ]
    assert lines.left_out == ()


@pytest.mark.parametrize("listed", [[0, 1, 2], [0], [2]], ids=["all", "the first", "the last"])
def test_choices_that_the_server_lists_are_no_turns(listed: list[int]) -> None:
    """However many choices a list ends with, an example has the input and one reply."""
    replies = [spoken(0), spoken(1), spoken(2)]
    sent = wire(QUESTION, *({"id": f"m-{n}", **replies[n]} for n in listed))
    assert examples(finetune_layout(fetched(sent, *replies))) == [
        example(QUESTION, reply=reply) for reply in replies
    ]


def test_a_choice_that_cannot_be_expressed_leaves_the_others() -> None:
    """A choice that cannot be expressed is left out with its reason; the others stay."""
    odd = {"role": "assistant", "content": None, "audio": {"id": "a"}}
    lines = finetune_layout(fetched(wire(QUESTION), odd, REPLY, {"role": "x", "content": ""}))
    assert examples(lines) == [example(QUESTION)]
    assert lines.left_out == (Reason.AUDIO, Reason.ROLE)


def test_where_no_choice_can_be_expressed() -> None:
    """If no choice can be expressed, the conversation is skipped for the first one's reason."""
    odd = {"role": "assistant", "content": None, "audio": {"id": "a"}}
    with pytest.raises(SkipError, match=r"^audio$"):
        finetune_layout(fetched(wire(QUESTION), odd, {"role": "assistant", "content": None}))


def test_choices_without_a_message_are_no_examples() -> None:
    """A choice without a message is passed over if another one has a message."""
    choices = [7, {"index": 1}, {"index": 2, "message": REPLY}]
    completion = json.dumps({"choices": choices}).encode()
    assert examples(finetune_layout(Fetched("c", [wire(QUESTION)], completion))) == [
        example(QUESTION)
    ]


HUGE = b'{"n":1e400,"m":-' + b"9" * 5000 + b"}"


@pytest.mark.parametrize("place", [b'"new":', b'"annotations":', b'"logprobs":'])
def test_numbers_beyond_all_floats(place: bytes) -> None:
    """Numbers too large for a float are accepted in fields that an example leaves out."""
    (question,) = wire(user({"type": "text", "text": "Look.", "new": 7}))
    question = question[:-1].replace(b"7", HUGE) + b"," + place + HUGE + b"}"
    lines = finetune_layout(fetched([question], REPLY))
    assert examples(lines)[0][0]["content"] == [{"type": "text", "text": "Look."}]


def test_numbers_in_a_tool_are_kept() -> None:
    """A schema's numbers are the server's, however large."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {"most": 7}}}
    sent = fetched(wire(QUESTION), REPLY, tools=[tool])
    assert sent.completion is not None
    sent.completion = sent.completion.replace(b'"most": 7', b'"most": ' + HUGE)
    assert HUGE in finetune_layout(sent).text


def equipped(*tools: Any) -> Fetched:
    """Return a conversation whose completion was made with tools."""
    completion = {"choices": [{"index": 0, "message": calls("a")}], "tools": tools}
    return Fetched("c", [wire(QUESTION)], json.dumps(completion).encode())


LOOK = {
    "name": "look",
    "description": "Look \u00e9 out",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "x": 1.5},
    "strict": True,
}


def test_the_tools_of_a_completion_go_along() -> None:
    """The tools of a completion are kept in its example as they were sent."""
    line, *_ = finetune_layout(
        equipped(
            {"function": {**LOOK, "returns": "text"}, "type": "function"},
            {"type": "function", "function": {"name": "go", "parameters": None, "strict": None}},
        )
    )
    assert json.loads(line) == {
        "messages": example(QUESTION, reply=calls("a")),
        "tools": [
            {"type": "function", "function": LOOK},
            {"type": "function", "function": {"name": "go"}},
        ],
    }


@pytest.mark.parametrize("tools", [None, []])
def test_where_no_tools_are_stored(tools: Any) -> None:
    """Without stored tools a line has only the messages, and no empty list."""
    lines = finetune_layout(fetched(wire(QUESTION), REPLY, tools=tools))
    assert list(json.loads(lines.text)) == ["messages"]


def test_half_an_emoji_in_a_tool_is_replaced() -> None:
    """A lone surrogate in a tool is replaced, as in a message."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {"a": "\ud83d"}}}
    line, *_ = finetune_layout(equipped(tool))
    assert json.loads(line)["tools"][0]["function"]["parameters"] == {"a": "\ufffd"}


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "custom", "custom": {"name": "look"}},
        {"type": "function", "function": {"description": "It has no name."}},
        {"type": "function", "function": {"name": "look", "parameters": "any"}},
        "look",
    ],
    ids=["custom", "no name", "parameters that are no schema", "no tool"],
)
def test_a_tool_that_is_no_function(tool: Any) -> None:
    """A completion with another kind of tool is no example, as the tool would be missing."""
    with pytest.raises(SkipError, match=rf"^{Reason.TOOL.value}$"):
        finetune_layout(equipped(tool))


@pytest.mark.parametrize("completion", [None, b'{"choices":[]}'])
def test_the_layout_skips_a_conversation_without_a_reply(completion: bytes | None) -> None:
    """A conversation without a reply is skipped, with the reason as the text."""
    with pytest.raises(SkipError, match=r"^no reply$"):
        finetune_layout(Fetched("c", [wire(QUESTION)], completion))


def test_the_sample() -> None:
    """All of the sample but the oddest conversations can be expressed; the reasons are right."""
    refused = {}
    for record in sample_records():
        completion = record["completion"]
        try:
            finetune_layout(
                Fetched(completion["id"], [wire(*record["messages"])], *wire(completion))
            )
        except SkipError as error:
            refused[completion["id"].removeprefix("chatcmpl-")] = error.args[0]
    assert refused == {
        "tomorrow": Reason.PART,
        "tune": Reason.AUDIO,
        "spoken-answer": Reason.AUDIO,
        "shopping-list": Reason.FILE,
        "custom-tool": Reason.CALL,
    }
