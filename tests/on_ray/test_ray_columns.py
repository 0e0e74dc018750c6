"""Tables of pyarrow: what does not fit a column is null, and the JSON beside it is whole."""

from __future__ import annotations

import io

import msgspec
import pyarrow.parquet as pq
import pytest

from aiomessages.ray.columns import ParquetFile, schema_of, table_of

ODD = (
    b'{"completion_id":"x","created":1e3,"model":null,"metadata":{"a":1},"seq":0,"message":'
    b'{"id":7,"role":"user","content":"\\ud800","tool_calls":[null,{"id":"c"}],"new":'
    + b"[" * 70
    + b"]" * 70
    + b"}}\n"
)


def test_a_value_that_does_not_fit_is_null() -> None:
    """One odd value costs no other one, and the JSON is whole."""
    (row,) = table_of([ODD], "messages").to_pylist()
    assert (row["completion_id"], row["created"], row["metadata"]) == ("x", None, None)
    assert row["tool_calls"][1]["id"] == "c"
    assert row["message_json"].startswith('{"id":7')


def test_no_rows_have_the_schema() -> None:
    """An empty table has all columns."""
    assert table_of([], "chat").schema == schema_of("chat")


def test_a_file_in_groups() -> None:
    """Rows are written in groups, and counted; a file that failed is closed."""
    line = ODD.replace(b"\\ud800", b"x" * 6_000_000)
    with ParquetFile(file := io.BytesIO(), "messages") as table:
        for _ in range(4):
            table.add(line)
    assert table.rows == 4
    read = pq.ParquetFile(io.BytesIO(file.getvalue()))
    assert read.num_row_groups == 2
    assert read.read().schema.equals(schema_of("messages"))
    with pytest.raises(msgspec.DecodeError), ParquetFile(io.BytesIO(), "messages") as table:
        table.add(b"no JSON" * 6_000_000)
    with ParquetFile(file := io.BytesIO(), "messages"):
        pass
    assert pq.read_table(io.BytesIO(file.getvalue())).num_rows == 0
