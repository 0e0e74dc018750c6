"""Destinations of an earlier version: continued as they were, or refused with what to do."""

from __future__ import annotations

import contextlib
import gzip
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest
from conftest_export import IDS, RECORDS, Json, lines

from aiomessages.export import ChangedError, export, read_status
from aiomessages.export.layouts import version_of

if TYPE_CHECKING:
    from pathlib import Path

    from aiomessages import AsyncMessagesClient

# What the version before `created` and `model` wrote for the first of the records: a ledger, and
# the lines in each layout.
LEDGER = """
PRAGMA journal_mode = WAL;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE completions (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    messages INTEGER NOT NULL,
    reason TEXT
) WITHOUT ROWID;
CREATE TABLE parts (
    number INTEGER PRIMARY KEY,
    committed INTEGER NOT NULL,   -- bytes
    crc32 INTEGER NOT NULL,       -- of these bytes, running
    rows INTEGER NOT NULL,
    closed INTEGER NOT NULL
);
CREATE TABLE made (
    kind TEXT NOT NULL,           -- manifest or columns
    sha256 TEXT NOT NULL,         -- of a file that may be there; empty while one is being made
    bytes INTEGER NOT NULL,
    PRIMARY KEY (kind, sha256)
) WITHOUT ROWID;
INSERT INTO completions VALUES ('chatcmpl-000', 'done', 1, NULL);
INSERT INTO settings VALUES ('base_url', '"the server"');
INSERT INTO settings VALUES ('finished', '1795919208.5391583');
INSERT INTO settings VALUES ('include_reply', 'true');
INSERT INTO settings VALUES ('layout', '"LAYOUT"');
INSERT INTO settings VALUES ('media', 'null');
INSERT INTO settings VALUES ('version', '2');
"""
MESSAGES = """\
{"completion_id":"chatcmpl-000","seq":0,"message":{"id":"chatcmpl-000-0","role":"user",\
"content":"message 0 of 0 é","name":null}}
{"completion_id":"chatcmpl-000","seq":1,"choice":0,"message":{"role":"assistant",\
"content":"reply 0 ü"}}
"""
CONVERSATIONS = """\
{"completion_id":"chatcmpl-000","model":"gpt-x","created":1700000000,"metadata":{"n":"0"},\
"messages":[{"id":"chatcmpl-000-0","role":"user","content":"message 0 of 0 é","name":null}],\
"reply":{"role":"assistant","content":"reply 0 ü"},"completion":{"id":"chatcmpl-000",\
"object":"chat.completion","created":1700000000,"model":"gpt-x","metadata":{"n":"0"},\
"choices":[{"index":0,"message":{"role":"assistant","content":"reply 0 ü"},\
"finish_reason":"stop"}]}}
"""
FINETUNE = """\
{"messages":[{"role":"user","content":"message 0 of 0 é"},\
{"role":"assistant","content":"reply 0 ü"}]}
"""
# By layout, the lines, and their number, length and CRC-32 in the ledger.
WRITTEN = {
    "messages": (MESSAGES, (2, 237, 4206198374)),
    "conversations": (CONVERSATIONS, (1, 457, 634640232)),
    "finetune": (FINETUNE, (1, 105, 713054313)),
}


def earlier(destination: Path, layout: str) -> bytes:
    """Put the files of the earlier version in place, and return the lines."""
    text, (rows, size, crc32) = WRITTEN[layout]
    destination.write_bytes(text.encode())
    put_ledger(destination, layout, (rows, size, crc32))
    return text.encode()


def put_ledger(destination: Path, layout: str, part: tuple[int, int, int] | None) -> None:
    """Put a ledger of the earlier version in place."""
    path = destination.with_name(f"{destination.name}.ledger")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(LEDGER.replace("LAYOUT", layout))
        if part is None:
            db.execute("DELETE FROM completions")
        else:
            rows, size, crc32 = part
            db.execute("INSERT INTO parts VALUES (1, ?, ?, ?, 1)", (size, crc32, rows))
        db.commit()


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the content of each file that counts; a lock is empty."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith((".lock", "-shm", "-wal"))
    }


async def begun(client: AsyncMessagesClient, destination: Path, layout: str) -> Json:
    """Continue the export."""
    return await export(client, IDS[:3], destination, layout=layout, origin="the server")


@pytest.mark.parametrize("layout", ["conversations", "finetune"])
async def test_lines_that_have_not_changed_are_continued(
    client: AsyncMessagesClient, tmp_path: Path, layout: str
) -> None:
    """An earlier file of a layout with the same lines gets the new completions, once each."""
    destination = tmp_path / "out.jsonl"
    old = earlier(destination, layout)
    report = await begun(client, destination, layout)
    new = destination.read_bytes()
    assert (report.finished, report.progress.already, report.rows) == (True, 1, 3)
    assert new.startswith(old)
    fresh = tmp_path / "fresh.jsonl"
    await begun(client, fresh, layout)
    assert sorted(new.splitlines()) == sorted(fresh.read_bytes().splitlines())


async def test_lines_that_have_changed_are_refused(
    client: AsyncMessagesClient, tmp_path: Path
) -> None:
    """An earlier file of `messages` is left as it is, and the error says what to do."""
    destination = tmp_path / "out.jsonl"
    earlier(destination, "messages")
    before = files_in(tmp_path)
    with pytest.raises(ChangedError) as raised:
        await begun(client, destination, "messages")
    assert str(raised.value) == (
        "another version of this program began this destination, and wrote the layout 'messages'"
        " in another form; a file has one form: give this export another destination, and keep that"
        " one with its ledger, or delete both"
    )
    assert raised.value.exit_code == 2
    assert files_in(tmp_path) == before
    status = read_status(destination)
    assert status is not None
    assert (status.layout, status.rows, status.finished) == ("messages", 2, True)


@pytest.mark.parametrize("layout", ["messages", "conversations"])
@pytest.mark.parametrize("ending", [".parquet", ".duckdb"])
async def test_columns_that_have_changed_are_refused(
    client: AsyncMessagesClient, tmp_path: Path, layout: str, ending: str
) -> None:
    """An earlier table keeps its columns: its lines are never made into others."""
    destination = tmp_path / f"out{ending}"
    destination.write_bytes(b"a table")
    (tmp_path / f"out{ending}.rows.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    put_ledger(destination, layout, (1, 23, 0))
    before = files_in(tmp_path)
    with pytest.raises(ChangedError, match=f"the layout '{layout}' in another form"):
        await begun(client, destination, layout)
    assert files_in(tmp_path) == before


async def test_an_earlier_ledger_without_a_line(
    client: AsyncMessagesClient, tmp_path: Path
) -> None:
    """A destination that holds nothing yet gets the layout of this version."""
    destination = tmp_path / "out.jsonl"
    put_ledger(destination, "messages", None)
    report = await begun(client, destination, "messages")
    assert (report.finished, report.progress.completions) == (True, 3)
    assert {line["created"] for line in lines(destination)} == {
        item["completion"]["created"] for item in RECORDS[:3]
    }


async def test_another_layout_is_what_differs(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """If the layout itself is another one, the error names that and not its version."""
    destination = tmp_path / "out.jsonl"
    earlier(destination, "finetune")
    with pytest.raises(ChangedError, match='layout was "finetune" and is now "messages": give'):
        await begun(client, destination, "messages")


async def test_the_ledger_records_the_version(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A ledger records the version of its layout, so that a later version can tell."""
    destination = tmp_path / "out.jsonl"
    await begun(client, destination, "messages")
    with contextlib.closing(sqlite3.connect(tmp_path / "out.jsonl.ledger")) as db:
        (row,) = db.execute("SELECT value FROM settings WHERE name = 'layout_version'")
    assert json.loads(row[0]) == 2
    report = await begun(client, destination, "messages")
    assert (report.progress.already, report.finished) == (3, True)


def test_versions() -> None:
    """Only the lines of `messages` and the columns of both layouts have changed."""
    first = {
        (layout, columns)
        for layout in ("messages", "conversations", "finetune", "chat")
        for columns in (False, True)
        if version_of(layout, columns=columns) == 1
    }
    assert first == {
        ("conversations", False),
        *((layout, columns) for layout in ("finetune", "chat") for columns in (False, True)),
    }
