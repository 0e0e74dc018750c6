"""The ledger: what it records in one transaction, what it refuses, and what it says of itself."""

from __future__ import annotations

import sqlite3
import stat
from typing import TYPE_CHECKING, Any

import pytest

from aiomessages.export import ChangedError, CorruptError, DiskFullError, ExportError
from aiomessages.export.ledger import MANY, Entry, Ledger, Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = {"layout": "messages", "media": None}
DONE = Entry("a", "done", messages=3)
HALF = Entry("b", "partial", messages=2, cursor="b-1")
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


def test_what_is_committed_is_there_for_the_next(path: Path) -> None:
    """Parts and completions come back as they were recorded, the last of each."""
    with Ledger(path) as ledger:
        ledger.commit([PART], [HALF])
        ledger.commit([Part(1, 20, 8, 6, closed=True)], [DONE, Entry("b", "done", messages=3)])
    with Ledger(path) as ledger:
        assert ledger.parts() == [Part(1, 20, 8, 6, closed=True)]
        assert ledger.entries("a") == {"a": DONE}
        assert ledger.entries("abx")["b"] == Entry("b", "done", messages=3)
        assert ledger.entries("c") == ledger.entries("") == {}


def test_a_ledger_is_private_and_durable(path: Path, ledger: Ledger) -> None:
    """It is a log before it is a file, and no file of it is for anybody else."""
    ledger.commit([PART], [DONE])
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)  # noqa: SLF001 no other way
    modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in path.parent.iterdir()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


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
            ledger.agree(SETTINGS)
            ledger.finish()
            assert ledger.settings() == {**SETTINGS, "version": 1, "finished": True}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layout": "finetune"}, 'layout was "messages" and is now "finetune"'),
        ({"media": "pictures"}, 'media was null and is now "pictures"'),
        ({"colour": 1}, "colour was not set and is now 1"),
    ],
    ids=["changed", "from-null", "new"],
)
def test_other_settings(ledger: Ledger, changes: dict[str, Any], told: str) -> None:
    """Another export is refused, and what differs is named."""
    ledger.agree(SETTINGS)
    with pytest.raises(ChangedError, match=told) as caught:
        ledger.agree({**SETTINGS, **changes})
    assert caught.value.exit_code == 2


def test_a_setting_that_is_gone(ledger: Ledger) -> None:
    """So is one that lacks something."""
    ledger.agree(SETTINGS)
    with pytest.raises(ChangedError, match="media was null and is now not set"):
        ledger.agree({"layout": "messages"})


def test_being_finished(ledger: Ledger) -> None:
    """A ledger is finished from when it is said until there is more to come."""
    states = [ledger.finished]
    for step in (ledger.finish, ledger.finish, ledger.reopen, ledger.reopen):
        step()
        states.append(ledger.finished)
    assert states == [False, True, True, False, False]


def test_counting(ledger: Ledger) -> None:
    """Completions and messages are counted by state, and by the reasons of one."""
    failed = [Entry(name, "failed", reason="NotFoundError") for name in "xy"]
    ledger.commit([PART], [DONE, HALF, *failed])
    assert ledger.counts() == {"done": (1, 3), "partial": (1, 2), "failed": (2, 0)}
    assert ledger.reasons("failed") == {"NotFoundError": 2}
    assert ledger.reasons("skipped") == {}


def test_what_a_run_has_seen(path: Path) -> None:
    """A completion is new once a run; those that are not named again are counted as removed."""
    with Ledger(path) as ledger:
        ledger.commit([PART], [DONE, HALF])
        assert [ledger.first_sights(names) for names in ("aa", "ac", "c")] == [{"a"}, {"c"}, set()]
        assert ledger.removed() == 1
    with Ledger(path) as ledger:
        assert ledger.first_sights("a") == {"a"}


def test_a_large_batch(ledger: Ledger) -> None:
    """A batch of any number of completions is recorded whole."""
    entries = [Entry(f"chatcmpl-{n}", "done", messages=n) for n in range(2 * MANY + 1)]
    ledger.commit([PART], iter(entries))
    assert ledger.counts() == {"done": (len(entries), sum(range(len(entries))))}
    some = entries[MANY : 2 * MANY]
    found = ledger.entries([entry.completion_id for entry in some])
    assert found == {entry.completion_id: entry for entry in some}


# --- files that are no ledger ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"not a database, but long enough " * 40),
        lambda path: sqlite3.connect(path).execute("CREATE TABLE other (a)").connection.close(),
    ],
    ids=["no-database", "another-database"],
)
def test_a_file_that_is_no_ledger(path: Path, make: Any) -> None:
    """It is refused as corrupt."""
    make(path)
    with pytest.raises(CorruptError, match="not a ledger"), Ledger(path) as ledger:
        ledger.agree(SETTINGS)


def test_a_ledger_begun_by_a_process_that_was_killed(path: Path) -> None:
    """An empty file is where a ledger was about to be."""
    path.touch()
    with Ledger(path) as ledger:
        ledger.agree(SETTINGS)


def test_a_disk_without_room(ledger: Ledger) -> None:
    """A ledger that cannot grow is a full disk, and loses nothing of what it had."""
    ledger.commit([PART], [DONE])
    ledger._db.execute("PRAGMA max_page_count = 1")  # noqa: SLF001 the only way to fill a disk
    with pytest.raises(DiskFullError, match="no room") as caught:
        ledger.commit([Part(2)], [Entry(str(n), "done") for n in range(10_000)])
    assert caught.value.exit_code == 74
    assert (ledger.parts(), ledger.entries("0")) == ([PART], {})


def test_a_ledger_that_somebody_holds(path: Path, ledger: Ledger) -> None:
    """What else SQLite says is told as it is."""
    ledger._db.execute("PRAGMA busy_timeout = 0")  # noqa: SLF001 so that nobody waits
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ExportError, match=r"cannot be used .*locked"):
        ledger.commit([PART], [DONE])
    other.close()
    ledger.commit([PART], [DONE])
