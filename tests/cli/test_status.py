"""`aiomessages status`: the content of a ledger or an archive, for a person and for a program."""

import json
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest_cli import RECORDS, Ran

from aiomessages.archive.guard import locked
from aiomessages.cli.safe_text import UNSAFE
from aiomessages.export.files import Files
from aiomessages.server import import_records
from aiomessages.testing import MessagesServer

Run = Callable[..., Ran]
NOTHING = (
    "there is neither an export nor an archive\n"
    "  name what `aiomessages export -o` or `aiomessages sync` got\n"
)


@pytest.fixture
def finished(run: Run, tmp_path: Path) -> Path:
    """Export the sample."""
    path = tmp_path / "train.jsonl"
    words = ["--layout", "finetune", "--local", "--quiet"]
    assert run("export", "--all", "-o", path, *words).code == 0
    return path


def test_for_a_person(run: Run, finished: Path) -> None:
    """The status shows the export's settings, its progress, and the skipped completions."""
    ran = run("status", finished)
    first, *rest = ran.out.decode().splitlines()
    assert (ran.code, first) == (0, f"{finished}: finished")
    names = [line.split()[0] for line in rest]
    assert names == ["server", "layout", "completions", "committed", "skipped:"]


def test_for_a_program(run: Run, finished: Path) -> None:
    """The status as JSON has the numbers."""
    found = json.loads(run("status", finished, "--format", "json").out)
    rows = len(finished.read_bytes().splitlines())
    assert (found["finished"], found["layout"], found["rows"]) == (True, "finetune", rows)
    assert found["bytes"] == finished.stat().st_size
    assert found["completions"]["skipped"]["completions"] == sum(found["skipped"].values())


def line_of(text: bytes, name: str) -> str:
    """Return the value on the line of a name."""
    (line,) = [line for line in text.decode().splitlines() if line.startswith(f"  {name} ")]
    return line.split(maxsplit=1)[1]


def test_completions_by_state(run: Run, finished: Path) -> None:
    """It counts the completions in each state."""
    counted = json.loads(run("status", finished, "--format", "json").out)["completions"]
    shown = line_of(run("status", finished).out, "completions")
    numbers = [f"{count['completions']} {state}" for state, count in counted.items()]
    assert (shown, sorted(counted)) == (", ".join(numbers), ["done", "skipped"])


def test_no_completion(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export of nothing has no completion yet."""
    with MessagesServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        words = ["--base-url", server.base_url, "--quiet"]
        assert run("export", "--all", "-o", tmp_path / "out.jsonl", *words).code == 0
    assert line_of(run("status", tmp_path / "out.jsonl").out, "completions") == "none yet"


def test_json_to_read(run: Run, tmp_path: Path) -> None:
    """The JSON is indented, and has letters of any language as they are."""
    path = tmp_path / "Gespräche.jsonl"
    assert run("export", "chatcmpl-tides", "-o", path, "--local", "--quiet").code == 0
    text = run("status", path, "--format", "json").out.decode()
    assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n"
    assert "Gespräche" in text


@pytest.mark.parametrize("name", [b"caf\xe9.jsonl", "\u202e\x1b[31m\n\u00fc.jsonl".encode()])
def test_any_name(run: Run, tmp_path: Path, name: bytes) -> None:
    """A name of any bytes is shown in both formats, and Python reads it unchanged from the JSON."""
    path, media = tmp_path / os.fsdecode(name), tmp_path / os.fsdecode(name + b".media")
    words = ["--media", media, "--local", "--quiet"]
    assert run("export", "--all", "-o", path, *words).code == 0
    found = json.loads(run("status", path, "--format", "json").out)
    assert (found["destination"], found["media"]) == (str(path), str(media))
    assert b"\x1b" not in run("status", path).out


def test_it_changes_nothing(run: Run, finished: Path) -> None:
    """The command leaves no file behind, and changes none."""
    before = {path: path.stat().st_mtime_ns for path in finished.parent.iterdir()}
    run("status", finished)
    assert {path: path.stat().st_mtime_ns for path in finished.parent.iterdir()} == before


def test_parts_without_replies(run: Run, tmp_path: Path) -> None:
    """The status of a directory shows its number of files."""
    words = ["--no-include-reply", "--local", "--quiet"]
    assert run("export", "--all", "-o", tmp_path / "parts", *words).code == 0
    text = run("status", tmp_path / "parts").out.decode()
    assert "messages, without replies" in text
    assert "in 1 file\n" in text


def test_running(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that an export runs, that it was resumed, and how much of the ids has a result.

    An id that is given twice counts twice while it runs.
    """
    path = tmp_path / "out.jsonl"
    with MessagesServer(records=RECORDS) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        words = [
            "export",
            "chatcmpl-short",
            "chatcmpl-long",
            "chatcmpl-long",
            "--concurrency",
            1,
            "-o",
            path,
            "-q",
        ]
        assert run(*words).code == 0
    assert run("status", path).out.startswith(f"{path}: finished\n".encode())
    assert json.loads(run("status", path, "--format", "json").out)["percent"] == 100
    with closing(sqlite3.connect(f"{path}.ledger")) as db, db:
        db.execute("DELETE FROM settings WHERE name = 'finished'")
        db.execute("DELETE FROM completions WHERE id = 'chatcmpl-long'")
    first = run("status", path).out.decode().splitlines()[0]
    assert first == f"{path}: not finished, 33 %; run the same command again to continue"
    with Files().lock(tmp_path / "out.jsonl.lock"):
        assert run("status", path).out.startswith(f"{path}: running, 33 %\n".encode())
        with closing(sqlite3.connect(f"{path}.ledger")) as db, db:
            again = '{"number": 2, "total": null}'
            db.execute("UPDATE settings SET value = ? WHERE name = 'run'", [again])
        found = json.loads(run("status", path, "--format", "json").out)
        assert (found["running"], found["resumed"], found["percent"]) == (True, True, None)
        assert run("status", path).out.startswith(f"{path}: running, resumed\n".encode())


def test_a_sync_that_runs(run: Run, tmp_path: Path) -> None:
    """Of an archive it says that a sync is running, if one holds the lock."""
    path = tmp_path / "archive.db"
    import_records(str(path), RECORDS)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO runs (kind, selection, begin) VALUES ('sync', '', 1e9)")
    assert "sync, not ended" in run("status", path).out.decode()
    with locked(path):
        text = run("status", path).out.decode()
    assert text.startswith(f"{path}: an archive, a sync is running\n")
    assert "sync, running" in text


def test_media(run: Run, tmp_path: Path) -> None:
    """The status names the directory of media files."""
    words = ["--media", tmp_path / "media", "--local", "--quiet"]
    assert run("export", "--all", "-o", tmp_path / "all.jsonl", *words).code == 0
    (line,) = [
        line
        for line in run("status", tmp_path / "all.jsonl").out.decode().splitlines()
        if "media" in line.split()
    ]
    assert line.split() == ["media", str(tmp_path / "media")]


def test_no_ledger(run: Run, tmp_path: Path) -> None:
    """Without an export, one line says so, and the exit code is 3."""
    code, out, err = run("status", tmp_path / "none.jsonl")
    assert (code, out) == (3, b"")
    assert err == f"aiomessages: {tmp_path}/none.jsonl: {NOTHING}"
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_ledger(run: Run, tmp_path: Path) -> None:
    """A file that is not a ledger is exit code 65."""
    (tmp_path / "out.jsonl.ledger").write_bytes(b"not a database, but long enough " * 40)
    assert run("status", tmp_path / "out.jsonl").code == 65


def test_hostile_names(run: Run, tmp_path: Path) -> None:
    """The names of completions, files and servers never act on a terminal, in either format."""
    odd = "a\u202eb\u2066\ufeff"
    path = tmp_path / f"{odd}\x1b[2J.jsonl"
    words = ["--on-error", "continue", "--local", "--quiet"]
    assert run("export", "chatcmpl-tides", f"chatcmpl-{odd}", "-o", path, *words).code == 0
    for words in ([], ["--format", "json"]):
        ran = run("status", path, *words)
        assert ran.code == 0
        assert rb"chatcmpl-a\u202eb\u2066\ufeff" in ran.out
        assert not UNSAFE.search(ran.out.decode())
    ran = run("status", tmp_path / f"{odd}\x9b31m")
    assert ran.code == 3
    assert not UNSAFE.search(ran.err)


def test_an_archive(run: Run, tmp_path: Path) -> None:
    """Of an archive it says how much is in it, from when, its runs, and what waits and why."""
    path = tmp_path / "archive.db"
    import_records(str(path), RECORDS)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO runs (kind, selection, begin) VALUES ('sync', '', 1e9)")
        db.execute(
            'INSERT INTO runs (kind, selection, begin, "end", new, requests, result)'
            " VALUES ('sync', '', 1e9, 1e9, 3, 1, 'complete')"
        )
        db.execute(
            "INSERT INTO runs (kind, selection, begin, \"end\") VALUES ('sync', '', 1e9, 1e9)"
        )
        db.execute("INSERT INTO waiting VALUES ('chatcmpl-w', 'failed', 'bad \x1b[31m', 1e9, 1, 1)")
        db.executemany(
            "INSERT INTO waiting VALUES (?, 'pending', NULL, 2e9, 1, 1)",
            [(f"chatcmpl-p{n:02}",) for n in range(12)],
        )
        project = [("base_url", "https://h/v1"), ("organization", "org-1")]
        db.executemany("INSERT INTO settings VALUES (?, ?)", project)
    ran = run("status", path)
    text = ran.out.decode()
    assert (ran.code, text.splitlines()[0]) == (0, f"{path}: an archive")
    assert "  server       https://h/v1, organization org-1\n" in text
    assert "  completions  3 complete\n" in text
    assert "  messages     253 messages and 3 replies\n" in text
    assert re.search(r"  created      2025-1.* to 2025-1", text)
    assert re.search("run  .*: sync, not ended\n", text)
    assert re.search("run  .*: sync: 3 new, 1 request; complete\n", text)
    assert re.search("run  .*: sync: nothing new, 0 requests\n", text)
    assert re.search(r"waiting: chatcmpl-w, not read so far since .*: bad \\x1b\[31m\n", text)
    assert re.search("waiting: chatcmpl-p08, not visible yet since [^:]*:[^:]*\n", text)
    assert "waiting: 3 more (--format json has all)" in text
    found = json.loads(run("status", path, "--format", "json").out)
    assert (found["completions"], found["messages"], found["replies"]) == ({"complete": 3}, 253, 3)
    assert [run["new"] for run in found["runs"]] == [0, 3, 0]
    assert len(found["waiting"]) == 13


def test_the_times_of_an_archive_in_utc(run: Run, tmp_path: Path) -> None:
    """With --utc they are in UTC; each names its zone."""
    path = tmp_path / "archive.db"
    import_records(str(path), RECORDS)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE completions SET created = 1700000000")
        db.execute("INSERT INTO waiting VALUES ('w', 'pending', NULL, 1700000000, 1, 1)")
        db.execute("INSERT INTO runs (kind, selection, begin) VALUES ('sync', '', 1700000000)")
    assert run("status", path, "--utc").out.decode().count("2023-11-14 22:13 UTC") == 4


def test_an_archive_of_odd_times(run: Run, tmp_path: Path) -> None:
    """A time that no calendar has is shown as a number, and one reply is one."""
    path = tmp_path / "archive.db"
    import_records(str(path), [RECORDS[1]])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE completions SET created = 9000000000000000")
    text = run("status", path).out.decode()
    assert "created      9000000000000000 s to" in text
    assert "0 messages and 1 reply\n" in text


def test_an_empty_archive(run: Run, tmp_path: Path) -> None:
    """An archive of nothing says so."""
    import_records(str(tmp_path / "archive.db"), [])
    assert "completions  none yet\n" in run("status", tmp_path / "archive.db").out.decode()


def test_the_database_of_another_program(run: Run, tmp_path: Path) -> None:
    """A database that is no archive is exit code 2."""
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE precious (x)")
    ran = run("status", tmp_path / "other.db")
    assert ran.code == 2
    assert "another program" in ran.err


def test_a_file_without_an_export(run: Run, tmp_path: Path) -> None:
    """A file that is neither an archive nor an export has no status."""
    (tmp_path / "x.jsonl").write_bytes(b"{}\n")
    assert run("status", tmp_path / "x.jsonl").code == 3


def test_a_pipe(execute: Run, tmp_path: Path) -> None:
    """A pipe is no archive, and is not opened: that would wait for its writer."""
    os.mkfifo(tmp_path / "pipe.db")
    code, out, err = execute("status", tmp_path / "pipe.db")
    assert (code, out) == (3, b"")
    assert err == f"aiomessages: {tmp_path}/pipe.db: {NOTHING}"
