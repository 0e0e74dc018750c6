"""The writer of a sync: what is committed together, and who waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aiomessages.archive.errors import ArchiveError
from aiomessages.archive.writer import EVERY, Change, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database with one empty table."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as opened:
        opened.execute("CREATE TABLE found (word TEXT NOT NULL)")
        yield opened


def adding(word: str | None) -> Change:
    """Return a change that adds a word; None is refused by the table."""
    return lambda db: db.execute("INSERT INTO found VALUES (?)", (word,))


def words(db: sqlite3.Connection) -> list[str]:
    """Return the words in the table."""
    return [word for (word,) in db.execute("SELECT word FROM found ORDER BY rowid")]


async def started(event: threading.Event) -> None:
    """Wait until a thread has set an event."""
    await asyncio.to_thread(event.wait, 30)


class Slow:
    """A change that waits in its thread."""

    def __init__(self) -> None:
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def __call__(self, db: sqlite3.Connection) -> None:
        """Wait for `goes_on`, and add a word."""
        self.begun.set()
        assert self.goes_on.wait(30)
        adding("slow")(db)


async def test_changes_gather_while_one_is_written(db: sqlite3.Connection) -> None:
    """The changes that arrive during a transaction are in the next one, together."""
    commits, slow = 0, Slow()

    def before_commit() -> Change:
        nonlocal commits
        commits += 1
        return adding(f"commit {commits}")

    writer = Writer(db, "some.db", before_commit)
    first = asyncio.ensure_future(writer.write(slow))
    await started(slow.begun)
    others = [asyncio.ensure_future(writer.write(adding(word))) for word in "abc"]
    await asyncio.sleep(0)
    slow.goes_on.set()
    await asyncio.gather(first, *others)
    assert words(db) == ["slow", "commit 1", "a", "b", "c", "commit 2"]


async def test_transactions_begin_at_intervals(db: sqlite3.Connection) -> None:
    """A disk that writes at once is asked fifty times a second, however fast the changes come."""
    commits: list[float] = []
    clock = asyncio.get_running_loop().time
    writer = Writer(db, "some.db", lambda: commits.append(clock()))
    for number in range(5):
        await writer.write(adding(str(number)))
    assert len(commits) == 5
    assert commits[-1] - commits[0] > 3 * EVERY


async def test_a_cancelled_caller_waits_for_the_commit(db: sqlite3.Connection) -> None:
    """A change may read a file that its caller deletes at the end: also the end of a cancelled one.

    It waits while its own change is written, and while it waits for another transaction.
    """
    writer, slow = Writer(db, "some.db", lambda: None), Slow()
    tasks = [asyncio.ensure_future(writer.write(slow))]
    await started(slow.begun)
    tasks.append(asyncio.ensure_future(writer.write(adding("later"))))
    for _ in range(3):
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
    assert not any(task.done() for task in tasks)
    slow.goes_on.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    assert words(db) == ["slow", "later"]


async def test_closing_waits_for_every_transaction(db: sqlite3.Connection) -> None:
    """`close` returns when nothing is written any more, and at once if nothing was."""
    writer, slow = Writer(db, "some.db", lambda: None), Slow()
    await writer.close()
    tasks = [asyncio.ensure_future(writer.write(slow))]
    await started(slow.begun)
    tasks.append(asyncio.ensure_future(writer.write(adding(None))))
    await asyncio.sleep(0)
    closing_ = asyncio.ensure_future(writer.close())
    await asyncio.sleep(0)
    assert not closing_.done()
    slow.goes_on.set()
    await closing_
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[1].exception(), ArchiveError)
    assert words(db) == ["slow"]


async def test_nothing_is_written_after_an_error(db: sqlite3.Connection) -> None:
    """A transaction that fails is undone as a whole, and its error is that of each later write."""
    writer = Writer(db, "some.db", lambda: None)
    bad, slow = adding(None), Slow()
    first = asyncio.ensure_future(writer.write(slow))
    await started(slow.begun)
    together = [asyncio.ensure_future(writer.write(change)) for change in (adding("a"), bad)]
    await asyncio.sleep(0)
    slow.goes_on.set()
    await first
    errors = await asyncio.gather(*together, return_exceptions=True)
    assert [type(error) for error in errors] == [ArchiveError] * 2
    with pytest.raises(ArchiveError, match=r"some\.db: .*NOT NULL"):
        await writer.write(adding("b"))
    assert words(db) == ["slow"]


async def test_an_error_of_our_own_undoes_the_transaction(db: sqlite3.Connection) -> None:
    """An error that is none of SQLite's is raised as it is, and nothing is kept."""

    def fail(_: sqlite3.Connection) -> None:
        raise ValueError("no JSON")

    writer, done = Writer(db, "some.db", lambda: adding("anchor")), list[str]()
    with pytest.raises(ValueError, match="no JSON"):
        await writer.write(fail, lambda: done.append("done"))
    assert words(db) == []


async def test_what_is_committed_is_done_in_the_same_transaction(db: sqlite3.Connection) -> None:
    """`done` is called before the change that `before_commit` returns."""
    done: list[str] = []
    writer = Writer(db, "some.db", lambda: adding(f"{len(done)} done"))
    await writer.write(adding("a"), lambda: done.append("a"))
    assert words(db) == ["a", "1 done"]
