"""The Structs: every field of the live API and of the contract, frozen, and as they came."""

import copy
import gzip
import json
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec
import pytest
from beside import needed

from aiomessages.models import (
    Audio,
    Choice,
    CustomCall,
    CustomToolCall,
    FilePart,
    FileRef,
    FunctionCall,
    FunctionToolCall,
    ImagePart,
    ImageURL,
    InputAudio,
    InputAudioPart,
    Message,
    OddMessage,
    ReceivedMessage,
    RefusalPart,
    Reply,
    StoredCompletion,
    TextPart,
    UnknownAnnotation,
    UnknownPart,
    UnknownToolCall,
    URLCitation,
    URLCitationAnnotation,
    keep,
)

LIVE = {"id": "m-0", "role": "user", "content": "Hi", "name": None, "content_parts": None}
FUNCTION = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
CUSTOM = {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}
CITED = {"end_index": 9, "start_index": 1, "url": "https://h", "title": "T"}


def read(**fields: Any) -> Message:
    """Read a message of the live API with some fields more, strictly."""
    return msgspec.json.decode(msgspec.json.encode(LIVE | fields), type=ReceivedMessage)


# --- messages -------------------------------------------------------------------------------------


def test_a_message_of_the_live_api() -> None:
    """A message with its five fields is read, and comes back with its nulls."""
    message = read()
    assert (message.id, message.role, message.content) == ("m-0", "user", "Hi")
    assert (message.name, message.content_parts) == (None, None)
    assert message.to_dict() == LIVE
    assert json.loads(msgspec.json.encode(message)) == LIVE


@pytest.mark.parametrize("role", ["user", "assistant", "system", "developer", "tool", "function"])
def test_roles(role: str) -> None:
    """A role is any of the live API's."""
    assert read(role=role).role == role


def test_a_role_of_the_live_api_takes_no_memory() -> None:
    """Messages of one role share the string."""
    assert read(role="user").role is read(role="user", id="m-1").role


@pytest.mark.parametrize(
    ("name", "wire", "value"),
    [
        ("content", None, None),
        ("name", "N", "N"),
        ("content_parts", [], []),
        ("refusal", "no", "no"),
        ("tool_call_id", "call_1", "call_1"),
        ("function_call", FUNCTION["function"], FunctionCall("f", "{")),
        ("tool_calls", [FUNCTION], [FunctionToolCall("c", FunctionCall("f", "{"))]),
        ("tool_calls", [CUSTOM], [CustomToolCall("c", CustomCall("f", "x"))]),
        (
            "annotations",
            [{"type": "url_citation", "url_citation": CITED}],
            [URLCitationAnnotation(URLCitation(9, 1, "https://h", "T"))],
        ),
        ("audio", {"id": "a"}, Audio("a")),
        (
            "audio",
            {"id": "a", "expires_at": 1, "data": "QQ==", "transcript": None},
            Audio("a", 1, "QQ==", None),
        ),
    ],
)
def test_fields(name: str, wire: Any, value: Any) -> None:
    """Each field is read as what it is, and comes back as it came."""
    message = read(**{name: wire})
    assert getattr(message, name) == value
    assert message.to_dict() == LIVE | {name: wire}


NULLS = {"text": None, "image_url": None, "input_audio": None, "file": None}


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        ({"text": "t"}, TextPart("t")),
        ({"image_url": {"url": "u"}}, ImagePart(ImageURL("u"))),
        ({"image_url": {"url": "u", "detail": None}}, ImagePart(ImageURL("u", None))),
        ({"image_url": {"url": "u", "detail": "low"}}, ImagePart(ImageURL("u", "low"))),
        ({"input_audio": {"data": "d", "format": "wav"}}, InputAudioPart(InputAudio("d", "wav"))),
        ({"file": {"file_id": "f"}}, FilePart(FileRef("f"))),
        (
            {"file": {"filename": "n", "file_data": "d"}},
            FilePart(FileRef(filename="n", file_data="d")),
        ),
        ({"refusal": "no"}, RefusalPart("no")),
    ],
)
def test_parts(payload: dict[str, Any], value: Any) -> None:
    """A part is read with and without the nulls of the live API, and comes back as it came."""
    (kind,) = payload
    for wire in ({"type": kind, **payload}, {"type": kind, **NULLS, **payload}):
        message = read(content_parts=[wire])
        assert message.content_parts is not None
        (part,) = message.content_parts
        assert (type(part), part.type) == (type(value), kind)
        assert getattr(part, kind) == getattr(value, kind)
        assert message.to_dict()["content_parts"] == [wire]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (FunctionToolCall("c", FunctionCall("f", "{}")), "function"),
        (CustomToolCall("c", CustomCall("f", "")), "custom"),
        (URLCitationAnnotation(URLCitation(1, 0, "u", "t")), "url_citation"),
        (UnknownPart(type="video"), "video"),
        (UnknownToolCall(type="robot"), "robot"),
        (UnknownAnnotation(type="note"), "note"),
    ],
)
def test_types(value: Any, kind: str) -> None:
    """Every part, call and annotation says its type, as the wire does."""
    assert value.type == kind


def test_an_unknown_kind() -> None:
    """JSON of an unknown kind is a dict, with its compact JSON, and encodes as it came."""
    part = UnknownPart({"type": "video", "video": {"n": [1, None]}})
    assert part.raw == b'{"type":"video","video":{"n":[1,null]}}'
    assert part["video"]["n"] == [1, None]
    message = OddMessage("m", "user", content_parts=[part])
    assert json.loads(msgspec.json.encode(message))["content_parts"] == [part]


@pytest.mark.parametrize(
    "fields",
    [
        {"new": 1},
        {"refusal": False},
        {"content_parts": [{"type": "video"}]},
        {"content_parts": [{"type": "text", "text": "t", "new": 1}]},
        {"content_parts": [{"type": "text", "text": None}]},
        {"tool_calls": [{"type": "robot"}]},
        {"audio": {"id": "a", "new": 1}},
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any]) -> None:
    """The Structs refuse what they would drop, and so leave it to the lenient reading."""
    with pytest.raises(msgspec.ValidationError):
        read(**fields)


def test_values_are_frozen() -> None:
    """A message cannot be changed, and its dict is the caller's own."""
    message = read(content_parts=[{"type": "text", "text": "t"}])
    with pytest.raises(AttributeError):
        message.role = "other"  # type: ignore[misc]
    message.to_dict()["content_parts"].clear()
    assert message.to_dict()["content_parts"]


@pytest.mark.parametrize(
    "value",
    [
        read(content_parts=[{"type": "text", "text": "t"}], tool_calls=[FUNCTION]),
        keep(OddMessage("m", "user", content_parts=[UnknownPart(type="v")]), {"id": "m", "new": 1}),
        keep(Reply(content="x"), {"content": "x", "new": [1]}),
        keep(
            StoredCompletion("c", [Choice(0, keep(Reply(), {"new": 2}), "stop")]),
            {"id": "c", "choices": [{"index": 0, "message": {"new": 2}}], "new": 1},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_crossing_a_process(value: Any) -> None:
    """A pickled value is equal, of its class, and has every field that it came with."""
    twin = pickle.loads(pickle.dumps(value))  # noqa: S301 our own bytes
    assert (type(twin), twin, twin.to_dict()) == (type(value), value, value.to_dict())


def test_a_message_among_others() -> None:
    """Messages can stand in a set, also those with parts, which are lists."""
    one = read(content_parts=[{"type": "text", "text": "t"}])
    assert {one, read(content_parts=[{"type": "text", "text": "t"}])} == {one}


@pytest.mark.parametrize(
    "make",
    [
        lambda: OddMessage("m", "user"),
        lambda: Reply(content="x"),
        lambda: StoredCompletion("c", []),
    ],
    ids=["message", "reply", "completion"],
)
def test_what_no_field_knows_counts(make: Callable[[], Any]) -> None:
    """Values that differ in a field that this version does not know are not equal."""
    one, same, other = (keep(make(), {"id": "m", "new": [n]}) for n in (1, 1, 2))
    assert one == same
    assert one != other
    assert one != make()
    assert one != Message("m", "user")
    assert Message("m", "user") != one


def test_odd_values_among_others() -> None:
    """An odd message or a reply can stand in a set, once."""
    odd, reply = OddMessage("m", "user"), Reply(content="x")
    for value, equal, other in (
        (odd, OddMessage("m", "user"), keep(OddMessage("m", "user"), {"new": 1})),
        (reply, Reply(content="x"), keep(Reply(content="x"), {"new": 1})),
    ):
        assert {value, equal, other} == {value, other}
        assert len({value, equal, other}) == 2


@pytest.mark.parametrize(
    "value", [OddMessage("m", "user"), Reply(), StoredCompletion("c", [])], ids=repr
)
def test_a_copy(value: Any) -> None:
    """A copy, shallow or deep, has what no field knows as well."""
    kept = keep(value, {"id": "m", "new": [1]})
    assert copy.copy(kept).to_dict() == copy.deepcopy(kept).to_dict() == {"id": "m", "new": [1]}


@pytest.mark.parametrize(
    "value", [OddMessage("m", "user"), Reply(), StoredCompletion("c", [])], ids=repr
)
def test_what_was_kept(value: Any) -> None:
    """to_dict() gives the JSON that a value was made from: a dict of the caller's own, all down."""
    wire = {"id": "m", "big": 2**70, "deep": {"list": [{"a": [1]}]}}
    kept = keep(value, wire)
    kept.to_dict()["deep"]["list"][0]["a"].append(2)
    assert kept.to_dict() == wire == {"id": "m", "big": 2**70, "deep": {"list": [{"a": [1]}]}}


def test_a_changed_value() -> None:
    """What was changed has the fields that it says, and nothing of what it was made from."""
    message = keep(OddMessage("m", "user", "secret", refusal="no"), LIVE | {"new": 1})
    changed = msgspec.structs.replace(message, content="***")
    fields = {"id": "m", "role": "user", "content": "***", "refusal": "no"}
    assert changed.to_dict() == {**fields, "name": None, "content_parts": None}
    assert pickle.loads(pickle.dumps(changed)) == changed  # noqa: S301 our own bytes


# --- real conversations, where they are at hand ---------------------------------------------------


@cache
def conversations() -> list[dict[str, Any]]:
    """Return the recorded conversations."""
    path = needed("data/conversations.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def recorded() -> Iterator[dict[str, Any]]:
    """Yield the messages that the live API was recorded to send."""
    for line in needed("data/wire.jsonl").read_text("utf-8").splitlines():
        exchange = json.loads(line)
        if exchange["url"].partition("?")[0].endswith("/messages") and exchange["status"] == 200:
            yield from exchange["body"]["data"]


def test_real_conversations() -> None:
    """Each of the 2,326 messages of 100 real conversations is read strictly, equal to the file."""
    wire = [message for record in conversations() for message in record["messages"]]
    read = msgspec.json.decode(msgspec.json.encode(wire), type=list[ReceivedMessage])
    assert len(wire) == 2326
    assert [message.to_dict() for message in read] == wire


def test_recorded_messages() -> None:
    """Each message that the live API was recorded to send is read strictly, equal to the record."""
    wire = list(recorded())
    read = msgspec.json.decode(msgspec.json.encode(wire), type=list[ReceivedMessage])
    assert wire
    assert [message.to_dict() for message in read] == wire
