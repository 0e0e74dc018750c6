"""The shapes in which servers send a message: one strict pass reads each without loss."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from beside import needed

from aiomessages.models import FunctionCall, FunctionToolCall, Message, ReceivedMessage
from aiomessages.wire.decoding import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = dict[str, Any]

CITED = {"end_index": 9, "start_index": 1, "url": "https://h", "title": "T"}
PAYLOADS = {
    "text": "t",
    "image_url": {"url": "https://h/cat.png"},
    "input_audio": {"data": "QQ==", "format": "wav"},
    "file": {"file_id": "f"},
}
CALLED = {"name": "f", "arguments": "{}"}


# --- what each server sends -----------------------------------------------------------------------


def live() -> Iterator[JSON]:
    """Yield messages as the live API sends them: five keys, and parts with every payload."""
    five = {"content": "Hi", "content_parts": None, "name": None}
    yield five
    yield five | {"content": None, "name": "N"}
    for kind, payload in PAYLOADS.items():
        yield five | {"content_parts": [{"type": kind, **dict.fromkeys(PAYLOADS), kind: payload}]}


def contract() -> Iterator[JSON]:
    """Yield messages as the contract allows: always a refusal, and parts with their payload."""
    three = {"content": "Hi", "refusal": None}
    yield three
    yield {"content": None, "refusal": "No."}
    yield three | {"tool_calls": [{"id": "c", "type": "function", "function": CALLED}]}
    yield three | {"function_call": CALLED}
    yield three | {"annotations": []}
    yield three | {"annotations": [{"type": "url_citation", "url_citation": CITED}]}
    yield three | {"audio": None}
    yield three | {"audio": {"id": "a", "expires_at": 1, "data": "QQ==", "transcript": "A"}}
    yield three | {"content_parts": None, "name": None}
    for kind, payload in PAYLOADS.items():
        yield three | {"content_parts": [{"type": kind, kind: payload}]}
    mark = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}
    yield three | {"content_parts": [{"type": "text", "text": "t", **mark}]}


def ogx() -> Iterator[JSON]:
    """Yield messages as OGX sends them: eleven keys, and nulls inside tool calls and images."""
    nine = dict.fromkeys(Message.__struct_fields__[2:])
    call = {"type": "function", "function": CALLED}
    image = {"type": "image_url", "image_url": {"url": "u", "detail": None}}
    yield nine | {"content": "Hi"}
    yield nine | {"content": "4", "tool_call_id": "c"}
    yield nine | {"tool_calls": [{"index": None, "id": None, **call}]}
    yield nine | {"tool_calls": [{"index": None, "id": "c", **call}]}
    yield nine | {"tool_calls": [{"index": 0, "id": "c", **call}]}
    yield nine | {"content_parts": [{"type": "text", "text": "t"}, image]}


SHAPES = {
    "the live API": [*live()],
    "the contract": [*contract()],
    "OGX": [*ogx()],
    "all in one page": [*live(), *contract(), *ogx()],
}


def wire_of(shape: str) -> list[JSON]:
    """Return the messages of a shape, with ids and all roles."""
    roles = ("user", "assistant", "system", "developer", "tool", "function")
    return [
        {"id": f"m-{n}", "role": roles[n % len(roles)], **rest}
        for n, rest in enumerate(SHAPES[shape])
    ]


def read(wire: list[JSON]) -> list[Message]:
    """Return the messages of a page."""
    page, _ = MESSAGES.decode(json.dumps({"data": wire}).encode())
    return page.data or []


shapes = pytest.mark.parametrize("shape", SHAPES)


# --- what holds for each --------------------------------------------------------------------------


@shapes
def test_one_strict_pass(shape: str) -> None:
    """Messages of known shapes are decoded strictly, even mixed in a page."""
    wire = wire_of(shape)
    msgspec.json.decode(msgspec.json.encode(wire), type=list[ReceivedMessage])  # type: ignore[valid-type]
    assert {type(message) for message in read(wire)} == {ReceivedMessage}


@shapes
def test_a_shape_comes_back_as_it_came(shape: str) -> None:
    """to_dict() and the encoder give the keys that were sent, with the nulls that were sent."""
    wire = wire_of(shape)
    messages = read(wire)
    assert [message.to_dict() for message in messages] == wire
    assert json.loads(msgspec.json.encode(messages)) == wire
    changed = msgspec.structs.replace(messages[0], name="N")
    assert (changed.name, changed.to_dict()) == ("N", wire[0] | {"name": "N"})


@shapes
def test_fields_that_were_not_sent_are_none(shape: str) -> None:
    """Each field that is null or missing in the JSON is None in the message."""
    wire = wire_of(shape)
    for message, item in zip(read(wire), wire, strict=True):
        for name in Message.__struct_fields__:
            assert (getattr(message, name) is None) is (item.get(name) is None)
        match message:
            case Message(id=message_id, role=role, tool_call_id=called):
                assert (message_id, role, called) == (
                    item["id"],
                    item["role"],
                    item.get("tool_call_id"),
                )


def test_messages_are_equal_by_their_fields() -> None:
    """Messages with equal fields are equal and one in a set, whatever shape they were sent in."""
    said = {"id": "m", "role": "user", "content": "Hi"}
    nulls = dict.fromkeys(Message.__struct_fields__[3:])
    messages = [*read([said, said | {"refusal": None}, said | nulls]), Message("m", "user", "Hi")]
    for message in messages:
        for other in messages:
            assert message == other
            assert not message != other  # noqa: SIM202 each has an operator of its own
        assert message != Message("m", "user", "Hi", refusal="No.")
        assert message != "Hi"
    assert len({*messages}) == 1


def test_a_message_shows_itself_as_one() -> None:
    """Its repr is that of a Message with the same fields."""
    (message,) = read([{"id": "m", "role": "user", "content": "Hi", "refusal": None}])
    assert repr(message) == repr(Message("m", "user", "Hi"))


def test_a_call_without_an_id() -> None:
    """A tool call whose id is null is read as a call."""
    call = {"index": None, "id": None, "type": "function", "function": CALLED}
    (message,) = read([{"id": "m", "role": "assistant", "content": None, "tool_calls": [call]}])
    assert message.tool_calls == [FunctionToolCall(None, FunctionCall("f", "{}"), None)]


# --- the description ------------------------------------------------------------------------------


def description() -> tuple[JSON, JSON]:
    """Return the schema of a message in the list, and the schemas that it refers to."""
    yaml = pytest.importorskip("yaml")
    text = needed("spec/messages.openapi.yaml").read_text("utf-8")
    schemas = yaml.safe_load(text)["components"]["schemas"]
    merged: JSON = {"properties": {}, "required": []}
    for part in schemas["ChatCompletionMessageList"]["properties"]["data"]["items"]["allOf"]:
        schema = resolved(part, schemas)
        merged["properties"] |= schema["properties"]
        merged["required"] += schema.get("required", [])
    return merged, schemas


def resolved(schema: JSON, schemas: JSON) -> JSON:
    """Return the target of a schema's reference, or the schema itself."""
    found: JSON = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def examples(schema: JSON, schemas: JSON) -> Iterator[Any]:
    """Yield values that a schema allows: an object at its least, then with each key it may have."""
    schema = resolved(schema, schemas)
    if schema.get("nullable"):
        yield None
    match schema["type"]:
        case "string":
            yield schema.get("enum", ["text"])[0]
        case "integer":
            yield 1
        case "array":
            yield []
            yield from ([item] for item in examples(schema["items"], schemas))
        case "object":
            yield from objects(schema, schemas)


def objects(schema: JSON, schemas: JSON) -> Iterator[JSON]:
    """Yield an object with the keys that are required, then one with each key in each way."""
    known = {name: [*examples(key, schemas)] for name, key in schema["properties"].items()}
    least = {name: known[name][0] for name in schema["required"]}
    yield least
    for name, values in known.items():
        yield from (least | {name: value} for value in values)


def test_the_description() -> None:
    """Every message that the description allows is read in the strict pass, unchanged."""
    schema, schemas = description()
    wire = [item | {"id": f"m-{n}"} for n, item in enumerate(objects(schema, schemas))]
    assert len(wire) > 10
    messages = read(wire)
    assert {type(message) for message in messages} == {ReceivedMessage}
    assert [message.to_dict() for message in messages] == wire


def test_the_fields_of_the_description() -> None:
    """The models know each key that the description knows, and those that the live API adds."""
    schema, _ = description()
    others = {"name", "content_parts", "tool_call_id"}
    assert {*schema["properties"]} | others == {*Message.__struct_fields__}
