"""A command that failed before it had anything leaves no file behind."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import RECORDS, Ran, is_brief

from aiomessages.archive.errors import ImportFileError
from aiomessages.archive.importing import import_checked
from aiomessages.export.files import Files
from aiomessages.testing import MessagesServer

Run = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("messages_environment")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nobody() -> str:
    """Return the address of a server that does not run."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


COMMANDS = [
    ["export", "--all", "-o", "out.jsonl"],
    ["export", "--all", "-o", "out.parquet"],
    ["export", "--all", "-o", "parts"],
    ["export", "chatcmpl-short", "-o", "out.jsonl"],
    ["sync", "archive.db"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_key(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """A refused key leaves no ledger, no lock, no directory and no archive."""
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key-0123456789")
    ran = run(*words)
    assert (ran.code, ran.out, list(folder.iterdir())) == (4, b"", [])
    assert is_brief(ran.err)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_unreachable_host(run: Run, folder: Path, words: list[str]) -> None:
    """A server that is not reached leaves nothing behind either."""
    ran = run(*words, "--base-url", nobody(), "--max-retries", 0)
    assert (ran.code, list(folder.iterdir())) == (1, [])
    assert is_brief(ran.err)


def test_unknown_ids(run: Run, folder: Path) -> None:
    """Ids of which the server knows none leave no ledger."""
    assert run("export", "chatcmpl-nobody", "-o", "out.jsonl").code == 3
    assert list(folder.iterdir()) == []


def test_what_an_earlier_run_has(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure later on removes nothing of what is there."""
    words = ["export", "--all", "-o", "out.jsonl"]
    assert run(*words).code == run("sync", "archive.db").code == 0
    before = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sorted(before) == [
        *("archive.db", "out.jsonl", "out.jsonl.ledger", "out.jsonl.manifest.json"),
    ]
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key-0123456789")
    assert run(*words).code == run("sync", "archive.db").code == 4
    assert {path.name for path in folder.iterdir()} == before.keys()


def test_an_archive_of_nobody(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that was there before stays, even if it is empty."""
    with MessagesServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert run("sync", "archive.db").code == 0
    assert run("sync", "archive.db", "--max-retries", 0).code == 1
    assert (folder / "archive.db").is_file()


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_the_import_of_an_empty_file(run: Run, folder: Path, content: bytes) -> None:
    """A file without a conversation makes no archive; the next file of the command does."""
    Path("empty.jsonl").write_bytes(content)
    ran = run("import", "empty.jsonl", "archive.db")
    assert (ran.code, ran.err) == (0, "aiomessages: empty.jsonl: 0 conversations\n")
    assert [path.name for path in folder.iterdir()] == ["empty.jsonl"]
    Path("full.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in RECORDS))
    assert run("import", "empty.jsonl", "full.jsonl", "archive.db").code == 0
    assert Path("archive.db").is_file()


def test_a_file_that_changes_while_it_is_imported(folder: Path) -> None:
    """A file that was fine when it was checked, and is not any more, makes no archive either."""
    Path("odd.jsonl").write_bytes(b"{}\n")
    with pytest.raises(ImportFileError):
        import_checked("odd.jsonl", "archive.db")
    assert [path.name for path in folder.iterdir()] == ["odd.jsonl"]


def test_the_import_of_a_refused_file(run: Run, folder: Path) -> None:
    """A file that is refused makes no archive."""
    Path("odd.jsonl").write_bytes(b"{}\n")
    assert run("import", "odd.jsonl", "archive.db").code == 65
    assert [path.name for path in folder.iterdir()] == ["odd.jsonl"]


def test_the_lock_of_another_process(run: Run, folder: Path) -> None:
    """The lock of a process that is writing stays where it is."""
    with Files().lock(folder / "out.jsonl.lock"):
        assert run("export", "--all", "-o", "out.jsonl").code == 75
        assert [path.name for path in folder.iterdir()] == ["out.jsonl.lock"]
    assert list(folder.iterdir()) == []


@pytest.mark.measured_programs
def test_a_server_that_cannot_start(execute: Run, folder: Path) -> None:
    """A server without a port, or without its records, leaves no new archive behind."""
    Path("odd.jsonl").write_bytes(b"{}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert execute("serve", "new.db", "--port", taken.getsockname()[1]).code == 1
    assert execute("serve", "new.db", "--import", "odd.jsonl").code == 1
    assert [path.name for path in folder.iterdir()] == ["odd.jsonl"]
