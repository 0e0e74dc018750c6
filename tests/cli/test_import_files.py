"""`aiomessages import`: conversations of files become an archive, which every command reads."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from backports import zstd
from conftest_cli import RECORDS, SHORT, is_brief

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest_cli import Ran

    Run = Callable[..., Ran]

LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Write RECORDS to a file."""
    file = tmp_path / "records.jsonl"
    file.write_bytes(LINES)
    return file


@pytest.fixture
def archive(run: Run, records: Path, tmp_path: Path) -> Path:
    """Import RECORDS into an archive."""
    path = tmp_path / "archive.db"
    assert run("import", records, path).code == 0
    return path


def sentence(ran: Ran, code: int) -> str:
    """Return the one line of an error, without the name of the program."""
    assert (ran.code, ran.out) == (code, b"")
    assert is_brief(ran.err)
    assert "unexpected" not in ran.err
    return ran.err.removeprefix("aiomessages: ").rstrip()


# --- the command ----------------------------------------------------------------------------------


def test_an_import_and_the_same_again(run: Run, records: Path, tmp_path: Path) -> None:
    """The counts are told, and data goes nowhere."""
    archive = tmp_path / "a.db"
    for counts in ("3 new", "3 already there"):
        code, out, err = run("import", records, archive)
        assert (code, out) == (0, b"")
        assert err == f"aiomessages: {records}: 3 conversations: {counts}\n"
    assert run("import", records, archive, "--quiet") == (0, b"", "")


def test_several_files(run: Run, records: Path, tmp_path: Path) -> None:
    """The last name is the archive; each file has its line."""
    for ending, pack in ((".jsonl.gz", gzip.compress), (".jsonl.zst", zstd.compress)):
        (tmp_path / f"a{ending}").write_bytes(pack(LINES.replace(b"chatcmpl-", ending.encode())))
    (tmp_path / "empty.jsonl").touch()
    names = [records, *sorted(tmp_path.glob("a.*")), tmp_path / "empty.jsonl"]
    code, _, err = run("import", *names, tmp_path / "archive.db")
    assert code == 0
    told = [line.partition("jsonl")[2] for line in err.splitlines()]
    assert told == [
        ": 3 conversations: 3 new",
        ".gz: 3 conversations: 3 new",
        ".zst: 3 conversations: 3 new",
        ": 0 conversations",
    ]


def test_a_folder_of_many_machines(run: Run, tmp_path: Path) -> None:
    """All files of a finished folder are imported, and it has one line."""
    folder, files = tmp_path / "run", []
    (folder / "data").mkdir(parents=True)
    for number, record in enumerate(RECORDS):
        data = gzip.compress(json.dumps(record).encode() + b"\n")
        name = f"data/{number}.jsonl.gz"
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        files.append({"name": name, "bytes": len(data), "sha256": digest})
    manifest = {"layout": "conversations", "format": "jsonl.gz", "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = run("import", folder, tmp_path / "archive.db")
    assert (code, err) == (0, f"aiomessages: {folder}: 3 conversations: 3 new\n")


def test_what_differs_is_named(run: Run, archive: Path, tmp_path: Path) -> None:
    """The archive keeps its form, the lines are told, and --replace takes the file's."""
    changed = [r | {"completion": r["completion"] | {"model": "other"}} for r in RECORDS]
    lines = [json.dumps(record) + "\n" for record in changed]
    file = tmp_path / "changed.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    code, _, err = run("import", file, archive)
    assert code == 0
    assert err.splitlines() == [
        f"aiomessages: {file}: 3 conversations: 3 kept as the archive has them",
        f"aiomessages: {file}: line 1: chatcmpl-short differs; --replace takes it",
        f"aiomessages: {file}: line 3: chatcmpl-empty differs; --replace takes it",
        f"aiomessages: {file}: line 5: chatcmpl-long differs; --replace takes it",
    ]
    assert run("import", file, archive, "--replace").err.endswith("3 conversations: 3 replaced\n")


def test_not_every_difference_is_named(run: Run, tmp_path: Path) -> None:
    """Ten are enough to see what is the matter."""
    for model in "ab":
        records = [
            json.dumps({"completion": {"id": str(n), "model": model}, "messages": []})
            for n in range(1015)
        ]
        (tmp_path / "a.jsonl").write_text("\n".join(records), "utf-8")
        code, _, err = run("import", tmp_path / "a.jsonl", tmp_path / "a.db")
    assert code == 0
    assert "1,015 conversations: 1,015 kept" in err
    assert err.count("differs; --replace") == 10
    assert err.endswith(": 1,005 more differ\n")


MISSING = "no such file\n  name files of JSON Lines, and then the archive"
HINT = "if it holds conversations: aiomessages import records.jsonl ARCHIVE"


UNFINISHED = (
    "no finished export of aiomessages.ray: it has no manifest.json\n"
    "  run the export to its end, or name files"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "FILE or ARCHIVE is missing\n  name files, and then the archive"),
        (["records.jsonl"], "FILE or ARCHIVE is missing\n  name files, and then the archive"),
        (["nowhere.jsonl", "a.db"], f"nowhere.jsonl: {MISSING}"),
        (["records.jsonl", "nowhere.jsonl", "a.db"], f"nowhere.jsonl: {MISSING}"),
        ([".", "a.db"], f".: {UNFINISHED}"),
        (
            ["records.jsonl", "nowhere/a.db"],
            "nowhere/a.db: cannot create an archive there\n  create its directory first",
        ),
        (["records.jsonl", "."], ".: a directory\n  name a file in it"),
        (["records.jsonl", "records.jsonl"], f"records.jsonl: no SQLite database\n  {HINT}"),
    ],
)
def test_a_wrong_command_line(
    run: Run, records: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    """It is told in one sentence, and nothing is made."""
    monkeypatch.chdir(records.parent)
    assert sentence(run("import", *words), 2).partition(" (see")[0] == said
    assert [path.name for path in records.parent.iterdir()] == ["records.jsonl"]


def test_a_wrong_line_keeps_every_file_out(run: Run, records: Path, tmp_path: Path) -> None:
    """All files are read before the first is imported."""
    (tmp_path / "bad.jsonl").write_bytes(LINES + b"{}\n")
    said = sentence(run("import", records, tmp_path / "bad.jsonl", tmp_path / "a.db"), 65)
    assert said.startswith(f"{tmp_path}/bad.jsonl: line 4: neither a record of the local server")
    assert said.endswith("; nothing was imported\n  correct the line, and import the file again")
    assert not (tmp_path / "a.db").exists()


def test_the_archive_in_the_wrong_place(run: Run, records: Path, archive: Path) -> None:
    """Its place is the last."""
    said = sentence(run("import", archive, records), 65)
    reason = "line 1: a database, and no JSON Lines; nothing was imported"
    assert said == f"{archive}: {reason}\n  name the archive last"


# --- reading what was imported --------------------------------------------------------------------


def test_every_command_reads_an_archive(run: Run, archive: Path) -> None:
    """The messages and the completions are those that were imported."""
    listed = run("list", "chatcmpl-short", "--local", archive, "--format", "jsonl").out
    assert list(map(json.loads, listed.splitlines())) == SHORT
    found = run("completions", "--local", archive, "--format", "jsonl").out
    expected = [record["completion"] for record in RECORDS]
    assert sorted(map(json.loads, found.splitlines()), key=str) == sorted(expected, key=str)
    assert [path.name for path in archive.parent.glob("archive*")] == ["archive.db"]


def test_an_export_gives_what_was_imported(run: Run, archive: Path, tmp_path: Path) -> None:
    """Each layout has the messages of the import, and `conversations` goes back into an archive."""
    for layout in ("messages", "conversations", "finetune"):
        file = tmp_path / f"{layout}.jsonl"
        words = ["--layout", layout, "-o", file, "--quiet"]
        assert run("export", "--all", "--local", archive, *words).code == 0
    rows = read(tmp_path / "messages.jsonl")
    for record in RECORDS:
        id = record["completion"]["id"]
        found = [row["message"] for row in rows if row["completion_id"] == id]
        assert found == [*record["messages"], record["completion"]["choices"][0]["message"]]
    conversations = {row["completion_id"]: row for row in read(tmp_path / "conversations.jsonl")}
    for record in RECORDS:
        row = conversations[record["completion"]["id"]]
        assert (row["completion"], row["messages"]) == (record["completion"], record["messages"])
    assert all(row["messages"] for row in read(tmp_path / "finetune.jsonl"))
    again = run("import", tmp_path / "conversations.jsonl", archive)
    assert again.err.endswith("3 conversations: 3 already there\n")
    assert run("import", tmp_path / "conversations.jsonl", tmp_path / "b.db").code == 0
    assert contents(tmp_path / "b.db") == contents(archive)


def test_an_export_without_replies_goes_into_an_archive(
    run: Run, archive: Path, tmp_path: Path
) -> None:
    """It has the messages, and of the completions the ids."""
    file = tmp_path / "a.jsonl.gz"
    words = ["--layout", "conversations", "--no-include-reply", "-o", file, "--quiet"]
    assert run("export", "--all", "--local", archive, *words).code == 0
    assert run("import", file, tmp_path / "b.db").code == 0
    listed = run("list", "chatcmpl-short", "--local", tmp_path / "b.db", "--format", "jsonl").out
    assert list(map(json.loads, listed.splitlines())) == SHORT


def read(file: Path) -> list[Any]:
    """Return the rows of an export."""
    return list(map(json.loads, file.read_text("utf-8").splitlines()))


def contents(archive: Path) -> list[Any]:
    """Return the completions and messages of an archive, without their numbers."""
    db = sqlite3.connect(archive)
    found = db.execute(
        "SELECT c.id, c.body, c.state, m.n, m.choice, m.id, m.text, m.body FROM completions c"
        " LEFT JOIN messages m ON m.completion = c.number ORDER BY c.id, m.n"
    ).fetchall()
    db.close()
    return found


# --- archives that cannot be read -----------------------------------------------------------------


def local(archive: Path, tmp_path: Path) -> dict[str, list[object]]:
    """Return the command lines that read an archive through its server."""
    return {
        "list": ["list", "chatcmpl-short", "--local", archive],
        "completions": ["completions", "--local", archive],
        "export": ["export", "--all", "--local", archive, "-o", tmp_path / "x.jsonl"],
    }


@pytest.mark.parametrize("command", ["list", "completions", "export"])
def test_a_damaged_archive(run: Run, archive: Path, tmp_path: Path, command: str) -> None:
    """Each command ends with the same sentence and 65, at once."""
    damage(archive)
    said = sentence(run(*local(archive, tmp_path)[command]), 65)
    assert said.startswith(f"{archive}: the database is damaged (")


@pytest.mark.parametrize("command", ["list", "completions", "export"])
def test_the_database_of_another_program(run: Run, tmp_path: Path, command: str) -> None:
    """It is refused, and stays as it is."""
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (a)")
    db.close()
    before = path.read_bytes()
    said = sentence(run(*local(path, tmp_path)[command]), 2)
    assert said.startswith(f"{path}: this database was written by another program\n  name an ")
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["other.db"]


@pytest.mark.parametrize("command", ["list", "completions", "export"])
def test_an_export_in_the_place_of_an_archive(
    run: Run, records: Path, tmp_path: Path, command: str
) -> None:
    """The error says how to import it."""
    said = sentence(run(*local(records, tmp_path)[command]), 2)
    assert said.endswith(f"\n  if it holds conversations: aiomessages import {records} ARCHIVE")


def test_a_failure_of_the_server_alone(run: Run, archive: Path) -> None:
    """A completion that the archive does not have is not found, as before."""
    code, _, err = run("list", "chatcmpl-nobody", "--local", archive)
    assert code == 3
    assert "chatcmpl-nobody" in err


def test_a_pipe_is_never_opened(run: Run, tmp_path: Path) -> None:
    """To open it would wait for its writer."""
    os.mkfifo(tmp_path / "pipe.db")
    pipe = tmp_path / "pipe.db"
    said = sentence(run("serve", pipe), 2)
    assert said.startswith(f"{pipe}: a device or a pipe, and no file\n  name an archive")
    assert sentence(run("import", pipe, tmp_path / "a.db"), 2) == f"{pipe}: {MISSING}"
    said = sentence(run("list", "chatcmpl-a", "--local", pipe), 2)
    assert said.startswith(f"--local {pipe}: there is no such database\n  `aiomessages sync` makes")


def damage(archive: Path) -> None:
    """Overwrite the pages of an archive behind those of its schema."""
    data = bytearray(archive.read_bytes())
    db = sqlite3.connect(archive)
    tables = "SELECT rootpage FROM sqlite_master WHERE name IN ('completions', 'messages')"
    roots = [root for (root,) in db.execute(tables)]
    (size,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    for root in roots:
        data[(root - 1) * size : root * size] = b"\x55" * size
    archive.write_bytes(data)
