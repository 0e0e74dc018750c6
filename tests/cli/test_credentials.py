"""Keys that change and headers, at the command line."""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import KEY, RECORDS, SHORT, Ran

from aiomessages.testing import MessagesServer, ReceivedRequest

Run = Callable[..., Ran]


def test_a_key_from_a_command(run: Run, messages_server: MessagesServer, tmp_path: Path) -> None:
    """The output of a command is the key; its words are divided as a shell would."""
    (tmp_path / "a key").write_text(f"{KEY}\n", "utf-8")
    words = ["--api-key-command", f"cat '{tmp_path}/a key'", "--base-url", messages_server.base_url]
    assert len(run("list", "chatcmpl-short", *words).out.splitlines()) == len(SHORT)


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("sh -c 'echo canary; exit 3'", 2, "--api-key-command, 'sh', ended with exit code 3"),
        ("/no/such/program", 2, "could not run: No such file"),
        ("true", 2, "printed no key"),
        ("echo 'not closed", 2, "no closing quotation"),
        (" ", 2, "--api-key-command is empty"),
        ("echo sk-another-0123456789", 4, "Incorrect API key"),
    ],
)
def test_a_command_without_the_key(
    run: Run, messages_server: MessagesServer, command: str, code: int, reason: str
) -> None:
    """A command that gives no key ends the program with a reason and without its output."""
    words = ["--api-key-command", command, "--base-url", messages_server.base_url]
    ran = run("list", "chatcmpl-short", *words)
    assert (ran.code, ran.out) == (code, b"")
    assert reason in ran.err
    assert "canary" not in ran.err
    assert "another" not in ran.err


class Rotating(list[ReceivedRequest]):
    """The requests of a server; the first of them writes a key into a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def append(self, request: ReceivedRequest) -> None:
        """Write the key, and note the request."""
        self._path.write_text(KEY, "utf-8")
        super().append(request)


def test_a_key_file_that_changes_during_a_run(run: Run, tmp_path: Path) -> None:
    """A key that is refused is read again from its file, and the command continues."""
    path = tmp_path / "key"
    path.write_text("sk-expired-0123456789", "utf-8")
    with MessagesServer(records=RECORDS, api_key=KEY) as server:
        server.requests = Rotating(path)
        words = ["--api-key-file", path, "--base-url", server.base_url, "--max-retries", 0]
        ran = run("list", "chatcmpl-short", *words, "--debug")
        keys = [request.headers["authorization"] for request in server.requests]
    assert (ran.code, keys) == (0, ["Bearer sk-expired-0123456789", f"Bearer {KEY}"])
    assert "expired" not in ran.err


def test_a_key_from_a_pipe(run: Run, messages_server: MessagesServer, tmp_path: Path) -> None:
    """A file that is a pipe, as the shell's <(…), is read once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(f"{KEY}\n", "utf-8"))
    writer.start()
    ran = run(
        "list", "chatcmpl-short", "--api-key-file", path, "--base-url", messages_server.base_url
    )
    writer.join(10)
    assert ran.code == 0


def test_standard_input_without_a_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty input is no key."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    ran = run("list", "x", "--api-key-file", "-")
    assert ran.code == 2
    assert ran.err.startswith("aiomessages: --api-key-file holds no key\n  name a file that holds")


def test_two_sources_of_the_key(run: Run) -> None:
    """A file and a command at the same time are an error."""
    ran = run("list", "x", "--api-key-file", "f", "--api-key-command", "c")
    assert (ran.code, ran.out) == (2, b"")
    assert ran.err.endswith("are two keys\n  leave one of them out\n")


def test_local_with_a_command(run: Run) -> None:
    """The embedded server has a key of its own."""
    assert run("list", "x", "--local", "--api-key-command", "true").code == 2


def test_headers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each --header is sent, and so are the headers of the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: search\napi-key: secret-of-a-gateway")
    with MessagesServer(records=RECORDS, api_key=KEY) as server:
        words = ["--header", "X-Team: view", "--header=X-Tenant:7", "--base-url", server.base_url]
        assert run("list", "chatcmpl-short", *words).code == 0
        sent = server.requests[0].headers
    assert (sent["x-team"], sent["x-tenant"]) == ("view", "7")
    assert sent["api-key"] == "secret-of-a-gateway"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("canary", "needs a name, a colon and a value"),
        ("Authorization: Bearer canary", "OPENAI_CUSTOM_HEADERS"),
        ("api-key: canary", "OPENAI_CUSTOM_HEADERS"),
        ("apikey: canary", "OPENAI_CUSTOM_HEADERS"),
        ("X-Auth: canary", "OPENAI_CUSTOM_HEADERS"),
        ("Ocp-Apim-Subscription-Key: canary", "OPENAI_CUSTOM_HEADERS"),
        ("Host: canary", "header Host belongs to the connection"),
    ],
)
def test_headers_that_cannot_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, header: str, reason: str
) -> None:
    """A header that is none, or a secret in argv, is refused and not repeated."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ran = run("list", "x", "--header", header)
    assert (ran.code, ran.out) == (2, b"")
    assert reason in ran.err
    assert "canary" not in ran.err


def test_the_key_of_a_command_in_another_place(run: Run, tmp_path: Path) -> None:
    """No message repeats a key that a command printed, wherever it was put as well."""
    (tmp_path / "key").write_text("staple-battery-0123", "utf-8")
    with MessagesServer(records=RECORDS, api_key="staple-battery-0123") as server:
        words = ["--api-key-command", f"cat {tmp_path / 'key'}", "--base-url", server.base_url]
        ran = run("list", "chatcmpl-short", *words, "--transform", "abs('staple-battery-0123')")
    assert ran.code == 1
    assert "staple" not in ran.err


def test_a_secret_header_in_another_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message repeats a secret of OPENAI_CUSTOM_HEADERS."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "api-key: staple-battery-0123")
    with MessagesServer(records=RECORDS, api_key=KEY) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        words = ["--base-url", server.base_url, "--transform", "abs('staple-battery-0123')"]
        ran = run("list", "chatcmpl-short", *words)
    assert ran.code == 1
    assert "staple" not in ran.err
