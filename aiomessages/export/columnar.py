"""Columns out of lines: a Parquet file or a DuckDB table, made from JSONL that is already durable.

Every column has the type that stands in the tables below; nothing is inferred from the data. A
value that does not fit its column is null there, and each row has a last column with the whole
JSON as text, so nothing is lost. Nothing here makes a file durable or gives it its final name, and
an export runs this in another process: see `apart`.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import importlib.util
import itertools
import os
import sys
from errno import EDQUOT, EFBIG, ENOSPC
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from aiomessages.decoding import despite_lone_surrogates

from .errors import CorruptError, DiskFullError, ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import ModuleType

# --- the columns ----------------------------------------------------------------------------------
# A dict is a struct, a list of one is a list of that, and a pair reads from a key of another name.

Json = Any
Kind = Any

TEXT: Final = "VARCHAR"
INTEGER: Final = "BIGINT"
TEXTS: Final = "MAP(VARCHAR, VARCHAR)"

_PART: Final = {
    "type": TEXT,
    "text": TEXT,
    "image_url": {"url": TEXT, "detail": TEXT},
    "input_audio": {"data": TEXT, "format": TEXT},
    "file": {"file_id": TEXT, "filename": TEXT, "file_data": TEXT},
    "refusal": TEXT,
}
_FUNCTION: Final = {"name": TEXT, "arguments": TEXT}
_CALL: Final = {
    "id": TEXT,
    "type": TEXT,
    "function": _FUNCTION,
    "custom": {"name": TEXT, "input": TEXT},
}
_CITATION: Final = {"start_index": INTEGER, "end_index": INTEGER, "url": TEXT, "title": TEXT}
_MESSAGE: Final[dict[str, Kind]] = {
    "id": TEXT,
    "role": TEXT,
    "content": TEXT,
    "name": TEXT,
    "content_parts": [_PART],
    "refusal": TEXT,
    "tool_calls": [_CALL],
    "function_call": _FUNCTION,
    "annotations": [{"type": TEXT, "url_citation": _CITATION}],
    "audio": {"id": TEXT, "expires_at": INTEGER, "data": TEXT, "transcript": TEXT},
    "tool_call_id": TEXT,
}
_EXAMPLE: Final = {
    "role": TEXT,
    "content": TEXT,
    "content_parts": ("content", [_PART]),  # that format has both under one name
    "name": TEXT,
    "tool_calls": [_CALL],
    "function_call": _FUNCTION,
    "tool_call_id": TEXT,
}


class Table(NamedTuple):
    """A layout's columns: those of the line, those of one object in it, and the whole as text."""

    line: dict[str, Kind]
    whole: str
    inside: str = ""
    inner: dict[str, Kind] = {}  # noqa: RUF012 - a table, and no one writes to it


TABLES: Final = {
    "messages": Table(
        {"completion_id": TEXT, "seq": INTEGER, "choice": INTEGER},
        whole="message_json",
        inside="message",
        inner=_MESSAGE,
    ),
    "conversations": Table(
        {
            "completion_id": TEXT,
            "model": TEXT,
            "created": INTEGER,
            "metadata": TEXTS,
            "messages": [_MESSAGE],
            "reply": _MESSAGE,
        },
        whole="conversation_json",
    ),
    "finetune": Table({"messages": [_EXAMPLE]}, whole="example_json"),
}


# --- writing --------------------------------------------------------------------------------------


def make_columns(jsonl_paths: Sequence[Path], output: Path, layout: str, *, target: Path) -> int:
    """Write the lines of a layout as columns, in this process, and return how many rows there are.

    The output's ending is `.parquet` or `.duckdb`, and its directory is one for this alone, where
    rows and what duckdb puts aside are left; errors name `target`, which it is to become. A DuckDB
    file holds one table, named after the layout, and takes much more memory than Parquet where
    messages are long, for 2048 of them are held at once. The rows keep the order of the lines.
    Raises ExportError without duckdb, CorruptError for a line that is no JSON, and DiskFullError.
    """
    duckdb = _duckdb()
    try:
        rows = _Rows.of(jsonl_paths, output.with_name("rows"), layout)
        return _write(duckdb, rows, output, layout)
    except (duckdb.Error, OSError) as error:
        raise explained(error, target) from error


def explained(error: Exception, target: Path) -> ExportError:
    """Return the error that tells why a file could not be made."""
    if any(text in str(error) for text in _FULL):
        return DiskFullError(f"no room left on the disk of {target.parent} to make {target.name}")
    return ExportError(f"{target.name} could not be made: {error}")


# duckdb tells of the system's errors by their text alone.
_FULL: Final = [os.strerror(code) for code in (ENOSPC, EDQUOT, EFBIG)]


def check_duckdb() -> None:
    """Raise ExportError where duckdb is not installed; it is not loaded for that."""
    if importlib.util.find_spec("duckdb") is None:
        raise ExportError(_NO_DUCKDB)


def _duckdb() -> ModuleType:
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise ExportError(_NO_DUCKDB) from None


_NO_DUCKDB: Final = "columns are written by duckdb: pip install 'aiomessages[parquet]'"


def _write(duckdb: ModuleType, rows: _Rows, output: Path, layout: str) -> int:
    """Write in as little memory as it can be done: duckdb takes what it may, and gives up there."""
    memory = _MEMORY[output.suffix] + 8 * rows.longest  # enough for most, as measured
    while True:
        try:
            return _write_within(memory, duckdb, rows, output, layout)
        except duckdb.Error as error:
            wanting = isinstance(error, duckdb.OutOfMemoryException) or _ADVICE in str(error)
            if not wanting or memory > rows.size * _MOST + _MEMORY[output.suffix]:
                raise
            memory *= 2
            for path in output.parent.glob(f"{output.name}*"):  # a log may lie beside it
                path.unlink()


def _write_within(memory: int, duckdb: ModuleType, rows: _Rows, output: Path, layout: str) -> int:
    write = {".parquet": _write_parquet, ".duckdb": _write_database}[output.suffix]
    settings = {
        "threads": 1,  # each has buffers of its own, as large as two of the longest line
        "memory_limit": f"{memory}B",
        "temp_directory": str(output.parent),
        "preserve_insertion_order": False,  # one thread keeps it without holding batches back
        "autoinstall_known_extensions": False,  # nothing is fetched from the network
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        ((count,),) = write(connection, rows, output, layout).fetchall()
    return int(count)


def _write_parquet(connection: Any, rows: _Rows, output: Path, layout: str) -> Any:
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows.group}"
    return connection.execute(f"COPY ({_select(rows, layout)}) TO {_quoted(output)} ({options})")


def _write_database(connection: Any, rows: _Rows, output: Path, layout: str) -> Any:
    # Each group leaves something in memory until the end, and a table's leaves more than Parquet's.
    group = -(-min(2 * rows.group, _ROW_GROUP) // _VECTOR) * _VECTOR
    connection.execute(f"ATTACH {_quoted(output)} AS target (ROW_GROUP_SIZE {group})")
    return connection.execute(f"CREATE TABLE target.{layout} AS {_select(rows, layout)}")


_MEMORY: Final = {".parquet": 64 * 2**20, ".duckdb": 48 * 2**20}
_ADVICE: Final = "memory_limit"  # to raise it; at a commit nothing else tells of wanting memory
_MOST: Final = 32  # times the size of all rows: more of it would not be for want of memory
_ROW_GROUP: Final = 122_880  # duckdb's own: the most rows a group has
_ROW_GROUP_BYTES: Final = 4 * 2**20  # a group is held in memory until it is whole
_FILE_BYTES: Final = 4 * 2**20  # of rows: duckdb fills a buffer of 32 MiB from each file
_VECTOR: Final = 2048  # what duckdb handles at once; a group of a table is a multiple of it


# --- the lines ------------------------------------------------------------------------------------
# duckdb could take JSON apart by itself, and needs forty times the size of a long line for it; what
# does not fit is an error to it, and so is a lone surrogate, which JSON may contain. So it is given
# rows in which all fits.


class _Rows(NamedTuple):
    """The rows as files for duckdb to read, and how many there are, of how many bytes."""

    paths: list[Path]
    longest: int
    number: int
    size: int

    @classmethod
    def of(cls, paths: Iterable[Path], directory: Path, layout: str) -> _Rows:
        """Write the rows that lines are, each a line of JSON, to files in their order."""
        directory.mkdir()
        longest = number = size = 0
        rows = itertools.chain.from_iterable(_read(source, layout) for source in paths)
        files = [directory / "0.jsonl"]
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(files[-1].open("wb"))
            for row in rows:
                if size >= _FILE_BYTES * len(files):
                    opened.close()
                    files.append(directory / f"{len(files)}.jsonl")
                    file = opened.enter_context(files[-1].open("wb"))
                length = file.write(row + b"\n")
                longest, number, size = max(longest, length), number + 1, size + length
        return cls(files, longest, number, size)

    @property
    def group(self) -> int:
        """How many rows are to be held in memory at once."""
        fitting = _ROW_GROUP_BYTES * self.number // max(self.size, 1)
        return min(max(fitting, 1), _ROW_GROUP)


def _read(path: Path, layout: str) -> Iterator[bytes]:
    """Yield the row that each line of a file is."""
    table = TABLES[layout]
    with _OPEN[path.suffix](path) as file:
        for number, line in enumerate(file, 1):
            try:
                yield _row(line, table)
            except (msgspec.DecodeError, UnicodeDecodeError, LookupError, RecursionError) as error:
                raise CorruptError(f"{path.name}, line {number}: {error!r}") from error


def _open_zstd(path: Path) -> IO[bytes]:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        opened: IO[bytes] = importlib.import_module(name).open(path)
    except ImportError:
        raise ExportError("zstd is missing: pip install 'aiomessages[zstd]'") from None
    return opened


_OPEN: Final[dict[str, Callable[[Path], Any]]] = {
    ".jsonl": lambda path: path.open("rb"),
    ".gz": gzip.open,
    ".zst": _open_zstd,
}


def _row(line: bytes, table: Table) -> bytes:
    """Return the JSON of a row: what fits of each column, and the whole as text."""
    keys, readable = despite_lone_surrogates(_KEYS.decode, line)
    row, whole = _fitting(table.line, keys), line.strip()
    if table.inside:
        item = keys[table.inside]
        row |= _fitting(table.inner, _KEYS.decode(item))
        start = readable.rindex(item)  # both are of one length, place for place
        whole = line[start : start + len(memoryview(item))]
    return msgspec.json.encode(row | {table.whole: whole.decode()})


def _fitting(kinds: dict[str, Kind], keys: dict[str, msgspec.Raw]) -> dict[str, Json]:
    """Return what fits of each column; the rest of an object is not even looked at."""
    return {
        name: _fit(kind, msgspec.json.decode(keys[name]))
        for name, kind in kinds.items()
        if name in keys
    }


def _fit(kind: Kind, value: Json) -> Json:
    """Return a value as its column has it, and null where it does not fit."""
    match kind:
        case dict():
            return _fit_struct(kind, value) if isinstance(value, dict) else None
        case [inner]:
            return [_fit(inner, item) for item in value] if isinstance(value, list) else None
    return value if _SCALARS[kind](value) else None


def _fit_struct(kind: dict[str, Kind], value: dict[str, Json]) -> dict[str, Json]:
    fitting = {}
    for name, inner in kind.items():
        key, inner = inner if isinstance(inner, tuple) else (name, inner)  # noqa: PLW2901 - unpacked
        if key in value:
            fitting[name] = _fit(inner, value[key])
    return fitting


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


# Column type → what fits into it.
_SCALARS: Final[dict[str, Callable[[Json], bool]]] = {
    TEXT: _is_text,
    INTEGER: lambda value: type(value) is int and -(2**63) <= value < 2**63,
    TEXTS: lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
}
_KEYS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


# --- the SQL --------------------------------------------------------------------------------------


def _select(rows: _Rows, layout: str) -> str:
    """Write the query that reads the rows, each column in its type."""
    table = TABLES[layout]
    kinds = table.line | table.inner | {table.whole: TEXT}
    columns = ", ".join(f"{name}: {_quoted(_type(kind))}" for name, kind in kinds.items())
    options = f"format = 'newline_delimited', maximum_object_size = {max(rows.longest, 2**20)}"
    paths = ", ".join(map(_quoted, rows.paths))
    source = f"[{paths}], {options}, columns = {{{columns}}}"
    return f"SELECT * FROM read_json({source})"  # noqa: S608 - nothing of it is from outside


def _type(kind: Kind) -> str:
    """Return the SQL type of a column."""
    match kind:
        case dict():
            fields = ", ".join(f'"{name}" {_type(inner)}' for name, inner in kind.items())
            return f"STRUCT({fields})"
        case [inner]:
            return f"{_type(inner)}[]"
        case (_, inner):
            return _type(inner)
    return str(kind)


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"
