"""Columns out of lines: a Parquet file or a DuckDB table, made from JSONL that is already durable.

Every column has the type that stands in the tables below; nothing is inferred from the data. A
value that does not fit its column is null there, and each row has a last column with the whole
JSON as text, so nothing is lost. Nothing here gives a file its final name.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import re
import shutil
import sys
from errno import EDQUOT, EFBIG, ENOSPC
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from aiomessages.decoding import despite_lone_surrogates

from .errors import CorruptError, DiskFullError, ExportError
from .files import PRIVATE, Files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import ModuleType

# --- the columns ----------------------------------------------------------------------------------
# A dict is a struct, a list of one is a list of that, and a pair reads from a key of another name.

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


def write_columns(
    jsonl_paths: Sequence[Path],
    target: Path,
    ending: str,
    layout: str,
    *,
    files: Files | None = None,
) -> int:
    """Write the lines of a layout as columns, durably, and return how many rows there are.

    The ending is `.parquet` or `.duckdb`, whatever the target's own name, which need not be the
    final one; a DuckDB file holds one table, named after the layout. The rows keep the order of the
    lines. Raises ExportError without duckdb, CorruptError where a line is no JSON, DiskFullError.
    """
    duckdb, files = _duckdb(), files or Files()
    work = target.with_name(target.name + ".work")  # beside it: a rename needs one file system
    shutil.rmtree(work, ignore_errors=True)  # a run that was killed has left it
    work.mkdir(mode=0o700)
    try:
        output = work / f"{layout}{ending}"
        rows = _write(duckdb, _Lines.of(jsonl_paths, work, layout), output, layout)
        _settle(files, output, target)
    except (duckdb.Error, OSError) as error:
        raise _explained(error, duckdb, target) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return rows


def _duckdb() -> ModuleType:
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise ExportError(
            "columns are written by duckdb: pip install 'aiomessages[parquet]'"
        ) from None


def _write(duckdb: ModuleType, lines: _Lines, output: Path, layout: str) -> int:
    write = {".parquet": _write_parquet, ".duckdb": _write_database}[output.suffix]
    settings = {
        "threads": 1,  # each has buffers of its own, as large as two of the longest line
        "memory_limit": f"{_MEMORY + 16 * lines.longest}B",
        "temp_directory": str(output.parent),
        "preserve_insertion_order": True,
        "autoinstall_known_extensions": False,  # nothing is fetched from the network
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        ((rows,),) = write(connection, lines, output, layout).fetchall()
    return int(rows)


def _write_parquet(connection: Any, lines: _Lines, output: Path, layout: str) -> Any:
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {lines.row_group}"
    return connection.execute(f"COPY ({_select(lines, layout)}) TO {_quoted(output)} ({options})")


def _write_database(connection: Any, lines: _Lines, output: Path, layout: str) -> Any:
    group = -(-lines.row_group // _VECTOR) * _VECTOR
    connection.execute(f"ATTACH {_quoted(output)} AS target (ROW_GROUP_SIZE {group})")
    return connection.execute(f"CREATE TABLE target.{layout} AS {_select(lines, layout)}")


def _settle(files: Files, output: Path, target: Path) -> None:
    """Make the file private and durable, and let it out of the working directory."""
    output.chmod(PRIVATE)
    descriptor = os.open(output, os.O_RDWR | os.O_CLOEXEC)
    try:
        files.fsync(descriptor)
    finally:
        os.close(descriptor)
    files.rename(output, target)


def _explained(error: Exception, duckdb: ModuleType, target: Path) -> Exception:
    if isinstance(error, duckdb.InvalidInputException):
        return CorruptError(f"a line that {target.name} is made from is no JSON: {error}")
    if any(text in str(error) for text in _FULL):
        return DiskFullError(f"no room left on the disk of {target.parent} to make {target.name}")
    return ExportError(f"{target.name} could not be made: {error}")


# duckdb tells of the system's errors by their text alone.
_FULL: Final = [os.strerror(code) for code in (ENOSPC, EDQUOT, EFBIG)]
_MEMORY: Final = 384 * 2**20
_ROW_GROUP: Final = 122_880  # duckdb's own: the most rows a group has
_ROW_GROUP_BYTES: Final = 32 * 2**20  # a group is held in memory until it is whole
_VECTOR: Final = 2048  # what duckdb handles at once; a group of a table is a multiple of it


# --- the lines ------------------------------------------------------------------------------------


class _Lines(NamedTuple):
    """The files as duckdb can read them, and what it has to be told beforehand."""

    paths: list[Path]
    longest: int
    row_group: int

    @classmethod
    def of(cls, paths: Iterable[Path], work: Path, layout: str) -> _Lines:
        """Look through the files, and put in place of those that duckdb would refuse a mended copy.

        duckdb's reader wants to know the longest line, and does not take a lone surrogate (half an
        emoji), which JSON may contain.
        """
        nothing = work / "nothing.jsonl"  # so that no lines at all still have columns
        nothing.touch(PRIVATE)
        readable, seen = [nothing], _Seen()
        for number, path in enumerate(paths):
            seen, odd = seen.through(path)
            if odd:
                path = _mend(path, work / f"{number}.jsonl", layout)  # noqa: PLW2901 - in its place
                seen, _ = seen.through(path)
            readable.append(path)
        return cls(readable, seen.longest, seen.rows_in(_ROW_GROUP_BYTES))


class _Seen(NamedTuple):
    """What was seen of the lines: how long the longest is, how many there are, their bytes."""

    longest: int = 0
    lines: int = 0
    size: int = 0

    def through(self, path: Path) -> tuple[_Seen, bool]:
        """Look at the lines of one more file; tell whether duckdb would refuse one of them."""
        (longest, lines, size), odd = self, False
        for line in _read(path):
            longest, lines, size = max(longest, len(line)), lines + 1, size + len(line)
            odd = odd or _is_odd(line)
        return _Seen(longest, lines, size), odd

    def rows_in(self, size: int) -> int:
        """Return how many lines come to so many bytes, as far as duckdb holds as many."""
        return min(max(size * self.lines // max(self.size, 1), 1), _ROW_GROUP)


def _read(path: Path) -> Iterator[bytes]:
    with _OPEN[path.suffix](path) as file:
        yield from file


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


class _Line(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw(b"")


_LINE: Final = msgspec.json.Decoder(_Line)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def _is_odd(line: bytes) -> bool:
    return bool(_SURROGATE.search(line)) and _readable(line) is not line


def _readable(line: bytes) -> bytes:
    """Return the line, with U+FFFD for each lone surrogate; of the same length, place for place."""
    return despite_lone_surrogates(_LINE.decode, line)[1]


def _mend(path: Path, copy: Path, layout: str) -> Path:
    """Copy a file for duckdb to read; a mended line brings its own text along, as it was."""
    with copy.open("wb") as file:
        file.writelines(_mended(line, TABLES[layout].inside) for line in _read(path))
    return copy


def _mended(line: bytes, inside: str) -> bytes:
    if not _is_odd(line):
        return line
    readable, sent = _readable(line), line.strip()
    if inside:
        item = bytes(_LINE.decode(readable).message)
        start = readable.rindex(item)
        sent = line[start : start + len(item)]
    return b'%b,"as_sent":%b}\n' % (readable.strip()[:-1], msgspec.json.encode(sent.decode()))


# --- the SQL --------------------------------------------------------------------------------------


def _select(lines: _Lines, layout: str) -> str:
    """Write the query that turns lines into rows."""
    table = TABLES[layout]
    columns = [f"{_typed(kind, f'line.{name}')} AS {name}" for name, kind in table.line.items()]
    whole = "CAST(json AS VARCHAR)"
    if table.inside:
        columns.append(f"unnest({_typed(table.inner, f'line.{table.inside}')})")
        whole = f"CAST(line.{table.inside} AS VARCHAR)"
    columns.append(f"coalesce({_typed(TEXT, 'line.as_sent')}, {whole}) AS {table.whole}")
    line = _parsed("json", [*table.line, *filter(None, [table.inside]), "as_sent"])
    return (
        f"SELECT {', '.join(columns)}"  # noqa: S608 - of this module's own names
        f" FROM (SELECT json, {line} AS line FROM {_source(lines)})"
    )


def _source(lines: _Lines) -> str:
    paths = ", ".join(map(_quoted, lines.paths))
    size = max(lines.longest, 2**20)  # the size of its buffers, too: small ones are slow
    options = f"format = 'newline_delimited', maximum_object_size = {size}"
    return f"read_json_objects([{paths}], {options})"


def _typed(kind: Kind, value: str, depth: int = 0) -> str:
    """Write the expression that gives JSON a type, and null where it does not fit."""
    item = f"v{depth}"
    match kind:
        case dict():
            parsed = _parsed(value, [key for key, _ in _sources(kind).values()])
            fields = ", ".join(
                f'"{name}" := ' + _typed(inner, f'{item}."{key}"', depth + 1)
                for name, (key, inner) in _sources(kind).items()
            )
            # A lambda over a list of one is how SQL gives a value a name: it is parsed just once.
            struct = f"list_transform([{parsed}], lambda {item}: struct_pack({fields}))[1]"
            return _where(value, "'OBJECT'", struct)
        case [inner]:
            items = f"json_transform({value}, '[\"JSON\"]')"
            each = f"lambda {item}: {_typed(inner, item, depth + 1)}"
            return _where(value, "'ARRAY'", f"list_transform({items}, {each})")
    return _where(value, *_SCALARS[kind](value))


def _sources(kind: dict[str, Kind]) -> dict[str, tuple[str, Kind]]:
    """Map each field of a struct to the key that it is read from, and its kind."""
    return {
        name: inner if isinstance(inner, tuple) else (name, inner) for name, inner in kind.items()
    }


def _parsed(value: str, keys: Iterable[str]) -> str:
    """Write the expression that takes an object apart, once, into JSON by key."""
    return f"json_transform({value}, '{json.dumps(dict.fromkeys(keys, 'JSON'))}')"


def _where(value: str, types: str, then: str) -> str:
    return f"CASE WHEN json_type({value}) IN ({types}) THEN {then} END"


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


# Column type → the JSON types that fit it, and how it is had from them.
_SCALARS: Final[dict[str, Callable[[str], tuple[str, str]]]] = {
    TEXT: lambda value: ("'VARCHAR'", f"{value}->>'$'"),
    INTEGER: lambda value: ("'BIGINT', 'UBIGINT'", f"TRY_CAST({value} AS BIGINT)"),
    TEXTS: lambda value: ("'OBJECT'", _TEXTS.format(value)),
}
_TEXTS: Final = (
    "map_from_entries(list_transform("
    """map_entries(json_transform({}, '"MAP(VARCHAR, JSON)"')),"""
    " lambda e: struct_pack(key := e.key, value := CASE json_type(e.value)"
    " WHEN 'VARCHAR' THEN e.value->>'$' END)))"
)
