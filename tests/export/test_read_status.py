"""The status of an export, read while its ledger is open or closed."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from conftest_export import IDS, RECORDS

from aiomessages.export import CorruptError, Progress, export, read_status
from aiomessages.export.ledger import Ledger
from aiomessages.export.ledger_schema import Entry, Part
from aiomessages.export.status import Count

if TYPE_CHECKING:
    from pathlib import Path

    from aiomessages import AsyncMessagesClient

SETTINGS = {"layout": "messages", "include_reply": True, "media": None, "base_url": "here"}


async def test_of_a_finished_export(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """The status has the numbers of the report."""
    report = await export(client, [*IDS, "gone"], tmp_path / "out.jsonl", on_error="continue")
    status = read_status(tmp_path / "out.jsonl")
    assert status is not None
    assert (status.finished, status.rows, status.gone) == (True, report.rows, report.gone)
    assert (status.failed, status.failed_ids) == ({}, [])
    assert status.finished_at is not None
    messages = sum(len(item["messages"]) for item in RECORDS)
    assert status.completions == {"done": Count(len(IDS), messages), "gone": Count(1, 0)}
    assert status.bytes == (tmp_path / "out.jsonl").stat().st_size
    assert status.base_url == client.base_url


def test_while_it_is_written(tmp_path: Path) -> None:
    """With the ledger open and a transaction under way, the status has the committed state."""
    with Ledger(tmp_path / "out.jsonl.ledger") as ledger:
        ledger.agree(SETTINGS, None)
        ledger.commit([Part(1, committed=10, rows=2)], [Entry("a", "done", 2)])
        ledger._db.execute("BEGIN IMMEDIATE")  # noqa: SLF001 - as in the middle of a commit
        ledger._db.execute("DELETE FROM completions")  # noqa: SLF001 - as above
        status = read_status(tmp_path / "out.jsonl")
    assert status is not None
    assert (status.finished, status.completions) == (False, {"done": Count(1, 2)})
    assert (status.rows, status.bytes, status.files) == (2, 10, 1)


async def test_from_within(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """An export that runs can be asked for its status, and is not disturbed."""
    seen = []

    def look(_: Progress) -> None:
        seen.append(read_status(tmp_path / "out.jsonl"))

    report = await export(client, IDS, tmp_path / "out.jsonl", on_progress=look)
    assert report.finished
    assert seen[-1] is not None


def test_an_export_that_begins_meanwhile(tmp_path: Path) -> None:
    """Reading a ledger repeatedly while exports begin and end never reports it as corrupt."""
    path, is_over = tmp_path / "out.jsonl.ledger", threading.Event()

    def write() -> None:
        for number in range(60):
            with Ledger(path) as ledger:
                ledger.agree(SETTINGS, None)
                ledger.commit([Part(1, rows=number)], [Entry(f"{number}", "done")])
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not is_over.is_set():
        status = read_status(tmp_path / "out.jsonl")
        seen.append(status.rows if status else -1)
    writer.join()
    assert seen == sorted(seen)


def test_no_ledger(tmp_path: Path) -> None:
    """Without a ledger there is no status, and no ledger is created."""
    assert read_status(tmp_path / "out.jsonl") is None
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_ledger(tmp_path: Path) -> None:
    """A file that is no ledger is reported as corrupt."""
    (tmp_path / "out.jsonl.ledger").write_bytes(b"not a database, but long enough " * 40)
    with pytest.raises(CorruptError, match="not a ledger"):
        read_status(tmp_path / "out.jsonl")


def test_a_ledger_that_was_just_made(tmp_path: Path) -> None:
    """A ledger that was killed before it had settings is that of no export."""
    (tmp_path / "out.jsonl.ledger").touch()
    assert read_status(tmp_path / "out.jsonl") is None
    with Ledger(tmp_path / "out.jsonl.ledger"):
        pass
    assert read_status(tmp_path / "out.jsonl") is None


def test_a_ledger_of_the_version_before(tmp_path: Path) -> None:
    """A ledger of the earlier version has no end time, so the status has none."""
    with Ledger(tmp_path / "out.jsonl.ledger") as ledger:
        ledger.agree(
            {"layout": "messages", "include_reply": True, "media": None, "base_url": "u"}, None
        )
    with contextlib.closing(sqlite3.connect(tmp_path / "out.jsonl.ledger")) as db, db:
        db.execute("INSERT INTO settings VALUES ('finished', 'true')")
    status = read_status(tmp_path / "out.jsonl")
    assert status is not None
    assert (status.finished, status.finished_at) == (True, None)


def test_a_ledger_of_another_kind(tmp_path: Path) -> None:
    """A ledger without the needed tables is reported as corrupt."""
    with Ledger(tmp_path / "out.jsonl.ledger") as ledger:
        ledger.agree({"layout": "messages"}, None)
    with pytest.raises(CorruptError, match="include_reply"):
        read_status(tmp_path / "out.jsonl")
