"""What a ledger knows, told without touching it: also while another process writes."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from .errors import CorruptError
from .names import Names
from .report import NAMED
from .sqlite_files import look


class Count(msgspec.Struct, frozen=True):
    """A number of completions, and of the messages in them."""

    completions: int
    messages: int


class ExportStatus(msgspec.Struct, frozen=True):
    """How far an export is, as its ledger knows it.

    `completions` is by state: `done`, `skipped`, `gone`, `pending`, `lost` and `failed`, as in
    ExportReport, which names the same ids. `rows` and `bytes` are what is committed, in `files`
    files; `finished_at` is when the output got its final name, in Unix seconds.
    """

    destination: str
    finished: bool
    layout: str
    include_reply: bool
    media: str | None
    base_url: str
    completions: dict[str, Count]
    rows: int
    bytes: int
    files: int
    skipped: dict[str, int]
    failed: dict[str, int]
    gone: list[str] = []
    pending: list[str] = []
    lost: list[str] = []
    failed_ids: list[str] = []
    finished_at: float | None = None


def read_status(destination: str | Path) -> ExportStatus | None:
    """Return how far an export is; None where none was begun. Raises CorruptError."""
    target = Path(destination)
    path = Names.of(destination).ledger
    if not path.is_file():
        return None
    try:
        return look(path, lambda db: _read(db, target))
    except (sqlite3.DatabaseError, KeyError, ValueError) as error:
        raise CorruptError(f"{path} is not a ledger: {error}") from None


def _read(db: sqlite3.Connection, target: Path) -> ExportStatus | None:
    if not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
        return None  # made a moment ago, or killed then
    settings: dict[str, Any] = {
        name: json.loads(value) for name, value in db.execute("SELECT name, value FROM settings")
    }
    if not settings:
        return None
    states = db.execute("SELECT state, count(*), sum(messages) FROM completions GROUP BY state")
    files, size, rows = db.execute(
        "SELECT count(*), coalesce(sum(committed), 0), coalesce(sum(rows), 0)"
        " FROM parts WHERE number > 0"
    ).fetchone()
    return ExportStatus(
        destination=str(target),
        finished="finished" in settings,
        layout=settings["layout"],
        include_reply=settings["include_reply"],
        media=settings["media"],
        base_url=settings["base_url"],
        completions={state: Count(number, messages) for state, number, messages in states},
        rows=rows,
        bytes=size,
        files=files,
        skipped=_reasons(db, "skipped"),
        failed=_reasons(db, "failed"),
        finished_at=_time(settings.get("finished")),
        **{name: _ids(db, state) for name, state in NAMED.items()},
    )


def _time(value: object) -> float | None:
    """Return a time; ledgers of version 1 have none."""
    return value if isinstance(value, float) else None


def _reasons(db: sqlite3.Connection, state: str) -> dict[str, int]:
    query = "SELECT reason, count(*) FROM completions WHERE state = ? GROUP BY reason"
    return dict(db.execute(query, (state,)))


def _ids(db: sqlite3.Connection, state: str) -> list[str]:
    query = "SELECT id FROM completions WHERE state = ? ORDER BY id"
    return [completion_id for (completion_id,) in db.execute(query, (state,))]
