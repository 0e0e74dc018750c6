"""Claims about files of version 1: they become archives whole, or stay as they were."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import version_1
import version_2
from conftest_archive import store
from conftest_browsing import store_all, talks

from aiomessages.__main__ import main
from aiomessages.archive.database import open_to_read, open_to_write
from aiomessages.archive.errors import NotAnArchiveError
from aiomessages.archive.migration import migrate
from aiomessages.archive.schema import VERSION
from aiomessages.archive.store import Store
from aiomessages.server.sample import sample_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDS = [
    *sample_records(),
    {
        "completion": {
            "id": "chatcmpl-odd",
            "created": 0,
            "model": "",
            "metadata": {"": "", "naïve": "\0", "a": "b'c"},
            "choices": [],
            "extra": 1.50,
        },
        "messages": [
            {"id": "a-message-of-its-own", "role": "user", "content": "before\0after 日本語"}
        ],
    },
]


def old_rows(path: Path) -> list[list[Any]]:
    """Return all rows of a file of version 1."""
    db = sqlite3.connect(path)
    tables = (
        "SELECT * FROM completions ORDER BY 1",
        "SELECT * FROM messages ORDER BY 1, 2",
        "SELECT * FROM metadata ORDER BY 1, 2",
        "SELECT name FROM sqlite_master ORDER BY 1",
        "PRAGMA user_version",
    )
    found = [db.execute(query).fetchall() for query in tables]
    db.close()
    return found


def served(path: Path) -> list[Any]:
    """Return all that a server answers from a file: each list, both ways, and each completion."""
    store = Store(str(path))
    found: list[Any] = []
    for order in ("asc", "desc"):
        page = store.completions(after=None, limit=1000, order=order)
        found.append(page)
        for id, body in page.items:
            assert store.completion(id) == body
            found.append(store.messages(id, after=None, limit=1000, order=order))
    store.close()
    return found


def test_all_rows_are_equal_afterwards(tmp_path: Path) -> None:
    """Each completion and message has its bytes, its place and its time of import."""
    path = version_1.make(tmp_path / "old.db", RECORDS, imported=1000.5)
    open_to_write(path).close()
    db = open_to_read(path)
    found = db.execute("SELECT id, CAST(body AS BLOB) FROM completions ORDER BY number").fetchall()
    assert found == [(r["completion"]["id"], version_1.compact(r["completion"])) for r in RECORDS]
    for record in RECORDS:
        messages = db.execute(
            "SELECT m.n, m.id, CAST(m.body AS BLOB) FROM messages m JOIN completions c"
            " ON c.number = m.completion WHERE c.id = ? AND choice IS NULL ORDER BY n",
            (record["completion"]["id"],),
        ).fetchall()
        expected = [(n, m["id"], version_1.compact(m)) for n, m in enumerate(record["messages"])]
        assert messages == expected
    pairs = db.execute(
        "SELECT c.id, name, value FROM metadata JOIN completions c ON c.number = completion"
    ).fetchall()
    assert sorted(pairs) == sorted(
        (r["completion"]["id"], *pair)
        for r in RECORDS
        for pair in (r["completion"].get("metadata") or {}).items()
    )
    times = db.execute("SELECT DISTINCT imported, first_seen, last_seen, state FROM completions")
    assert times.fetchall() == [(1000.5, 1000.5, 1000.5, "complete")]
    db.close()
    assert [file.name for file in tmp_path.iterdir()] == ["old.db"]


def test_a_migrated_file_is_like_a_new_one(tmp_path: Path) -> None:
    """It has the tables of today and no others, serves the same, and can be searched."""
    old, new = version_1.make(tmp_path / "old.db", RECORDS), tmp_path / "new.db"
    store = Store(str(new))
    store.load(RECORDS)
    store.close()
    assert served(old) == served(new)
    tables = []
    for path in (old, new):
        db = open_to_read(path)
        tables.append(
            db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
        )
        assert db.execute("SELECT count(*) FROM words WHERE words MATCH 'after'").fetchone() != (0,)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        db.close()
    assert tables[0] == tables[1]


@pytest.mark.parametrize("command", ["completions", "list", "export", "import"])
def test_commands_bring_a_file_up_to_date(
    tmp_path: Path, command: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """`--local` and `import` migrate an older file, and read what it has."""
    path = version_1.make(tmp_path / "old.db", RECORDS)
    (tmp_path / "new.jsonl").write_text(json.dumps(RECORDS[0]) + "\n", "utf-8")
    words = {
        "completions": ["completions", "--local", path, "--format", "jsonl"],
        "list": ["list", RECORDS[0]["completion"]["id"], "--local", path, "--format", "jsonl"],
        "export": ["export", "--all", "--local", path, "-o", tmp_path / "x.jsonl", "--quiet"],
        "import": ["import", tmp_path / "new.jsonl", path],
    }
    assert main(list(map(str, words[command]))) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    expected = {"completions": len(RECORDS), "list": len(RECORDS[0]["messages"])}
    assert len(lines) == expected.get(command, 0)
    db = open_to_read(path)
    assert db.execute("SELECT count(*) FROM completions").fetchone() == (len(RECORDS),)
    db.close()


def test_an_empty_file_of_version_1(tmp_path: Path) -> None:
    """A server may have run without an import."""
    path = version_1.make(tmp_path / "old.db", [])
    assert served(path) == [([], False)] * 2


def test_a_file_without_its_indexes(tmp_path: Path) -> None:
    """A person may have dropped one, or have made a table of their own, which stays."""
    path = version_1.make(tmp_path / "old.db", RECORDS)
    db = sqlite3.connect(path)
    db.execute("DROP INDEX completions_by_model")
    db.execute("CREATE TABLE mine AS SELECT 1 AS a")
    db.close()
    assert len(served(path)[0].items) == len(RECORDS)
    db = open_to_read(path)
    assert db.execute("SELECT a FROM mine").fetchall() == [(1,)]
    db.close()


def test_a_reader_asks_to_bring_it_up_to_date(tmp_path: Path) -> None:
    """A reader changes nothing, and names the commands that do."""
    path = version_1.make(tmp_path / "old.db", RECORDS)
    before = path.read_bytes()
    expected = r"old\.db: an archive of an earlier version \(1, and this is 3\): `aiomessages sync`"
    with pytest.raises(NotAnArchiveError, match=expected):
        open_to_read(path)
    assert [file.name for file in tmp_path.iterdir()] == ["old.db"]
    assert path.read_bytes() == before


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    """An error in the middle rolls everything back, and is raised."""
    path = version_1.make(tmp_path / "old.db", RECORDS)
    db = sqlite3.connect(path)
    db.execute("UPDATE completions SET body = '5' WHERE id = 'chatcmpl-odd'")  # by another program
    db.commit()
    db.close()
    before = old_rows(path)
    expected = r"old\.db: its completion 'chatcmpl-odd' cannot be read: a completion without an id"
    with pytest.raises(NotAnArchiveError, match=expected):
        open_to_write(path)
    assert old_rows(path) == before


def test_what_another_process_has_migrated_is_left_alone(tmp_path: Path) -> None:
    """A migration that waited for another one finds nothing to do."""
    path = version_1.make(tmp_path / "old.db", RECORDS)
    db = sqlite3.connect(path, isolation_level=None)

    def migrated_meanwhile(statement: str) -> None:
        if statement.startswith("BEGIN"):
            db.set_trace_callback(None)
            open_to_write(path).close()

    db.set_trace_callback(migrated_meanwhile)
    migrate(db)
    assert db.execute("SELECT count(*) FROM completions").fetchone() == (len(RECORDS),)
    assert not db.in_transaction
    db.close()


KILLED = """
import os, signal, sqlite3, sys
from aiomessages.archive.migration import migrate
path, count = sys.argv[1], int(sys.argv[2])
db = sqlite3.connect(path, isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA cache_size = 1")  # so that pages reach the disk before the commit
statements = 0

def kill(statement):
    global statements
    statements += 1
    if statements == count:
        os.kill(os.getpid(), signal.SIGKILL)

db.set_trace_callback(kill)
migrate(db)
print(statements)
"""


def test_a_kill_at_any_statement_keeps_the_old_file(tmp_path: Path) -> None:
    """The old file has all of its rows; the next one that opens it migrates it."""
    whole = version_1.make(tmp_path / "whole.db", RECORDS)
    command = [sys.executable, "-c", KILLED]
    ran = subprocess.run([*command, whole, "0"], check=True, capture_output=True)
    statements = int(ran.stdout)
    expected, before = served(whole), None
    for n in range(12):
        path = version_1.make(tmp_path / f"{n}.db", RECORDS)
        before = old_rows(path)
        at = 3 + n * (statements - 3) // 11  # from the BEGIN to the COMMIT
        killed = subprocess.run([*command, path, str(at)], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert old_rows(path) == before
        assert served(path) == expected


def test_two_processes_migrate_at_once(tmp_path: Path) -> None:
    """One of them does it, the other waits, and both go on with the archive."""
    path = version_1.make(tmp_path / "old.db", RECORDS)
    code = (
        "import sys; from aiomessages.archive.store import Store; sys.stdin.read();"
        "store = Store(sys.argv[1]);"
        "print(len(store.completions(after=None, limit=1000, order='asc').items)); store.close()"
    )
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
    assert [process.communicate()[0] for process in both] == [b"%d\n" % len(RECORDS)] * 2
    db = open_to_read(path)
    assert db.execute("SELECT count(*) FROM completions").fetchone() == (len(RECORDS),)
    db.close()


def many(count: int) -> Iterator[dict[str, Any]]:
    """Yield conversations of ten messages, `count` messages in all."""
    for n in range(count // 10):
        id = f"chatcmpl-{n}"
        messages = [
            {"id": f"{id}-{k}", "role": "user", "content": f"message {k} of {n} " + "word " * 60}
            for k in range(10)
        ]
        completion = {"id": id, "created": n, "model": "m", "choices": []}
        yield {"completion": completion, "messages": messages}


def test_a_disk_without_room(tmp_path: Path) -> None:
    """Exit code 74, and the old file is as it was."""
    path = version_1.make(tmp_path / "old.db", many(5000))
    before = old_rows(path)
    code = """
import resource, sys
from aiomessages.archive.errors import ArchiveError
from aiomessages.archive.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    Store(sys.argv[1])
except ArchiveError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    limit = path.stat().st_size + 1000
    ran = subprocess.run(
        [sys.executable, "-c", code, path, str(limit)], check=False, capture_output=True
    )
    assert (ran.returncode, ran.stderr) == (74, b"")
    assert ran.stdout.decode().startswith(f"{path}: the system cannot read or write it")
    assert old_rows(path) == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert len(served(path)[0].items) == 500


def test_a_large_file_needs_little_memory(tmp_path: Path) -> None:
    """A migration holds one conversation at a time."""
    path = version_1.make(tmp_path / "old.db", many(5000))
    tracemalloc.start()
    open_to_write(path).close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    db = open_to_read(path)
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert db.execute("SELECT count(*) FROM messages").fetchone() == (5000,)
    db.close()


def test_the_index_of_version_2(tmp_path: Path) -> None:
    """An index that has letters in an older form is filled again; nothing else is changed."""
    path = tmp_path / "archive.db"
    store(path, "a", "une œuvre", {"role": "user", "content": None})
    version_2.make_older(
        path,
        "INSERT INTO words (words) VALUES ('delete-all')",
        "INSERT INTO words (rowid, text) VALUES (1, 'une œuvre')",
    )
    db = open_to_write(path)
    for word, rows in {"oeuvre": [(1,)], "une": [(1,)], "œuvre": []}.items():
        assert db.execute("SELECT rowid FROM words WHERE words MATCH ?", (word,)).fetchall() == rows
    assert db.execute("SELECT count(*) FROM messages").fetchone() == (2,)
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    db.close()


def fresh_and_older(tmp_path: Path) -> tuple[Path, Path]:
    """Return an archive of today, and one of version 2 with the same conversations."""
    paths = tmp_path / "new.db", tmp_path / "old.db"
    for path in paths:
        store_all(path, talks(3, 60))
        store(path, "odd", {"role": "\ud800", "tool_calls": [{"function": {"name": "\0\ud800"}}]})
        store(path, "empty")
    version_2.make_older(paths[1])
    return paths


def contents(path: Path) -> dict[str, list[Any]]:
    """Return the rows of all tables but those of the index, and the statements that made them."""
    db = open_to_read(path)
    made = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'words%' ORDER BY name"
    found = {"schema": db.execute(made).fetchall()}
    for table in ("completions", "messages", "metadata", "labels"):
        found[table] = db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()  # noqa: S608
    found["check"] = db.execute("PRAGMA integrity_check").fetchall()
    db.close()
    return found


def test_the_labels_of_an_archive_of_version_2(tmp_path: Path) -> None:
    """They are those that a new archive has, and so are all tables and indexes."""
    new, old = fresh_and_older(tmp_path)
    open_to_write(old).close()
    wanted, found = contents(new), contents(old)
    assert wanted["labels"]
    assert found == wanted


def test_an_archive_of_version_2_without_an_index(tmp_path: Path) -> None:
    """A person may have dropped it."""
    new, old = fresh_and_older(tmp_path)
    db = sqlite3.connect(old)
    db.execute("DROP INDEX completions_by_time")
    db.close()
    open_to_write(old).close()
    assert contents(old) == contents(new)


def test_a_kill_at_any_statement_keeps_an_archive_of_version_2(tmp_path: Path) -> None:
    """It is as it was; the next one that opens it migrates it."""
    new, whole = fresh_and_older(tmp_path)
    sent = whole.read_bytes()
    command = [sys.executable, "-c", KILLED]
    ran = subprocess.run([*command, whole, "0"], check=True, capture_output=True)
    statements, wanted = int(ran.stdout), contents(new)
    for n in range(8):
        path = tmp_path / f"{n}.db"
        path.write_bytes(sent)
        at = 3 + n * (statements - 3) // 7  # from the BEGIN to the COMMIT
        killed = subprocess.run([*command, path, str(at)], check=False)
        assert killed.returncode == -signal.SIGKILL
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'labels'").fetchone() is None
        db.close()
        open_to_write(path).close()
        assert contents(path) == wanted
