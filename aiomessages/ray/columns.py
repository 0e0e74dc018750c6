"""The columns of a layout as pyarrow has them: the schema of the Parquet export, and its rows.

`export.tables` has the columns, and `export.rows` selects the values that fit. DuckDB makes the
Parquet files of a single machine; here pyarrow does, for Ray's blocks are its tables.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import IO, Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from aiomessages.export.rows import row_of
from aiomessages.export.tables import (
    BOOLEAN,
    INTEGER,
    JSON_TEXT,
    TABLES,
    TEXT,
    TEXTS,
    TIME,
    Kind,
)

_TYPES: Final[dict[str, Any]] = {
    TEXT: pa.string(),
    INTEGER: pa.int64(),
    BOOLEAN: pa.bool_(),
    TEXTS: pa.map_(pa.string(), pa.string()),
    TIME: pa.timestamp("us", tz="UTC"),
    JSON_TEXT: pa.string(),
}
GROUP_BYTES: Final = 16 * 2**20  # of lines, in a group of rows of a file


@cache
def schema_of(layout: str) -> pa.Schema:
    """Return the schema of a layout."""
    columns = TABLES[layout].columns
    return pa.schema([pa.field(name, _type(kind)) for name, kind in columns.items()])


def _type(kind: Kind) -> pa.DataType:
    match kind:
        case dict():
            return pa.struct([pa.field(name, _type(inner)) for name, inner in kind.items()])
        case [inner]:
            return pa.list_(_type(inner))
        case (_, inner):
            return _type(inner)
    return _TYPES[kind]


def table_of(lines: Iterable[bytes], layout: str) -> pa.Table:
    """Return the rows of lines as a table. Raises DecodeError for a line that is not JSON."""
    table = TABLES[layout]
    rows = [_converted(row_of(line, table)) for line in lines]
    return pa.Table.from_pylist(rows, schema=schema_of(layout))


def _converted(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the values that pyarrow expects for a time and a map."""
    if row.get("created") is not None:
        row["created"] = datetime.fromisoformat(row["created"])
    if row.get("metadata") is not None:
        row["metadata"] = list(row["metadata"].items())
    return row


class ParquetFile:
    """Write lines as the rows of a Parquet file; `rows` is their number."""

    def __init__(self, file: IO[bytes], layout: str) -> None:
        self.rows = 0
        self._layout = layout
        self._writer = pq.ParquetWriter(file, schema_of(layout), compression="zstd")
        self._lines: list[bytes] = []
        self._bytes = 0

    def add(self, line: bytes) -> None:
        """Add the row of a line."""
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(table_of(self._lines, self._layout))
        self.rows += len(self._lines)
        self._lines, self._bytes = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._lines:
            self._write()
        self._writer.close()
