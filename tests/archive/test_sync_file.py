"""A sync and its file: replaced, locked, read meanwhile, cancelled, full, or far too large."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest_played import HOUR, PlayedServer, answering, ask, check_consistent, create, rows, run

from aiomessages import export
from aiomessages.archive.errors import ArchiveError, DiskFullError, LockedError
from aiomessages.archive.guard import archive_errors, locked, unreplaced
from aiomessages.errors import AuthenticationError

if TYPE_CHECKING:
    from aiohttp import web


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("replace", [True, False])
async def test_an_archive_that_is_taken_away(
    server: PlayedServer, archive: Path, *, replace: bool
) -> None:
    """A sync whose file was removed or replaced meanwhile says so; the next one begins anew."""
    made = create(server, 5)

    def take_away(request: web.Request) -> None:
        if request.path.endswith(f"{made[2].id}/messages"):
            for part in archive.parent.glob(f"{archive.name}*"):
                if part.suffix != ".lock":
                    part.unlink()
            if replace:
                archive.touch(0o600)

    server.fail = take_away
    with pytest.raises(ArchiveError, match="removed or replaced while it was written"):
        await run(server, archive)
    server.fail = lambda _: None
    assert (await run(server, archive)).new == 5


def test_the_first_error_is_raised(tmp_path: Path) -> None:
    """An error in a block whose file was replaced is raised as it is."""
    path = tmp_path / "archive.db"
    path.touch()

    def fail() -> None:
        path.unlink()
        raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"), unreplaced(path):
        fail()


async def test_another_directory(
    server: PlayedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the file that it named at the begin."""
    create(server, 5)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    server.fail = lambda _: os.chdir("elsewhere") if Path.cwd() == tmp_path else None
    report = await run(server, Path("archive.db"))
    assert (report.path, report.new) == (Path("archive.db"), 5)
    assert not [*(tmp_path / "elsewhere").iterdir()]


async def test_an_archive_that_is_read_meanwhile(server: PlayedServer, archive: Path) -> None:
    """A reader in the middle of its work neither waits nor holds up a sync."""
    create(server, 5)
    await run(server, archive)
    with closing(sqlite3.connect(archive, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        count = "SELECT count(*) FROM completions"
        before = reader.execute(count).fetchone()
        create(server, 5)
        assert (await run(server, archive)).new == 5
        assert reader.execute(count).fetchone() == before


async def test_a_lock_that_was_left(server: PlayedServer, archive: Path) -> None:
    """The lock's file of a process that is dead locks nothing."""
    archive.with_name("archive.db.lock").touch()
    create(server, 1)
    assert (await run(server, archive)).new == 1


def test_a_lock_by_another_name(tmp_path: Path) -> None:
    """The lock of an archive holds under each symbolic link to it."""
    path, link = tmp_path / "archive.db", tmp_path / "links" / "link.db"
    link.parent.mkdir()
    path.touch()
    link.symlink_to(path)
    with locked(link), pytest.raises(LockedError), locked(path):
        pass
    assert [file.name for file in link.parent.iterdir()] == ["link.db"]


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    """A lock for which there is no directory is an error that names it."""
    with (
        pytest.raises(ArchiveError, match=r"archive\.db\.lock: cannot be created: No such file"),
        locked(tmp_path / "none" / "archive.db"),
    ):
        pass


def test_a_lock_that_is_held(tmp_path: Path) -> None:
    """A second lock of an archive is refused while the first is held, and given after it."""
    path = tmp_path / "archive.db"
    with locked(path), pytest.raises(LockedError), locked(path):
        pass
    with locked(path):
        pass


def test_a_full_disk_while_reading(tmp_path: Path) -> None:
    """A disk that is full for the file of a large conversation is the archive's error for it."""
    with (
        pytest.raises(DiskFullError, match=r"archive\.db: no room left"),
        archive_errors(tmp_path / "archive.db"),
    ):
        raise export.DiskFullError("no room left")


async def test_a_database_that_fails(server: PlayedServer, archive: Path) -> None:
    """An error of SQLite outside of any transaction of a change is an ArchiveError as well."""
    create(server, 3)
    await run(server, archive)
    with closing(sqlite3.connect(archive)) as db:
        db.execute("DROP TABLE waiting")
    with pytest.raises(ArchiveError, match="no such table: waiting"):
        await run(server, archive)


@pytest.mark.parametrize("status", [None, 401])
async def test_an_end_that_cannot_be_recorded(
    server: PlayedServer, archive: Path, status: int | None
) -> None:
    """An end of a run that cannot be written is an error, unless another one came before it."""
    made = create(server, 3)

    def spoil(request: web.Request) -> web.Response | None:
        if not request.path.endswith(f"{made[2].id}/messages"):
            return None
        with closing(sqlite3.connect(archive)) as db:
            db.execute(
                'CREATE TRIGGER refuse BEFORE UPDATE OF "end" ON runs'
                " BEGIN SELECT RAISE(ABORT, 'no end'); END"
            )
        answer = answering("/messages", status, {"code": "invalid_api_key"}) if status else None
        return answer(request) if answer else None

    server.fail = spoil
    kind, text = (AuthenticationError, "401") if status else (ArchiveError, "no end")
    with pytest.raises(kind, match=text):
        await run(server, archive, concurrency=1)


# --- large conversations --------------------------------------------------------------------------


async def test_a_conversation_larger_than_the_memory_for_it(
    server: PlayedServer, archive: Path
) -> None:
    """Conversations that pass through files are kept whole, and leave no file behind."""
    texts = [f"{n} " + "word " * 100_000 for n in range(40)]
    (large,) = create(server, 1, messages=texts)
    other = server.create(messages=texts[:10])
    server.now += 2 * HOUR
    server.page = 4
    await run(server, archive)
    found = ask(archive, "SELECT id, message_count FROM completions ORDER BY 2 DESC")
    assert found == [(large.id, 40), (other.id, 10)]
    kept = "SELECT text FROM messages WHERE choice IS NULL ORDER BY completion, n"
    texts_kept = [text for (text,) in ask(archive, kept)]
    assert sorted(texts_kept) == sorted([*texts, *texts[:10]])
    assert [path.name for path in archive.parent.iterdir()] == ["archive.db"]


async def test_a_conversation_of_many_messages(server: PlayedServer, archive: Path) -> None:
    """Each message of a long conversation is in the index once."""
    (one,) = create(server, 1, messages=[f"word{n}" for n in range(1001)])
    await run(server, archive)
    check_consistent(archive)
    assert ask(archive, "SELECT id, message_count FROM completions") == [(one.id, 1001)]
    with closing(sqlite3.connect(archive)) as db:
        db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, row)")
        counts = db.execute("SELECT cnt, count(*) FROM terms WHERE term LIKE 'word%' GROUP BY 1")
        assert counts.fetchall() == [(1, 1001)]


# --- cancelled ------------------------------------------------------------------------------------


async def test_cancelled_at_any_moment(server: PlayedServer, archive: Path) -> None:
    """Wherever a sync is cancelled, once or again and again, the next ones complete the archive."""
    server.page = 3
    create(server, 12)
    whole = archive.with_name("whole.db")
    await run(server, whole)
    cancelled = 0
    for turns in range(0, 600, 25):
        here = archive.with_name(f"cancelled-{turns}.db")
        task = asyncio.ensure_future(run(server, here, concurrency=3))
        for _ in range(turns):
            await asyncio.sleep(0)  # one turn of the loop
        while not task.done():
            task.cancel()
            await asyncio.sleep(0 if turns % 2 else 0.01)
        cancelled += task.cancelled()
        if here.exists():
            check_consistent(here)
        await run(server, here)
        assert rows(here) == rows(whole)
    assert cancelled > 5
    assert len(asyncio.all_tasks()) < 10


async def test_cancelled_while_the_disk_is_slow(server: PlayedServer, archive: Path) -> None:
    """A sync that is cancelled again and again ends when what it writes is written."""
    (one,) = create(server, 1)
    begun = asyncio.Event()

    class Threads(ThreadPoolExecutor):
        """The threads of the loop; `begun` is set with the first work behind the answer."""

        def submit(self, *args: Any, **options: Any) -> Future[Any]:
            if answered:
                begun.set()
            return super().submit(*args, **options)

    answered = list[str]()
    with closing(sqlite3.connect(archive, isolation_level=None)) as other:

        def answer(request: web.Request) -> None:
            if request.path.endswith("/messages"):
                other.execute("BEGIN IMMEDIATE")
                answered.append(request.path)

        server.fail = answer
        asyncio.get_running_loop().set_default_executor(Threads())
        task = asyncio.ensure_future(run(server, archive))
        await begun.wait()
        for _ in range(20):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        other.execute("ROLLBACK")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ask(archive, "SELECT id FROM completions") == [(one.id,)]
    assert ask(archive, "SELECT result FROM runs") == [("interrupted",)]
