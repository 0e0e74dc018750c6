"""What the status of an archive says: its numbers are those of one moment, in a fixed order."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from conftest_archive import NOW, store, stored, write

from aiomessages.archive.database import open_to_read, open_to_write
from aiomessages.archive.status import ArchiveStatus, Run, read_status

if TYPE_CHECKING:
    from pathlib import Path


def status(archive: Path) -> ArchiveStatus:
    """Return the status of an archive."""
    with closing(open_to_read(archive)) as db:
        return read_status(db, archive)


def test_the_last_runs(archive: Path) -> None:
    """Of many runs the last five are told, the newest first, each count in its own field."""
    begun = ["INSERT INTO runs (kind, selection, begin) SELECT 'sync', '', 1 + count(*) FROM runs"]
    last = "INSERT INTO runs VALUES (7, 'recheck', 'all', 7, 8, 'complete', 1, 2, 3, 4, 5, 6, NULL)"
    write(archive, *begun * 6, last)
    runs = status(archive).runs
    assert [run.begin for run in runs] == [7, 6, 5, 4, 3]
    counts = {"new": 1, "changed": 2, "gone": 3, "failed": 4, "requests": 5, "refused": 6}
    assert runs[0] == Run("recheck", "all", 7, 8, "complete", **counts)


def test_an_order(archive: Path) -> None:
    """The states and the settings come in the order of their names, however they were stored."""
    for state in ("lost", "gone", "complete"):
        store(archive, state, state=state)
    write(archive, "INSERT INTO settings VALUES ('c', 'x'), ('a', 'x'), ('b', 'x')")
    found = status(archive)
    assert list(found.completions) == ["complete", "gone", "lost"]
    assert "".join(found.project) == "abc"


def test_the_days(archive: Path) -> None:
    """The first and last time of creation may be of one state; a completion may have none."""
    with stored(archive) as insert:
        insert("a", created=NOW + 5)
        insert("b", created=NOW)
        insert("c", created=None, state="gone")
    found = status(archive)
    assert (found.first_created, found.last_created) == (NOW, NOW + 5)


def test_the_size_while_it_is_written(archive: Path) -> None:
    """The size counts what was committed, and is not in the archive's own file yet."""
    with closing(open_to_write(archive)) as writing:
        writing.execute("PRAGMA wal_autocheckpoint = 0")
        writing.execute("INSERT INTO settings VALUES ('base_url', 'x')")
        both = [archive, archive.with_name(f"{archive.name}-wal")]
        sizes = [path.stat().st_size for path in both]
        assert all(sizes)
        assert status(archive).bytes == sum(sizes)


def test_a_sync_that_writes_meanwhile(archive: Path) -> None:
    """All numbers are those of one moment, whatever is stored between two questions."""
    store(archive, "a", "one", "two", replies=("reply",))

    def write_before(statement: str) -> None:
        if statement == "SELECT count(*) FROM messages":
            store(archive, "b", "three", replies=("reply",))

    with closing(open_to_read(archive)) as db:
        db.set_trace_callback(write_before)
        found = read_status(db, archive)
    assert (found.completions, found.messages, found.replies) == ({"complete": 1}, 2, 1)
    assert status(archive).messages == 3
