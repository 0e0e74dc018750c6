"""The ledger: its transactions, its refusals and its reports."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiomessages.export import ChangedError, CorruptError, DiskFullError, ExportError
from aiomessages.export.ledger import MAX_ROWS, Ledger
from aiomessages.export.ledger_schema import (
    REFUSED,
    VERSION,
    Entry,
    Part,
    count_reasons,
    count_states,
    list_ids,
    read_settings,
)
from aiomessages.export.sqlite_files import sqlite_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SETTINGS = {"layout": "messages", "media": None}
DONE = Entry("a", "done", messages=3)
GONE = Entry("b", "gone")
PART = Part(1, committed=10, crc32=7, rows=5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a ledger."""
    return tmp_path / "out.ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Give a new ledger."""
    with Ledger(path) as opened:
        yield opened


def settings_of(path: Path) -> dict[str, Any]:
    """Return the settings that a ledger has on the disk."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return read_settings(db)


def test_committed_entries_are_read_back(path: Path) -> None:
    """Parts and completions come back as they were last recorded."""
    with Ledger(path) as ledger:
        ledger.commit([PART], [GONE])
        ledger.commit([Part(1, 20, 8, 6, closed=True)], [DONE, Entry("b", "done", messages=3)])
    with Ledger(path) as ledger:
        assert ledger.parts() == [Part(1, 20, 8, 6, closed=True)]
        assert ledger.entries("a") == {"a": DONE}
        assert ledger.entries("abx")["b"] == Entry("b", "done", messages=3)
        assert ledger.entries("c") == ledger.entries("") == {}


def test_a_ledger_is_private_and_durable(path: Path, ledger: Ledger) -> None:
    """A ledger uses WAL from the start, and all of its files are private."""
    ledger.commit([PART], [DONE])
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()
    modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in path.parent.iterdir()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


def test_commits_are_durable_whatever_sqlite_was_built_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit is synced, even if SQLite was built to sync nothing by default."""
    connect = sqlite3.connect

    def connect_carelessly(name: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(name, **options)
        db.execute("PRAGMA synchronous = OFF")
        return db

    monkeypatch.setattr(sqlite3, "connect", connect_carelessly)
    with Ledger(path) as ledger:
        assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)  # noqa: SLF001 no other way


def test_reopening_is_recorded(path: Path) -> None:
    """A process that is killed after it reopened an export leaves no mark of a finished one."""
    with Ledger(path) as ledger:
        ledger.finish()
        ledger.reopen()
        assert "finished" not in settings_of(path)
    with Ledger(path) as ledger:
        assert not ledger.finished


def test_a_batch_is_recorded_whole_or_not_at_all(ledger: Ledger) -> None:
    """An error in the middle of a batch leaves no trace of it, and the ledger usable."""

    def entries() -> Iterator[Entry]:
        yield DONE
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.commit([PART], entries())
    assert (ledger.parts(), ledger.entries("a")) == ([], {})
    ledger.commit([PART], [DONE])
    assert ledger.parts() == [PART]


def test_agreeing_on_settings(path: Path) -> None:
    """The same settings agree, run after run, finished or not."""
    for _ in range(2):
        with Ledger(path) as ledger:
            ledger.agree(SETTINGS, {"model": "m"})
            ledger.finish()
            settings = settings_of(path)
            assert settings.pop("finished") <= time.time()
            assert settings == {**SETTINGS, "version": VERSION, "selection": {"model": "m"}}


OTHER = [
    ({"layout": "finetune"}, 'layout was "messages" and is now "finetune"'),
    ({"media": "pictures"}, 'media was null and is now "pictures"'),
    ({"colour": 1}, "colour was not set and is now 1"),
]


@pytest.mark.parametrize(("changes", "expected"), OTHER, ids=["changed", "from-null", "new"])
def test_other_settings(ledger: Ledger, changes: dict[str, Any], expected: str) -> None:
    """Another export is refused, and what differs is named."""
    ledger.agree(SETTINGS, None)
    ledger.commit([PART], [DONE])
    with pytest.raises(ChangedError, match=expected) as caught:
        ledger.agree({**SETTINGS, **changes}, None)
    assert caught.value.exit_code == 2


def test_a_setting_that_is_gone(ledger: Ledger) -> None:
    """An export with a missing setting is refused as well."""
    ledger.agree(SETTINGS, None)
    ledger.commit([PART], [DONE])
    with pytest.raises(ChangedError, match="media was null and is now not set"):
        ledger.agree({"layout": "messages"}, None)


@pytest.mark.parametrize("state", ["gone", "pending", "failed"])
def test_other_settings_of_nothing(path: Path, ledger: Ledger, state: Any) -> None:
    """An empty export accepts other settings, and forgets the entries of the old ones."""
    ledger.agree(SETTINGS, {"model": "m"})
    ledger.commit([Part(1)], [Entry("a", state)])
    ledger.finish()
    ledger.agree({"layout": "finetune", "media": "x"}, {})
    assert settings_of(path) == {
        "layout": "finetune",
        "media": "x",
        "version": VERSION,
        "selection": {},
    }
    assert (ledger.finished, ledger.query(count_states), ledger.parts()) == (False, {}, [Part(1)])


@pytest.mark.parametrize("state", ["done", "skipped", "lost"])
def test_other_settings_of_something(ledger: Ledger, state: Any) -> None:
    """A written, skipped or kept completion makes an export non-empty."""
    ledger.agree(SETTINGS, None)
    ledger.commit([Part(1)], [Entry("a", state)])
    with pytest.raises(ChangedError):
        ledger.agree({**SETTINGS, "layout": "finetune"}, None)


def test_selections(ledger: Ledger) -> None:
    """A list may follow ids and ids a list; another list is refused."""
    ledger.commit([PART], [DONE])
    for selection in (None, {"model": "m"}, None, {"model": "m"}):
        ledger.agree(SETTINGS, selection)
    with pytest.raises(ChangedError, match=': model was "m" and is now not set:'):
        ledger.agree(SETTINGS, {})
    with pytest.raises(ChangedError, match=': since was not set and is now "3d":'):
        ledger.agree(SETTINGS, {"model": "m", "since": "3d"})
    with pytest.raises(ChangedError, match=r": layout was .* and is now \"x\": give"):
        ledger.agree({**SETTINGS, "layout": "x"}, None)  # without a selection


def test_ids_by_state(ledger: Ledger) -> None:
    """Ids are listed by state, sorted; ids that this run has not seen are listed separately."""
    ledger.commit([PART], [DONE, *(Entry(name, "pending") for name in "dcb")])
    assert (ledger.query(list_ids, "pending"), ledger.query(list_ids, "gone")) == (
        ["b", "c", "d"],
        [],
    )
    ledger.first_sights("ac")
    assert ledger.unseen("pending") == ["b", "d"]


def test_completions_to_retry(ledger: Ledger) -> None:
    """A failed completion that was named in this run is retried, unless its id is invalid."""
    failed = [Entry(name, "failed", reason="InternalServerError") for name in "xy"]
    ledger.commit([PART], [*failed, Entry("z", "failed", reason=REFUSED), DONE])
    assert ledger.to_be_tried_again() == 0
    ledger.first_sights("xza")
    assert ledger.to_be_tried_again() == 1


def test_being_finished(ledger: Ledger) -> None:
    """A ledger is finished from `finish` until `reopen`."""
    states = [ledger.finished]
    for step in (ledger.finish, ledger.finish, ledger.reopen, ledger.reopen):
        step()
        states.append(ledger.finished)
    assert states == [False, True, True, False, False]


def test_counting(ledger: Ledger) -> None:
    """Completions and messages are counted by state, and by the reasons of one."""
    failed = [Entry(name, "failed", reason="NotFoundError") for name in "xy"]
    ledger.commit([PART], [DONE, GONE, *failed])
    assert ledger.query(count_states) == {"done": (1, 3), "gone": (1, 0), "failed": (2, 0)}
    assert ledger.query(count_reasons, "failed") == {"NotFoundError": 2}
    assert ledger.query(count_reasons, "skipped") == {}


def test_ids_that_a_run_has_seen(path: Path) -> None:
    """A completion is new once per run; completions that were not named again count as removed."""
    left_out = [Entry(name, "failed") for name in "xy"]
    with Ledger(path) as ledger:
        ledger.commit([PART], [DONE, GONE, *left_out, Entry("z", "done")])
        assert [ledger.first_sights(names) for names in ("aa", "ac", "c")] == [{"a"}, {"c"}, set()]
        assert ledger.removed() == 1
    with Ledger(path) as ledger:
        assert ledger.first_sights("a") == {"a"}


def test_a_large_batch(ledger: Ledger) -> None:
    """A batch of any number of completions is recorded whole."""
    entries = [Entry(f"chatcmpl-{n}", "done", messages=n) for n in range(2 * MAX_ROWS + 1)]
    ledger.commit([PART], iter(entries))
    assert ledger.query(count_states) == {"done": (len(entries), sum(range(len(entries))))}
    some = entries[MAX_ROWS : 2 * MAX_ROWS]
    found = ledger.entries([entry.completion_id for entry in some])
    assert found == {entry.completion_id: entry for entry in some}


# --- files that are no ledger ---------------------------------------------------------------------


def other_database(path: Path, *statements: str) -> None:
    """Create a database of another kind."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


MADE: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_bytes(b"not a database, but long enough " * 40),
    "other tables": lambda path: other_database(path, "CREATE TABLE other (a)"),
    "other settings": lambda path: other_database(
        path,
        "CREATE TABLE settings (name TEXT, value TEXT)",
        "INSERT INTO settings VALUES ('colour', 'blue')",
    ),
    "with a log": lambda path: other_database(
        path, "PRAGMA journal_mode = WAL", "CREATE TABLE other (a)"
    ),
    "of another version": lambda path: other_database(
        path,
        "CREATE TABLE settings (name TEXT, value TEXT)",
        "INSERT INTO settings VALUES ('version', '99')",
    ),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_file_that_is_no_ledger(path: Path, kind: str) -> None:
    """A file that is no ledger is refused, and it and its neighbours stay unchanged."""
    MADE[kind](path)
    before = written(path.parent)
    refused = ChangedError if kind == "of another version" else CorruptError
    with pytest.raises(refused, match=r"not a ledger|another version .*99"):
        Ledger(path)
    assert written(path.parent) == before


def test_a_database_that_another_program_is_writing(path: Path) -> None:
    """A foreign database with unmerged changes is refused, and its log stays."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE other (a)")
        before = written(path.parent)
        with pytest.raises(CorruptError, match="not a ledger"):
            Ledger(path)
        assert written(path.parent) == before


def written(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return each file's bytes and modification time, without SQLite's -shm."""
    found = [path for path in directory.iterdir() if not path.name.endswith("-shm")]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_opening_and_closing_a_ledger(path: Path) -> None:
    """Opening and closing leaves the file unchanged, and no other file beside it."""
    with Ledger(path) as ledger:
        ledger.agree(SETTINGS, None)
    before = written(path.parent)
    assert [*before] == [path.name]
    with Ledger(path) as ledger:
        ledger.agree(SETTINGS, None)
    assert written(path.parent) == before


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["link", "second name"])
def test_a_planted_link(path: Path, ending: str, kind: str) -> None:
    """A link in place of the ledger, or of a file that SQLite reads with it, is refused."""
    mine = path.with_name("mine")
    mine.write_bytes(b"")
    planted = path.with_name(path.name + ending)
    planted.symlink_to(mine) if kind == "link" else os.link(mine, planted)
    with pytest.raises(CorruptError, match=r"is a symbolic link|has a second name"):
        Ledger(path)
    assert mine.read_bytes() == b""


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("known", [False, True], ids=["a new ledger", "a ledger"])
def test_a_foreign_file_beside_the_ledger(path: Path, ending: str, *, known: bool) -> None:
    """A foreign file with such a name is refused and kept, although SQLite would remove it."""
    if known:
        with Ledger(path):
            pass
    mine = path.with_name(path.name + ending)
    mine.write_bytes(b"mine")
    before = written(path.parent)
    with pytest.raises(CorruptError, match="has no record of it: move it away"):
        Ledger(path)
    assert written(path.parent) == before
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("size", [0, 1, 3, 4])
def test_a_short_shared_memory_file(path: Path, size: int) -> None:
    """A `-shm` of three bytes, as a kill during opening leaves it, is accepted."""
    with Ledger(path) as ledger:
        ledger.commit([PART], [DONE])
        begin = path.with_name(path.name + "-shm").read_bytes()[:size]
    path.with_name(path.name + "-shm").write_bytes(begin)
    with Ledger(path) as ledger:
        assert ledger.parts() == [PART]


@pytest.mark.parametrize("torn", [False, True])
def test_the_log_of_a_killed_process(path: Path, tmp_path: Path, *, torn: bool) -> None:
    """A log of SQLite's is read; one that lost its beginning in a power cut is ignored."""
    with Ledger(path) as ledger:
        ledger.commit([Part(1, committed=5)], [])
        for found in list(tmp_path.iterdir()):
            shutil.copy(found, tmp_path / found.name.replace(path.name, "copy"))
    copy = tmp_path / "copy"
    log = copy.with_name("copy-wal")
    assert log.stat().st_size
    if torn:
        log.write_bytes(bytes(log.stat().st_size))
    with Ledger(copy) as ledger:
        assert ledger.parts() == ([] if torn else [Part(1, committed=5)])


def test_a_ledger_that_is_replaced_while_it_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was replaced while SQLite opened it by name is refused."""
    with Ledger(path.with_name("other")):
        pass
    connect = sqlite3.connect

    def connect_to_another(name: Any, **options: Any) -> sqlite3.Connection:
        if name == path and path.with_name("other").exists():
            path.with_name("other").replace(path)
        return connect(name, **options)

    monkeypatch.setattr(sqlite3, "connect", connect_to_another)
    with pytest.raises(CorruptError, match="was replaced"):
        Ledger(path)


@pytest.mark.parametrize("name", [b"a?b", b"a%41", b"a\xff", b"file:a", b"a\nb", b"a'b"])
def test_any_name(path: Path, name: bytes) -> None:
    """A ledger may have any name."""
    path = path.parent / os.fsdecode(name)
    with Ledger(path) as ledger:
        ledger.commit([PART], [DONE])
        assert ledger.first_sights("a") == {"a"}
        assert ledger.removed() == 0
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_parts_that_are_joined_or_forgotten(ledger: Ledger) -> None:
    """A joined part is recorded in one step; a part can be removed again."""
    ledger.commit([Part(0), PART, Part(2), Part(3)], [])
    ledger.join(Part(1, 20, 8, 6, closed=True))
    assert ledger.parts() == [Part(0), Part(1, 20, 8, 6, closed=True)]
    ledger.forget(0)
    assert ledger.parts() == [Part(1, 20, 8, 6, closed=True)]


def test_generated_files(ledger: Ledger) -> None:
    """The files that may exist are recorded by kind, all of them each time."""
    ledger.record_generated("columns", {"a": 1})
    ledger.record_generated("manifest", {"b": 2, "": 0})
    ledger.record_generated("manifest", {"b": 2, "c": 3})
    assert (ledger.generated("columns"), ledger.generated("manifest")) == (
        {"a": 1},
        {"b": 2, "c": 3},
    )


def test_an_empty_ledger_of_a_killed_process(path: Path) -> None:
    """An empty file counts as a ledger that was about to be created."""
    path.touch()
    with Ledger(path) as ledger:
        ledger.agree(SETTINGS, None)


def test_a_disk_without_room(ledger: Ledger) -> None:
    """A ledger that cannot grow is a full disk, and loses none of its content."""
    ledger.commit([PART], [DONE])
    ledger._db.execute("PRAGMA max_page_count = 1")  # noqa: SLF001 the only way to fill a disk
    with pytest.raises(DiskFullError, match="no room") as caught:
        ledger.commit([Part(2)], [Entry(str(n), "done") for n in range(10_000)])
    assert caught.value.exit_code == 74
    assert (ledger.parts(), ledger.entries("0")) == ([PART], {})


def test_a_file_that_may_not_grow(ledger: Ledger) -> None:
    """An I/O error of SQLite is reported as a full disk if the disk is full."""
    ledger.commit([PART], [DONE])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DiskFullError, match="no room"):
            ledger.commit([Part(2)], [Entry(str(n), "done") for n in range(10_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger.parts() == [PART]


def test_an_error_of_the_disk(path: Path) -> None:
    """If a file can be written, an I/O error is reported as such."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with pytest.raises(ExportError, match=r"cannot be used \(disk I/O error"), sqlite_errors(path):
        raise error


def test_a_ledger_that_is_locked(path: Path, ledger: Ledger) -> None:
    """Any other error of SQLite keeps its text."""
    ledger._db.execute("PRAGMA busy_timeout = 0")  # noqa: SLF001 so that nobody waits
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ExportError, match=r"cannot be used .*locked"):
        ledger.commit([PART], [DONE])
    other.close()
    ledger.commit([PART], [DONE])
