"""`aiomessages demo`: one conversation to read, and true figures about all of them."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import Ran

from aiomessages import AsyncMessagesClient
from aiomessages.cli import demo
from aiomessages.server import LocalServer

Run = Callable[..., Ran]


def test_the_output(run: Run) -> None:
    """The demo shows a conversation with a tool call, its reply, figures, and further commands."""
    ran = run("demo")
    text = ran.out.decode()
    assert (ran.code, ran.err) == (0, "")
    assert text.startswith("The messages of chatcmpl-")
    assert "\n→ " in text
    assert "And the reply" in text
    assert re.search(r"Read [\d,]+ messages of \d+ conversations with \d+ requests in \d", text)
    assert re.search(r"list chatcmpl-\S+ --local", text)


def test_the_export(run: Run) -> None:
    """All conversations are exported, and DuckDB counts one reply for each."""
    text = run("demo").out.decode()
    count = re.search(r"Read ([\d,]+) messages of (\d+) conversations", text)
    rows = re.search(r"replies included: (\d+) rows in sample.parquet", text)
    assistant = re.search(r"^  assistant +\d+ +(\d+) ", text, re.MULTILINE)
    assert count
    assert rows
    assert assistant
    assert int(rows[1]) == int(count[1]) + int(count[2])
    assert assistant[1] == count[2]


def test_the_archive(run: Run) -> None:
    """The demo keeps every conversation in an archive, and finds a word in it."""
    text = run("demo").out.decode()
    count = re.search(r"Read [\d,]+ messages of (\d+) conversations", text)
    assert count
    assert f"Kept {count[1]} conversations in an archive" in text
    assert "The next sync sent 1: nothing was new." in text
    assert re.search(r"^  chatcmpl-umbrella 0: .*umbrella", text, re.MULTILINE)


def test_the_export_without_duckdb(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DuckDB there is still an export, and a hint how to install it."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    text = run("demo").out.decode()
    assert "rows in sample.jsonl.gz, a temporary file." in text
    assert "pip install 'aiomessages[parquet]'" in text


async def test_every_message_is_read() -> None:
    """The demo reads every page of every conversation that the server has."""
    async with (
        LocalServer(sample=True) as server,
        AsyncMessagesClient(server.api_key, base_url=server.base_url) as client,
    ):
        read = await demo._read_all(client)  # noqa: SLF001 - what the figures count
        for completion, messages in read:
            page = await client.list(completion.id, limit=1000)
            assert [message.id for message in messages] == [message.id for message in page.data]
        assert len({completion.id for completion, _ in read}) == len(read) > 20


@pytest.mark.parametrize(
    ("found", "beside", "typed"),
    [
        ("/usr/bin/aiomessages", False, "aiomessages"),
        (None, True, "venv/aiomessages"),
        (None, False, "venv/python -m aiomessages"),
    ],
)
def test_the_named_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: str | None, typed: str, *, beside: bool
) -> None:
    """The program that the demo names can be started from here."""
    (tmp_path / "venv").mkdir()
    monkeypatch.delenv("NOX_CURRENT_SESSION", raising=False)  # it may be one that runs the tests
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    monkeypatch.setattr("shutil.which", lambda _: found)
    if beside:
        (tmp_path / "venv" / "aiomessages").touch()
    assert demo._program() == typed  # noqa: SLF001 - it depends on how the program was installed


def test_a_program_that_is_on_the_path_of_a_session_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program on the path of a nox session alone is named so that it starts outside too."""
    monkeypatch.setenv("NOX_CURRENT_SESSION", "demo")
    monkeypatch.setattr(sys, "executable", "/opt/python")
    monkeypatch.setattr("shutil.which", lambda _: "/opt/aiomessages")
    assert demo._program() == "/opt/python -m aiomessages"  # noqa: SLF001 - as above


def test_a_program_in_another_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that is not below this directory is named in full."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", "/opt/python")
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert demo._program() == "/opt/python -m aiomessages"  # noqa: SLF001 - as above
