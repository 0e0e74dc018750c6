"""Claims about imports: each file whole or not at all, and what the archive has already stays."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import version_1

import aiomessages.archive
from aiomessages.archive import ArchiveError, ImportFileError, Kept, import_file
from aiomessages.archive.database import open_to_read, open_to_write
from aiomessages.archive.errors import LockedError, NotAnArchiveError
from aiomessages.archive.importing import ImportReport
from aiomessages.archive.insert import insert_conversation
from aiomessages.server import import_records
from aiomessages.server.sample import sample_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Build = Callable[..., dict[str, Any]]


def write(path: Path, records: Iterable[dict[str, Any]], **how: Any) -> Path:
    """Write records as lines of a file."""
    path.write_text("".join(json.dumps(record, **how) + "\n" for record in records), "utf-8")
    return path


TABLES = (
    "SELECT number, id, created, model, state, message_count, gone_since, body FROM completions",
    "SELECT number, completion, n, choice, id, role, name, text, body FROM messages",
    "SELECT * FROM metadata ORDER BY 1, 2",
    "SELECT * FROM waiting",
    "SELECT * FROM runs",
    "SELECT * FROM settings",
    "SELECT rowid FROM words WHERE words MATCH 'the' ORDER BY 1",
)


def rows(path: Path) -> list[list[Any]]:
    """Return all rows of an archive, without the times at which they were seen."""
    db = open_to_read(path)
    found = [db.execute(query).fetchall() for query in TABLES]
    db.close()
    return found


def times(path: Path) -> list[Any]:
    """Return when each completion was seen and imported."""
    db = open_to_read(path)
    found = db.execute("SELECT id, first_seen, last_seen, imported FROM completions").fetchall()
    db.close()
    return found


def test_the_public_names() -> None:
    """They load when they are used, and are listed."""
    assert {"import_file", "ImportReport", "Kept", "ImportFileError"} <= set(
        dir(aiomessages.archive)
    )
    assert all(getattr(aiomessages.archive, name) for name in aiomessages.archive.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aiomessages.archive.nothing


def test_an_import_stores_what_the_server_would(tmp_path: Path) -> None:
    """The archive is the one that the local server makes of the same records."""
    file = write(tmp_path / "a.jsonl", sample_records(), separators=(",", ":"), ensure_ascii=False)
    report = import_file(file, tmp_path / "a.db", clock=lambda: 1000.0)
    assert report == ImportReport(len(sample_records()), 0, 0, ())
    import_records(str(tmp_path / "b.db"), file)
    assert rows(tmp_path / "a.db") == rows(tmp_path / "b.db")
    assert {found[1:] for found in times(tmp_path / "a.db")} == {(1000.0, 1000.0, 1000.0)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "a.jsonl", "b.db"]


def test_the_same_again_changes_nothing(tmp_path: Path, record: Build) -> None:
    """Neither a row nor the time at which it was seen changes; spaces make no difference."""
    records = [record(name) for name in "abc"]
    archive = tmp_path / "a.db"
    import_file(write(tmp_path / "a.jsonl", records), archive, clock=lambda: 1000.0)
    before, seen = rows(archive), times(archive)
    for how in ({}, {"separators": (",", ":")}, {"separators": (" ,  ", " : ")}):
        file = write(tmp_path / "again.jsonl", records, **how)
        assert import_file(file, str(archive), clock=lambda: 2000.0) == (0, 3, 0, ())
    assert import_file(file, archive, replace=True) == (0, 3, 0, ())
    assert (rows(archive), times(archive)) == (before, seen)


@pytest.mark.parametrize(
    "changed",
    [
        {"metadata": {"a": "b"}},
        {"count": 2},
        {"count": 4},
        {"count": 0},
    ],
)
def test_the_archive_wins_where_a_file_differs(
    tmp_path: Path, record: Build, changed: dict[str, Any]
) -> None:
    """What differs is named by its line and id, and is left as it is; the rest is imported."""
    archive = tmp_path / "a.db"
    import_file(write(tmp_path / "a.jsonl", [record("a"), record("b")]), archive)
    file = write(tmp_path / "b.jsonl", [record("new"), record("b", **changed), record("a")])
    before = rows(archive)
    assert import_file(file, archive) == (1, 1, 0, (Kept(2, "chatcmpl-b"),))
    assert rows(archive)[0][:2] == before[0]
    assert import_file(file, archive) == (0, 2, 0, (Kept(2, "chatcmpl-b"),))


def test_json_that_no_decoder_reads_is_compared_by_its_bytes(tmp_path: Path) -> None:
    """Half an emoji is the same again, and with other spaces another form."""
    line = '{"completion":{"id":"a"},"messages":[{"id":"m","x":"\\ud83d"}]}'
    for text, expected in (
        (line, (1, 0, 0, ())),
        (line, (0, 1, 0, ())),
        (line.replace(":", ": "), (0, 0, 0, (Kept(1, "a"),))),
    ):
        (tmp_path / "a.jsonl").write_text(text)
        assert import_file(tmp_path / "a.jsonl", tmp_path / "a.db") == expected


def test_replace_takes_the_form_of_the_file(tmp_path: Path, record: Build) -> None:
    """The search index follows, and what the server still has is not for a file to say."""
    archive = tmp_path / "a.db"
    old, new = record("a", 3), record("a", 1, metadata={"v": "2"})
    import_file(write(tmp_path / "a.jsonl", [old]), archive, clock=lambda: 1000.0)
    db = sqlite3.connect(archive)
    db.execute("UPDATE completions SET state = 'gone', gone_since = 1500.0, last_seen = 1400.0")
    db.commit()
    db.close()
    file = write(tmp_path / "b.jsonl", [new])
    assert import_file(file, archive, replace=True, clock=lambda: 2000.0) == (0, 0, 1, ())
    (completion,) = rows(archive)[0]
    assert (completion[4], completion[5], completion[6]) == ("gone", 1, 1500.0)
    assert times(archive) == [("chatcmpl-a", 1000.0, 1400.0, 2000.0)]
    db = open_to_read(archive)
    assert db.execute("SELECT rowid FROM words WHERE words MATCH 'message'").fetchall() == [(4,)]
    db.close()


def test_a_part_is_always_replaced(tmp_path: Path, record: Build) -> None:
    """A completion whose messages were lost, or that waits to be read, is whole by the import."""
    archive = tmp_path / "a.db"
    whole = record("a", 3)
    body = json.dumps(whole["completion"]).encode()
    db = open_to_write(archive)
    insert_conversation(
        db, body, [json.dumps(whole["messages"][0]).encode()], seen=1.0, state="lost"
    )
    db.execute("INSERT INTO waiting VALUES ('chatcmpl-a', 'failed', 'changed', 1, 1, 1)")
    db.execute("INSERT INTO waiting VALUES ('chatcmpl-b', 'pending', NULL, 1, 1, 1)")
    db.execute("INSERT INTO waiting VALUES ('chatcmpl-c', 'pending', NULL, 1, 1, 1)")
    db.close()
    file = write(tmp_path / "a.jsonl", [whole, record("b")])
    assert import_file(file, archive) == (1, 0, 1, ())
    assert [found[1:6] for found in rows(archive)[0]] == [
        ("chatcmpl-a", 1_700_000_000, "gpt-4o", "complete", 3),
        ("chatcmpl-b", 1_700_000_000, "gpt-4o", "complete", 3),
    ]
    assert [found[0] for found in rows(archive)[3]] == ["chatcmpl-c"]


def test_the_same_id_twice_in_a_file(tmp_path: Path, record: Build) -> None:
    """The first one is stored, the same again is nothing new, another one is named."""
    file = write(tmp_path / "a.jsonl", [record("a", 1), record("a", 1), record("a", 2)])
    assert import_file(file, tmp_path / "a.db") == (1, 1, 0, (Kept(3, "chatcmpl-a"),))


def test_a_reply_that_is_listed_is_stored_once(tmp_path: Path, record: Build) -> None:
    """Some servers list the replies among the messages: a search finds them once."""
    reply = {"role": "assistant", "content": "rain"}
    listed = record("a", 1, choices=[{"message": reply}])
    listed["messages"].append({"id": "r", **reply})
    other = record("b", 1, choices=[{"message": reply}])
    odd = record("c", 1, choices={"message": reply})
    deep = json.dumps(record("d", 1, choices=[{"message": reply}], x=0))
    file = write(tmp_path / "a.jsonl", [listed, other, odd])
    with file.open("a") as lines:
        lines.write(deep.replace('"x": 0', '"x": ' + "[" * 2000 + "]" * 2000) + "\n")
    import_file(file, tmp_path / "a.db")
    db = open_to_read(tmp_path / "a.db")
    found = db.execute(
        "SELECT c.id, choice FROM messages JOIN completions c ON c.number = completion"
        " WHERE text = 'rain' ORDER BY 1"
    ).fetchall()
    db.close()
    assert found == [("chatcmpl-a", None), ("chatcmpl-b", 0), ("chatcmpl-d", 0)]


def test_a_wrong_file_is_refused_before_anything_is_changed(tmp_path: Path, record: Build) -> None:
    """No archive is made, and one of an earlier version is not migrated."""
    file = write(tmp_path / "a.jsonl", [*(record(str(n)) for n in range(50)), {"no": 1}])
    with pytest.raises(ImportFileError, match=r"a\.jsonl: line 51: neither a record"):
        import_file(file, tmp_path / "a.db")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    old = version_1.make(tmp_path / "old.db", [record("a")])
    before = old.read_bytes()
    with pytest.raises(ImportFileError):
        import_file(file, old)
    assert old.read_bytes() == before


def test_an_archive_of_an_earlier_version(tmp_path: Path, record: Build) -> None:
    """It is migrated, and has what is imported beside what it had."""
    old = version_1.make(tmp_path / "old.db", [record("a"), record("b")])
    assert import_file(write(tmp_path / "a.jsonl", [record("b"), record("c")]), old)[:2] == (1, 1)
    assert [found[1] for found in rows(old)[0]] == ["chatcmpl-a", "chatcmpl-b", "chatcmpl-c"]


def test_a_wrong_archive_is_refused(tmp_path: Path, record: Build) -> None:
    """The file is not touched either."""
    file = write(tmp_path / "a.jsonl", [record("a")] * 30)
    before = file.read_bytes()
    for archive in (file, tmp_path):
        with pytest.raises(NotAnArchiveError):
            import_file(file, archive)
    assert file.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ArchiveError, match="cannot be created"):
        import_file(file, tmp_path / "nowhere" / "a.db")


def test_an_archive_in_memory_is_refused(tmp_path: Path, record: Build) -> None:
    """What is imported into memory would be gone at once."""
    source = write(tmp_path / "records.jsonl", [record("chatcmpl-1", 1)])
    with pytest.raises(NotAnArchiveError, match=":memory:: an archive in memory"):
        import_file(source, ":memory:")


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, record: Build) -> None:
    """A bad line that the first reading did not meet rolls everything back."""
    file, archive = write(tmp_path / "a.jsonl", [record("a"), record("b")]), tmp_path / "a.db"

    def append() -> float:
        with file.open("a") as lines:
            lines.write("broken\n")
        return 1000.0

    with pytest.raises(ImportFileError, match="line 3: no JSON"):
        import_file(file, archive, clock=append)
    assert not archive.exists()  # it was made for this import
    write(tmp_path / "b.jsonl", [record("c")])
    import_file(tmp_path / "b.jsonl", archive)
    before = rows(archive)[0]
    write(file, [record("a"), record("b")])
    with pytest.raises(ImportFileError, match="line 3: no JSON"):
        import_file(file, archive, clock=append)
    assert rows(archive)[0] == before


def test_an_archive_that_another_process_writes(tmp_path: Path, record: Build) -> None:
    """An import waits for a transaction that ends; one that does not end is told."""
    file, archive = write(tmp_path / "a.jsonl", [record("a")]), tmp_path / "a.db"
    code = """
import sqlite3, sys
from aiomessages.archive.database import open_to_write
db = open_to_write(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO settings VALUES ('a', 'b')")
print("begun", flush=True)
sys.stdin.read()
db.execute("COMMIT")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, archive], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdin
        other.stdout.readline()
        other.stdin.close()
        assert import_file(file, archive) == (1, 0, 0, ())
    assert rows(archive)[5] == [("a", "b")]
    assert LockedError.exit_code == 75


def test_two_imports_at_once(tmp_path: Path) -> None:
    """Each conversation is stored once, by one of the two."""
    file, archive = write(tmp_path / "a.jsonl", sample_records()), tmp_path / "a.db"
    code = (
        "import sys; from aiomessages.archive import import_file; sys.stdin.read();"
        "print(import_file(sys.argv[1], sys.argv[2])[:2])"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, file, archive],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    count = len(sample_records())
    expected = sorted([b"(%d, 0)\n" % count, b"(0, %d)\n" % count])
    assert sorted(process.communicate()[0] for process in both) == expected


KILLED = """
import itertools, os, signal, sqlite3, sys
from aiomessages.archive import import_file
path, archive, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
statements, connect = itertools.count(1), sqlite3.connect

def kill(statement):
    if next(statements) == count:
        os.kill(os.getpid(), signal.SIGKILL)

def connected(name, **how):
    db = connect(name, **how)
    if name.endswith("=rw"):
        db.execute("PRAGMA cache_size = 5")  # so that pages reach the disk before the commit
        db.set_trace_callback(kill)
    return db

sqlite3.connect = connected
import_file(path, archive)
print(next(statements))
"""


def test_a_kill_at_any_statement(tmp_path: Path) -> None:
    """The archive has all of the file or nothing; the same import again makes it whole."""
    file = write(tmp_path / "a.jsonl", sample_records())
    first = write(tmp_path / "first.jsonl", sample_records()[:3])
    command = [sys.executable, "-c", KILLED, file]
    ran = subprocess.run([*command, tmp_path / "whole.db", "0"], check=True, capture_output=True)
    statements, whole = int(ran.stdout), rows(tmp_path / "whole.db")
    for n in range(10):
        archive = tmp_path / f"{n}.db"
        import_file(first, archive)
        before = rows(archive)
        at = 1 + n * (statements - 2) // 10
        killed = subprocess.run([*command, archive, str(at)], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert rows(archive) == before
        import_file(file, archive)
        assert rows(archive) == whole


def test_a_disk_without_room(tmp_path: Path, record: Build) -> None:
    """Exit code 74; the archive keeps what it had."""
    archive = tmp_path / "a.db"
    import_file(write(tmp_path / "a.jsonl", [record("a")]), archive)
    before = rows(archive)
    big = record("b", 1)
    big["messages"][0]["content"] = "word " * 200_000
    file = write(tmp_path / "b.jsonl", [big])
    code = """
import resource, sys
from aiomessages.archive import ArchiveError, import_file
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    import_file(sys.argv[1], sys.argv[2])
except ArchiveError as error:
    sys.exit(error.exit_code)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, file, archive], check=False, capture_output=True
    )
    assert (ran.returncode, ran.stderr) == (74, b"")
    assert rows(archive) == before
    assert import_file(file, archive) == (1, 0, 0, ())


def test_an_import_holds_one_conversation_at_a_time(tmp_path: Path, record: Build) -> None:
    """An import of 20 MB needs little memory, also when it is compared with what is there."""
    big = record("c1", 1)
    big["messages"][0]["content"] = "x" * 20_000
    file = tmp_path / "big.jsonl"
    with file.open("w") as lines:
        for n in range(1000):
            big["completion"]["id"] = f"chatcmpl-{n}"
            lines.write(json.dumps(big) + "\n")
    tracemalloc.start()
    assert import_file(file, tmp_path / "a.db") == (1000, 0, 0, ())
    assert import_file(file, tmp_path / "a.db") == (0, 1000, 0, ())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
