"""Rows: the values of each line that fit its columns, in files that DuckDB reads.

DuckDB can read the lines itself, but needs forty times the size of a long line, and fails at a
value that does not fit and at a lone surrogate, which JSON may contain. In a row every value fits:
one that does not is null, and the last column has the whole JSON as the server sent it.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import DecodeError, Raw, ValidationError

from aiomessages.wire.decoding import despite_lone_surrogates

from .errors import CorruptError
from .tables import BOOLEAN, INTEGER, JSON_TEXT, TABLES, TEXT, TEXTS, TIME, Kind, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = Any

# --- files of rows --------------------------------------------------------------------------------

_FILE_BYTES: Final = 4 * 2**20  # of rows: DuckDB fills a buffer of 32 MiB from each file
_GROUP_BYTES: Final = 4 * 2**20  # DuckDB holds a group in memory until it is whole
MOST_IN_A_GROUP: Final = 122_880  # DuckDB's own bound


class Rows(NamedTuple):
    """Files of rows: their paths, the longest row's bytes, and the number and bytes of all."""

    paths: list[Path]
    longest: int
    number: int
    size: int

    @classmethod
    def of(cls, source: Path, directory: Path, layout: str) -> Rows:
        """Write the row of each line of a gzip file to files of JSON lines, in the same order.

        Raises CorruptError for a line that is not JSON, and OSError.
        """
        directory.mkdir()
        longest = number = size = 0
        files = [directory / "0.jsonl"]
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(files[-1].open("wb"))
            for row in _read(source, layout):
                if size >= _FILE_BYTES * len(files):
                    opened.close()
                    files.append(directory / f"{len(files)}.jsonl")
                    file = opened.enter_context(files[-1].open("wb"))
                length = file.write(row + b"\n")
                longest, number, size = max(longest, length), number + 1, size + length
        return cls(files, longest, number, size)

    @property
    def group(self) -> int:
        """The number of rows to hold in memory at once."""
        fitting = _GROUP_BYTES * self.number // max(self.size, 1)
        return min(max(fitting, 1), MOST_IN_A_GROUP)


def _read(path: Path, layout: str) -> Iterator[bytes]:
    """Yield the row of each line of a file. Raises CorruptError for invalid JSON."""
    table = TABLES[layout]
    try:
        with gzip.open(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    row = msgspec.json.encode(row_of(line, table))
                except (DecodeError, UnicodeDecodeError) as error:  # which does not quote the line
                    raise CorruptError(f"{path.name}, line {number}: {error}") from error
                yield row
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorruptError(f"{path.name} is cut or damaged: {error}") from error


# --- one line -------------------------------------------------------------------------------------


def row_of(line: bytes, table: Table) -> dict[str, Json]:
    """Return the row of a line: the values that fit their columns, and the whole as text.

    A time is ISO 8601. Raises DecodeError or UnicodeDecodeError for invalid JSON.
    """
    keys, readable = _decode(_KEYS, line)
    row, whole = _fitting(table.line, keys), line.strip()
    if table.completion and "completion" in keys:
        row |= _of_completion(table.completion, keys["completion"])
    if table.inside:
        if table.inside not in keys:
            raise DecodeError(f"Object missing required field `{table.inside}`")
        item = keys[table.inside]
        row |= _fit_inner(table.inner, item)
        start = bytes(readable).rindex(item)  # the two have the same length and offsets
        whole = line[start : start + len(memoryview(item))]
    return row | {table.whole: whole.decode()}


def _fit_inner(kinds: dict[str, Kind], item: Raw) -> dict[str, Json]:
    """Return the values of an object that fit; none if a server sends another type."""
    try:
        keys, _ = _decode(_KEYS, item)
    except ValidationError:
        return {}
    return _fitting(kinds, keys)


def _of_completion(kinds: dict[str, Kind], item: Raw) -> dict[str, Json]:
    """Return the values of a completion that fit, and the finish_reason of the first reply."""
    row = _fit_inner(kinds | {"choices": [{"finish_reason": TEXT, "message": {}}]}, item)
    choices = [choice or {} for choice in row.pop("choices", None) or ()]
    replies = (choice for choice in choices if choice.get("message") is not None)
    row["finish_reason"] = next(replies, {}).get("finish_reason")
    return row


def _fitting(kinds: dict[str, Kind], keys: dict[str, Raw]) -> dict[str, Json]:
    """Return the values that fit their columns; other keys are not decoded."""
    return {
        name: _fit(kind, _decode(_ANY, keys[name])[0])
        for name, kind in kinds.items()
        if name in keys
    }


def _fit(kind: Kind, value: Json) -> Json:
    """Return a value, with None in place of each part that does not fit its column."""
    match kind:
        case dict():
            return _fit_struct(kind, value) if isinstance(value, dict) else None
        case [inner]:
            return [_fit(inner, item) for item in value] if isinstance(value, list) else None
    return _SCALARS[kind](value)


def _fit_struct(kind: dict[str, Kind], value: dict[str, Json]) -> dict[str, Json]:
    fitting = {}
    for name, inner in kind.items():
        key, inner = inner if isinstance(inner, tuple) else (name, inner)  # noqa: PLW2901 - unpacked
        if key in value:
            fitting[name] = _fit(inner, value[key])
    return fitting


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: Json) -> int | None:
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _texts(value: Json) -> Json:
    fits = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    return value if fits else None


_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_TIMES: Final = range(-62_135_596_800, 253_402_300_800)  # the years 1 to 9999, as Python has them


def _time(value: Json) -> str | None:
    """Return a time in whole Unix seconds as DuckDB reads it."""
    fits = type(value) is int and value in _TIMES
    return (_EPOCH + timedelta(seconds=value)).isoformat() if fits else None


def _json_text(value: Json) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


# By column type, the function that returns the value, or None if it does not fit.
_SCALARS: Final[dict[str, Callable[[Json], Json]]] = {
    TEXT: _text,
    INTEGER: _integer,
    BOOLEAN: lambda value: value if isinstance(value, bool) else None,
    TEXTS: _texts,
    TIME: _time,
    JSON_TEXT: _json_text,
}


# --- JSON that msgspec refuses --------------------------------------------------------------------
# It refuses an integer of over 4,300 digits (as Python's `int` does), a lone surrogate, and nesting
# deeper than Python's stack. All three are JSON, and none of them fits a column.

_KEYS: Final = msgspec.json.Decoder(dict[str, Raw])
_ANY: Final = msgspec.json.Decoder(float_hook=float)  # 1e400 is infinite, as json.loads has it

ReadT = TypeVar("ReadT")


def _decode(decoder: msgspec.json.Decoder[ReadT], json: bytes | Raw) -> tuple[ReadT, bytes | Raw]:
    """Read any JSON; return the value and the text that was read, of the same length and offsets.

    Raises msgspec.DecodeError or UnicodeDecodeError for invalid JSON.
    """
    try:
        return decoder.decode(json), json
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return despite_lone_surrogates(decoder.decode, _simplified(bytes(json)))


_DEEP: Final = 64  # levels: far more than a column has, far fewer than a stack
_LONG: Final = 64  # characters of a number: far more than a column's integer has
_TOKEN: Final = re.compile(
    rb'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?P<opening>[\[{])|(?P<closing>[\]}])'
    rb"|(?<![-+.\w])(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)(?![-+.\w])"
)


def _simplified(json: bytes) -> bytes:
    """Replace long numbers and deep nesting by values of the same length that fit no column.

    Invalid JSON stays invalid. Raises msgspec.DecodeError if the replaced nesting is invalid.
    """
    levels, depth, end = [bytearray()], 0, 0  # one text for each _DEEP levels
    for token in _TOKEN.finditer(json):
        levels[-1] += json[end : token.start()]
        end = token.end()
        if token["opening"]:
            depth += 1
            if depth % _DEEP == 0:
                levels.append(bytearray())
        is_long = token["number"] and len(token[0]) > _LONG
        levels[-1] += b"null".ljust(len(token[0])) if is_long else token[0]
        if token["closing"]:
            if depth % _DEEP == 0 and len(levels) > 1:
                deep = bytes(levels.pop())
                despite_lone_surrogates(_ANY.decode, deep)
                levels[-1] += b'""'.ljust(len(deep))
            depth -= 1
    if len(levels) > 1:
        raise DecodeError("a list or an object is never closed")
    return bytes(levels[0]) + json[end:]
