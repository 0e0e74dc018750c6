"""`aiomessages show`: one conversation whole, from the API or from an archive."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import NASTY, RECORDS, SHORT, Ran

from aiomessages.cli.safe_text import UNSAFE
from aiomessages.server import import_records

Run = Callable[..., Ran]


@pytest.mark.usefixtures("messages_environment")
@pytest.mark.parametrize("shape", ["auto", "json", "jsonl", "raw"])
def test_a_record(run: Run, shape: str) -> None:
    """For a program it is the completion with its messages, as they were sent."""
    ran = run("show", "chatcmpl-short", "--format", shape)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == RECORDS[0]
    assert (ran.out.count(b"\n") == 1) == (shape != "json")


@pytest.mark.usefixtures("messages_environment")
def test_for_a_person(run: Run) -> None:
    """A person sees model, time, messages and the reply, and nothing that acts on a terminal."""
    ran = run("show", "chatcmpl-short", "--format", "pretty", "--utc")
    text = ran.out.decode()
    assert text.startswith("chatcmpl-short ─")
    assert "2025-11-01 00:00:00 UTC  gpt-4o\n" in text
    assert "tokens" not in text
    order = [
        "Be brief.",
        "red \\x1b[31m",
        "→ find",
        "assistant · reply, finish_reason stop",
        "Bye.",
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert NASTY not in text
    assert not UNSAFE.search(text)


def test_from_an_archive(run: Run, tmp_path: Path) -> None:
    """An archive shows what the API has forgotten, with the tokens and every choice."""
    completion = RECORDS[0]["completion"] | {
        "usage": {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234},
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "One."}},
            {"index": 1, "message": {"content": "Two."}, "finish_reason": "length"},
        ],
    }
    path = tmp_path / "archive.db"
    import_records(str(path), [{"completion": completion, "messages": SHORT}])
    out = run("show", "chatcmpl-short", "--local", path, "--format", "pretty").out.decode()
    assert "tokens: prompt 1,200, reply 34, total 1,234\n" in out
    assert "assistant · reply ─" in out
    assert "assistant · reply, finish_reason length ─" in out


def test_a_file(run: Run, tmp_path: Path) -> None:
    """With -o it is a file, which `serve --import` reads."""
    out = tmp_path / "one.jsonl"
    assert run("show", "chatcmpl-umbrella", "--local", "-o", out) == (0, b"", "")
    assert import_records(str(tmp_path / "again.db"), out) == 1


@pytest.mark.usefixtures("messages_environment")
@pytest.mark.parametrize("shape", ["pretty", "json"])
def test_an_unknown_id(run: Run, shape: str) -> None:
    """An id that the server does not have is exit code 3, and nothing is shown."""
    ran = run("show", "chatcmpl-none", "--format", shape)
    assert (ran.code, ran.out) == (3, b"")
    assert "chatcmpl-none" in ran.err


def test_an_unknown_id_in_an_archive(run: Run, tmp_path: Path) -> None:
    """An archive without the completion says so: waiting for it to appear would not help."""
    archive = tmp_path / "archive.db"
    import_records(str(archive), RECORDS)
    for command in ("show", "list"):
        ran = run(command, "chatcmpl-nobody", "--local", archive)
        said = (
            f"{archive} has no completion chatcmpl-nobody\n"
            f"  `aiomessages completions --local {archive}` lists the ids"
        )
        assert ran == (3, b"", f"aiomessages: {said}\n")
    assert "the sample has no completion x\n" in run("list", "x", "--local").err
