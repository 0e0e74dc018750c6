"""Columns: every field of every message read back by DuckDB, polars and pandas."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from beside import shared

from aiomessages.export.columnar import TABLES, explained, make_columns
from aiomessages.export.errors import CorruptError, DiskFullError, ExportError
from aiomessages.export.tables import JSON_TEXT
from aiomessages.server.sample import sample_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

JSON = dict[str, Any]
FIRST, LAST = -62_135_596_800, 253_402_300_799  # the first and the last second that Python has
MESSAGE = TABLES["messages"].inner
COMPLETION = {
    name: kind
    for name, kind in TABLES["conversations"].completion.items()
    if name != "finish_reason"  # it is in a choice
}


CONVERSATIONS = shared() / "data" / "conversations.jsonl.gz"
needs_conversations = pytest.mark.skipif(
    not CONVERSATIONS.exists(), reason=f"{CONVERSATIONS.name} is not on this machine"
)


def real_records() -> list[JSON]:
    """Return the real conversations."""
    with gzip.open(CONVERSATIONS) as file:
        return [json.loads(line) for line in file]


SOURCES = [
    pytest.param(sample_records, id="sample"),
    pytest.param(real_records, id="real", marks=needs_conversations),
]


def encoded(line: object) -> bytes:
    """Return one line of JSON as it goes over the wire: compact, half emojis and all."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def message_lines(records: Iterable[JSON]) -> list[JSON]:
    """Lay records out as one line a message, the reply last."""
    lines = []
    for record in records:
        id, choices = record["completion"]["id"], record["completion"]["choices"]
        said = [{"message": message} for message in record["messages"]]
        said += [{"choice": n, "message": choice["message"]} for n, choice in enumerate(choices)]
        about = {name: record["completion"][name] for name in ("created", "model", "metadata")}
        lines += [
            {"completion_id": id, **about, "seq": seq, **line} for seq, line in enumerate(said)
        ]
    return lines


def conversation_lines(records: Iterable[JSON]) -> list[JSON]:
    """Lay records out as one line a conversation."""
    return [
        {
            "completion_id": record["completion"]["id"],
            "model": record["completion"]["model"],
            "created": record["completion"]["created"],
            "metadata": record["completion"]["metadata"],
            "messages": record["messages"],
            "reply": record["completion"]["choices"][0]["message"],
            "completion": record["completion"],
        }
        for record in records
    ]


def fitted(kind: Any, value: Any) -> Any:
    """Return the expected value of a column, decoded independently by Python's json."""
    if isinstance(kind, dict):
        return (
            {k: fitted(of, value.get(k)) for k, of in kind.items()} if value is not None else None
        )
    if isinstance(kind, list):
        return [fitted(kind[0], item) for item in value] if value is not None else None
    if kind == JSON_TEXT and value is not None:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value


def moment(created: int) -> datetime:
    """Return the time that a column has for Unix seconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=created)


def plain(value: Any) -> Any:
    """Convert the values of a library to lists, dicts and None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if value is pd.NA or value is pd.NaT else value


def by_duckdb(path: Path) -> list[JSON]:
    """Read a Parquet file with DuckDB."""
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        return as_dicts(rows)


def as_dicts(rows: Any) -> list[JSON]:
    """Return a DuckDB result as dicts."""
    names = [column[0] for column in rows.description]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def by_polars(path: Path) -> list[JSON]:
    """Read a Parquet file with polars."""
    return pl.read_parquet(path).to_dicts()


def by_pandas(path: Path) -> list[JSON]:
    """Read a Parquet file with pandas, integers as integers."""
    return pd.read_parquet(path, dtype_backend="pyarrow").to_dict("records")


def from_table(path: Path, table: str) -> list[JSON]:
    """Read the table of a DuckDB file."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return as_dicts(connection.table(table))


READERS = [by_duckdb, by_polars, by_pandas]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes lines as JSONL, and columns from them."""

    def write(lines: Iterable[object], layout: str = "messages", ending: str = ".parquet") -> Path:
        source = tmp_path / "lines.jsonl.gz"
        source.write_bytes(gzip.compress(b"".join(map(encoded, lines))))
        output = a_directory(tmp_path) / f"columns{ending}"
        make_columns(source, output, layout, target=output)
        return output

    return write


def a_directory(parent: Path) -> Path:
    """Create a new directory, in which columns are made."""
    return Path(tempfile.mkdtemp(dir=parent))


def assert_messages(rows: list[JSON], lines: list[JSON]) -> None:
    """Compare rows with the lines that they were made from, field by field."""
    for row, line in zip(map(plain, rows), lines, strict=True):
        assert json.loads(row.pop("message_json")) == line["message"]
        assert row.pop("created") == moment(line["created"])
        assert as_mapping(row.pop("metadata")) == line["metadata"]
        assert row == {
            "model": line["model"],
            "completion_id": line["completion_id"],
            "seq": line["seq"],
            "choice": line.get("choice"),
            **fitted(MESSAGE, line["message"]),
        }


# --- what is read back ----------------------------------------------------------------------------


@pytest.mark.parametrize("records", SOURCES)
@pytest.mark.parametrize("read", READERS)
def test_messages_are_read_back_from_parquet(
    written: Callable[..., Path], records: Callable[[], list[JSON]], read: Any
) -> None:
    """Every field of every message is in its column, in the order of the lines."""
    lines = message_lines(records())
    assert_messages(read(written(lines)), lines)


@pytest.mark.parametrize("records", SOURCES)
def test_messages_are_read_back_from_a_table(
    written: Callable[..., Path], records: Callable[[], list[JSON]]
) -> None:
    """A DuckDB file holds the same rows in a table named after the layout."""
    lines = message_lines(records())
    assert_messages(from_table(written(lines, ending=".duckdb"), "messages"), lines)


@pytest.mark.parametrize("records", SOURCES)
@pytest.mark.parametrize("read", READERS)
def test_conversations_are_read_back_from_parquet(
    written: Callable[..., Path], records: Callable[[], list[JSON]], read: Any
) -> None:
    """A row holds a conversation: its messages a list of structs, its metadata a map."""
    lines = conversation_lines(records())
    rows = map(plain, read(written(lines, "conversations")))
    for row, line in zip(rows, lines, strict=True):
        assert json.loads(row["conversation_json"]) == line
        assert row["messages"] == [fitted(MESSAGE, message) for message in line["messages"]]
        assert row["reply"] == fitted(MESSAGE, line["reply"])
        assert {name: row[name] for name in ("completion_id", "model")} == {
            name: line[name] for name in ("completion_id", "model")
        }
        assert row["created"] == moment(line["created"])
        assert {name: row[name] for name in COMPLETION} == {
            name: fitted(kind, line["completion"].get(name)) for name, kind in COMPLETION.items()
        }
        assert row["finish_reason"] == line["completion"]["choices"][0]["finish_reason"]
        assert as_mapping(row["metadata"]) == line["metadata"]


def as_mapping(value: Any) -> JSON:
    """Return a map, which each library has in its own way, as a dict."""
    if isinstance(value, dict):
        return value
    return dict(item.values() if isinstance(item, dict) else item for item in value)


def test_examples_have_columns_for_text_and_parts(written: Callable[..., Path]) -> None:
    """The fine-tuning format has text and parts under `content`; columns have one for each."""
    parts = [{"type": "text", "text": "Look."}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "I do."}]
    (row,) = by_duckdb(written([{"messages": messages}], "finetune"))
    seen = [(said["content"], said["content_parts"]) for said in row["messages"]]
    part = fitted(MESSAGE["content_parts"], parts)
    assert seen == [(None, part), ("I do.", None)]
    assert json.loads(row["example_json"]) == {"messages": messages}


# --- the types ------------------------------------------------------------------------------------


def described_by_duckdb(path: Path) -> dict[str, str]:
    """Return the columns of a Parquet file and their types, in their order."""
    columns = duckdb.read_parquet(str(path))
    return dict(zip(columns.columns, map(str, columns.types), strict=True))


@pytest.mark.parametrize("layout", TABLES)
def test_no_line_at_all_has_the_same_columns(written: Callable[..., Path], layout: str) -> None:
    """Types are never inferred: an empty export has the columns of any other."""
    described = []
    for lines in ([], [{"messages": [], "message": {}}]):
        path = written(lines, layout)
        described.append(described_by_duckdb(path))
    assert [*described[0].items()] == [*described[1].items()]
    assert described[0][TABLES[layout].whole] == "VARCHAR"


def test_column_types_are_those_of_the_table(written: Callable[..., Path]) -> None:
    """Ids are text, counts are integers, metadata is a map, whatever the data look like."""
    line = {"completion_id": "2024-01-01", "created": 1, "metadata": {"day": "2024-01-01"}}
    kinds = described_by_duckdb(written([line], "conversations"))
    assert kinds["completion_id"] == "VARCHAR"
    assert kinds["created"] == "TIMESTAMP WITH TIME ZONE"
    assert kinds["usage"].startswith("STRUCT(prompt_tokens BIGINT, completion_tokens BIGINT,")
    assert (kinds["finish_reason"], kinds["service_tier"]) == ("VARCHAR", "VARCHAR")
    assert "parameters VARCHAR" in kinds["tools"]
    assert kinds["tools"].endswith("[]")
    assert kinds["metadata"] == "MAP(VARCHAR, VARCHAR)"
    assert kinds["messages"].endswith("[]")


# --- odd data -------------------------------------------------------------------------------------

ODD = [
    ("content", 5),
    ("content", ["a list", {"type": "text"}]),
    ("name", {"first": "A"}),
    ("content_parts", "text"),
    ("tool_calls", {"id": "call_1"}),
    ("function_call", ["f"]),
    ("audio", "sound"),
    ("tool_call_id", True),
    ("mood", {"new": [1.0, 1e300, 2**70, None]}),
]


@pytest.mark.parametrize(("field", "value"), ODD)
def test_a_value_that_does_not_fit_is_null_and_in_the_json(
    written: Callable[..., Path], field: str, value: Any
) -> None:
    """A field of a wrong type is null in its own column only, and complete in message_json."""
    message = {"id": "m", "role": "user", "content": "text", field: value}
    (row,) = by_duckdb(written([{"completion_id": "c", "seq": 0, "message": message}]))
    assert row.get(field) is None
    assert row["role"] == "user"
    assert json.loads(row["message_json"]) == message


def test_parts_and_calls_of_unknown_types_keep_known_fields(written: Callable[..., Path]) -> None:
    """A part of a new type keeps its type without an error; an item that is no part is null."""
    message = {
        "content_parts": [{"type": "scent", "scent": 1}, 7, None, {"type": "text", "text": 3}],
        "tool_calls": [{"id": "c", "type": "gesture", "gesture": {}}],
        "annotations": [{"type": "url_citation", "url_citation": {"start_index": 1.5}}],
        "audio": {"id": "a", "expires_at": 2**63},
    }
    (row,) = by_duckdb(written([{"message": message}]))
    parts = row["content_parts"]
    assert [part and (part["type"], part["text"]) for part in parts] == [
        ("scent", None),
        None,
        None,
        ("text", None),
    ]
    assert (row["tool_calls"][0]["type"], row["tool_calls"][0]["function"]) == ("gesture", None)
    assert row["annotations"][0]["url_citation"]["start_index"] is None
    assert (row["audio"]["id"], row["audio"]["expires_at"]) == ("a", None)


ODD_TIMES = [1.5, 1.0, "1", True, 2**63, FIRST - 1, LAST + 1, None]


@pytest.mark.parametrize("layout", ["messages", "conversations"])
@pytest.mark.parametrize("created", ODD_TIMES)
def test_a_time_that_is_no_integer_is_null(
    written: Callable[..., Path], created: Any, layout: str
) -> None:
    """Nothing is rounded, parsed or wrapped around to make it fit."""
    line = {"completion_id": "c", "created": created, "message": {}}
    (row,) = by_duckdb(written([line], layout))
    assert (row["completion_id"], row["created"]) == ("c", None)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("created", [FIRST, -1, 0, LAST])
def test_a_time_has_its_zone(written: Callable[..., Path], read: Any, created: int) -> None:
    """Each second of the years 1 to 9999 is read back as that moment, in UTC."""
    (row,) = read(written([{"created": created, "message": {}}]))
    assert row["created"].utcoffset() == timedelta(0)
    assert row["created"] == moment(created)


def test_columns_of_a_completion(written: Callable[..., Path]) -> None:
    """Usage, tier and tools are typed; the reason is that of the first choice with a reply."""
    schema = {"type": "object", "properties": {"place": {"type": ["string", "null"]}}}
    called = {"name": "rain", "description": "Ask.", "parameters": schema, "strict": True}
    shape = {"type": "grammar", "grammar": {"syntax": "lark"}}
    completion = {
        "usage": {
            "prompt_tokens": 3,
            "total_tokens": 2**63,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        "service_tier": "flex",
        "tools": [
            {"type": "function", "function": called},
            {"type": "custom", "custom": {"name": "draw", "format": shape}},
        ],
        "choices": [
            {"finish_reason": "content_filter", "message": None},
            {"finish_reason": "length", "message": {}},
            {"finish_reason": "stop", "message": {}},
        ],
    }
    (row,) = by_duckdb(written([{"completion": completion}], "conversations"))
    usage, (function, custom) = row["usage"], row["tools"]
    assert (usage["prompt_tokens"], usage["total_tokens"]) == (3, None)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 1
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 2
    assert (row["finish_reason"], row["service_tier"]) == ("length", "flex")
    parameters = function["function"].pop("parameters")
    assert function["function"] == {"name": "rain", "description": "Ask.", "strict": True}
    assert json.loads(parameters) == schema
    assert json.loads(custom["custom"]["format"]) == shape


ODD_COMPLETIONS = [
    None,
    7,
    [],
    {},
    {"choices": None},
    {"choices": 7, "usage": 7, "service_tier": 7, "tools": 7},
    {"choices": [7, None, {"finish_reason": "stop", "message": 7}], "tools": [7, None]},
    {"choices": [{"finish_reason": 7, "message": {}}], "usage": {"prompt_tokens": 1.5}},
    {"tools": [{"function": {"strict": "yes", "parameters": None}}], "usage": {}},
]


@pytest.mark.parametrize("completion", ODD_COMPLETIONS, ids=json.dumps)
def test_an_odd_completion_is_null_in_its_columns(
    written: Callable[..., Path], completion: Any
) -> None:
    """A value of another type is null in its column, and whole in conversation_json."""
    line = {"completion_id": "c", "completion": completion}
    (row,) = by_duckdb(written([line], "conversations"))
    assert (row["completion_id"], row["finish_reason"], row["service_tier"]) == ("c", None, None)
    assert json.loads(row["conversation_json"]) == line


def test_metadata_with_other_than_texts_is_null(written: Callable[..., Path]) -> None:
    """A map of texts holds texts; another object is null and whole in conversation_json."""
    (row,) = by_duckdb(written([{"metadata": {"a": 1}}], "conversations"))
    assert row["metadata"] is None
    assert json.loads(row["conversation_json"]) == {"metadata": {"a": 1}}


@pytest.mark.parametrize("layout", ["messages", "conversations"])
def test_half_an_emoji_is_replaced_and_kept_whole(
    written: Callable[..., Path], layout: str
) -> None:
    """A lone surrogate, which a text column cannot hold, becomes U+FFFD in its column."""
    message = {"role": "user", "content": "half \ud83d, whole \U0001f600"}
    line = {"completion_id": "c", "message": message, "messages": [message]}
    (row,) = by_duckdb(written([line], layout))
    said = row if layout == "messages" else row["messages"][0]
    assert said["content"] == "half \ufffd, whole \U0001f600"
    whole = json.loads(row[TABLES[layout].whole])
    assert whole == (message if layout == "messages" else line)


def test_message_json_has_the_bytes_of_the_line(tmp_path: Path) -> None:
    """Spaces, escapes and the spelling of numbers are those of the server."""
    source, target = tmp_path / "a.jsonl.gz", tmp_path / "a.parquet"
    sent = rb'{"id": "m","role":"user","content":"\u00e9\/","x":1.0,"y":1E5}'
    source.write_bytes(gzip.compress(b'{"completion_id":"c","seq":0,"message":' + sent + b"}\n"))
    make_columns(source, target, "messages", target=target)
    assert by_duckdb(target)[0]["message_json"] == sent.decode()


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
def test_a_line_longer_than_duckdbs_own_bound(written: Callable[..., Path], ending: str) -> None:
    """A picture of more than 16 MiB, where duckdb's reader stops by itself, is a row like any."""
    url = "data:image/png;base64," + "A" * (17 * 2**20)
    message = {"role": "user", "content_parts": [{"type": "image_url", "image_url": {"url": url}}]}
    path = written([{"message": message}], ending=ending)
    (row,) = by_duckdb(path) if ending == ".parquet" else from_table(path, "messages")
    assert row["content_parts"][0]["image_url"]["url"] == url


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
def test_rows_that_need_more_memory_than_was_thought(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """If duckdb runs out of memory, it gets more, and starts again."""
    monkeypatch.setattr("aiomessages.export.columnar._MEMORY", {ending: 2**20})
    path = written(
        [{"seq": n, "message": {"content": "x" * 5000}} for n in range(3000)], ending=ending
    )
    rows = by_duckdb(path) if ending == ".parquet" else from_table(path, "messages")
    assert [row["seq"] for row in rows] == [*range(3000)]


def test_a_table_whose_commit_needs_more_memory(written: Callable[..., Path]) -> None:
    """If memory runs out only at the commit, as a transaction's error, duckdb gets more."""
    text = "the quick brown fox " * 2000
    path = written(
        ({"seq": n, "message": {"content": text}} for n in range(1000)), ending=".duckdb"
    )
    assert [row["seq"] for row in from_table(path, "messages")] == [*range(1000)]


def test_memory_that_no_rows_can_need(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If many times the rows' size is not enough memory, the error is raised as it is."""
    monkeypatch.setattr("aiomessages.export.columnar._MEMORY", {".parquet": 2**20})
    monkeypatch.setattr("aiomessages.export.columnar._MOST", 0)
    with pytest.raises(ExportError, match=r"could not be made: Out of Memory"):
        written([{"message": {"content": "x" * 5000}}])


# --- the files ------------------------------------------------------------------------------------


def test_all_members_of_a_gzip_file_are_read(tmp_path: Path) -> None:
    """An export writes one member per batch; the rows keep the order of the lines."""
    source, output = tmp_path / "a.jsonl.gz", tmp_path / "out.parquet"
    source.write_bytes(
        b"".join(gzip.compress(encoded({"seq": n, "message": {}})) for n in range(20))
    )
    assert make_columns(source, output, "messages", target=output) == 20
    assert [row["seq"] for row in by_duckdb(output)] == [*range(20)]


def test_many_rows_keep_their_order_over_row_groups(tmp_path: Path) -> None:
    """The rows of many groups stand in the order of the lines."""
    source, target = tmp_path / "a.jsonl.gz", tmp_path / "a.parquet"
    text = "x" * 20_000
    lines = (encoded({"seq": n, "message": {"content": text}}) for n in range(6000))
    source.write_bytes(gzip.compress(b"".join(lines)))
    assert make_columns(source, target, "messages", target=target) == 6000
    assert pq.ParquetFile(target).num_row_groups > 2
    assert pl.read_parquet(target, columns=["seq"])["seq"].to_list() == [*range(6000)]


# Names that duckdb interprets: columns, patterns, a home, a host, options, quotes.
ODD_NAMES = [
    b"model=x",
    b"seq=5",
    b"completion_id=c",
    b"message_json=none",
    b"year=2024",
    b"a?b",
    b"a*b",
    b"**",
    b"[x]",
    b"{a,b}",
    b"it's",
    b'say "so"',
    b"back\\slash",
    b"new\nline",
    b"not UTF-8 \xff\xc3",
    "\N{SNOWMAN} é".encode(),
    b"~",
    b"http:",
    b"s3:",
    b"%41",
    b"a.wal",
    b" ",
]
SAID = [
    {"completion_id": f"chatcmpl-{n}", "seq": n, "message": {"role": "user", "content": str(n)}}
    for n in range(3)
]


def content(path: Path, ending: str, layout: str = "messages") -> Any:
    """Return the columns, types and rows of a file, read under a neutral name."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        plain = shutil.copy(path, Path(folder) / f"plain{ending}")
        source = f"read_parquet('{plain}', hive_partitioning = false)"
        if ending == ".duckdb":
            connection.execute(f"ATTACH '{plain}' AS made (READ_ONLY)")
            source = f"made.{layout}"
        table = connection.sql(f"FROM {source}")
        return table.columns, list(map(str, table.types)), table.fetchall()


@pytest.fixture(scope="module")
def plainly_named(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give the content of files of plain names by their ending, made once for all odd names."""
    folder = tmp_path_factory.mktemp("plain")
    source = folder / "plain.jsonl.gz"
    source.write_bytes(gzip.compress(b"".join(map(encoded, SAID))))
    found = {}
    for ending in (".parquet", ".duckdb"):
        made = a_directory(folder) / f"plain{ending}"
        make_columns(source, made, "messages", target=made)
        found[ending] = content(made, ending)
    return found


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
def test_no_path_is_content(
    tmp_path: Path, plainly_named: dict[str, Any], name: bytes, ending: str
) -> None:
    """The names of folders and files never change columns, types or rows."""
    folder = tmp_path / os.fsdecode(name) / "deeper"
    folder.mkdir(parents=True)
    source, output = (
        folder / (os.fsdecode(name) + ".jsonl.gz"),
        folder / (os.fsdecode(name) + ending),
    )
    source.write_bytes(gzip.compress(b"".join(map(encoded, SAID))))
    assert make_columns(source, output, "messages", target=output) == len(SAID)
    assert content(output, ending) == plainly_named[ending]
    assert {path.name for path in folder.iterdir()} == {source.name, output.name, "rows"}


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
def test_a_temporary_directory_of_an_odd_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """The names that replace odd ones contain nothing from outside either."""
    folder = tmp_path / "a?b" / "model=x"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    source, output = folder / "a.jsonl.gz", folder / f"a{ending}"
    source.write_bytes(gzip.compress(b"".join(map(encoded, SAID))))
    assert make_columns(source, output, "messages", target=output) == len(SAID)
    assert {path.name for path in folder.iterdir()} == {source.name, output.name, "rows"}


# --- a disk without room --------------------------------------------------------------------------

# Makes columns under many limits of a file's size, and prints each result.
BOUNDED = """
import json, resource, sys, tempfile
from pathlib import Path
from aiomessages.export.columnar import make_columns
from aiomessages.export.errors import ExportError
source, ending, *bounds = sys.argv[1:]
for bound in map(int, bounds):
    output = Path(tempfile.mkdtemp(dir=Path(source).parent)) / f"columns{ending}"
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, resource.RLIM_INFINITY))
    try:
        outcome = make_columns(Path(source), output, "messages", target=output)
    except ExportError as error:
        outcome = f"{error.exit_code}: {error}"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print(json.dumps([str(output), outcome]))
"""


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
@pytest.mark.parametrize("name", [b"plain", b"not UTF-8 \xff", b"a?b"], ids=repr)
def test_a_disk_without_room(tmp_path: Path, name: bytes, ending: str) -> None:
    """A file has all of its rows, or it gets no name and the error is a full disk."""
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    source = folder / "lines.jsonl.gz"
    lines = [{"seq": n, "message": {"content": f"{n}" * 20}} for n in range(50)]
    source.write_bytes(gzip.compress(b"".join(map(encoded, lines))))
    bounds = [*range(4_000, 32_000, 4_000), *range(60_000, 580_000, 40_000)]
    command = [sys.executable, "-c", BOUNDED, source, ending, *map(str, bounds)]
    printed = subprocess.check_output(command, text=True)
    made = 0
    for path, outcome in map(json.loads, printed.splitlines()):
        if outcome == len(lines):
            assert len(content(Path(path), ending)[2]) == len(lines)
            made += 1
        else:
            assert outcome.startswith("74: no room left on the disk of ")
            assert not Path(path).exists()
    assert 0 < made < len(bounds)


def test_an_error_that_does_not_name_a_full_disk(tmp_path: Path) -> None:
    """Any error is reported as a full disk if no room is left, and only then."""
    vague = OSError("disk I/O error")
    target = tmp_path / "a.duckdb"
    assert type(explained(vague, target, work=tmp_path)) is ExportError
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
    try:
        error = explained(vague, target, work=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert type(error) is DiskFullError
    assert str(error).endswith("to make a.duckdb: disk I/O error")


def test_an_error_with_the_bytes_of_a_path(tmp_path: Path) -> None:
    """An error of DuckDB whose text is not UTF-8, because a path is not, is shown all the same."""
    error = UnicodeDecodeError("utf-8", b"IO Error: /\xff", 11, 12, "invalid start byte")
    found = explained(error, tmp_path / "a.duckdb", work=tmp_path)
    assert str(found).endswith(r"IO Error: /\xff")


class Careless:
    """DuckDB with a statement that does less, or leaves more, than it should."""

    def __init__(self, careless: Callable[[str], str]) -> None:
        self.careless = careless
        self.Error = duckdb.Error
        self.OutOfMemoryException = duckdb.OutOfMemoryException
        self.limits: list[int] = []  # of memory, in bytes

    @contextmanager
    def connect(self, *arguments: Any, **options: Any) -> Iterator[Careless]:
        """Open a connection."""
        limit = options["config"].get("memory_limit")
        if limit is not None:
            self.limits.append(int(limit.removesuffix("B")))
        with duckdb.connect(*arguments, **options) as self.connection:
            yield self

    def execute(self, statement: str) -> Any:
        """Execute the changed statement."""
        return self.connection.execute(self.careless(statement))


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], Careless]:
    """Return a function that changes the statements which DuckDB executes."""
    real = importlib.import_module

    def put(change: Callable[[str], str]) -> Careless:
        pretended = Careless(change)
        monkeypatch.setattr(
            importlib, "import_module", lambda name: pretended if name == "duckdb" else real(name)
        )
        return pretended

    return put


@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
def test_a_file_that_is_short_of_rows(
    careless: Any, written: Callable[..., Path], tmp_path: Path, ending: str
) -> None:
    """A file that duckdb reports as written is read back, and missing rows are an error."""
    careless(lambda sql: re.sub(r"(columns = {.*}\))", r"\1 LIMIT 2", sql))
    with pytest.raises(
        ExportError, match=r"could not be made: 2 of 3 rows were read back"
    ) as raised:
        written(SAID, ending=ending)
    assert type(raised.value) is ExportError
    assert not [*tmp_path.rglob(f"columns{ending}")]


def test_a_table_whose_rows_are_left_in_its_log(
    careless: Any, written: Callable[..., Path], tmp_path: Path
) -> None:
    """If a log is left, the table alone is incomplete, and gets no name."""
    left_open = {"CHECKPOINT made": "PRAGMA disable_checkpoint_on_shutdown", "DETACH made": ""}
    careless(lambda sql: left_open.get(sql, sql))
    with pytest.raises(ExportError, match=r"duckdb left table\.duckdb\.wal unmerged"):
        written(SAID, ending=".duckdb")
    assert not [*tmp_path.rglob("columns.duckdb")]


def test_a_table_is_for_the_oldest_duckdb(written: Callable[..., Path]) -> None:
    """The file declares that DuckDB 1.2 and newer can read it, whichever version wrote it."""
    head = written(SAID, ending=".duckdb").read_bytes()[:20]
    assert (head[8:12], int.from_bytes(head[12:], "little")) == (b"DUCK", 65)


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"{\n", b"[1]\n", b"{}\n", b"\xff\n"])
def test_a_line_that_is_no_line_of_an_export(tmp_path: Path, line: bytes) -> None:
    """A line that is not JSON is reported with its file and number."""
    source = tmp_path / "a.jsonl.gz"
    source.write_bytes(gzip.compress(encoded({"message": {}}) + line))
    with pytest.raises(CorruptError, match=r"a\.jsonl\.gz, line 2"):
        make_columns(source, tmp_path / "out.parquet", "messages", target=tmp_path / "out")


def test_duckdb_gets_the_length_of_the_longest_row(
    careless: Any, written: Callable[..., Path]
) -> None:
    """The longest row bounds the size of a row for duckdb, with at least 1 MiB."""
    sizes: list[str] = []

    def listen(sql: str) -> str:
        sizes.extend(re.findall(r"maximum_object_size = (\d+)", sql))
        return sql

    careless(listen)
    written(SAID)
    message = {"role": "user", "content": "x" * 2**20}
    path = written([{"message": message}])
    text = encoded(message).decode().rstrip()
    longest = len(encoded({**message, "message_json": text}))
    assert path.exists()
    assert [*map(int, sizes)] == [2**20, longest]


def test_a_long_row_has_more_memory(careless: Any, written: Callable[..., Path]) -> None:
    """The first limit of memory grows with the longest row."""
    listening = careless(str)
    written(SAID)
    written([{"message": {"role": "user", "content": "x" * 2**20}}])
    short, long = listening.limits
    assert long - short > 8 * 2**20


def test_duckdb_itself_fails(careless: Any, written: Callable[..., Path]) -> None:
    """An error of duckdb becomes an ExportError with its text."""
    careless(lambda sql: sql.replace("COPY", "COPPY"))
    with pytest.raises(ExportError, match=r"columns\.parquet could not be made: Parser Error: "):
        written(SAID)


def test_duckdb_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without duckdb, the error names the extra to install."""

    def import_module(asked: str) -> Any:
        if asked == "duckdb":
            raise ImportError(asked)
        return real(asked)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ExportError, match=r"pip install 'aiomessages\[parquet\]'"):
        make_columns(tmp_path / "a.jsonl.gz", tmp_path / "out.parquet", "messages", target=tmp_path)
