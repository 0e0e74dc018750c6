"""The Structs: every field of the live API and of the contract, frozen, encoded as it was sent."""

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

from aiomessages import models
from aiomessages.models import (
    Audio,
    Choice,
    CompletionTokensDetails,
    CompletionUsage,
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
    PromptTokensDetails,
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
    """A message with its five fields is read, and is encoded with its nulls."""
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
    """Each field is read with its type, and is encoded as it was sent."""
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
    """A part is read with and without the nulls of the live API, and is encoded as it was sent."""
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
    """Every part, call and annotation has the type that is on the wire."""
    assert value.type == kind


def test_an_unknown_kind() -> None:
    """JSON of an unknown kind is a dict with compact JSON, and is encoded as it was sent."""
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
def test_refused_messages(fields: dict[str, Any]) -> None:
    """The Structs refuse a message with an unknown field, so that no field is dropped."""
    with pytest.raises(msgspec.ValidationError):
        read(**fields)


def test_values_are_frozen() -> None:
    """A message cannot be changed, also not through the dict that it returns."""
    message = read(content_parts=[{"type": "text", "text": "t"}])
    with pytest.raises(AttributeError):
        message.role = "other"  # type: ignore[misc]
    message.to_dict()["content_parts"].clear()
    assert message.to_dict()["content_parts"]


@pytest.mark.parametrize("name", models.__all__)
def test_frozen_structs(name: str) -> None:
    """Every Struct of the models is frozen, and strict ones refuse unknown keys."""
    config = getattr(getattr(models, name), "__struct_config__", None)
    if config is not None:
        assert config.frozen
        assert config.forbid_unknown_fields == (not config.gc or name == "OddMessage")


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
def test_a_pickled_value(value: Any) -> None:
    """A pickled value is equal, of its class, and has every field that was sent."""
    loaded = pickle.loads(pickle.dumps(value))  # noqa: S301 our own bytes
    assert (type(loaded), loaded, loaded.to_dict()) == (type(value), value, value.to_dict())


def test_a_message_in_a_set() -> None:
    """Messages can be in a set, even with parts, which are lists."""
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
def test_equality_of_unknown_fields(make: Callable[[], Any]) -> None:
    """Values that differ in a field that this version does not know are not equal."""
    one, same, other = (keep(make(), {"id": "m", "new": [n]}) for n in (1, 1, 2))
    assert one == same
    assert one != other
    assert one != make()
    assert one != Message("m", "user")
    assert Message("m", "user") != one


def test_odd_values_in_a_set() -> None:
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
    """A copy, shallow or deep, has the unknown fields as well."""
    kept = keep(value, {"id": "m", "new": [1]})
    assert copy.copy(kept).to_dict() == copy.deepcopy(kept).to_dict() == {"id": "m", "new": [1]}


@pytest.mark.parametrize(
    "value", [OddMessage("m", "user"), Reply(), StoredCompletion("c", [])], ids=repr
)
def test_the_kept_json(value: Any) -> None:
    """to_dict() returns a deep copy of the JSON that a value was read from."""
    wire = {"id": "m", "big": 2**70, "deep": {"list": [{"a": [1]}]}}
    kept = keep(value, wire)
    kept.to_dict()["deep"]["list"][0]["a"].append(2)
    assert kept.to_dict() == wire == {"id": "m", "big": 2**70, "deep": {"list": [{"a": [1]}]}}


def test_a_changed_value() -> None:
    """A changed value has its new fields, and nothing of the JSON of the old value."""
    message = keep(OddMessage("m", "user", "secret", refusal="no"), LIVE | {"new": 1})
    changed = msgspec.structs.replace(message, content="***")
    fields = {"id": "m", "role": "user", "content": "***", "refusal": "no"}
    assert changed.to_dict() == {**fields, "name": None, "content_parts": None}
    assert pickle.loads(pickle.dumps(changed)) == changed  # noqa: S301 our own bytes


# --- at a prompt ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"content": "Hi"}, "Hi"),
        ({"content": None}, ""),
        ({"content": "", "content_parts": [{"type": "text", "text": "t"}]}, ""),
        ({"content": "ab", "content_parts": [{"type": "text", "text": "a"}]}, "ab"),
        (
            {
                "content": None,
                "content_parts": [
                    {"type": "text", "text": "a"},
                    {"type": "refusal", "refusal": "no"},
                    {"type": "text", "text": "b"},
                ],
            },
            "ab",
        ),
    ],
)
def test_the_text_of_a_message(fields: dict[str, Any], text: str) -> None:
    """`text` is the content, else the text of the text parts joined; it is always a str."""
    assert read(**fields).text == text


def test_the_text_of_a_reply() -> None:
    """A reply without content has an empty text."""
    assert (Reply(content="Hi").text, Reply(refusal="no").text) == ("Hi", "")


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (read(), LIVE),
        (read(content="two\nlines"), LIVE | {"content": "two\nlines"}),
        (keep(OddMessage("m", "user"), {"id": "m", "new": 2**70}), {"id": "m", "new": 2**70}),
        (keep(Reply(content="x"), {"content": "x", "new": [1]}), {"content": "x", "new": [1]}),
        (keep(StoredCompletion("c", []), {"id": "c", "n": None}), {"id": "c", "n": None}),
        (Reply(content="x", refusal="no"), Reply(content="x", refusal="no").to_dict()),
    ],
    ids=repr,
)
def test_json_of_a_value(value: Any, sent: dict[str, Any]) -> None:
    """to_json() is one line with every field that was sent, in the order of to_dict()."""
    line = value.to_json()
    assert isinstance(line, str)
    assert "\n" not in line
    assert json.loads(line) == sent == value.to_dict()
    assert [*json.loads(line)] == [*value.to_dict()]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (read(), "Message(id='m-0', role='user', content='Hi')"),
        (read(content=None, refusal=None), "Message(id='m-0', role='user')"),
        (Message("m", "user", ""), "Message(id='m', role='user', content='')"),
        (OddMessage("m", ""), "OddMessage(id='m', role='')"),
        (TextPart("t", image_url=None), "TextPart(text='t')"),
        (ImagePart(ImageURL("u", None)), "ImagePart(image_url=ImageURL(url='u'))"),
        (
            FunctionToolCall(None, FunctionCall("f", "{}")),
            "FunctionToolCall(id=None, function=FunctionCall(name='f', arguments='{}'))",
        ),
        (UnknownPart(type="video"), "UnknownPart({'type': 'video'})"),
        (UnknownPart.of(5), "UnknownPart.of(5)"),
        (Choice(None, Reply()), "Choice(index=None, message=Reply(role='assistant'))"),
        (
            StoredCompletion("c", [], created=0),
            "StoredCompletion(id='c', choices=[], object='chat.completion', created=0)",
        ),
    ],
    ids=str,
)
def test_reprs(value: Any, shown: str) -> None:
    """A repr is a call that makes the value; it leaves out optional fields without a value."""
    assert repr(value) == shown
    assert repr(eval(shown)) == shown  # noqa: S307 the text stands above


def test_a_repr_by_rich() -> None:
    """Rich prints the fields of the repr, and the name that users know."""
    rich = pytest.importorskip("rich.pretty")
    assert rich.pretty_repr(read()) == repr(read())


def test_usage_is_a_dict() -> None:
    """Usage is the dict that the server sent, with any keys and types; CompletionUsage types it."""
    sent = {"prompt_tokens": "many", "cost": 0.1}
    assert (
        msgspec.convert({"id": "c", "choices": [], "usage": sent}, StoredCompletion).usage == sent
    )
    assert not CompletionUsage.__required_keys__ | CompletionTokensDetails.__required_keys__
    assert not PromptTokensDetails.__required_keys__
    usage: CompletionUsage = {"total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}
    assert StoredCompletion("c", [], usage=usage).to_dict()["usage"] == usage


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


@pytest.mark.parametrize("sent", [{"type": "new", "x": [1]}, 5, None, ["a"]])
def test_the_json_of_an_unknown_part(sent: Any) -> None:
    """It is what was sent, as for any other part; to_dict() is a new dict, empty for no object."""
    part = UnknownPart.of(sent)
    assert json.loads(part.to_json()) == sent
    copied = part.to_dict()
    assert copied == (sent if isinstance(sent, dict) else {})
    assert type(copied) is dict
    if isinstance(sent, dict):
        copied["x"].append(2)
        assert part["x"] == [1]


def test_completions_in_a_set() -> None:
    """Equal completions are one element of a set; a list of choices keeps none out of it."""
    sent = {"id": "c", "choices": [], "new": 1}
    one, same = (keep(StoredCompletion("c", []), sent) for _ in range(2))
    assert {one, same, StoredCompletion("d", [])} == {one, StoredCompletion("d", [])}


def test_the_json_of_a_part_and_a_choice() -> None:
    """Each value has to_dict() and to_json()."""
    assert TextPart("hi").to_dict() == {"type": "text", "text": "hi"}
    assert TextPart("hi").to_json() == '{"type":"text","text":"hi"}'
    choice = Choice(0, keep(Reply(content="yes"), {"content": "yes", "new": 1}), "stop")
    assert json.loads(choice.to_json()) == choice.to_dict()
    assert choice.to_dict()["message"] == {"content": "yes", "new": 1}
