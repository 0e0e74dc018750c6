"""`aiomessages export --dry-run`: what an export would fetch, with requests for the list alone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest_cli import KEY, Ran
from test_completions import record

from aiomessages.testing import MessagesServer

Run = Callable[..., Ran]
pytestmark = pytest.mark.usefixtures("messages_environment")


@pytest.fixture
def messages_server() -> Iterator[MessagesServer]:
    """Serve a completion a day."""
    with MessagesServer(records=[record(n) for n in range(9)], api_key=KEY) as server:
        yield server


def said(ran: Ran) -> list[str]:
    """Return the lines of a run that succeeded."""
    assert (ran.code, ran.err) == (0, "")
    return ran.out.decode().splitlines()


def test_a_list(run: Run, messages_server: MessagesServer, tmp_path: Path) -> None:
    """It tells number, span and requests; it requests the list, and writes nothing."""
    words = ["export", "--all", "--utc", "--dry-run"]
    lines = [
        "would export 9 completions, created from 2025-11-01 00:00 UTC to 2025-11-09 00:00 UTC",
        "  with 10 requests, and one more for each further page of a long conversation",
        "  nothing was written",
    ]
    assert said(run(*words)) == lines
    assert said(run(*words, "-o", tmp_path / "none" / "out.jsonl")) == lines
    assert said(run(*words, "-o", "-")) == lines
    assert [request.path for request in messages_server.requests] == ["/v1/chat/completions"] * 3
    assert list(tmp_path.iterdir()) == []


def test_ids(run: Run, messages_server: MessagesServer) -> None:
    """Ids are counted once each, with two requests for each, and nothing is requested."""
    words = ["export", "chatcmpl-1", "chatcmpl-2", "chatcmpl-1", "--dry-run"]
    assert said(run(*words))[:2] == [
        "would export 2 completions",
        "  with 4 requests, and one more for each further page of a long conversation",
    ]
    assert said(run(*words, "--no-include-reply"))[1].startswith("  with 2 requests")
    assert messages_server.requests == []


def test_what_is_there_already(run: Run, tmp_path: Path) -> None:
    """What the output has already is not counted."""
    words = ["export", "chatcmpl-1", "chatcmpl-2", "-o", tmp_path / "out.jsonl"]
    assert run(*words).code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert said(run(*words, "chatcmpl-3", "--dry-run"))[:2] == [
        "would export 1 completion",
        "  already in the output: 2",
    ]
    assert said(run(*words, "--dry-run"))[2] == "  0 requests for the list, and no other"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "words",
    [
        ["--layout", "conversations"],
        ["--media", "media"],
        ["--no-include-reply"],
        ["--since", "2025-11-02"],
    ],
    ids=lambda words: words[0],
)
def test_other_options_than_before(
    run: Run,
    messages_server: MessagesServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    """Options that the destination does not take are refused as by the export, and first."""
    monkeypatch.chdir(tmp_path)
    assert run("export", "--all", "-o", "out.jsonl").code == 0
    before = sorted(tmp_path.rglob("*"))
    sent = len(messages_server.requests)
    looked = run("export", "--all", "-o", "out.jsonl", "--dry-run", *words)
    assert (len(messages_server.requests), sorted(tmp_path.rglob("*"))) == (sent, before)
    exported = run("export", "--all", "-o", "out.jsonl", *words)
    assert (looked.code, looked.out) == (2, b"")
    assert looked.err == exported.err


@pytest.mark.parametrize(
    "words", [["--media", "m"], ["--no-include-reply"]], ids=lambda words: words[0]
)
def test_options_that_no_export_takes(run: Run, words: list[str]) -> None:
    """Options that contradict each other are refused without a destination as well."""
    looked = run("export", "--all", "--layout", "chat", "--dry-run", *words)
    assert (looked.code, looked.err) == (
        2,
        run("export", "--all", "--layout", "chat", "-o", "-", *words).err,
    )
    assert looked.err.endswith(f"  leave {words[0]} out\n")


@pytest.mark.parametrize(
    "name",
    ["out.jsonl", "out.jsonl.manifest.json", "out.parquet.rows.jsonl.gz", "d/part-00001.jsonl"],
)
def test_a_file_of_another_program(run: Run, tmp_path: Path, name: str) -> None:
    """A file that the export would refuse is refused, and stays."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    wanted = {"out.jsonl.manifest.json": "out.jsonl", "out.parquet.rows.jsonl.gz": "out.parquet"}
    destination = path.parent if path.parent != tmp_path else tmp_path / wanted.get(name, name)
    looked = run("export", "--all", "-o", destination, "--dry-run")
    exported = run("export", "--all", "-o", destination)
    assert (looked.code, looked.out, looked.err) == (65, b"", exported.err)
    assert path.read_text() == "precious"


def test_a_ledger_that_has_just_begun(run: Run, tmp_path: Path) -> None:
    """A ledger without a table, as a kill may leave it, has no completion."""
    (tmp_path / "out.jsonl.ledger").touch()
    assert said(run("export", "--all", "-o", tmp_path / "out.jsonl", "--dry-run"))[0].startswith(
        "would export 9 completions"
    )


def test_a_ledger_of_another_program(run: Run, tmp_path: Path) -> None:
    """A ledger that is none is refused, as by the export."""
    (tmp_path / "out.jsonl.ledger").write_text("precious " * 1000)
    assert run("export", "--all", "-o", tmp_path / "out.jsonl", "--dry-run").code == 65


def test_a_wrong_destination(run: Run, messages_server: MessagesServer, tmp_path: Path) -> None:
    """A destination that the export would refuse is refused."""
    assert run("export", "--all", "--dry-run", "-o", tmp_path / "x.csv").code == 2
    assert messages_server.requests == []
