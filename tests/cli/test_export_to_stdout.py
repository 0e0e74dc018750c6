"""`aiomessages export -o -`: JSON lines on standard output, and no record of the run."""

import asyncio
import gzip
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest_cli import KEY, NASTY, RECORDS, Ran, is_brief

from aiomessages.cli import running
from aiomessages.cli.export_run import run_to_stdout
from aiomessages.testing import MessagesServer

Run = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("messages_environment")
ROWS = sum(len(record["messages"]) + 1 for record in RECORDS)


def rows(ran: Ran) -> list[Any]:
    """Return the rows of a run that succeeded."""
    assert ran.code == 0
    return [json.loads(line) for line in ran.out.splitlines()]


def test_every_row(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows go to standard output, the summary to standard error, and no file is left."""
    monkeypatch.chdir(tmp_path)
    ran = run("export", "--all", "-o", "-")
    assert {row["completion_id"] for row in rows(ran)} == {
        record["completion"]["id"] for record in RECORDS
    }
    assert ran.err.startswith(
        f"aiomessages: written to standard output: 3 completions, {ROWS} rows"
    )
    assert ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert run("export", "--all", "-o", "-", "-q").err == ""


@pytest.mark.parametrize("layout", ["messages", "conversations", "finetune", "chat"])
def test_every_layout(run: Run, tmp_path: Path, layout: str) -> None:
    """Every layout is lines, the same as those in a file."""
    words = ["export", "chatcmpl-long", "--layout", layout, "-o"]
    assert run(*words, tmp_path / "out.jsonl.gz").code == 0
    with gzip.open(tmp_path / "out.jsonl.gz") as file:
        assert run(*words, "-").out == file.read()


def test_each_completion_once(run: Run, tmp_path: Path) -> None:
    """An id that is given twice is exported once, and an unknown one is named."""
    (tmp_path / "ids").write_text("chatcmpl-short\nchatcmpl-nobody\nchatcmpl-short\n")
    ran = run("export", "--ids-file", tmp_path / "ids", "-o", "-")
    assert len(rows(ran)) == 4
    assert "  gone: 1 (chatcmpl-nobody): no longer on the server\n" in ran.err


def test_nothing(run: Run) -> None:
    """An empty selection is said to be empty, and is no error."""
    ran = run("export", "--all", "--model", "nobody", "-o", "-")
    assert (ran.code, ran.out) == (0, b"")
    assert ran.err.endswith("  no completion was given or selected\n")


def test_no_ledger_to_refresh(run: Run) -> None:
    """An option about the ledger is refused: there is none."""
    ran = run("export", "--all", "--no-refresh", "-o", "-")
    assert (ran.code, ran.out) == (2, b"")
    assert is_brief(ran.err)


def test_a_failure(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A refused key ends it with its exit code, in two lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key-0123456789")
    ran = run("export", "--all", "-o", "-")
    assert (ran.code, ran.out) == (4, b"")
    assert is_brief(ran.err)
    assert list(tmp_path.iterdir()) == []


def test_failed_completions(run: Run) -> None:
    """A completion that could not be read is named, and makes the exit code 1."""
    with MessagesServer(records=RECORDS, api_key=KEY) as server:
        server.fail(400)
        words = ["chatcmpl-short", "--on-error", "continue", "--base-url", server.base_url]
        ran = run("export", *words, "-o", "-")
    assert (ran.code, ran.out) == (1, b"")
    assert "  failed: 1 × BadRequestError (chatcmpl-short)\n" in ran.err


@pytest.mark.measured_programs
def test_a_reader_that_goes_away(spawn: Callable[..., Any]) -> None:
    """A reader that has seen enough ends the export quietly, as a success."""
    process = spawn("export", "chatcmpl-long", "-o", "-", "--layout", "messages")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.measured_programs
def test_a_reader_that_goes_away_from_a_slow_server(spawn: Callable[..., Any]) -> None:
    """The export ends when the reader goes, not when the server has sent something to write."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        process = spawn("export", "chatcmpl-long", "-o", "-", "--base-url", url)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.stdout.close()
            process.stdout = None
            _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.measured_programs
def test_a_pipe_that_can_be_read(spawn: Callable[..., Any], tmp_path: Path) -> None:
    """A pipe that was opened to read and write has no reader that goes away."""
    os.mkfifo(tmp_path / "pipe")
    both = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(both, b"before")
    process = spawn("export", "chatcmpl-short", "-o", "-", "-q", stdout=both)
    _, err = process.communicate(timeout=30)
    found = os.read(both, 65_536)
    os.close(both)
    assert (process.returncode, err) == (0, b"")
    assert found.startswith(b'before{"completion_id":"chatcmpl-short"')


def test_a_cancelled_export(capsys: pytest.CaptureFixture[str]) -> None:
    """A cancellation that no reader caused stays one."""

    async def start(_: object) -> Any:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await run_to_stdout(start, quiet=True)

    running.run(main())
    assert capsys.readouterr().out == ""


def test_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    """A signal ends it with what to expect of another run: there is no ledger."""

    async def start(_: object) -> Any:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.Event().wait()

    assert running.run(run_to_stdout(start, quiet=True)) == 130
    out, err = capsys.readouterr()
    said = "  there is no ledger: another run begins at the start"
    assert (out, err.splitlines()[-1]) == ("", said)


def test_at_a_terminal(spawn: Callable[..., Any]) -> None:
    """What acts on a terminal is escaped, as in every format."""
    ours, theirs = os.openpty()
    process = spawn("export", "chatcmpl-short", "-o", "-", "-q", stdout=theirs)
    os.close(theirs)
    process.communicate(timeout=30)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "\x1b" not in shown
    (line,) = [line for line in shown.splitlines() if '"seq":1' in line]
    assert json.loads(line)["message"]["content"] == NASTY
