"""Reading a ledger: as it is at one moment, without changing a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiomessages.export import ExportError
from aiomessages.export.ledger import Ledger
from aiomessages.export.ledger_schema import Entry, Part
from aiomessages.export.sqlite_files import read_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


def rows(db: sqlite3.Connection) -> int:
    """Read some rows."""
    ((number,),) = db.execute("SELECT count(*) FROM completions")
    return int(number)


def add(path: Path, name: str) -> None:
    """Run an export from its start to its end."""
    with Ledger(path) as ledger:
        ledger.commit([Part(1)], [Entry(name, "done")])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a closed ledger of one completion."""
    add(tmp_path / "out.ledger", "a")
    return tmp_path / "out.ledger"


@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "ends"])
def test_an_export_that_begins_meanwhile(path: Path, *, ends: bool) -> None:
    """If an export begins meanwhile, the result is dropped, and the ledger is read again."""
    looks = []
    with contextlib.ExitStack() as exports:

        def read(db: sqlite3.Connection) -> int:
            looks.append(1)
            if len(looks) == 1:
                ledger = exports.enter_context(Ledger(path))
                ledger.commit([Part(1)], [Entry("b", "done")])
                if ends:
                    exports.close()
            return rows(db)

        assert read_snapshot(path, read) == 2
    assert len(looks) == 2


def test_an_error_because_an_export_begins(path: Path) -> None:
    """An error because an export begins meanwhile is not taken for damage."""
    looks = []

    def read(db: sqlite3.Connection) -> int:
        looks.append(1)
        if len(looks) == 1:
            add(path, "b")
            raise sqlite3.DatabaseError("database disk image is malformed")
        return rows(db)

    assert read_snapshot(path, read) == 2


def test_an_error_that_is_none_of_that(path: Path) -> None:
    """Any other error is raised at once."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        read_snapshot(path, lambda db: db.execute("SELECT * FROM other"))


@pytest.mark.parametrize("fails", [False, True], ids=["read", "failed"])
def test_a_ledger_that_changes_each_time(path: Path, *, fails: bool) -> None:
    """A ledger that changes at each attempt is given up in the end."""

    def read(_: sqlite3.Connection) -> None:
        add(path, str(path.stat().st_mtime_ns))
        if fails:
            raise sqlite3.DatabaseError("malformed")

    with pytest.raises((ExportError, sqlite3.DatabaseError), match=r"keeps changing|malformed"):
        read_snapshot(path, read)


def test_no_trace(path: Path) -> None:
    """Nothing is changed, and no file is left behind."""
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    assert read_snapshot(path, rows) == 1
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


# --- where nothing can be written -----------------------------------------------------------------


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """Give a directory that this process cannot write to once `open_to` was called."""
    with contextlib.ExitStack() as undo:
        made = Path(tempfile.mkdtemp())
        made.chmod(0o755)
        undo.callback(shutil.rmtree, made)
        undo.callback(made.chmod, 0o755)
        if os.geteuid() == 0:
            undo.callback(os.seteuid, 0)
        yield made


def forbid(directory: Path) -> None:
    """Forbid all processes to write to a directory, even this one, which may be root's."""
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


def test_a_ledger_where_nothing_can_be_written(unwritable: Path) -> None:
    """A ledger in a read-only directory can be read."""
    add(unwritable / "out.ledger", "a")
    forbid(unwritable)
    assert read_snapshot(unwritable / "out.ledger", rows) == 1


def test_a_ledger_with_a_log_where_nothing_can_be_written(unwritable: Path) -> None:
    """So can that of a killed export, with the entries of its log."""
    killed = unwritable / "killed"
    killed.mkdir()
    with Ledger(unwritable / "out.ledger") as ledger:
        ledger.commit([Part(1)], [Entry("a", "done")])
        for name in ("out.ledger", "out.ledger-wal"):
            shutil.copy(unwritable / name, killed / name)
    forbid(killed)
    assert read_snapshot(killed / "out.ledger", rows) == 1
    assert sorted(item.name for item in killed.iterdir()) == ["out.ledger", "out.ledger-wal"]
