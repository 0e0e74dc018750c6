"""Claims about the file of an archive: what is opened, and what is refused and left untouched."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiomessages.archive import Archive
from aiomessages.archive.database import (
    is_outdated,
    open_to_read,
    open_to_serve,
    open_to_write,
    steady,
)
from aiomessages.archive.errors import (
    ArchiveError,
    CorruptError,
    DiskError,
    DiskFullError,
    LockedError,
    NotAnArchiveError,
    sqlite_errors,
)
from aiomessages.archive.insert import insert_conversation
from aiomessages.archive.schema import APPLICATION_ID, check_sqlite
from aiomessages.archive.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Open = Callable[[Path], sqlite3.Connection]
each_opening = pytest.mark.parametrize("opened", [open_to_read, open_to_write, open_to_serve])


def make(path: Path, count: int = 1) -> Path:
    """Make an archive with conversations of two messages."""
    db = open_to_write(path)
    db.execute("BEGIN")
    for n in range(count):
        body = b'{"id":"c%d","created":%d,"model":"m","choices":[]}' % (n, n)
        messages = [b'{"id":"%d","role":"user","content":"%b"}' % (k, b"w " * 200) for k in (0, 1)]
        insert_conversation(db, body, messages, seen=1.0)
    db.execute("COMMIT")
    db.close()
    return path


def contents(folder: Path) -> dict[str, Any]:
    """Return the names in a folder, each with its content and its time of change."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def database(path: Path, *statements: str) -> Path:
    """Make a database by these statements."""
    db = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()
    return path


def killed(code: str, path: Path) -> None:
    """Run code that kills itself."""
    process = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert process.returncode == -signal.SIGKILL


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run a block without the rights of root, who may read and write everything."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(65534, 65534, 0)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def openings(path: Path) -> list[str]:
    """Return what each way to open an archive gives: the number of messages, or the error."""
    said = []
    with as_nobody():
        for opened in (open_to_read, open_to_serve, open_to_write):
            try:
                db = opened(path)
                said.append(str(db.execute("SELECT count(*) FROM messages").fetchone()[0]))
                db.close()
            except ArchiveError as error:
                said.append(str(error).removeprefix(f"{path}: "))
    return said


def write_meanwhile(path: Path) -> None:
    """Write to an archive, and raise an error as a reader of it might."""
    db = open_to_write(path)
    db.execute("DELETE FROM messages")
    db.close()
    raise sqlite3.DatabaseError("database disk image is malformed")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder that other users reach: pytest's are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)
        Path(folder).chmod(0o777)


# --- what is opened -------------------------------------------------------------------------------


def test_a_new_archive_is_for_its_user_alone(tmp_path: Path) -> None:
    """The file and those that SQLite puts beside it have the mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        db = open_to_write(tmp_path / "a.db")
        db.execute("INSERT INTO settings VALUES ('a', 'b')")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        db.close()
    finally:
        os.umask(before)
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_the_mode_of_a_file_that_exists_stays(tmp_path: Path) -> None:
    """Whoever shares an archive with a group decides that."""
    path = make(tmp_path / "a.db")
    path.chmod(0o640)
    open_to_write(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "name", ["a ? # % 100%20 b.db", "ä日.db", "'quoted\".db", "file:x?mode=ro"]
)
def test_a_path_is_no_uri(tmp_path: Path, name: str) -> None:
    """A path may hold characters that mean something in a URI or in SQL."""
    path = make(tmp_path / name)
    assert [found.name for found in tmp_path.iterdir()] == [name]
    for opened in (open_to_read, open_to_serve):
        db = opened(path)
        assert db.execute("SELECT count(*) FROM messages").fetchone() == (2,)
        db.close()


def test_a_path_that_is_not_utf_8(tmp_path: Path) -> None:
    """A file system's names are bytes."""
    path = make(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.db")))
    open_to_read(path).close()
    assert [os.fsencode(found.name) for found in tmp_path.iterdir()] == [b"\xff.db"]


def test_a_symbolic_link(tmp_path: Path) -> None:
    """A link leads to its file, also to one that is still to be made, beside which files appear."""
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "a.db"
    link.symlink_to("../real/b.db")
    db = open_to_write(link)
    db.execute("INSERT INTO settings VALUES ('a', 'b')")
    reader = open_to_read(link)
    assert reader.execute("SELECT name FROM settings").fetchall() == [("a",)]
    reader.close()
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["a.db"]
    db.close()
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["b.db"]
    assert link.is_symlink()
    assert stat.S_IMODE(link.stat().st_mode) == 0o600


def test_a_hard_link(tmp_path: Path) -> None:
    """A file with two names is read by each, and written by none: each has a -wal of its own."""
    path = make(tmp_path / "a.db")
    other = tmp_path / "b.db"
    other.hardlink_to(path)
    for name in (path, other):
        open_to_read(name).close()
        with pytest.raises(ArchiveError, match=r"\.db: the file has a second name \(a hard link\)"):
            open_to_write(name)
    other.unlink()
    open_to_write(path).close()


def test_an_empty_file_becomes_an_archive(tmp_path: Path) -> None:
    """So does what a kill leaves behind before there are tables."""
    (tmp_path / "a.db").touch()
    open_to_write(tmp_path / "a.db").close()
    open_to_read(tmp_path / "a.db").close()


def test_an_empty_file_is_not_read(tmp_path: Path) -> None:
    """A reader says how it is filled, and leaves it empty."""
    (tmp_path / "a.db").touch()
    with pytest.raises(NotAnArchiveError, match=r"a\.db: an empty database: `aiomessages sync`"):
        open_to_read(tmp_path / "a.db")
    assert contents(tmp_path)["a.db"][0] == b""
    assert len(contents(tmp_path)) == 1


def test_a_reader_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """The file is the same to the byte, it stands alone, and a statement that writes is refused."""
    path = make(tmp_path / "a.db")
    before = contents(tmp_path)
    db = open_to_read(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM messages")
    db.execute("CREATE TEMP TABLE mine (a)")  # is in no file of the archive
    db.close()
    db.close()
    assert contents(tmp_path) == before


def test_a_reader_beside_a_writer(tmp_path: Path) -> None:
    """A reader sees what is committed, and hinders no one, not even by being opened and closed."""
    path = make(tmp_path / "a.db")
    writer = open_to_write(path)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM messages")
    reader = open_to_read(path)
    assert reader.execute("SELECT count(*) FROM messages").fetchone() == (2,)
    writer.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM messages").fetchone() == (0,)
    reader.close()
    writer.execute("INSERT INTO settings VALUES ('a', 'b')")
    writer.close()
    assert list(contents(tmp_path)) == ["a.db"]


def test_what_a_killed_writer_committed_is_read(tmp_path: Path) -> None:
    """Its -wal file is left, and a reader finds the transactions in it."""
    path = tmp_path / "a.db"
    code = """
import os, signal, sys
from aiomessages.archive.database import open_to_write
db = open_to_write(sys.argv[1])
db.execute("INSERT INTO settings VALUES ('committed', '')")
db.execute("BEGIN")
db.execute("INSERT INTO settings VALUES ('begun', '')")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed(code, path)
    assert (tmp_path / "a.db-wal").stat().st_size
    db = open_to_read(path)
    assert db.execute("SELECT name FROM settings").fetchall() == [("committed",)]
    db.close()
    open_to_write(path).close()
    assert list(contents(tmp_path)) == ["a.db"]


def test_a_wal_whose_archive_was_deleted(tmp_path: Path) -> None:
    """What a killed writer left beside a file that is gone is no part of a new archive."""
    path = tmp_path / "a.db"
    code = """
import os, signal, sys
from aiomessages.archive.database import open_to_write
db = open_to_write(sys.argv[1])
db.execute("INSERT INTO settings VALUES ('old', '')")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed(code, path)
    path.unlink()
    assert (tmp_path / "a.db-wal").stat().st_size
    db = open_to_write(path)
    assert db.execute("SELECT * FROM settings").fetchall() == []
    db.close()
    assert list(contents(tmp_path)) == ["a.db"]


def test_a_wal_of_another_file_is_no_part_of_an_archive(tmp_path: Path) -> None:
    """A -wal file that lies there by accident is ignored: its salt and checksums do not fit."""
    path = make(tmp_path / "a.db")
    (tmp_path / "a.db-wal").write_bytes(os.urandom(50_000))
    db = open_to_read(path)
    assert db.execute("SELECT count(*) FROM messages").fetchone() == (2,)
    db.close()
    open_to_write(path).close()
    assert list(contents(tmp_path)) == ["a.db"]


def test_a_journal_that_is_to_be_rolled_back(tmp_path: Path) -> None:
    """An archive that someone took out of WAL mode is repaired after a kill, as SQLite does it."""
    path = make(tmp_path / "a.db", 100)
    code = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = DELETE")
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("UPDATE messages SET body = body || ' '")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed(code, path)
    assert (tmp_path / "a.db-journal").exists()
    db = open_to_read(path)
    assert db.execute("SELECT count(*) FROM messages WHERE body LIKE '% '").fetchone() == (0,)
    db.close()


def test_two_processes_make_one_archive(tmp_path: Path) -> None:
    """Both may begin with no file at all, at the same time."""
    code = """
import sys
from aiomessages.archive.database import open_to_write
sys.stdin.read()
db = open_to_write(sys.argv[1])
print(db.execute("SELECT count(*) FROM completions").fetchone())
db.close()
"""
    for n in range(5):
        path = tmp_path / f"{n}.db"
        both = [
            subprocess.Popen(
                [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for process in both:
            assert process.stdin
            process.stdin.close()
            process.stdin = None
        assert [process.communicate()[0] for process in both] == [b"(0,)\n"] * 2
    assert len(contents(tmp_path)) == 5


def test_a_process_that_is_in_the_way_of_the_switch_to_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch waits until the other process has ended its transaction."""
    path = database(make(tmp_path / "a.db"), "PRAGMA journal_mode = DELETE")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    connect = sqlite3.connect

    def connected(*arguments: Any, **how: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*arguments, **how)
        db.set_trace_callback(
            lambda statement: other.close() if statement == "BEGIN EXCLUSIVE" else None
        )
        return db

    monkeypatch.setattr(sqlite3, "connect", connected)
    db = open_to_write(path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_a_disk_without_room_for_the_switch_to_wal(tmp_path: Path) -> None:
    """The failure of the disk is told, and the file is as it was."""
    path = database(make(tmp_path / "a.db"), "PRAGMA journal_mode = DELETE")
    before = path.read_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(ArchiveError) as caught:
            open_to_write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert caught.value.exit_code == 74
    assert path.read_bytes() == before


# --- without permission ---------------------------------------------------------------------------

NO_PERMISSION = "no permission to write it and files beside it"


def test_a_file_that_may_only_be_read(open_folder: Path) -> None:
    """It is read and served; nothing is left beside it. It cannot be opened to write."""
    path = make(open_folder / "a.db")
    path.chmod(0o444)
    before = contents(open_folder)
    assert openings(path) == ["2", "2", NO_PERMISSION]
    assert contents(open_folder) == before


def test_a_server_of_a_file_that_may_only_be_read(open_folder: Path) -> None:
    """It serves the archive; an import is told why it fails, and another request is answered."""
    path = make(open_folder / "a.db")
    path.chmod(0o444)
    with as_nobody():
        store = Store(str(path))
        completion = {"id": "c", "created": 1, "model": "m", "choices": []}
        with pytest.raises(ArchiveError, match=r"a\.db: no permission to write it \(attempt"):
            store.load([{"completion": completion, "messages": []}])
        assert len(store.messages("c0", after=None, limit=10, order="desc").items) == 2
        store.close()


def test_a_folder_that_may_only_be_read(open_folder: Path) -> None:
    """The same holds where no file can be made, as on a medium that is mounted to be read."""
    path = make(open_folder / "a.db")
    path.chmod(0o666)
    open_folder.chmod(0o555)
    before = contents(open_folder)
    assert openings(path) == ["2", "2", NO_PERMISSION]
    assert contents(open_folder) == before


def test_an_archive_that_another_user_is_writing(open_folder: Path) -> None:
    """A reader without permission to write sees what the writer has committed."""
    path = make(open_folder / "a.db")
    path.chmod(0o644)
    db = open_to_write(path)
    db.execute("DELETE FROM messages WHERE n = 1")
    assert openings(path) == ["1", "1", NO_PERMISSION]
    db.close()


def test_an_archive_that_another_user_writes_later(open_folder: Path) -> None:
    """A reader that may make no file beside it is told, once it is written, that it is outdated."""
    path = make(open_folder / "a.db")
    path.chmod(0o644)
    open_folder.chmod(0o755)
    with as_nobody():
        db = open_to_read(path)
    with steady(db, path):
        assert not is_outdated(db)
    with pytest.raises(ArchiveError, match="it changed while it was read"), steady(db, path):
        write_meanwhile(path)
    assert is_outdated(db)
    db.close()
    with as_nobody():
        db = open_to_read(path)
    assert not is_outdated(db)
    path.unlink()
    assert is_outdated(db)
    db.close()


async def test_readers_of_an_archive_that_another_user_writes_later(open_folder: Path) -> None:
    """An open Archive and a server see what was written since they opened it."""
    path = make(open_folder / "a.db", 50)
    path.chmod(0o644)
    open_folder.chmod(0o755)  # noqa: ASYNC240 a test
    with as_nobody():
        archive, store = Archive(path), Store(str(path))
        await archive.__aenter__()
        found = await archive.completion("c7")
        assert (found.id, store.completion("c7")[:10]) == ("c7", b'{"id":"c7"')
    for count in (400, 500):
        make(path, count)
        with as_nobody():
            for id in (f"c{count - 1}", "c7"):
                assert (await archive.completion(id)).id == id
                assert store.completion(id).startswith(b'{"id":"%b"' % id.encode())
            assert len(archive_ids := [one.id async for one in archive.completions()]) == count
            page = store.completions(after=None, limit=1000, order="asc")
            assert {id for id, _ in page.items} == set(archive_ids)
    store.close()
    await archive.__aexit__(None, None, None)


def test_the_database_of_another_program_that_may_only_be_read(open_folder: Path) -> None:
    """It is refused as what it is."""
    path = database(open_folder / "a.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)")
    path.chmod(0o444)
    before = contents(open_folder)
    assert openings(path) == ["this database was written by another program"] * 3
    assert contents(open_folder) == before


def test_an_earlier_version_that_may_only_be_read(open_folder: Path) -> None:
    """A server cannot bring it up to date."""
    path = database(make(open_folder / "a.db"), "PRAGMA user_version = 1")
    path.chmod(0o444)
    reader, server, writer = openings(path)
    assert reader == server
    assert reader.startswith("an archive of an earlier version (1, and this is 3): `aiomessages")
    assert writer == NO_PERMISSION


@pytest.mark.parametrize("mode", [0o600, 0o622])
def test_a_file_that_may_not_be_read(open_folder: Path, mode: int) -> None:
    """One sentence says what to check."""
    path = make(open_folder / "a.db")
    path.chmod(mode if os.geteuid() == 0 else mode & 0o022)
    said = "it cannot be opened (unable to open database file)"
    advice = "check the permissions of the file and of its folder"
    assert openings(path) == [f"{said}: {advice}"] * 3


def test_a_folder_that_may_not_be_entered(open_folder: Path) -> None:
    """The system's reason is told."""
    path = make(open_folder / "a.db")
    open_folder.chmod(0o700)
    assert openings(path) == ["cannot be opened: Permission denied"] * 3


def test_a_folder_in_which_nothing_can_be_made(open_folder: Path) -> None:
    """There is no such archive to read, and none can be made."""
    open_folder.chmod(0o555)
    none, *others = openings(open_folder / "a.db")
    assert none == "there is no such archive: `aiomessages sync` makes one"
    assert others == ["cannot be created: Permission denied"] * 2


# --- what is refused ------------------------------------------------------------------------------


@each_opening
def test_a_directory(tmp_path: Path, opened: Open) -> None:
    """A directory is refused with what to do."""
    with pytest.raises(NotAnArchiveError, match="a directory: name a file in it"):
        opened(tmp_path)


@each_opening
def test_a_pipe_or_a_device(tmp_path: Path, opened: Open) -> None:
    """To open a FIFO would wait for its writer; neither is opened."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/null"), Path("/dev/tty")):
        with pytest.raises(ArchiveError, match=f"{path}: (a device or a pipe|cannot be opened)"):
            opened(path)


@each_opening
@pytest.mark.parametrize("name", ["nul\0character", "x" * 300, "file/below"])
def test_a_path_that_no_file_has(tmp_path: Path, opened: Open, name: str) -> None:
    """The system's reason is told."""
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError, match="cannot be opened: "):
        opened(tmp_path / name)


def test_a_name_without_room_for_an_ending(tmp_path: Path) -> None:
    """A name that leaves no room for the names of the files beside it is an ArchiveError."""
    with pytest.raises(ArchiveError, match="it cannot be opened"):
        open_to_write(tmp_path / ("x" * 253))


@each_opening
def test_a_link_to_itself(tmp_path: Path, opened: Open) -> None:
    """A circle of links leads nowhere."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArchiveError, match=r"cannot be opened: (?i:too many .*links)"):
        opened(tmp_path / "loop")


def test_no_file(tmp_path: Path) -> None:
    """A reader makes none; a writer makes no folder."""
    with pytest.raises(ArchiveError, match=r"a\.db: there is no such archive"):
        open_to_read(tmp_path / "a.db")
    with pytest.raises(ArchiveError, match=r"a\.db: cannot be created: No such file or directory"):
        open_to_write(tmp_path / "nowhere" / "a.db")
    assert list(tmp_path.iterdir()) == []


OTHERS = {
    "without a mark": ("CREATE TABLE messages (a)",),
    "with a mark": ("CREATE TABLE t (a)", "PRAGMA application_id = 17", "PRAGMA user_version = 2"),
    "a mark and no table": ("PRAGMA application_id = 17",),
    "with our mark and no version": (
        "CREATE TABLE t (a)",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    "in WAL mode": ("PRAGMA journal_mode = WAL", "CREATE TABLE t (a)"),
    "in WAL mode, with a mark": (
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE t (a)",
        "PRAGMA application_id = 17",
    ),
}


@each_opening
@pytest.mark.parametrize("statements", OTHERS.values(), ids=OTHERS)
def test_the_database_of_another_program(
    tmp_path: Path, opened: Open, statements: tuple[str, ...]
) -> None:
    """It is refused, stays the same to the byte, and no file appears beside it."""
    path = database(tmp_path / "a.db", *statements)
    before = contents(tmp_path)
    with pytest.raises(NotAnArchiveError, match=r"a\.db: this database was written by another"):
        opened(path)
    assert contents(tmp_path) == before


@each_opening
def test_what_another_program_has_not_finished(tmp_path: Path, opened: Open) -> None:
    """The -wal file of a database whose program was killed stays as it is."""
    path = tmp_path / "a.db"
    code = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("CREATE TABLE t (a)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed(code, path)
    before = contents(tmp_path)
    assert before["a.db-wal"][0]
    with pytest.raises(NotAnArchiveError, match="another program"):
        opened(path)
    after = contents(tmp_path)
    assert (after["a.db"], after["a.db-wal"]) == (before["a.db"], before["a.db-wal"])


@each_opening
def test_a_later_version(tmp_path: Path, opened: Open) -> None:
    """It is refused with what to do, and not touched."""
    database(make(tmp_path / "a.db"), "PRAGMA user_version = 99")
    before = contents(tmp_path)
    expected = r"a\.db: this archive was written by a later version .*99.*: update aiomessages"
    with pytest.raises(NotAnArchiveError, match=expected) as caught:
        opened(tmp_path / "a.db")
    assert (contents(tmp_path), caught.value.exit_code) == (before, 2)


HINT = r": if it holds conversations: aiomessages import .*a\.db ARCHIVE$"
FILES = {
    "text": (b"precious " * 1000, "no SQLite database$"),
    "a short text": (b"hi", "no SQLite database$"),
    "JSON Lines": (b'{"completion":{}}\n' * 200, f"no SQLite database{HINT}"),
    "gzip": (b"\x1f\x8b" + b"x" * 2000, f"no SQLite database{HINT}"),
    "zstd": (b"\x28\xb5\x2f\xfd" + b"x" * 2000, f"no SQLite database{HINT}"),
    "the begin of a database": (b"SQLite format 3\0" + b"x" * 2000, "no SQLite database$"),
}


@each_opening
@pytest.mark.parametrize(("data", "said"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_database(tmp_path: Path, opened: Open, data: bytes, said: str) -> None:
    """It is refused, and told what to do with an export that was given by mistake."""
    (tmp_path / "a.db").write_bytes(data)
    before = contents(tmp_path)
    with pytest.raises(NotAnArchiveError, match=rf"a\.db: {said}"):
        opened(tmp_path / "a.db")
    assert contents(tmp_path) == before


@each_opening
def test_a_database_that_is_cut_off(tmp_path: Path, opened: Open) -> None:
    """A damaged schema is told when the file is opened."""
    path = make(tmp_path / "a.db", 50)
    os.truncate(path, 2000)
    with pytest.raises(
        CorruptError, match=r"a\.db: the database is damaged \(.*\): restore a"
    ) as caught:
        opened(path)
    assert caught.value.exit_code == 65


def test_a_damaged_page(tmp_path: Path) -> None:
    """A store says so when it comes to the page; what lies on other pages is still served.

    Whole pages are damaged: SQLite has no checksum that would find a damaged text within one.
    """
    path = make(tmp_path / "a.db", 400)
    data, page = bytearray(path.read_bytes()), 8192
    start, end = (part * len(data) // (3 * page) * page for part in (1, 2))
    data[start:end] = b"\xa5" * (end - start)
    path.write_bytes(data)
    store, damaged = Store(str(path)), set()
    for n in range(400):
        try:
            rows = store.messages(f"c{n}", after=None, limit=10, order="asc")
        except CorruptError as error:
            damaged.add(str(error))
        else:
            assert [json.loads(body)["id"] for _, body in rows.items] == ["0", "1"]
    store.close()
    (said,) = damaged
    assert said.startswith(f"{path}: the database is damaged (")


def test_an_archive_that_is_locked(tmp_path: Path) -> None:
    """A writer that waited in vain says who is in the way."""
    path = make(tmp_path / "a.db")
    one, other = open_to_write(path), open_to_write(path)
    one.execute("BEGIN IMMEDIATE")
    other.execute("PRAGMA busy_timeout = 0")
    waiting = pytest.raises(LockedError, match="another process is writing it")
    with waiting as caught, sqlite_errors(path):
        other.execute("BEGIN IMMEDIATE")
    assert caught.value.exit_code == 75
    one.close()
    other.close()


def test_an_sqlite_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest version is named beside the one that this Python has."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 26, 0))
    with pytest.raises(NotAnArchiveError, match=r"needs SQLite 3\.27\.0 or later, and this"):
        check_sqlite()


# --- the errors -----------------------------------------------------------------------------------


def raised(error: sqlite3.Error, path: Path) -> ArchiveError:
    """Return the error of an archive that an error of SQLite becomes."""
    with pytest.raises(ArchiveError) as caught, sqlite_errors(path):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


def test_an_error_without_a_code(tmp_path: Path) -> None:
    """It is passed on in SQLite's words."""
    error = raised(sqlite3.DataError("string or blob too big"), tmp_path / "a.db")
    assert str(error) == f"{tmp_path}/a.db: the archive cannot be used (string or blob too big)"
    assert error.exit_code == 1


def test_an_sqlite_without_full_text_search(tmp_path: Path) -> None:
    """The error says what this Python lacks."""
    error = raised(sqlite3.OperationalError("no such module: fts5"), tmp_path / "a.db")
    assert "built without FTS5" in str(error)


def test_a_failure_of_the_disk(tmp_path: Path) -> None:
    """An I/O error is one of the system, exit code 74; on a full disk it says to free some room."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    found = raised(error, tmp_path / "a.db")
    assert (type(found), found.exit_code) == (DiskError, 74)
    assert type(raised(error, tmp_path / "nowhere" / "a.db")) is DiskError
    # The file systems of the kernel have no room for any file.
    full = next(
        (p for p in ("/proc", "/sys") if Path(p).exists() and not os.statvfs(p).f_bavail), None
    )
    assert full is None or type(raised(error, Path(full, "a.db"))) is DiskFullError
