"""Behaviour that only a separate process shows: terminals, pipes, signals and argv."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import KEY, NASTY, RECORDS, SHORT, Ran

from aiomessages.server import import_records

Spawn = Callable[..., "subprocess.Popen[bytes]"]
Execute = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("messages_environment")


def at_terminal(spawn: Spawn, *words: object) -> str:
    """Return the output of the program at a terminal."""
    ours, its = pty.openpty()
    process = spawn(*words, stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(timeout=30) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux reports this if the other end is closed
        return b""


@pytest.mark.measured_programs
def test_at_a_terminal(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person gets the conversation in colour, and the text cannot add any."""
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = at_terminal(spawn, "list", "chatcmpl-short")
    assert "\x1b[1;32muser\x1b[0m" in shown
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown
    hint = "the model's reply is not in this list: aiomessages show chatcmpl-short"
    assert shown.endswith(f"aiomessages: {hint}\n")


@pytest.mark.measured_programs
@pytest.mark.parametrize("local", ["", "records.db"])
def test_what_to_type_for_the_reply(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, local: str
) -> None:
    """The line that says how to see the reply names the archive that the list is from."""
    monkeypatch.chdir(tmp_path)
    import_records("records.db", RECORDS)
    name = "chatcmpl-short" if local else "chatcmpl-umbrella"
    shown = at_terminal(spawn, "list", name, "--local", *filter(None, [local]))
    assert shown.endswith(f"aiomessages show {name} --local {local}".rstrip() + "\n")


@pytest.mark.measured_programs
@pytest.mark.parametrize("shape", ["auto", "json"])
def test_show_at_a_terminal(spawn: Spawn, shape: str) -> None:
    """A conversation with its reply acts on no terminal, in any format."""
    shown = at_terminal(spawn, "show", "chatcmpl-short", "--format", shape)
    assert "Bye." in shown
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("name", ["auto", "table", "json", "jsonl", "yaml", "raw"])
def test_without_color(spawn: Spawn, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With NO_COLOR no format sends any escape sequence to a terminal."""
    monkeypatch.setenv("NO_COLOR", "1")
    shown = at_terminal(spawn, "list", "chatcmpl-short", "--format", name)
    assert not re.search("[\x1b\u202e]", shown)
    assert "😀" in shown


@pytest.mark.parametrize("name", ["auto", "json", "raw"])
def test_a_terminal_as_the_output_file(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With -o to a terminal the output looks as on standard output."""
    monkeypatch.setenv("NO_COLOR", "1")
    words = ["list", "chatcmpl-short", "--format", name, "-o", "/dev/stdout"]
    shown = at_terminal(spawn, *words)
    assert not re.search("[\x1b\u202e]", shown)
    assert "😀" in shown


def test_in_a_pipe(execute: Execute) -> None:
    """A program gets JSON lines, with the text as it is."""
    code, out, err = execute("list", "chatcmpl-short")
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == SHORT
    assert SHORT[1]["content"] == NASTY


@pytest.mark.measured_programs
@pytest.mark.parametrize("words", [["list", "chatcmpl-long"], ["demo"], ["list", "--help"]])
def test_a_reader_that_goes_away(spawn: Spawn, words: list[str]) -> None:
    """When the pipe's reader has seen enough, the program ends in silence."""
    process = spawn(*words)
    assert process.stdout
    assert process.stderr
    os.read(process.stdout.fileno(), 1)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=30) in (0, 1)


def test_no_standard_output_at_all() -> None:
    """A program started without standard output says so, and what to do."""
    script = 'exec "$0" -m aiomessages list chatcmpl-short >&-'
    command = ["sh", "-c", script, sys.executable]
    run = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith(b"aiomessages: standard output is closed\n  write to a file")


@pytest.mark.measured_programs
def test_a_full_disk(spawn: Spawn) -> None:
    """A full disk is reported, with what to do."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        process = spawn("list", "chatcmpl-short", stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    said, advice = err.decode().splitlines()
    assert said == "aiomessages: cannot write to standard output: No space left on device"
    assert advice.startswith("  write to a file")


@pytest.mark.measured_programs
def test_interrupted(spawn: Spawn, tmp_path: Path) -> None:
    """Ctrl-C in the middle is exit code 130 and a short line, and leaves no partial file."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        process = spawn("list", "chatcmpl-short", "--base-url", url, "-o", tmp_path / "out")
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"aiomessages: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_another_signal(spawn: Spawn, tmp_path: Path, number: signal.Signals) -> None:
    """Another signal ends the program as usual, and leaves no partial or hidden file."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        process = spawn("list", "chatcmpl-short", "--base-url", url, "-o", tmp_path / "out")
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            assert len(list(tmp_path.iterdir())) == 1
            process.send_signal(number)
            process.communicate(timeout=30)
    assert process.returncode == -number
    assert list(tmp_path.iterdir()) == []


def test_the_key_from_standard_input(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key from a pipe is used, and appears in no output."""
    monkeypatch.delenv("OPENAI_API_KEY")
    words = ["list", "chatcmpl-short", "--debug", "--api-key-file", "-"]
    ran = execute(*words, stdin=KEY.encode())
    assert ran.code == 0
    assert KEY not in ran.err
    assert KEY.encode() not in ran.out


def test_local(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample is read without a key, wherever the environment points."""
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    shown = execute("demo").out.decode()
    found = re.search(r"The messages of (\S+):", shown)
    assert found
    ran = execute("list", found[1], "--local")
    assert ran.code == 0
    assert all(json.loads(line)["id"].startswith(found[1]) for line in ran.out.splitlines())


def test_interrupted_at_the_question_for_the_key(spawn: Spawn) -> None:
    """Ctrl-C ends the program also while it waits for someone to type the key."""
    ours, its = pty.openpty()
    words = ["list", "chatcmpl-short", "--api-key-file", "-"]
    process = spawn(*words, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    assert _read(ours) == b"API key: "
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert b"Traceback" not in _read(ours)
    os.close(ours)
