"""Claims about the record form: which records are invalid, and that nothing else is changed."""

from __future__ import annotations

import gzip
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from aiomessages.archive.records import parse_record, read_records
from aiomessages.server import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Build = Callable[..., dict[str, Any]]

GOOD = '{"completion":{"id":"c","created":1,"model":"m","choices":[]},"messages":[%s]}'


def line(messages: str = "") -> bytes:
    """Return a valid record with the given messages."""
    return (GOOD % messages).encode()


def test_a_record_has_the_fields_that_the_server_filters_by(record: Build) -> None:
    """A record has the id, time, model and metadata of its completion."""
    given = record("a", 2, created=7, model="m1", metadata={"k": "v"})
    read = parse_record(json.dumps(given).encode())
    assert (read.id, read.created, read.model) == ("chatcmpl-a", 7, "m1")
    assert read.metadata == {"k": "v"}
    assert [message_id for message_id, _ in read.messages] == ["chatcmpl-a-0", "chatcmpl-a-1"]


def test_metadata_may_be_null_or_absent() -> None:
    """Both mean that the completion has no metadata."""
    assert parse_record(line()).metadata == {}
    assert parse_record(line().replace(b'"model"', b'"metadata":null,"model"')).metadata == {}


def test_json_text_is_compacted_and_otherwise_untouched() -> None:
    """Numbers, escapes, key order, unknown keys and spaces within strings stay as written."""
    text = '{ "role" : "x" ,\n "id": "a", "odd": [ 1.50e3, "\\u00e9  \\ud83d\\ude00", -0 ] }'
    ((_, body),) = parse_record(line(text)).messages
    assert body == rb'{"role":"x","id":"a","odd":[1.50e3,"\u00e9  \ud83d\ude00",-0]}'


def test_a_message_without_id_gets_the_one_of_the_api() -> None:
    """The id is `{completion_id}-{n}`, and it stands in the JSON that is served."""
    _, (second, body) = parse_record(line('{"id":"own","role":"user"},{"role":"user"}')).messages
    assert second == "c-1"
    assert json.loads(body) == {"id": "c-1", "role": "user"}


@pytest.mark.parametrize(
    "message",
    [
        '{"role":"ambassador"}',
        '{"role":"user","mood":{"pride":1}}',
        '{"role":"user","content_parts":[{"type":"scent","scent":[1,{}]}]}',
        '{"role":"assistant","content":null,"tool_calls":[{"type":"gesture"}]}',
    ],
)
def test_unknown_values_are_accepted(message: str) -> None:
    """A record may have unknown roles, fields, part types and tool calls."""
    assert len(parse_record(line(message)).messages) == 1


BAD = {
    "no JSON": (b"hello", "malformed"),
    "cut short": (line()[:-1], "truncated"),
    "two values": (line() + b"{}", "trailing characters"),
    "not UTF-8": (line('{"role":"\xff"}').replace(b"\xc3\xbf", b"\xff"), "utf-8"),
    "lone surrogate": (line(r'{"role":"user","content":"\ud83d, alone"}'), "surrogate pair"),
    "NaN": (line('{"role":"user","temperature":NaN}'), "invalid character"),
    "too deep": (line('{"role":"user","x":' + "[" * 100_000), "recursion"),
    "a list": (b"[]", "Expected `object`"),
    "no completion": (b'{"messages":[]}', "missing required field `completion`"),
    "no messages": (line().replace(b"messages", b"massages"), "`messages`"),
    "id with a slash": (line().replace(b'"c"', b'"a/b"'), "`str` matching regex"),
    "id of dots": (line().replace(b'"c"', b'".."'), "`str` matching regex"),
    "id empty": (line().replace(b'"c"', b'""'), "`str` matching regex"),
    "created a text": (line().replace(b":1,", b':"now",'), r"created"),
    "created negative": (line().replace(b":1,", b":-1,"), r"created"),
    "created too large": (line().replace(b":1,", b":9223372036854775808,"), r"created"),
    "metadata nested": (line().replace(b'"model"', b'"metadata":{"a":1},"model"'), r"metadata"),
    "no role": (line("{}"), r"`role` - at `\$.messages\[0\]`"),
    "role empty": (line('{"role":""}'), "role"),
    "content a number": (line('{"role":"a"},{"role":"b","content":5}'), r"messages\[1\].content"),
    "part without type": (line('{"role":"a","content_parts":[{}]}'), "`type`"),
    "the same id twice": (line('{"role":"a","id":"x"},{"role":"a","id":"x"}'), "same `id`"),
    "an id that another gets": (line('{"role":"a","id":"c-1"},{"role":"a"}'), "same `id`"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_a_bad_record_is_refused_with_its_line(tmp_path: Path, bad: bytes, reason: str) -> None:
    """The error holds the number of the line, blank lines counted, and the reason."""
    file = tmp_path / "records.jsonl"
    file.write_bytes(line() + b"\n\n" + bad + b"\n" + line())
    records = read_records(file)
    next(records)
    with pytest.raises(RecordError, match=f"(?i)^line 3: .*({reason})") as caught:
        next(records)
    assert caught.value.line == 3


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_file_is_read_by_its_ending(tmp_path: Path, ending: str) -> None:
    """Plain and compressed files give the same records."""
    content = line() + b"\n" + line('{"role":"user"}')
    file = tmp_path / f"records{ending}"
    file.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    assert [len(record.messages) for record in read_records(str(file))] == [0, 1]


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (gzip.compress(line() + b"\n")[:-9], r"\d"),
        (b"no gzip at all", "1"),
        (gzip.compress(line() + b"\n") + b"no gzip", "2"),
    ],
    ids=["cut short", "no gzip", "damaged second member"],
)
def test_a_damaged_gzip_file_is_a_bad_record(tmp_path: Path, data: bytes, number: str) -> None:
    """A truncated file or one that is not gzip raises the same error as an invalid line."""
    file = tmp_path / "records.jsonl.gz"
    file.write_bytes(data)
    with pytest.raises(RecordError, match=f"^line {number}: damaged gzip data"):
        list(read_records(file))


def test_dicts_are_records_as_well(record: Build) -> None:
    """Dicts are validated like lines of a file, and counted from 1."""
    records = read_records([record("a"), {"completion": 1}])
    assert next(records).id == "chatcmpl-a"
    with pytest.raises(RecordError, match=r"line 2: .*completion"):
        next(records)


def test_a_dict_that_is_no_json_is_a_bad_record(record: Build) -> None:
    """A value that JSON cannot hold raises the error with the number of its dict."""
    with pytest.raises(RecordError, match="line 1: "):
        list(read_records([record("a", seed=object())]))


def test_records_are_read_one_at_a_time(record: Build) -> None:
    """The reader takes a record from the source only when the caller needs the next one."""
    taken = []

    def source() -> Any:
        for name in "abc":
            taken.append(name)
            yield record(name)

    next(read_records(source()))
    assert taken == ["a"]


def test_the_error_survives_a_pickle() -> None:
    """A pickled error keeps its line and its reason."""
    error = pickle.loads(pickle.dumps(RecordError(4, "bad")))  # noqa: S301 - our own bytes
    assert (error.line, error.reason, str(error)) == (4, "bad", "line 4: bad")
