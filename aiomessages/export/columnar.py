"""Columns out of lines: a Parquet file or a DuckDB table, made from JSONL that is already durable.

`tables` has the columns, and `rows` selects the values that fit. A new file is read back and its
rows are counted before it is reported. No path becomes data: DuckDB gets only plain names, since it
reads a name like `model=x` as a column. Nothing here makes a file durable or gives it its final
name; an export runs this code in another process (`columns_process`).
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

from .errors import DISK_FULL, DiskFullError, ExportError, has_room
from .rows import MOST_IN_A_GROUP, Rows
from .tables import JSON_TEXT, TABLES, TEXT, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["TABLES", "check_duckdb", "explained", "make_columns"]

# --- writing --------------------------------------------------------------------------------------


def make_columns(source: Path, output: Path, layout: str, *, target: Path) -> int:
    """Write the lines of a layout as columns, in this process, and return the number of rows.

    The output's ending is `.parquet` or `.duckdb`. Its directory is for this call alone: rows and
    temporary files of duckdb stay there. Errors name `target`, the final path. A DuckDB file holds
    one table, named after the layout, and takes much more memory than Parquet if messages are long,
    because 2048 of them are held at once. The rows keep the order of the lines. Raises ExportError
    without duckdb, CorruptError for a line that is not JSON, and DiskFullError.
    """
    duckdb = _duckdb()
    try:
        rows = Rows.of(source, output.with_name("rows"), layout)
        with _plain_paths(output) as paths:
            _write(duckdb, rows, paths, layout)
            _settle(paths)
            _check(duckdb, rows, paths, layout)
            paths.file.rename(output)
    except (duckdb.Error, OSError, UnicodeDecodeError) as error:
        raise explained(error, target, work=output.parent) from error
    return rows.number


def explained(error: Exception, target: Path, *, work: Path | None = None) -> ExportError:
    """Return the ExportError for an error that prevented a file.

    An unclear error means a full disk if the directory `work` has no room.
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
    """Return the text of an error; duckdb's has bytes if a path in it is not UTF-8."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode(errors="backslashreplace")
    return str(error)


def check_duckdb() -> None:
    """Raise ExportError if duckdb is not installed, without loading it."""
    if importlib.util.find_spec("duckdb") is None:
        raise ExportError("columns need duckdb", hint=_NO_DUCKDB)


def _duckdb() -> ModuleType:
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise ExportError("columns need duckdb", hint=_NO_DUCKDB) from None


_NO_DUCKDB: Final = "pip install 'aiomessages[parquet]'"


def _write(duckdb: ModuleType, rows: Rows, paths: _PlainPaths, layout: str) -> None:
    """Write with little memory: double the limit each time duckdb gives up for want of it."""
    start = _MEMORY[paths.made.suffix]
    memory = start + 8 * rows.longest  # enough for most, as measured
    while True:
        try:
            return _write_within(memory, duckdb, rows, paths, layout)
        except (duckdb.Error, UnicodeDecodeError) as error:
            wanting = isinstance(error, duckdb.OutOfMemoryException) or _ADVICE in _text(error)
            if not wanting or memory > rows.size * _MOST + start:
                raise
            memory *= 2
            for path in paths.made.parent.glob(f"{paths.made.name}*"):  # a log may lie beside it
                path.unlink()


def _write_within(
    memory: int, duckdb: ModuleType, rows: Rows, paths: _PlainPaths, layout: str
) -> None:
    write = {".parquet": _write_parquet, ".duckdb": _write_database}[paths.made.suffix]
    settings = {
        "threads": 1,  # each has buffers of its own, as large as two of the longest line
        "memory_limit": f"{memory}B",
        "temp_directory": str(paths.work),
        "preserve_insertion_order": False,  # one thread keeps it without holding batches back
        "autoinstall_known_extensions": False,  # nothing is fetched from the network
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        for statement in write(rows, paths, layout):
            connection.execute(statement)


def _write_parquet(rows: Rows, paths: _PlainPaths, layout: str) -> Iterator[str]:
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows.group}"
    yield f"COPY ({_select(rows, paths, layout)}) TO {_quoted(paths.made)} ({options})"


def _write_database(rows: Rows, paths: _PlainPaths, layout: str) -> Iterator[str]:
    # Each group leaves something in memory until the end, and a table's leaves more than Parquet's.
    group = -(-min(2 * rows.group, MOST_IN_A_GROUP) // _VECTOR) * _VECTOR
    options = f"ROW_GROUP_SIZE {group}, STORAGE_VERSION '{_STORAGE_VERSION}'"
    yield f"ATTACH {_quoted(paths.made)} AS made ({options})"
    yield f"CREATE TABLE made.{layout} AS {_select(rows, paths, layout)}"
    # Both happen at the end of a connection as well, but duckdb reports no error there.
    yield "CHECKPOINT made"
    yield "DETACH made"


_MEMORY: Final = {".parquet": 64 * 2**20, ".duckdb": 48 * 2**20}
_ADVICE: Final = "memory_limit"  # duckdb's advice; at a commit, the only sign of too little
_MOST: Final = 32  # times the size of all rows: more of it would not be for want of memory
_VECTOR: Final = 2048  # rows that duckdb handles at once; a group of a table is a multiple
_STORAGE_VERSION: Final = "v1.2.0"  # any duckdb from 1.2 on opens it; 2.0's own is for 2.0 alone


# --- reading back ---------------------------------------------------------------------------------


def _settle(paths: _PlainPaths) -> None:
    """Move the file into paths. Raises OSError if rows remain in a log beside it."""
    if log := [*paths.made.parent.glob(f"{paths.made.name}.*")]:
        raise OSError(f"duckdb left {log[0].name} unmerged")
    if paths.made != paths.file:
        shutil.move(paths.made, paths.file)


def _check(duckdb: ModuleType, rows: Rows, paths: _PlainPaths, layout: str) -> None:
    """Read the file back. Raises OSError if rows are missing."""
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        source = f"read_parquet({_quoted(paths.file)}, hive_partitioning = false)"
        if paths.file.suffix == ".duckdb":
            connection.execute(f"ATTACH {_quoted(paths.file)} AS made (READ_ONLY)")
            source = f"made.{layout}"
        query = f"SELECT count(*) FROM {source}"  # noqa: S608 - nothing of it is from outside
        ((count,),) = connection.execute(query).fetchall()
    if count != rows.number:
        raise OSError(f"{count} of {rows.number} rows were read back")


# --- names for duckdb -----------------------------------------------------------------------------
# duckdb reads more out of a path than where a file is: columns (`model=x`), patterns (`*`, `[`), a
# home (`~`), a host (`http:`), options behind a `?`; and it takes no path that is not UTF-8.


class _PlainPaths(NamedTuple):
    """Plain names for duckdb: the directory with rows, the file that it makes, its final path."""

    work: Path
    made: Path
    file: Path


@contextlib.contextmanager
def _plain_paths(output: Path) -> Iterator[_PlainPaths]:
    """Give plain names for the directory of an output, by a symbolic link if it has others."""
    real, name = Path(os.path.realpath(output.parent)), f"table{output.suffix}"
    if _PLAIN.fullmatch(str(real)):
        yield _PlainPaths(real, real / name, real / name)
        return
    with _plain_directory() as plain:
        work = plain / "work"
        work.symlink_to(real)
        # From 1.5 on duckdb follows links by itself, and puts a table's log before any `?`.
        by_itself = output.suffix == ".duckdb" and "?" in str(real)
        yield _PlainPaths(work, (plain if by_itself else work) / name, work / name)


@contextlib.contextmanager
def _plain_directory() -> Iterator[Path]:
    """Give an empty temporary directory with a plain name."""
    parent = os.path.realpath(tempfile.gettempdir())
    parent = parent if _PLAIN.fullmatch(parent) else "/tmp"  # noqa: S108 - the name below is random
    with tempfile.TemporaryDirectory(prefix="aiomessages-", dir=parent) as directory:
        yield Path(os.path.realpath(directory))


_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-]+")


# --- the SQL --------------------------------------------------------------------------------------


def _select(rows: Rows, paths: _PlainPaths, layout: str) -> str:
    """Return the query that reads the rows, with the name and type of each column."""
    kinds = TABLES[layout].columns
    columns = ", ".join(f"{name}: {_quoted(_type(kind))}" for name, kind in kinds.items())
    files = ", ".join(_quoted(paths.work / path.parent.name / path.name) for path in rows.paths)
    options = (  # without `hive_partitioning`, no part of a path is a column
        f"format = 'newline_delimited', maximum_object_size = {max(rows.longest, 2**20)},"
        " hive_partitioning = false, filename = false, union_by_name = false"
    )
    names = ", ".join(f'"{name}"' for name in kinds)
    source = f"read_json([{files}], {options}, columns = {{{columns}}})"
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
    return TEXT if kind == JSON_TEXT else str(kind)


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"
