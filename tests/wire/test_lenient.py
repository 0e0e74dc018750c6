"""The lenient reader: mismatches lists the paths that do not fit; the rest keeps its types."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomessages.models import (
    Choice,
    FunctionCall,
    FunctionToolCall,
    ImagePart,
    ImageURL,
    Message,
    Reply,
    StoredCompletion,
    TextPart,
    UnknownAnnotation,
    UnknownPart,
    UnknownToolCall,
)
from aiomessages.wire.lenient import read_completion, read_message

if TYPE_CHECKING:
    from aiomessages.models.as_sent import Kept

QUICK = settings(max_examples=60)

SAID = {"id": "m", "role": "user", "content": "Hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CITED = {"end_index": 9, "start_index": 1, "url": "https://h", "title": "T"}
TEXT = {"type": "text", "text": "t"}


def without(wire: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object without one of its keys."""
    return {key: value for key, value in wire.items() if key != name}


# --- fields of another type -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "place"),
    [
        ("content", [5, False, {}, 1.5], "$.content"),
        ("name", [5, [], {"a": 1}], "$.name"),
        ("refusal", [False, 0, ["no"]], "$.refusal"),
        ("tool_call_id", [7, {}], "$.tool_call_id"),
        ("content_parts", [5, "text", {}, True], "$.content_parts"),
        ("tool_calls", ["f", CALL, 0], "$.tool_calls"),
        ("annotations", ["", {}], "$.annotations"),
        ("function_call", ["f", [], False], "$.function_call"),
        ("function_call", [{"name": "f"}], "$.function_call.arguments"),
        ("function_call", [{"name": "f", "arguments": {}}], "$.function_call.arguments"),
        ("audio", ["a", [], 3], "$.audio"),
        ("audio", [{}, {"id": None}], "$.audio.id"),
        ("audio", [{"id": "a", "expires_at": 1.5}], "$.audio.expires_at"),
    ],
)
def test_a_field_of_another_type(name: str, values: list[Any], place: str) -> None:
    """A known field of the wrong type is None, its path is listed, and to_dict() has its value."""
    for value in values:
        wire = {**SAID, "name": "N", name: value}
        message = read_message(wire)
        assert (getattr(message, name), message.mismatches) == (None, (place,))
        assert message.to_dict() == wire
        assert message.role == "user"  # the others are what they were
        assert name == "name" or message.name == "N"


@pytest.mark.parametrize("role", [None, 5, False, ["user"], {}])
def test_no_role(role: object) -> None:
    """A role that is missing or not text is the empty string, and listed."""
    for wire in (SAID | {"role": role}, without(SAID, "role")):
        message = read_message(wire)
        assert (message.role, message.content) == ("", "Hi")
        assert message.mismatches == ("$.role",)
        assert message.to_dict() == wire


def test_new_values_are_no_mismatches() -> None:
    """New fields, roles and kinds, nulls and absent fields are no mismatches."""
    message = read_message(
        {"id": "m", "role": "oracle", "new": 1, "audio": None}
        | {"content_parts": [{"type": "video", "n": 1}], "tool_calls": [CALL | {"new": 2}]}
    )
    assert message.mismatches == ()
    assert message.tool_calls == [FunctionToolCall("c", FunctionCall("f", "{}"))]


@pytest.mark.parametrize("wire", [{}, {"id": None}, {"id": 5}, {"id": ["m"], "role": "user"}])
@pytest.mark.parametrize("read", [read_message, read_completion])
def test_no_id(read: Any, wire: dict[str, Any]) -> None:
    """JSON without an id is neither a message nor a completion."""
    with pytest.raises(msgspec.ValidationError, match=r"`id`|`str`"):
        read(wire)


# --- parts, calls and annotations -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "image_url", "image_url": "https://h/cat.png"}, ".image_url"),
        ({"type": "image_url", "image_url": {"detail": "low"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": None}, ".image_url"),
        ({"type": "image_url"}, ".image_url"),
        ({"type": "text", "text": 5}, ".text"),
        ({"type": "text", "text": None}, ".text"),
        ({"type": "file", "file": "f"}, ".file"),
        ({"type": "input_audio", "input_audio": {"data": 5}}, ".input_audio.data"),
        ({"type": "refusal", "refusal": False}, ".refusal"),
        ({"text": "t"}, ".type"),
        ({"type": None, "text": "t"}, ".type"),
        ({"type": 5}, ".type"),
        ({}, ".type"),
    ],
)
def test_a_part_that_does_not_fit_its_type(part: dict[str, Any], place: str) -> None:
    """A part of a wrong shape is an UnknownPart; the parts beside it keep their kinds."""
    wire = SAID | {"content_parts": [TEXT, part, TEXT]}
    message = read_message(wire)
    assert message.content_parts == [TextPart("t"), part, TextPart("t")]
    assert isinstance(message.content_parts[1], UnknownPart)
    assert message.mismatches == (f"$.content_parts[1]{place}",)
    assert message.to_dict() == wire


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (CALL | {"function": {"name": "f"}}, ".function.arguments"),
        (CALL | {"function": {"name": "f", "arguments": None}}, ".function.arguments"),
        (CALL | {"function": {"name": "f", "arguments": {"a": 1}}}, ".function.arguments"),
        (CALL | {"function": {"arguments": "{}"}}, ".function.name"),
        (without(CALL, "function"), ".function"),
        (without(CALL, "id"), ".id"),
        (without(CALL, "type"), ".type"),
        (CALL | {"id": 5}, ".id"),
        (CALL | {"index": "0"}, ".index"),
        ({"type": "custom", "id": "c", "custom": {"name": "f", "input": {}}}, ".custom.input"),
    ],
)
def test_a_call_that_does_not_fit_its_type(call: dict[str, Any], place: str) -> None:
    """A call of a wrong shape is an UnknownToolCall; the calls beside it keep their kinds."""
    wire = SAID | {"tool_calls": [call, CALL]}
    message = read_message(wire)
    assert message.tool_calls == [call, FunctionToolCall("c", FunctionCall("f", "{}"))]
    assert isinstance(message.tool_calls[0], UnknownToolCall)
    assert message.mismatches == (f"$.tool_calls[0]{place}",)
    assert message.to_dict() == wire


@pytest.mark.parametrize("name", CITED)
def test_a_citation_that_lacks_something(name: str) -> None:
    """An annotation of a wrong shape is an UnknownAnnotation, whatever it lacks."""
    note = {"type": "url_citation", "url_citation": without(CITED, name)}
    message = read_message(SAID | {"annotations": [note]})
    assert message.annotations == [note]
    assert isinstance(message.annotations[0], UnknownAnnotation)
    assert message.mismatches == (f"$.annotations[0].url_citation.{name}",)


@pytest.mark.parametrize("value", [5, None, "a text", [TEXT], True])
@pytest.mark.parametrize("name", ["content_parts", "tool_calls", "annotations"])
def test_an_item_that_is_no_object(name: str, value: object) -> None:
    """An item that is no object is unknown, without a type and with its JSON, at its index."""
    message = read_message(SAID | {name: [{"type": "new"}, value]})
    first, second = getattr(message, name)
    assert (first.type, second.type, dict(second)) == ("new", "", {})
    assert second.raw == msgspec.json.encode(value)
    assert pickle.loads(pickle.dumps(second)).raw == copy.copy(second).raw == second.raw  # noqa: S301 our own
    assert message.mismatches == (f"$.{name}[1]",)


def test_content_that_is_a_list_of_parts() -> None:
    """Parts in `content`, as vfront sends them, are read as parts; content itself is None."""
    image = {"type": "image_url", "image_url": {"url": "u"}}
    wire = SAID | {"content": [TEXT, image, {"type": "text", "text": 5}]}
    message = read_message(wire)
    assert message.content is None
    assert message.content_parts is not None
    assert message.content_parts[:2] == [TextPart("t"), ImagePart(ImageURL("u"))]
    assert message.mismatches == ("$.content", "$.content[2].text")
    assert message.to_dict() == wire


def test_content_that_is_a_list_beside_parts() -> None:
    """If a message has parts, a list in its content does not replace them."""
    message = read_message(SAID | {"content": [TEXT], "content_parts": []})
    assert (message.content, message.content_parts) == (None, [])
    assert message.mismatches == ("$.content",)


def test_an_odd_message_and_its_copies() -> None:
    """A pickled or copied message keeps its mismatches."""
    message = read_message(SAID | {"refusal": False})
    copies: list[Kept] = [pickle.loads(pickle.dumps(message)), copy.deepcopy(message)]  # noqa: S301 our own
    for copied in copies:
        assert (copied, copied.mismatches) == (message, ("$.refusal",))
    assert msgspec.structs.replace(message, content="***").mismatches == ()


# --- completions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "values", "places"),
    [
        ({"created": 1767225600.5}, {"created": None}, ["created"]),
        ({"created": "now"}, {"created": None}, ["created"]),
        ({"metadata": {"a": 5, "b": "x"}}, {"metadata": {"b": "x"}}, ["metadata.a"]),
        ({"metadata": {"a b": None}}, {"metadata": {}}, ['metadata["a b"]']),
        ({"metadata": ["a"]}, {"metadata": None}, ["metadata"]),
        ({"usage": "12 tokens"}, {"usage": None}, ["usage"]),
        ({"object": 5}, {"object": ""}, ["object"]),
        ({"model": ["m"], "seed": 1.5}, {"model": None, "seed": None}, ["model", "seed"]),
        ({"top_p": "1"}, {"top_p": None}, ["top_p"]),
        ({"choices": None}, {"choices": []}, ["choices"]),
        ({"choices": "none"}, {"choices": []}, ["choices"]),
        ({"choices": {}}, {"choices": []}, ["choices"]),
        (
            {"choices": [{"message": {"content": "Hi"}}]},
            {"choices": [Choice(None, Reply(content="Hi"))]},
            ["choices[0].index"],
        ),
        (
            {"choices": [{"index": 0, "finish_reason": 5}]},
            {"choices": [Choice(0, Reply())]},
            ["choices[0].message", "choices[0].finish_reason"],
        ),
        (
            {"choices": [{"index": 0, "message": "Hi"}, 5]},
            {"choices": [Choice(0, Reply()), Choice(None, Reply())]},
            ["choices[0].message", "choices[1]"],
        ),
        (
            {"choices": [{"index": 0, "message": {"content": 5, "role": 5}}]},
            {"choices": [Choice(0, Reply(role=""))]},
            ["choices[0].message.role", "choices[0].message.content"],
        ),
        (
            {"choices": [{"index": 0, "message": {"tool_calls": [{}]}}]},
            {"choices": [Choice(0, Reply(tool_calls=[UnknownToolCall()]))]},
            ["choices[0].message.tool_calls[0].type"],
        ),
    ],
    ids=str,
)
def test_a_completion_of_another_shape(
    fields: dict[str, Any], values: dict[str, Any], places: list[str]
) -> None:
    """A completion is read as a message is: mismatches are listed at any depth."""
    wire = {"id": "c", "choices": [], "service_tier": "default", **fields}
    completion = read_completion(wire)
    assert sorted(completion.mismatches) == sorted(f"$.{place}" for place in places)
    assert completion.to_dict() == wire
    assert completion.service_tier == "default"
    for name, value in values.items():
        assert seen(getattr(completion, name)) == seen(value)


def seen(value: Any) -> Any:
    """Return a value by its fields, without the JSON that it was read from."""
    if isinstance(value, list):
        return [seen(item) for item in value]
    if isinstance(value, Choice | Reply):
        return type(value), [seen(item) for item in msgspec.structs.astuple(value)]
    return value


def test_a_reply_knows_its_own_mismatches() -> None:
    """A reply's mismatches are paths from the reply, and its to_dict() has the values."""
    sent = {"role": "assistant", "content": None, "refusal": False}
    completion = read_completion({"id": "c", "choices": [{"index": 0, "message": sent}]})
    reply = completion.choices[0].message
    assert (reply.mismatches, reply.to_dict()) == (("$.refusal",), sent)
    assert completion.mismatches == ("$.choices[0].message.refusal",)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab")
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner)
)
CHOICE = JSON | st.dictionaries(
    st.sampled_from(Choice.__struct_fields__),
    JSON | st.dictionaries(st.sampled_from(Reply.__struct_fields__), JSON),
)


@pytest.mark.unmeasured
@QUICK
@given(
    st.dictionaries(st.sampled_from(StoredCompletion.__struct_fields__), JSON),
    JSON | st.lists(CHOICE, max_size=2),
)
def test_whatever_has_an_id_is_a_completion(rest: dict[str, Any], choices: Any) -> None:
    """Any object with an id is read, and to_dict() returns all of it, as for each reply in it."""
    wire = rest | {"id": "c", "choices": choices}
    completion = read_completion(wire)
    assert completion.to_dict() == wire
    assert len(completion.choices) == (len(choices) if isinstance(choices, list) else 0)
    assert repr(completion)
    assert isinstance(read_message(wire), Message)
