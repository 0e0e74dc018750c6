"""`aiomessages search`: what it finds in an archive, in which form and with which exit code."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest_cli import RECORDS, SHORT, Ran, is_brief

from aiomessages.cli.safe_text import UNSAFE
from aiomessages.server import import_records

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive of RECORDS."""
    path = tmp_path_factory.mktemp("archive") / "archive.db"
    import_records(str(path), RECORDS)
    return path


def hits(ran: Ran) -> list[dict[str, Any]]:
    """Return the hits of the JSON lines, of a run that went well."""
    assert (ran.code, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


def test_in_a_pipe(run: Run, archive: Path) -> None:
    """In a pipe a hit is a line of JSON with its place, its snippet and the whole message."""
    (hit,) = hits(run("search", archive, "brief"))
    assert hit == {
        "completion_id": "chatcmpl-short",
        "n": 0,
        "choice": None,
        "role": "system",
        "created": 1_761_955_200,
        "model": "gpt-4o",
        "snippet": {"text": "Be brief.", "marks": [[3, 8]], "before": False, "after": False},
        "message": SHORT[0],
    }


def test_a_reply(run: Run, archive: Path) -> None:
    """The model's replies are found as well, with the number of their choice."""
    found = hits(run("search", archive, "bye"))
    assert [(hit["choice"], hit["role"]) for hit in found] == [(0, "assistant")] * 3


def test_json(run: Run, archive: Path) -> None:
    """Json is one array."""
    ran = run("search", archive, "be", "brief", "--format", "json")
    assert [hit["n"] for hit in json.loads(ran.out)] == [0]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["word", "--limit", "7"], 7),
        (["word"], 250),
        (["word", "--best", "--limit", "3"], 3),
        (["word", "12"], 1),
        (["word AND (12 OR 13)"], 2),
        (["bye", "--role", "assistant"], 3),
        (["word", "--since", "2025-10-01", "--until", "2026-01-01", "--limit", "1"], 1),
        (["word", "--model", "gpt-4o", "--limit", "1"], 1),
    ],
)
def test_what_is_searched_for(run: Run, archive: Path, words: list[str], count: int) -> None:
    """Words may be quoted for the shell or not, and each option narrows."""
    assert len(hits(run("search", archive, *words))) == count


@pytest.mark.parametrize("shape", ["auto", "pretty", "table"])
@pytest.mark.parametrize(("words", "which"), [([], "newest"), (["--best"], "best")])
def test_the_limit_at_a_terminal(
    run: Run,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: str,
    words: list[str],
    which: str,
) -> None:
    """A person sees twenty messages, and a line that says how to see more."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    ran = run("search", archive, "word", "--format", shape, *words)
    assert (ran.code, ran.out.count(b"chatcmpl-long")) == (0, 20)
    said = f"these are the {which} 20; there are more: --limit N shows up to N"
    assert ran.err == f"aiomessages: {said}\n"


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["word", "--limit", "30"], 30),
        (["word", "--limit", "5"], 5),
        (["word", "--format", "jsonl"], 250),
        (["word", "--format", "json"], 250),
    ],
)
def test_no_limit_at_a_terminal(
    run: Run, archive: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], count: int
) -> None:
    """A limit that is given is the limit, and a format for programs has none."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    ran = run("search", archive, *words)
    assert (ran.code, ran.out.count(b'"completion_id"') or ran.out.count(b"chatcmpl-long")) == (
        0,
        count,
    )
    assert ran.err == ""


def test_few_at_a_terminal(run: Run, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a search finds no more than the limit of a terminal, nothing is said of more."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    numbers = " OR ".join(map(str, range(20)))
    ran = run("search", archive, numbers)
    assert (ran.code, ran.out.count(b"chatcmpl-long"), ran.err) == (0, 20, "")


@pytest.mark.parametrize(
    "words",
    [
        ["unheard-of"],
        ["word", "--since", "2025-12-01"],
        ["word", "--role", "tool"],
        ["word", "--metadata", "team=red"],
    ],
)
def test_nothing_found(run: Run, archive: Path, words: list[str]) -> None:
    """Where nothing is found, one line says so, and the exit code is that of grep."""
    ran = run("search", archive, *words)
    assert ran == (1, b"", f"aiomessages: nothing found in {archive}\n")
    assert run("search", archive, *words, "-q") == (1, b"", "")


def test_table(run: Run, archive: Path) -> None:
    """A table has a row for each hit, within the screen."""
    first, *rows = run(
        "search", archive, "word", "--limit", 2, "--format", "table"
    ).out.splitlines()
    assert first.split() == [b"created", b"(local)", b"id", b"message", b"text"]
    assert [b"chatcmpl-long" in row for row in rows] == [True, True]
    assert all(len(row.decode()) <= 80 for row in rows)


@pytest.mark.usefixtures("zone")
def test_dates_in_utc(run: Run, archive: Path) -> None:
    """With --utc a date is one of UTC, and else one of this machine's zone."""
    words = ["search", archive, "brief", "--until", "2025-11-01T01:00"]
    assert run(*words).code == 1
    assert len(hits(run(*words, "--utc"))) == 1


@pytest.mark.parametrize("shape", ["pretty", "table"])
def test_utc(run: Run, archive: Path, monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    """Times are local, and with --utc in UTC, which is said."""
    with monkeypatch.context() as east:
        east.setenv("TZ", "XXX-2")
        time.tzset()
        local = run("search", archive, "brief", "--format", shape).out.decode()
        utc = run("search", archive, "brief", "--format", shape, "--utc").out.decode()
    time.tzset()
    assert "2025-11-01 02:00" in local
    assert "2025-11-01 00:00" in utc
    assert "UTC" in utc


@pytest.mark.parametrize("shape", ["pretty", "table"])
def test_hostile_text(run: Run, archive: Path, shape: str) -> None:
    """What a message says acts on no terminal."""
    ran = run("search", archive, "31m", "--format", shape)
    assert ran.code == 0
    assert rb"\x1b[31m" in ran.out
    assert not UNSAFE.search(ran.out.decode())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (['"be brief'], 'a " without its other\n  write both, as in "a phrase"'),
        (["NOT", "brief"], "write what to search for, and what it must not have behind NOT"),
        (["!"], "write a word with letters or digits"),
        ([], "WORDS are missing\n  write: aiomessages search archive.db umbrella"),
    ],
)
def test_what_is_no_query(run: Run, archive: Path, words: list[str], said: str) -> None:
    """What cannot be a query is exit code 2, with what to write."""
    ran = run("search", archive, *words)
    assert (ran.code, ran.out) == (2, b"")
    assert said in ran.err


def test_the_archive_behind_the_words(run: Run, archive: Path, tmp_path: Path) -> None:
    """An archive that comes last, and one that was not named, are said to be so."""
    ran = run("search", tmp_path / "umbrella", archive)
    said = f"{tmp_path / 'umbrella'}: there is no such archive\n  name {archive} first"
    assert ran == (2, b"", f"aiomessages: {said}\n")
    ran = run("search", tmp_path / "umbrella")
    said = "ARCHIVE or WORDS is missing\n  write: aiomessages search archive.db umbrella"
    assert ran == (2, b"", f"aiomessages: {said}\n")


def test_what_is_no_archive(run: Run, tmp_path: Path) -> None:
    """A missing file, a directory and a file of another kind are one sentence each."""
    (tmp_path / "x.jsonl").write_text('{"completion": {}}\n' * 100, "utf-8")
    for name, said in (("none.db", "no such archive"), (".", "a directory"), ("x.jsonl", "import")):
        ran = run("search", tmp_path / name, "word")
        assert ran.code in (1, 2)
        assert said in ran.err
        assert is_brief(ran.err)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE precious (x)")
    assert "another program" in run("search", tmp_path / "other.db", "word").err
