"""Claims about the derived columns: no value that a server may send refuses a row."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.archive.rows import MessageRow, completion_row, message_row, replies_of
from aiomessages.archive.scan import items, members

DEEP = b"[" * 2000 + b"]" * 2000


def column(name: str, value: bytes) -> Any:
    """Return a column of a completion in which that field has this value."""
    row, _ = completion_row(b'{"id":"c","%b":%b}' % (name.encode(), value))
    return getattr(row, name)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"1700000000", 1_700_000_000),
        (b"1700000000.75", 1_700_000_000),
        (b"1.7e9", 1_700_000_000),
        (b"-5", -5),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", None),
        (b"1e19", None),
        (b"1e400", None),
        (b"9" * 5000, None),
        (b"-" + b"9" * 30, None),
        (b"NaN", None),
        (b"-Infinity", None),
        (b"true", None),
        (b"null", None),
        (b'"1700000000"', None),
        (b"[1]", None),
        (DEEP, None),
    ],
)
def test_a_number_is_an_integer_or_nothing(sent: bytes, expected: int | None) -> None:
    """A fraction is cut off; what SQLite cannot hold, and what is no number, is None."""
    assert column("created", sent) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b'"gpt-4o"', "gpt-4o"),
        (b'""', ""),
        (b'"a\\u0000b"', "a\0b"),
        (b'"half \\ud83d"', "half \ufffd"),
        (b'"whole \\ud83d\\ude00"', "whole \U0001f600"),
        (b'"not \xff UTF-8"', "not \ufffd UTF-8"),
        (b'"\\ufeff\\ud83d"', "\ufeff\ufffd"),
        (b"5", None),
        (b'["a"]', None),
        (b'{"a":1}', None),
        (DEEP, None),
    ],
)
def test_a_text_is_one_that_sqlite_holds(sent: bytes, expected: str | None) -> None:
    """Half an emoji and a broken byte are replaced; what is no text is None."""
    assert column("model", sent) == expected


def test_the_columns_of_a_completion() -> None:
    """A row has what people ask for: time, model, tier, why it ended, tokens and metadata."""
    body = {
        "id": "chatcmpl-1",
        "created": 7,
        "model": "m",
        "service_tier": "flex",
        "choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        "metadata": {"a": "b"},
    }
    row, metadata = completion_row(json.dumps(body).encode())
    assert tuple(row) == ("chatcmpl-1", 7, "m", "flex", "stop", 1, 2, 3)
    assert metadata == {"a": "b"}


@pytest.mark.parametrize("choices", [b"null", b"[]", b"[null]", b'"x"', b"[[1]]", b'{"a":1}', DEEP])
@pytest.mark.parametrize("usage", [b"null", b"[]", b'"x"', b'{"prompt_tokens":"many"}', DEEP])
def test_choices_and_usage_of_any_shape(choices: bytes, usage: bytes) -> None:
    """What is no choice has no reason to end, and what is no count is None."""
    body = b'{"id":"c","choices":%b,"usage":%b}' % (choices, usage)
    row, _ = completion_row(body)
    assert (row.id, row.finish_reason, row.prompt_tokens) == ("c", None, None)
    assert replies_of(body) == []


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"null", {}),
        (b"[1]", {}),
        (b'"x"', {}),
        (b'{"a":null,"b":"","c":"x"}', {"a": None, "b": "", "c": "x"}),
        (b'{"a":1,"b":true,"c":1.50}', {"a": "1", "b": "true", "c": "1.5"}),
        ('{"a":{"b":["é"]}}'.encode(), {"a": '{"b": ["é"]}'}),
        (b'{"\\ud83d":"\\ud83d"}', {"\ufffd": "\ufffd"}),
        (b'{"a":["\\ud83d"]}', {"a": '["?"]'}),
        (b'{"":"\\u0000"}', {"": "\0"}),
        (b'{"a":' + DEEP + b"}", {}),
    ],
)
def test_metadata_of_any_shape(sent: bytes, expected: dict[str, str | None]) -> None:
    """The API knows strings alone; another value is kept as its JSON."""
    assert completion_row(b'{"id":"c","metadata":%b}' % sent)[1] == expected


def test_metadata_of_any_depth() -> None:
    """A value is its JSON or None, however deep it is nested, also where Python's limit lies."""
    for depth in [100, 200, *range(sys.getrecursionlimit() - 250, sys.getrecursionlimit()), 3000]:
        nested = "[" * depth + "]" * depth
        _, metadata = completion_row(b'{"id":"c","metadata":{"a":%b}}' % nested.encode())
        assert metadata.get("a") in (nested, None)


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b'"c"', b"{}", b'{"id":5}', b'{"id":null}', b'{"id":%b}' % DEEP, b""]
)
def test_a_completion_has_an_id(body: bytes) -> None:
    """JSON without an id of text is no completion: nothing else is required."""
    with pytest.raises(ValueError, match="without an id"):
        completion_row(body)


def test_half_an_emoji_in_an_id() -> None:
    """Even the id may be repaired."""
    assert completion_row(b'{"id":"c\\ud83d"}')[0].id == "c\ufffd"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b'"words"', "words"),
        (b'""', ""),
        (b"null", None),
        (b"5", None),
        (b'[{"type":"text","text":"one"},{"type":"text","text":"two"}]', "one\ntwo"),
        (b'[{"type":"image_url"},null,5,{"text":null},{"text":"alone"}]', "alone"),
        (b'[{"type":"refusal","refusal":"no"}]', "no"),
        (b"[]", None),
        (b'{"text":"x"}', None),
        (b'"a\\u0000b \\ud83d"', "a\0b \ufffd"),
    ],
)
def test_the_text_of_a_message(sent: bytes, expected: str | None) -> None:
    """It is the content, or the text of its parts, each on lines of its own."""
    row = message_row(b'{"id":"m","role":"user","name":"ann","content":%b}' % sent)
    assert row == MessageRow("m", "user", "ann", expected)


def test_the_parts_stand_in_for_content_that_is_null() -> None:
    """The API sends parts beside a content of null; a refusal is the text where neither is."""
    parts = b'"content":null,"content_parts":[{"type":"text","text":"from a part"}]'
    assert message_row(b'{"role":"user",%b,"refusal":"no"}' % parts).text == "from a part"
    assert message_row(b'{"content":null,"content_parts":[],"refusal":"no"}').text == "no"


@pytest.mark.parametrize("body", [b"null", b"[1]", b'"x"', b"5", DEEP, b""])
def test_a_message_that_is_no_object(body: bytes) -> None:
    """Its columns are None, and it keeps its place in the conversation."""
    assert message_row(body) == MessageRow(None, None, None, None)


@pytest.mark.parametrize(
    "odd",
    [b'"x":"\\ud83d"', b'"x":' + DEEP, b'"x":' + b"9" * 5000, b'"x":NaN', b'"x":"\xff"'],
    ids=["half an emoji", "deep", "a long number", "NaN", "a broken byte"],
)
def test_an_odd_value_leaves_the_other_columns_alone(odd: bytes) -> None:
    """A field that msgspec refuses costs no other field its column."""
    body = b'{"role":"user",%b,"id":"m","content":"a [word], \\"quoted\\""}' % odd
    assert message_row(body) == MessageRow("m", "user", None, 'a [word], "quoted"')
    reply = b'{ "content" : "1, 2",%b }' % odd
    completion = b'{"id":"c","created":3,"choices":[ {"message": %b} ,{"n":1}, null]}' % reply
    assert replies_of(completion) == [(0, reply)]
    assert completion_row(completion)[0][:2] == ("c", 3)


def test_replies_keep_their_numbers_and_their_bytes() -> None:
    """A choice without a message leaves a gap, and a number is not rounded."""
    message = b'{"role":"assistant","content":"\\u00e9","n":1.50}'
    choices = b'{"message":%b},{"message":null},{},null,{"message":%b}' % (message, message)
    assert replies_of(b'{"choices":[%b]}' % choices) == [(0, message), (4, message)]
    assert replies_of(b'{"choices":[{"message":%b}]}' % message) == [(0, message)]


# Letters, half emojis, and what means something in JSON.
TEXT = st.text('aé日\ud83d\ude00\0"\\[]{}:, \n', max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
FIELDS = ("created", "model", "service_tier", "choices", "usage", "metadata", "role", "content")


@given(st.dictionaries(st.sampled_from([*FIELDS, "name", "content_parts", "refusal"]), JSON))
def test_any_json_has_columns(fields: dict[str, Any]) -> None:
    """Each column is None or of its type, for any value of any field."""
    body = json.dumps({"id": "c", **fields}).encode()
    row, metadata = completion_row(body)
    assert row.id == "c"
    for value in (row.created, row.prompt_tokens, row.completion_tokens, row.total_tokens):
        assert value is None or -(2**63) < value < 2**63
    message = message_row(body)
    texts = [row.model, row.service_tier, row.finish_reason]
    texts += [message.id, message.role, message.name, message.text]
    for text in [*texts, *metadata, *metadata.values()]:
        assert text is None or text.encode().decode() == text
    assert all(body.count(reply) for _, reply in replies_of(body))


@given(st.dictionaries(TEXT, JSON), st.sampled_from([None, 2]))
def test_the_scan_takes_apart_what_json_reads(value: dict[str, Any], indent: int | None) -> None:
    """It finds the members and items that a decoder finds, with spaces or without."""
    value = json.loads(json.dumps(value))  # two halves of an emoji become one
    found = members(json.dumps(value, indent=indent).encode())
    assert list(found) == list(value)
    for name, text in found.items():
        assert json.dumps(json.loads(text)) == json.dumps(value[name])
    listed = list(value.values())
    parts = items(json.dumps(listed, indent=indent).encode())
    assert [json.dumps(json.loads(part)) for part in parts] == [json.dumps(v) for v in listed]


def test_the_scan_of_other_values() -> None:
    """What is no object has no members, what is no array no items, and neither is an error."""
    for text in (b"null", b'"{"', b"5", b"", b"]", b"[", b"{,}", b'{"a"', b"{1:2}"):
        assert members(text) == {}
    for text in (b"{}", b'"["', b"[]", b"["):
        assert items(text) == []
