"""`aiomessages sync`, against real servers, in and out of process."""

import json
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest_cli import KEY, Ran

from aiomessages.archive.guard import locked
from aiomessages.testing import MessagesServer

if TYPE_CHECKING:
    import subprocess

Run = Callable[..., Ran]
Spawn = Callable[..., "subprocess.Popen[bytes]"]
DAY = 86_400


@pytest.fixture
def messages_server() -> Iterator[MessagesServer]:
    """Serve nine completions, one an hour."""
    with MessagesServer(api_key=KEY) as server:
        begin = int(time.time()) - DAY
        for number in range(9):
            server.store(2, created=begin + number * 3600, model=f"model-{number % 2}")
        yield server


@pytest.fixture
def archive(tmp_path: Path, messages_environment: None) -> Path:  # noqa: ARG001 for the program
    """The path of an archive; the environment points to the server."""
    return tmp_path / "archive.db"


def ask(archive: Path, query: str) -> list[tuple[Any, ...]]:
    """Return what a query finds in the archive."""
    with closing(sqlite3.connect(archive)) as db:
        return db.execute(query).fetchall()


def test_the_first_run_and_the_next(run: Run, archive: Path) -> None:
    """A run prints one line with its counts, and nothing to standard output."""
    code, out, err = run("sync", archive)
    assert (code, out) == (0, b"")
    assert f"aiomessages: {archive}: 9 new completions, 18 messages added (9 listed, 1" in err
    assert archive.stat().st_mode & 0o777 == 0o600
    code, out, err = run("sync", archive)
    assert (code, out) == (0, b"")
    assert f"{archive}: nothing new (9 listed, 1 request, " in err


def test_quiet(run: Run, archive: Path, messages_server: MessagesServer) -> None:
    """With --quiet a good run prints nothing, and one with a failure prints it."""
    assert run("sync", archive, "--quiet") == (0, b"", "")
    failing = messages_server.store(1)
    messages_server.fail(400, completion_id=failing)
    code, _, err = run("sync", archive, "--quiet")
    assert code == 1
    assert f"could not be read; the next sync retries: 1: {failing}" in err


def test_nothing_stored(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first run that finds nothing says which completions a server keeps."""
    with MessagesServer(api_key=KEY) as empty:
        for name, value in empty.environment.items():
            monkeypatch.setenv(name, value)
        code, _, err = run("sync", tmp_path / "archive.db")
    assert code == 0
    assert "lists no stored completion: only those created with store=true are kept" in err


def test_what_could_not_be_read(run: Run, archive: Path, messages_server: MessagesServer) -> None:
    """Each failure is named, up to a few; the next run reads them."""
    for number in range(12):
        id = messages_server.store(1)
        messages_server.fail(400, completion_id=id)
        last = f"{number + 1:,}: "
    code, _, err = run("sync", archive)
    assert code == 1
    assert f"could not be read; the next sync retries: {last}" in err
    assert "more (see: aiomessages status)" in err
    messages_server.recover()
    code, _, err = run("sync", archive)
    assert code == 0
    assert "12 new completions, 12 messages added (1 listed, " in err


def test_a_recheck(run: Run, archive: Path) -> None:
    """--recheck names what the server has no more."""
    run("sync", archive)
    gone = "chatcmpl-never"
    with closing(sqlite3.connect(archive)) as db, db:
        db.execute("UPDATE completions SET id = ? WHERE number = 1", (gone,))
    code, _, err = run("sync", archive, "--recheck")
    assert code == 0
    assert f"no longer on the server; kept here: 1: {gone}" in err
    assert (gone, "gone") in ask(archive, "SELECT id, state FROM completions")
    assert ask(archive, "SELECT kind FROM runs ORDER BY number")[-1] == ("recheck",)


def test_updated_metadata(run: Run, archive: Path) -> None:
    """--recheck counts the completions whose JSON has changed."""
    run("sync", archive)
    with closing(sqlite3.connect(archive)) as db, db:
        body = json.loads(db.execute("SELECT body FROM completions LIMIT 1").fetchone()[0])
        other = json.dumps(body | {"metadata": {"old": "1"}}, separators=(",", ":"))
        db.execute("UPDATE completions SET body = ? WHERE id = ?", (other, body["id"]))
    assert "  updated: 1" in run("sync", archive, "--recheck").err


def test_a_selection(run: Run, archive: Path) -> None:
    """--model, --metadata and --since select; an age is one selection, whenever it is given."""
    assert "4 new completions, " in run("sync", archive, "--model", "model-1").err
    code, _, err = run("sync", archive, "--metadata", "a=b")
    assert (code, "lists no stored completion that the options select" in err) == (0, True)
    words = ("sync", archive, "--since", "30d")
    assert "5 new completions, " in run(*words).err
    assert "nothing new" in run(*words).err
    assert ask(archive, "SELECT DISTINCT selection FROM runs ORDER BY number") == [
        ('{"model": "model-1"}',),
        ('{"metadata": {"a": "b"}}',),
        ('{"since": "30d"}',),
    ]


def test_a_date_in_several_zones(run: Run, archive: Path, messages_server: MessagesServer) -> None:
    """A date is recorded as the moment that it means: an earlier one is another selection."""
    for hour in range(3):
        messages_server.store(1, created=1_767_312_000 + hour * 3600)
    for since in (["2026-01-02", "--utc"], ["2026-01-02T01:00+01:00"]):
        assert run("sync", archive, "--since", *since).code == 0
    assert ask(archive, "SELECT DISTINCT selection FROM runs") == [('{"since": 1767312000.0}',)]
    later = archive.with_name("later.db")
    run("sync", later, "--since", "2026-01-02T00:00-01:00")
    assert "1 new completion," in run("sync", later, "--since", "2026-01-02T00:00+00:00").err


def test_wrong_usage(run: Run, archive: Path) -> None:
    """An option that cannot be used is exit code 2, and no file is made."""
    for words in (["--since", "soon"], ["--concurrency", "0"], ["--max-rps", "-1"]):
        code, _, err = run("sync", archive, *words)
        assert (code, archive.exists()) == (2, False), err


def test_no_archive(run: Run, archive: Path) -> None:
    """A directory, and a file that is no database, are exit code 2 and stay as they are."""
    archive.write_text("{}\n")
    code, _, err = run("sync", archive)
    assert (code, archive.read_text()) == (2, "{}\n")
    assert "no SQLite database" in err
    assert run("sync", archive.parent).code == 2


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.parquet", "x.duckdb"])
def test_the_name_of_an_export(run: Run, tmp_path: Path, name: str) -> None:
    """A new archive with the name of an export is refused, with the name and the command to use."""
    file = tmp_path / name
    said = (
        f"{file}: an archive is an SQLite database, and this is the name of an export\n"
        "  name it x.db;"
        f" `aiomessages export --all -o {file}` writes such a file"
    )
    assert run("sync", file) == (2, b"", f"aiomessages: {said}\n")
    assert not file.exists()
    file.touch()
    assert run("sync", file).code == 2
    assert file.read_bytes() == b""


def test_an_archive_of_any_name(run: Run, archive: Path, tmp_path: Path) -> None:
    """An archive that exists may have any name."""
    run("sync", archive)
    assert run("sync", archive.rename(tmp_path / "archive.json")).code == 0


def test_another_address(run: Run, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server is refused with exit code 2, and accepted with --moved."""
    run("sync", archive)
    with MessagesServer(api_key=KEY) as other:
        for name, value in other.environment.items():
            monkeypatch.setenv(name, value)
        code, _, err = run("sync", archive)
        assert (code, other.requests) == (2, [])
        assert "belongs to another --base-url" in err
        assert "--moved" in err
        assert run("sync", archive, "--moved").code == 0
        assert run("sync", archive).code == 0


@pytest.mark.parametrize(
    ("fault", "expected"), [("unauthorized", 4), ("forbidden", 4), ("quota", 5)]
)
def test_refused(
    run: Run, archive: Path, messages_server: MessagesServer, fault: str, expected: int
) -> None:
    """A refused key is exit code 4, a used-up quota 5; the next run goes on."""
    messages_server.fail(fault, first=4)
    assert run("sync", archive, "--concurrency", "1").code == expected
    assert ask(archive, "SELECT count(*) FROM completions") == [(2,)]
    messages_server.recover()
    assert run("sync", archive).code == 0
    assert ask(archive, "SELECT count(*) FROM completions") == [(9,)]


def test_another_sync(run: Run, archive: Path, messages_server: MessagesServer) -> None:
    """A second sync of the archive is exit code 75, and sends nothing."""
    run("sync", archive)
    messages_server.requests.clear()
    with locked(archive):
        code, _, err = run("sync", archive)
    assert (code, messages_server.requests) == (75, [])
    assert "another sync of this archive is running" in err


def test_a_full_disk(
    run: Run, spawn: Spawn, archive: Path, messages_server: MessagesServer
) -> None:
    """Where a file cannot grow, the exit code is 74; afterwards the same command completes."""
    messages_server.store("word " * 20_000)
    limit = 200_000

    def stop_growing() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    # The limit would cut the records of coverage as well.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    process = spawn("sync", archive, "--concurrency", "1", preexec_fn=stop_growing, env=env)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 74, err
    assert str(archive) in err.decode()
    assert ask(archive, "PRAGMA integrity_check") == [("ok",)]
    assert run("sync", archive).code == 0
    assert ask(archive, "SELECT count(*) FROM completions") == [(10,)]


@pytest.mark.measured_programs
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(
    spawn: Spawn, run: Run, archive: Path, messages_server: MessagesServer, number: signal.Signals
) -> None:
    """Ctrl-C keeps what was read: exit code 130; the same command continues."""
    messages_server.slow_down(30, first=5)
    process = spawn("sync", archive, "--concurrency", "1")
    while len(messages_server.requests) < 5:
        assert process.poll() is None
        time.sleep(0.01)  # until a request of another process has arrived
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"stopped; what was committed to {archive} is safe" in err.decode()
    assert ask(archive, "SELECT count(*) FROM completions") == [(3,)]
    assert ask(archive, "SELECT result FROM runs") == [("interrupted",)]
    messages_server.recover()
    assert "6 new completions, " in run("sync", archive).err


def test_help(run: Run) -> None:
    """The help has a line for cron, and the exit codes."""
    code, out, _ = run("sync", "--help")
    assert code == 0
    text = out.decode()
    assert "aiomessages sync ~/archive.db --quiet" in text
    assert all(f"{number} " in text for number in (0, 1, 2, 4, 5, 65, 74, 75, 130))
