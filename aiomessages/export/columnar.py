"""Columns out of lines: a Parquet file or a DuckDB table, made from JSONL that is already durable.

`tables` has each column's name and type, and `rows` what fits into it. A file that was made is read
back and its rows are counted before anybody hears of it. No path is ever a part of the data: DuckDB
is given plain names alone, since a name like `model=x` is a column to it. Nothing here makes a file
durable or gives it its final name, and an export runs this in another process: see `apart`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from .column_types import TABLES, TEXT, Kind
from .errors import DiskFullError, ExportError
from .file_errors import DISK_FULL, has_room
from .rows import MOST_IN_A_GROUP, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["TABLES", "check_duckdb", "explained", "make_columns"]

# --- writing --------------------------------------------------------------------------------------


def make_columns(source: Path, output: Path, layout: str, *, target: Path) -> int:
    """Write the lines of a layout as columns, in this process, and return how many rows there are.

    The output's ending is `.parquet` or `.duckdb`, and its directory is one for this alone, where
    rows and what duckdb puts aside are left; errors name `target`, which it is to become. A DuckDB
    file holds one table, named after the layout, and takes much more memory than Parquet where
    messages are long, for 2048 of them are held at once. The rows keep the order of the lines.
    Raises ExportError without duckdb, CorruptError for a line that is no JSON, and DiskFullError.
    """
    duckdb = _duckdb()
    try:
        rows = Rows.of(source, output.with_name("rows"), layout)
        with _place(output) as place:
            _write(duckdb, rows, place, layout)
            _settle(place)
            _check(duckdb, rows, place, layout)
            place.file.rename(output)
    except (duckdb.Error, OSError, UnicodeDecodeError) as error:
        raise explained(error, target, work=output.parent) from error
    return rows.number


def explained(error: Exception, target: Path, *, work: Path | None = None) -> ExportError:
    """Return the error that tells why a file could not be made.

    An error that does not tell is a full disk where the directory `work` has no room.
    """
    text = _text(error)
    told, _, _ = text.partition("\n")  # duckdb adds advice, and old ones a trace
    if any(full in text for full in DISK_FULL.values()) or (
        work and not has_room(work, _TRIAL_BYTES)
    ):
        return DiskFullError(
            f"no room left on the disk of {target.parent} to make {target.name}: {told}"
        )
    return ExportError(f"{target.name} could not be made: {told}")


_TRIAL_BYTES: Final = 2**20  # duckdb writes a table in blocks of 256 KiB


def _text(error: Exception) -> str:
    """Return what an error says; duckdb's is bytes where a path in it is no text."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode(errors="backslashreplace")
    return str(error)


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


def _write(duckdb: ModuleType, rows: Rows, place: _Place, layout: str) -> None:
    """Write in as little memory as it can be done: duckdb takes what it may, and gives up there."""
    start = _MEMORY[place.made.suffix]
    memory = start + 8 * rows.longest  # enough for most, as measured
    while True:
        try:
            return _write_within(memory, duckdb, rows, place, layout)
        except (duckdb.Error, UnicodeDecodeError) as error:
            wanting = isinstance(error, duckdb.OutOfMemoryException) or _ADVICE in _text(error)
            if not wanting or memory > rows.size * _MOST + start:
                raise
            memory *= 2
            for path in place.made.parent.glob(f"{place.made.name}*"):  # a log may lie beside it
                path.unlink()


def _write_within(memory: int, duckdb: ModuleType, rows: Rows, place: _Place, layout: str) -> None:
    write = {".parquet": _write_parquet, ".duckdb": _write_database}[place.made.suffix]
    settings = {
        "threads": 1,  # each has buffers of its own, as large as two of the longest line
        "memory_limit": f"{memory}B",
        "temp_directory": str(place.work),
        "preserve_insertion_order": False,  # one thread keeps it without holding batches back
        "autoinstall_known_extensions": False,  # nothing is fetched from the network
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        for statement in write(rows, place, layout):
            connection.execute(statement)


def _write_parquet(rows: Rows, place: _Place, layout: str) -> Iterator[str]:
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows.group}"
    yield f"COPY ({_select(rows, place, layout)}) TO {_quoted(place.made)} ({options})"


def _write_database(rows: Rows, place: _Place, layout: str) -> Iterator[str]:
    # Each group leaves something in memory until the end, and a table's leaves more than Parquet's.
    group = -(-min(2 * rows.group, MOST_IN_A_GROUP) // _VECTOR) * _VECTOR
    options = f"ROW_GROUP_SIZE {group}, STORAGE_VERSION '{_STORAGE_VERSION}'"
    yield f"ATTACH {_quoted(place.made)} AS made ({options})"
    yield f"CREATE TABLE made.{layout} AS {_select(rows, place, layout)}"
    # Both happen at the end of a connection as well, where duckdb tells nobody of an error.
    yield "CHECKPOINT made"
    yield "DETACH made"


_MEMORY: Final = {".parquet": 64 * 2**20, ".duckdb": 48 * 2**20}
_ADVICE: Final = "memory_limit"  # to raise it; at a commit nothing else tells of wanting memory
_MOST: Final = 32  # times the size of all rows: more of it would not be for want of memory
_VECTOR: Final = 2048  # what duckdb handles at once; a group of a table is a multiple of it
_STORAGE_VERSION: Final = "v1.2.0"  # any duckdb from 1.2 on opens it; 2.0's own is for 2.0 alone


# --- reading back ---------------------------------------------------------------------------------


def _settle(place: _Place) -> None:
    """Put the file where it belongs. Raises OSError where rows are left in a log beside it."""
    if log := [*place.made.parent.glob(f"{place.made.name}.*")]:
        raise OSError(f"duckdb left {log[0].name} unmerged")
    if place.made != place.file:
        shutil.move(place.made, place.file)


def _check(duckdb: ModuleType, rows: Rows, place: _Place, layout: str) -> None:
    """Read the file back. Raises OSError where it has not all the rows."""
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        source = f"read_parquet({_quoted(place.file)}, hive_partitioning = false)"
        if place.file.suffix == ".duckdb":
            connection.execute(f"ATTACH {_quoted(place.file)} AS made (READ_ONLY)")
            source = f"made.{layout}"
        query = f"SELECT count(*) FROM {source}"  # noqa: S608 - nothing of it is from outside
        ((count,),) = connection.execute(query).fetchall()
    if count != rows.number:
        raise OSError(f"{count} of {rows.number} rows are read back")


# --- names for duckdb -----------------------------------------------------------------------------
# duckdb reads more out of a path than where a file is: columns (`model=x`), patterns (`*`, `[`), a
# home (`~`), a host (`http:`), options behind a `?`; and it takes no path that is not UTF-8.


class _Place(NamedTuple):
    """What duckdb is to call a directory with rows, the file that it makes, and its final place."""

    work: Path
    made: Path
    file: Path


@contextlib.contextmanager
def _place(output: Path) -> Iterator[_Place]:
    """Give the directory of an output a name in which duckdb reads nothing but a path."""
    real, name = Path(os.path.realpath(output.parent)), f"table{output.suffix}"
    if _PLAIN.fullmatch(str(real)):
        yield _Place(real, real / name, real / name)
        return
    with _plain_directory() as plain:
        work = plain / "work"
        work.symlink_to(real)
        # From 1.5 on duckdb follows links by itself, and puts a table's log before any `?`.
        by_itself = output.suffix == ".duckdb" and "?" in str(real)
        yield _Place(work, (plain if by_itself else work) / name, work / name)


@contextlib.contextmanager
def _plain_directory() -> Iterator[Path]:
    """Give an empty temporary directory with a plain name."""
    parent = os.path.realpath(tempfile.gettempdir())
    parent = parent if _PLAIN.fullmatch(parent) else "/tmp"  # noqa: S108 - the name below is random
    with tempfile.TemporaryDirectory(prefix="aiomessages-", dir=parent) as directory:
        yield Path(os.path.realpath(directory))


_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-]+")


# --- the SQL --------------------------------------------------------------------------------------


def _select(rows: Rows, place: _Place, layout: str) -> str:
    """Write the query that reads the rows, each column by its name and in its type."""
    table = TABLES[layout]
    kinds = table.line | table.inner | {table.whole: TEXT}
    columns = ", ".join(f"{name}: {_quoted(_type(kind))}" for name, kind in kinds.items())
    paths = ", ".join(_quoted(place.work / path.parent.name / path.name) for path in rows.paths)
    options = ", ".join(
        [
            "format = 'newline_delimited'",
            f"maximum_object_size = {max(rows.longest, 2**20)}",
            "hive_partitioning = false",  # what a path says is no column
            "filename = false",
            "union_by_name = false",
        ]
    )
    names = ", ".join(f'"{name}"' for name in kinds)
    source = f"read_json([{paths}], {options}, columns = {{{columns}}})"
    return f"SELECT {names} FROM {source}"  # noqa: S608 - nothing of it is from outside


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
