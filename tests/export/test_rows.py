"""Rows: every line becomes one, and only invalid JSON is reported as damage."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomessages.export.columnar import make_columns
from aiomessages.export.errors import CorruptError
from aiomessages.export.rows import MOST_IN_A_GROUP, TABLES, Rows

JSON = dict[str, Any]
DIGITS = "1" * 5000


def rows(lines: list[str], layout: str = "messages") -> list[JSON]:
    """Return the rows of lines as DuckDB reads them."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "lines.jsonl.gz"
        source.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
        made = Rows.of(source, Path(folder) / "rows", layout)
        return [json.loads(row) for path in made.paths for row in path.read_bytes().splitlines()]


def columns(lines: list[str], layout: str, ending: str) -> list[JSON]:
    """Return the rows that are read back from a file of columns."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        source, made = Path(folder) / "lines.jsonl.gz", Path(folder) / f"columns{ending}"
        source.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
        make_columns(source, made, layout, target=made)
        table = f"read_parquet('{made}')"
        if ending == ".duckdb":
            connection.execute(f"ATTACH '{made}' AS made (READ_ONLY)")
            table = f"made.{layout}"
        found = connection.sql(f"FROM {table}")
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


# --- what msgspec refuses and JSON has ------------------------------------------------------------

ODD = {
    "a float beyond all floats": "1e400",
    "a negative one": "-1E+999",
    "an integer beyond Python's bound": DIGITS,
    "a negative integer": f"-{DIGITS}",
    "a fraction": f"0.{DIGITS}e-{DIGITS}",
    "an integer beyond 64 bits": "9223372036854775808",
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 5_000 + "1e400" + "}" * 5_000,
    "half an emoji, deep": "[" * 300 + r'"\ud83d"' + "]" * 300,
    "keys that come twice": r'{"a":1,"a":1e400}',
    "half an emoji as a key": r'{"\ud83d":1,"\ud83e":2}',
}
# The places of a value in a message, beside values that must stay.
PLACES = {
    "a field": '"seed":VALUE',
    "a field with a column": '"name":VALUE',
    "a part": '"content_parts":[{"type":"text","text":"kept"},VALUE]',
    "a part's text": '"content_parts":[{"type":"text","text":VALUE},{"type":"text","text":"kept"}]',
    "a part's new field": '"content_parts":[{"type":"text","text":"kept","score":VALUE}]',
    "a call's arguments": '"tool_calls":[{"id":"kept","function":{"name":"f","arguments":VALUE}}]',
    "a call's new field": '"tool_calls":[{"id":"kept","function":{"name":"f","limit":VALUE}}]',
    "a citation": '"annotations":[{"type":"kept","url_citation":{"start_index":VALUE}}]',
    "audio": '"audio":{"id":"kept","expires_at":VALUE}',
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_valid_json_is_never_corrupt(place: str, odd: str) -> None:
    """A value that fits no column is null there, its neighbours stay, and the JSON is complete."""
    message = f'{{"role":"user",{place.replace("VALUE", odd)},"content":"said"}}'
    (row,) = rows([f'{{"completion_id":"c","seq":7,"message":{message}}}'])
    assert row["message_json"] == message
    assert (row["completion_id"], row["seq"]) == ("c", 7)
    assert (row["role"], row["content"]) == ("user", "said")
    assert row.get("name") is None
    assert ("kept" in json.dumps(row | {"message_json": ""})) == ("kept" in place)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_conversation_with_an_odd_value(odd: str) -> None:
    """An odd value in any field is null in its own column only."""
    message = f'{{"role":"user","content":"said","new":{odd}}}'
    fields = f'"metadata":{{"n":{odd}}},"messages":[{message}],"reply":{odd},"completion":{odd}'
    line = f'{{"completion_id":"c","model":"m","created":{odd},{fields}}}'
    (row,) = rows([line], "conversations")
    assert row["conversation_json"] == line
    assert (row["completion_id"], row["model"], row["metadata"]) == ("c", "m", None)
    assert row["created"] is None
    assert [said["content"] for said in row["messages"]] == ["said"]


def test_half_an_emoji_beside_a_long_number() -> None:
    """A lone surrogate beside a long number is handled as each of them alone."""
    message = rf'{{"content":"half \ud83d","name":"N","seed":{DIGITS}}}'
    (row,) = rows([f'{{"message":{message}}}'])
    assert (row["content"], row["name"]) == ("half \ufffd", "N")
    assert row["message_json"] == message


@pytest.mark.parametrize("message", ["null", "1", '"text"', "[]", "1e400", DIGITS])
def test_a_reply_that_is_no_object(message: str) -> None:
    """A message that is not an object still has a row with its text."""
    (row,) = rows([f'{{"completion_id":"c","seq":1,"choice":0,"message":{message}}}'])
    assert row == {"completion_id": "c", "seq": 1, "choice": 0, "message_json": message}


# --- any JSON, anywhere ---------------------------------------------------------------------------


def nested(text: str, levels: int, kind: str) -> str:
    """Wrap a text into lists or objects."""
    opening, closing = {"list": ("[", "]"), "object": ('{"a":', "}")}[kind]
    return opening * levels + text + closing * levels


def as_list(items: list[str], space: str) -> str:
    """Write a list."""
    return "[" + ",".join(items) + space + "]"


def as_object(fields: list[tuple[str, str]], space: str) -> str:
    """Write an object, whose keys may come more than once."""
    return "{" + ",".join(f"{key}{space}:{space}{value}" for key, value in fields) + "}"


pieces = [r"\ud83d", r"\ude00", r"\uD800", r"\u0000", r"\\", r"\"", r"\/", "a", "é", "[", "}", ":"]
strings = st.one_of(
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.lists(st.sampled_from(pieces), max_size=6).map(lambda some: '"' + "".join(some) + '"'),
)
number = re.compile(r"-?(0|[1-9][0-9]{0,90})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?")
numbers = st.one_of(
    st.sampled_from(["-0", "1.0", "1e400", "-1E-400", "9223372036854775808", f"-{DIGITS}", DIGITS]),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(number, fullmatch=True),
)
scalars = st.one_of(st.sampled_from(["null", "true", "false"]), strings, numbers)
names = [json.dumps(name) for name in (*TABLES["messages"].inner, "text", "url", "function")]
keys = strings | st.sampled_from(names)
spaces = st.sampled_from(["", " ", "\t"])
levels = st.sampled_from([62, 63, 64, 65, 700])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(as_list, st.lists(inner, max_size=4), spaces),
        st.builds(as_object, st.lists(st.tuples(keys, inner), max_size=5), spaces),
        st.builds(nested, inner, levels, st.sampled_from(["list", "object"])),
    ),
    max_leaves=12,
)
messages = values | st.builds(as_object, st.lists(st.tuples(keys, values), max_size=6), spaces)


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
@settings(max_examples=25)
@given(sent=st.lists(messages, min_size=1, max_size=20))
def test_any_json_is_a_message(ending: str, sent: list[str]) -> None:
    """Any JSON becomes columns, and the last one has it byte for byte."""
    lines = [
        f'{{"completion_id":"c","seq":{seq},"message":{message}}}'
        for seq, message in enumerate(sent)
    ]
    found = columns(lines, "messages", ending)
    assert [row["seq"] for row in found] == [*range(len(sent))]
    assert [row["message_json"] for row in found] == sent


@settings(max_examples=25)
@given(sent=st.lists(st.tuples(values, values, values), min_size=1, max_size=10))
def test_any_json_is_in_a_conversation(sent: list[tuple[str, str, str]]) -> None:
    """Any JSON is accepted in metadata, messages and completions as well."""
    lines = [
        f'{{"created":{n},"metadata":{metadata},"messages":[{message}],"completion":{completion}}}'
        for n, (metadata, message, completion) in enumerate(sent)
    ]
    found = columns(lines, "conversations", ".parquet")
    assert [row["created"].timestamp() for row in found] == [*range(len(sent))]
    assert [row["conversation_json"] for row in found] == lines


# --- what is no JSON ------------------------------------------------------------------------------


def is_json(line: str) -> bool:
    """Decide independently whether a line is a JSON object with a message."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        read = json.loads(line, parse_constant=refuse, parse_int=str, parse_float=str)
    except ValueError:
        return False
    return isinstance(read, dict) and "message" in read


shallow = st.one_of(scalars, st.lists(scalars, max_size=3).map(lambda it: f"[{','.join(it)}]"))
bit_rot = st.sampled_from([*"[]{},:\"\\0-+.eEx'", "", "null", "\x00"])


@settings(max_examples=150)
@given(message=shallow, levels=st.sampled_from([0, 1, 63, 64, 200]), rot=bit_rot, data=st.data())
def test_bit_rot_is_reported(message: str, levels: int, rot: str, data: st.DataObject) -> None:
    """Invalid JSON is damage at any depth, and valid JSON never is."""
    at = data.draw(st.integers(0, max(len(message) - 1, 0)))
    rotten = nested(message[:at] + rot + message[at + 1 :], levels, "list")
    line = f'{{"seq":{DIGITS},"message":{rotten}}}'
    if is_json(line):
        assert len(rows([line])) == 1
    else:
        with pytest.raises(CorruptError, match=r"^lines\.jsonl\.gz, line 2: "):
            rows(['{"message":{}}', line])


@pytest.mark.parametrize(
    "line", ["{", "[1]", "{}", '{"message":{]}', '{"message":' + "[" * 5000 + "}", "]" * 200, ""]
)
def test_a_line_that_is_no_line_of_an_export(line: str) -> None:
    """A line that is not JSON is reported with its file and number."""
    with pytest.raises(CorruptError, match=r"^lines\.jsonl\.gz, line 2: "):
        rows(['{"message":{}}', line])


def test_an_error_does_not_quote_the_message(tmp_path: Path) -> None:
    """An error about damaged bytes has their position and not their text."""
    source = tmp_path / "lines.jsonl.gz"
    source.write_bytes(gzip.compress(b'{"message":{"content":"secret \xff"}}\n'))
    with pytest.raises(CorruptError) as raised:
        Rows.of(source, tmp_path / "rows", "messages")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-9], id="cut"),
        pytest.param(lambda data: data[:-8] + bytes(8), id="checksum"),
        pytest.param(lambda data: data[:10] + b"\xff" * 20 + data[30:], id="damaged"),
    ],
)
def test_a_gzip_file_that_is_cut_or_damaged(tmp_path: Path, damage: Any) -> None:
    """A gzip file that was cut or has a wrong checksum is reported as damaged."""
    source = tmp_path / "lines.jsonl.gz"
    source.write_bytes(damage(gzip.compress(b'{"message":{}}\n' * 1000)))
    with pytest.raises(CorruptError, match=r"^lines\.jsonl\.gz is cut or damaged: "):
        Rows.of(source, tmp_path / "rows", "messages")


def test_inputs_that_msgspec_refuses() -> None:
    """Inputs that msgspec refuses: once it accepts them, this package can do less."""
    for odd in (DIGITS, r'"\ud83d"', "[" * 100_000 + "]" * 100_000):
        with pytest.raises((msgspec.DecodeError, RecursionError)):
            msgspec.json.decode(odd)


def test_rows_in_files_of_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file takes rows until it has its size, and the counts are those of all files."""
    source = tmp_path / "lines.jsonl.gz"
    source.write_bytes(gzip.compress(b'{"message":{}}\n' * 5))
    length = len(b'{"message_json":"{}"}\n')
    monkeypatch.setattr("aiomessages.export.rows._FILE_BYTES", 2 * length)
    made = Rows.of(source, tmp_path / "rows", "messages")
    assert [path.stat().st_size for path in made.paths] == [2 * length, 2 * length, length]
    assert (made.longest, made.number, made.size) == (length, 5, 5 * length)


@pytest.mark.parametrize(
    ("number", "size", "group"),
    [
        (0, 0, 1),
        (10, 10 * 2**20, 4),
        (10, 10 * 2**20 + 1, 3),
        (1, 2**30, 1),
        (10**6, 10**6, MOST_IN_A_GROUP),
    ],
)
def test_the_rows_of_a_group(number: int, size: int, group: int) -> None:
    """A group has as many rows of the average size as 4 MiB hold, at least one, within a bound."""
    assert Rows([], longest=0, number=number, size=size).group == group
