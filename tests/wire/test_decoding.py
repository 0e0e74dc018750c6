"""Decoding: each page is delivered without loss, and raw items are exact bytes."""

import json
import math
from typing import Any

import msgspec
import pytest
from beside import needed
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomessages.models import (
    FunctionToolCall,
    ImagePart,
    Message,
    OddMessage,
    ReceivedMessage,
    TextPart,
    UnknownAnnotation,
    UnknownPart,
    UnknownToolCall,
    URLCitationAnnotation,
)
from aiomessages.wire.decoding import (
    COMPLETIONS,
    MESSAGES,
    RAW,
    PageCodec,
    RawCodec,
    decode_completion,
    decode_raw_completion,
)
from aiomessages.wire.lenient import read_message
from aiomessages.wire.page_content import PageContent

QUICK = settings(max_examples=60)

LIVE = {"id": "m-0", "role": "user", "content": "Hi", "name": None, "content_parts": None}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CITED = {"end_index": 9, "start_index": 1, "url": "https://h", "title": "T"}


def body_of(*items: Any, **fields: Any) -> bytes:
    """Return the body of a page, as compact as the live API sends it."""
    frame = {"object": "list", "data": list(items), "has_more": False, **fields}
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode()


def messages_in(body: bytes) -> list[Message]:
    """Return the messages of a page."""
    return MESSAGES.decode(body)[0].data or []


def read(**fields: Any) -> Message:
    """Read one message of the live API with some fields more, as a page brings it."""
    return messages_in(body_of(LIVE | fields))[0]


# --- what JSON there is ---------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    SCALARS | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NEW = st.dictionaries(st.text(max_size=6).map("x-".__add__), JSON, max_size=2)
TEXT = st.text(max_size=20)
MAYBE = st.none() | TEXT


def with_new(known: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Add unknown fields to some of these objects."""
    return known | st.builds(lambda a, b: a | b, known, NEW)


def payload(name: str, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return parts of a type, with or without the nulls of the live API, or Go's empty texts."""
    others = {"text", "image_url", "input_audio", "file"} - {name}
    absent = st.sampled_from([{}, dict.fromkeys(others), dict.fromkeys(others, "")])
    return st.builds(lambda value, rest: {"type": name, **rest, name: value}, inner, absent)


UNKNOWN = st.builds(lambda kind, rest: rest | {"type": f"?{kind}"}, TEXT, NEW)
FUNCTIONS = with_new(st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}))
PARTS = UNKNOWN | with_new(
    payload("text", MAYBE)
    | payload("refusal", TEXT)
    | payload(
        "image_url", with_new(st.fixed_dictionaries({"url": TEXT}, optional={"detail": MAYBE}))
    )
    | payload("input_audio", with_new(st.fixed_dictionaries({"data": MAYBE, "format": MAYBE})))
    | payload("file", with_new(st.fixed_dictionaries({}, optional={"file_id": MAYBE})))
)
CALLS = UNKNOWN | with_new(
    st.fixed_dictionaries({"type": st.just("function"), "id": TEXT, "function": FUNCTIONS})
    | st.fixed_dictionaries(
        {"type": st.just("custom"), "id": TEXT}
        | {"custom": with_new(st.fixed_dictionaries({"name": TEXT, "input": TEXT}))}
    )
)
NOTES = UNKNOWN | with_new(
    st.fixed_dictionaries(
        {"type": st.just("url_citation"), "url_citation": with_new(st.just(CITED))}
    )
)
FIELDS = {
    "content": MAYBE,
    "name": MAYBE,
    "content_parts": st.none() | st.lists(PARTS, max_size=3),
    "refusal": MAYBE,
    "tool_calls": st.none() | st.lists(CALLS, max_size=2),
    "function_call": st.none() | FUNCTIONS,
    "annotations": st.none() | st.lists(NOTES, max_size=2),
    "audio": st.none()
    | with_new(
        st.fixed_dictionaries({"id": TEXT}, optional={"data": MAYBE, "expires_at": st.just(7)})
    ),
    "tool_call_id": MAYBE,
}
MESSAGE = with_new(st.fixed_dictionaries({"id": TEXT, "role": TEXT}, optional=FIELDS))
REPLY = with_new(
    st.fixed_dictionaries(
        {},
        optional={"role": TEXT} | {n: FIELDS[n] for n in FIELDS if n[:4] not in ("name", "tool")},
    )
)
CHOICE = with_new(
    st.fixed_dictionaries(
        {"index": st.integers(0, 9), "message": REPLY},
        optional={"finish_reason": MAYBE, "logprobs": JSON},
    )
)
COMPLETION = with_new(
    st.fixed_dictionaries(
        {"id": TEXT},
        optional={
            "choices": st.none() | st.lists(CHOICE, max_size=2),
            "model": MAYBE,
            "created": st.none() | st.integers(0, 2**40),
            "temperature": st.none() | NUMBERS,
            "metadata": st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
            "usage": st.none() | st.dictionaries(TEXT, JSON, max_size=2),
            "tools": JSON,
        },
    )
)


# --- nothing is lost ------------------------------------------------------------------------------


@pytest.mark.unmeasured
@QUICK
@given(st.lists(MESSAGE, max_size=3))
def test_any_messages(wire: list[dict[str, Any]]) -> None:
    """A message with any known and unknown fields is delivered with all of them."""
    messages = messages_in(body_of(*wire))
    assert [message.id for message in messages] == [item["id"] for item in wire]
    for message, item in zip(messages, wire, strict=True):
        assert (message.role, message.content) == (item["role"], item.get("content"))
        assert message.to_dict() == item
        assert len(message.content_parts or ()) == len(item.get("content_parts") or ())


@pytest.mark.unmeasured
@QUICK
@given(st.lists(COMPLETION, max_size=2))
def test_any_completions(wire: list[dict[str, Any]]) -> None:
    """A completion has every field that the server sent, and so has each of its replies."""
    page, ids = COMPLETIONS.decode(body_of(*wire))
    completions = page.data or []
    assert [completion.to_dict() for completion in completions] == wire
    assert ids == [item["id"] for item in wire]
    for completion, item in zip(completions, wire, strict=True):
        replies = [choice.message.to_dict() for choice in completion.choices]
        assert replies == [choice["message"] for choice in item.get("choices") or ()]
        assert decode_completion(json.dumps(item).encode()) == (item["id"], completion)


@pytest.mark.unmeasured
@QUICK
@given(MESSAGE)
def test_strict_and_lenient(wire: dict[str, Any]) -> None:
    """The lenient reader gives the same values as the strict decoder for what that accepts."""
    (message,), lenient = messages_in(body_of(wire)), read_message(wire)
    assert lenient.to_dict() == message.to_dict()
    for name in Message.__struct_fields__:
        assert getattr(lenient, name) == getattr(message, name)
    if type(message) is ReceivedMessage:
        assert lenient.mismatches == ()
        assert json.loads(msgspec.json.encode(message)) == wire


def test_a_role_of_the_future() -> None:
    """Roles are an open set: a message with one that is new is read like any other."""
    message = read_message(LIVE | {"role": "oracle", "new": 1})
    assert (message.role, message.content) == ("oracle", "Hi")
    assert message.to_dict() == LIVE | {"role": "oracle", "new": 1}
    assert read_message(LIVE | {"role": "oracle"}).role == "oracle"


ANY_MESSAGE = st.builds(
    lambda rest, known: rest | known,
    st.dictionaries(st.sampled_from([*Message.__struct_fields__, "new"]), JSON),
    st.fixed_dictionaries({"id": TEXT}),
)


@pytest.mark.unmeasured
@QUICK
@given(st.lists(ANY_MESSAGE | MESSAGE, max_size=4))
def test_whatever_has_an_id_is_a_message(wire: list[dict[str, Any]]) -> None:
    """Any object with an id is delivered complete, and does not change the messages beside it."""
    page = [item for odd in wire for item in (odd, LIVE)]
    for messages in (messages_in(body_of(*page)), messages_in(body_of(*page[::-1]))[::-1]):
        assert [message.to_dict() for message in messages] == page
        assert {type(message) for message in messages[1::2]} <= {ReceivedMessage}
        assert all(isinstance(message, Message) for message in messages)
        assert [message.role for message in messages[::2]] == [
            role if isinstance(role := odd.get("role"), str) else "" for odd in wire
        ]


def test_an_odd_message_among_good_ones() -> None:
    """An odd message does not change the other messages of the page."""
    messages = messages_in(body_of(LIVE, LIVE | {"new": 1}, LIVE))
    assert [type(message) for message in messages] == [ReceivedMessage, OddMessage, ReceivedMessage]


def test_pages_after_an_odd_one() -> None:
    """After a page with odd items, later pages are decoded to the same values."""
    codec = MESSAGES.fresh()
    odd = LIVE | {"refusal": False}
    for wire in ([odd], [LIVE, odd], [LIVE], [LIVE], [odd], []):
        page, _ = codec.decode(body_of(*wire))
        assert page.data is not None
        assert [message.to_dict() for message in page.data] == wire
        kinds = [OddMessage if item is odd else ReceivedMessage for item in wire]
        assert [type(message) for message in page.data] == kinds


def test_mismatches_are_logged_once_a_page(caplog: pytest.LogCaptureFixture) -> None:
    """One record gives the number of a page's messages that do not fit, and none of their text."""
    wrong = LIVE | {"content": {"secret": 1}, "refusal": False}
    messages_in(body_of(LIVE, wrong, LIVE | {"new": 1}, wrong))
    (record,) = caplog.records
    assert (record.levelname, record.args) == ("WARNING", (2, 4))
    assert "secret" not in caplog.text
    caplog.clear()
    messages_in(body_of(LIVE, LIVE | {"new": 1}))
    assert caplog.records == []


def test_mismatches_of_completions_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A page of completions, and a single completion, log how many do not fit."""
    wrong = {"id": "chatcmpl-1", "object": "chat.completion", "created": "secret"}
    COMPLETIONS.decode(json.dumps({"data": [wrong], "has_more": False}).encode())
    decode_completion(json.dumps(wrong).encode())
    assert [record.args for record in caplog.records] == [(1, 1), (1, 1)]
    assert "secret" not in caplog.text


def test_kinds_of_the_future() -> None:
    """A part, a tool call or an annotation of a new type is delivered with its type and JSON."""
    message = read(
        content_parts=[{"type": "video", "n": 1}, {"type": "text", "text": "t"}],
        tool_calls=[{"type": "robot"}, CALL],
        annotations=[{"type": "note"}, {"type": "url_citation", "url_citation": CITED}],
    )
    kinds = [
        type(item)
        for items in ("content_parts", "tool_calls", "annotations")
        for item in getattr(message, items)
    ]
    assert kinds == [
        UnknownPart,
        TextPart,
        UnknownToolCall,
        FunctionToolCall,
        UnknownAnnotation,
        URLCitationAnnotation,
    ]
    assert message.content_parts is not None
    assert message.content_parts[0] == UnknownPart({"type": "video", "n": 1})


def test_fields_of_the_future_inside() -> None:
    """A known part with an unknown field keeps its type, and to_dict() has the field."""
    part = {"type": "image_url", "image_url": {"url": "u", "alt": "a cat"}, "new": [1]}
    message = read(content_parts=[part])
    assert message.content_parts is not None
    (got,) = message.content_parts
    assert isinstance(got, ImagePart)
    assert got.image_url.url == "u"
    assert message.to_dict()["content_parts"] == [part]


def test_a_part_without_its_payload() -> None:
    """A part whose payload is null does not fit its type, and is delivered as it was sent."""
    message = read(content_parts=[{"type": "text", "text": None}])
    assert message.content_parts == [UnknownPart({"type": "text", "text": None})]


def test_empty_texts_for_nulls() -> None:
    """A server that sends "" where the live API sends null is read all the same."""
    part = {"type": "image_url", "image_url": {"url": "u"}, "text": ""}
    message = read(content_parts=[part])
    assert message.content_parts is not None
    assert isinstance(message.content_parts[0], ImagePart)
    assert message.to_dict()["content_parts"] == [part]


def test_deep_json() -> None:
    """JSON of any depth that the decoder can read is copied by to_dict()."""
    deep = b"[" * 600 + b"]" * 600
    body = b'{"data":[{"id":"m","role":"user","new":%s}]}' % deep
    assert msgspec.json.encode(messages_in(body)[0].to_dict()["new"]) == deep


def test_a_number_beyond_all_floats() -> None:
    """The number is infinite in an unknown field, as for json.loads, and exact in the raw bytes."""
    body = b'{"data":[{"id":"m","role":"user","new":[1e400,-1e400,1.5]}]}'
    assert messages_in(body)[0].to_dict()["new"] == [math.inf, -math.inf, 1.5]
    raw, _ = RAW.decode(body)
    assert (raw.data or [b""])[0].endswith(b'"new":[1e400,-1e400,1.5]}')
    usage = decode_completion(b'{"id":"c","choices":[],"usage":{"n":1e400}}')[1].usage
    assert usage == {"n": math.inf}


@pytest.mark.parametrize("count", [100, 4300, 4301, 10_000])
def test_a_number_of_many_digits(count: int) -> None:
    """A number is an int while Python converts so many digits, and infinite beyond."""
    number = b"7" * count
    body = b'{"data":[{"id":"m","role":"user","new":%s},{"id":"n","role":"user"}]}' % number
    messages = messages_in(body)
    expected = int(number) if count <= 4300 else math.inf
    assert [m.to_dict().get("new") for m in messages] == [expected, None]


# --- the frame ------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [MESSAGES, COMPLETIONS, RAW])
def test_the_frame(codec: PageCodec[Any] | RawCodec) -> None:
    """A page's own fields are read, new ones are ignored, and has_more may be missing."""
    body = b'{"data":[],"first_id":"","last_id":null,"object":"l","new":{"a":[1]},"error":{"a":1}}'
    page, ids = codec.decode(body)
    assert (page.data, ids, page.first_id, page.last_id) == ([], [], "", None)
    assert (page.object, page.has_more, page.error) == ("l", None, {"a": 1})


@pytest.mark.parametrize("codec", [MESSAGES, COMPLETIONS, RAW])
def test_a_page_of_null(codec: PageCodec[Any] | RawCodec) -> None:
    """A page whose data is null is empty."""
    page, ids = codec.decode(b'{"data":null,"object":null,"first_id":5}')
    made = PageContent.of(codec.page_class, page, ids, headers={}, completion_id=None)
    assert (made.data, made.ids, made.has_more, made.next_cursor) == ([], [], False, None)
    assert (made.object, made.first_id) == ("", None)
    assert repr(page) == "Envelope(0 items, has_more=None)"


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [MESSAGES, COMPLETIONS, RAW])
@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"null", ""),
        (b"[]", ""),
        (b"{}", ""),
        (b'{"data":{}}', "$.data"),
        (b'{"data":[1]}', "$.data[0]"),
        (b'{"data":[{"role":"user"}]}', "$.data[0]"),
        (b'{"data":[{"id":"m"},{"role":"user"}]}', "$.data[1]"),
        (b'{"data":[{"id":5,"role":"user"}]}', "$.data[0].id"),
        (b'{"data":[{"id":null,"new":1}]}', "$.data[0].id"),
        (b'{"data":[null]}', "$.data[0]"),
        (b'{"data":[],"has_more":"no"}', "$.has_more"),
    ],
)
def test_pages_of_another_shape(codec: PageCodec[Any] | RawCodec, body: bytes, path: str) -> None:
    """Every codec refuses a body that is not a page, or that has items without an id."""
    with pytest.raises(msgspec.ValidationError) as caught:
        codec.decode(body)
    assert str(caught.value).partition(" - at ")[2].strip("`") == path


@pytest.mark.parametrize("codec", [MESSAGES, COMPLETIONS, RAW])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html>",
        b'{"data":[]',
        b'{"data":[]} x',
        b'\xef\xbb\xbf{"data":[]}',
        b'{"data":[{"id":"m","role":"user","content":NaN}]}',
        b'{"data":[{"id":"m","role":"user","content":"\x01"}]}',
        b'{"data":[{"id":"m","role":"user","content":"\\ud83"}]}',
        b'{"data":[{"id":"m","role":"user","content":"\\ud800","x":}]}',
        b'{"data":[{"id":"m","role":"user","content":"\xff"}]}',
        b'{"data":[{"id":"m","role":"user","content":"\xed\xa0\x80"}]}',
        b'{"data":[{"id":"m","role":"user","new":["\xff"]}]}',
    ],
)
def test_bodies_that_are_not_json(codec: PageCodec[Any] | RawCodec, body: bytes) -> None:
    """Every codec refuses a body that is not JSON in UTF-8, and not as a wrong shape."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)) as caught:
        codec.decode(body)
    assert not isinstance(caught.value, msgspec.ValidationError)


@pytest.mark.parametrize("codec", [MESSAGES, COMPLETIONS, RAW])
@pytest.mark.parametrize("field", ["content", "new"])
def test_bodies_that_are_nested_too_deep(codec: PageCodec[Any] | RawCodec, field: str) -> None:
    """A hundred thousand brackets are a RecursionError, wherever they stand."""
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises((RecursionError, msgspec.ValidationError)) as caught:
        codec.decode(b'{"data":[{"id":"m","role":"user","%s":%s}]}' % (field.encode(), deep))
    assert isinstance(caught.value, RecursionError)


@pytest.mark.unmeasured
@QUICK
@given(st.lists(MESSAGE, min_size=1, max_size=2), st.data())
def test_bodies_that_were_garbled(wire: list[dict[str, Any]], data: st.DataObject) -> None:
    """For a garbled body no codec raises another error, and both see the same ids."""
    body = bytearray(body_of(*wire))
    where = data.draw(st.integers(0, len(body) - 1))
    body[where : where + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    outcomes: list[list[str] | None] = []
    for codec in (MESSAGES, RAW):
        try:
            outcomes.append(codec.decode(bytes(body))[1])
        except msgspec.ValidationError:
            outcomes.append(None)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
    typed, raw = outcomes
    assert typed in (raw, None)


# --- raw ------------------------------------------------------------------------------------------

SPACE = st.text(" \t\r\n", max_size=3)


@st.composite
def layouts(draw: st.DrawFn, strategy: st.SearchStrategy[Any]) -> bytes:
    """Write JSON in some layout: with any white space, and with escapes or without."""
    return json.dumps(
        draw(strategy),
        indent=draw(st.none() | st.integers(0, 2)),
        separators=(f"{draw(SPACE)},{draw(SPACE)}", f"{draw(SPACE)}:{draw(SPACE)}"),
        ensure_ascii=draw(st.booleans()),
    ).encode()


@pytest.mark.unmeasured
@QUICK
@given(st.lists(layouts(MESSAGE), max_size=3), SPACE, SPACE)
def test_raw_items(items: list[bytes], before: str, after: str) -> None:
    """A raw item is exactly the bytes that the server sent, whatever the layout of its page."""
    comma = f"{after},{before}".encode()
    body = b'{"data":[%s%s%s],"has_more":false}' % (
        before.encode(),
        comma.join(items),
        after.encode(),
    )
    page, ids = RAW.decode(body)
    assert page.data == items
    assert ids == [json.loads(item)["id"] for item in items]


# --- half an emoji --------------------------------------------------------------------------------

BROKEN = st.text(
    st.sampled_from('a\\"\n\u00e9\U0001f600\ud83d\ud83d\ude00\ud800\udfff'), max_size=8
)


def mended(text: str) -> str:
    """Return a text with U+FFFD for each surrogate without its other half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@pytest.mark.unmeasured
@QUICK
@given(st.lists(st.tuples(BROKEN, BROKEN), min_size=1, max_size=3))
def test_lone_surrogates(texts: list[tuple[str, str]]) -> None:
    """A lone surrogate is delivered as U+FFFD; raw messages are unchanged."""
    wire = [{"id": f"m{a}", "role": "user", "content": b, b"x".decode() + b: [a]} for a, b in texts]
    items = [json.dumps(item).encode() for item in wire]
    body = b'{"data":[%s]}' % b", ".join(items)
    page, ids = MESSAGES.decode(body)
    messages = page.data or []
    assert [m.content for m in messages] == [mended(b) for _, b in texts]
    assert [m.to_dict()[f"x{mended(b)}"] for m, (_, b) in zip(messages, texts, strict=True)] == [
        [mended(a)] for a, _ in texts
    ]
    raw, raw_ids = RAW.decode(body)
    assert raw.data == items
    assert raw_ids == ids == [f"m{mended(a)}" for a, _ in texts]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\ud83d", "\ufffd"),
        (rb"\uDE00", "\ufffd"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83dx\ude00", "\ufffdx\ufffd"),
        (rb"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (rb"\\\ud83d", "\\\ufffd"),
        (rb"\n\ud83d\u00e9", "\n\ufffdé"),
    ],
)
def test_escapes(written: bytes, text: str) -> None:
    """Pairs stay pairs, escaped backslashes stay, and only lone halves are replaced."""
    body = b'{"data":[{"id":"m","role":"user","content":"%s"}]}' % written
    assert messages_in(body)[0].content == text


def test_a_completion_with_a_lone_surrogate() -> None:
    """A lone surrogate in a reply does not prevent reading its completion, or the list."""
    item = rb'{"id":"c","choices":[{"index":0,"message":{"content":"\ud83d"}}]}'
    page, _ = COMPLETIONS.decode(b'{"data":[%s]}' % item)
    for completion in (*(page.data or []), decode_completion(item)[1]):
        assert completion.choices[0].message.content == "\ufffd"


# --- what the live API was recorded to send, where it is at hand ----------------------------------


def test_recorded_pages() -> None:
    """Each recorded page is read without loss, by item and raw; so is each recorded completion."""
    lines = needed("data/wire.jsonl").read_text("utf-8").splitlines()
    exchanges = [json.loads(line) for line in lines]
    bodies = [e["body"] for e in exchanges if e["method"] == "GET" and e["status"] == 200]
    lists = [body for body in bodies if body["object"] == "list"]
    for body in lists:
        whole = any("choices" in item for item in body["data"])
        sent = json.dumps(body).encode()
        page, _ = (COMPLETIONS if whole else MESSAGES).decode(sent)
        assert [item.to_dict() for item in page.data or ()] == body["data"]
        assert [json.loads(item) for item in RAW.decode(sent)[0].data or ()] == body["data"]
    alone = [body for body in bodies if body["object"] == "chat.completion"]
    assert [decode_completion(json.dumps(body).encode())[1].to_dict() for body in alone] == alone
    assert lists
    assert alone


def test_the_id_of_a_completion() -> None:
    """The id is read from JSON of any shape; invalid UTF-8 elsewhere in it is an error."""
    body = '{"x": "\\ud83d", "y": "é", "id": "chatcmpl-1"}'
    assert decode_raw_completion(body.encode()) == ("chatcmpl-1", body.encode())
    with pytest.raises(UnicodeDecodeError):
        decode_raw_completion(b'{"id": "chatcmpl-1", "x": "\xff"}')
    with pytest.raises(msgspec.ValidationError):
        decode_raw_completion(b'{"id": ""}')
