"""The status of an export, read from its ledger without writing, also while an export runs."""

import sqlite3
from pathlib import Path

import msgspec

from .errors import CorruptError
from .ledger_schema import count_states, describe_missing, read_settings
from .locks import is_locked
from .names import Names
from .sqlite_files import read_snapshot


class Count(msgspec.Struct, frozen=True):
    """A number of completions, and the number of messages in them."""

    completions: int
    """Number of completions."""
    messages: int
    """Number of messages in them."""


class ExportStatus(msgspec.Struct, frozen=True):
    """The progress of an export, as its ledger records it; the ids are those of ExportReport."""

    destination: str
    """The file or directory."""
    finished: bool
    """True if a run has finished the export."""
    layout: str
    """`messages`, `conversations`, `finetune` or `chat`."""
    include_reply: bool
    """True if the replies are exported."""
    media: str | None
    """The directory for images, sounds and files; None without one."""
    base_url: str
    """The server that it exports from."""
    completions: dict[str, Count]
    """A Count for each state: `done`, `skipped`, `gone`, `pending`, `lost` and `failed`."""
    rows: int
    """Rows that are committed."""
    bytes: int
    """Bytes that are committed."""
    files: int
    """Number of files."""
    skipped: dict[str, int]
    """Completions that the layout cannot express, counted by reason."""
    failed: dict[str, int]
    """Completions that could not be read, counted by reason."""
    gone: list[str] = []
    """Ids that the server no longer has."""
    pending: list[str] = []
    """Ids that are not visible yet."""
    lost: list[str] = []
    """Ids that changed while they were read."""
    failed_ids: list[str] = []
    """Ids that could not be read."""
    finished_at: float | None = None
    """When the output got its final name, in Unix seconds."""
    running: bool = False
    """True while a process holds the export's lock."""
    resumed: bool = False
    """True if it began in an earlier run."""
    percent: float | None = None
    """Part of the given ids that has a result, up to 100; None for a list of unknown length."""


def read_status(destination: str | Path) -> ExportStatus | None:
    """Return the status of an export, or None without one; raise CorruptError for another file."""
    target = Path(destination)
    path = Names.of(destination).ledger
    if not path.is_file():
        return None
    try:
        return read_snapshot(path, lambda db: _read(db, target))
    except (sqlite3.DatabaseError, KeyError, ValueError) as error:
        raise CorruptError(f"{path} is not a ledger: {error}") from None


def _read(db: sqlite3.Connection, target: Path) -> ExportStatus | None:
    if not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
        return None  # a process has just created it, or was killed then
    settings = read_settings(db)
    if not settings:
        return None
    files, size, rows = db.execute(
        "SELECT count(*), coalesce(sum(committed), 0), coalesce(sum(rows), 0)"
        " FROM parts WHERE number > 0"
    ).fetchone()
    finished = settings.get("finished")
    run = settings.get("run", {"number": 1, "total": None})  # ledgers of earlier versions have none
    states = count_states(db)
    return ExportStatus(
        destination=str(target),
        finished=finished is not None,
        layout=settings["layout"],
        include_reply=settings["include_reply"],
        media=settings["media"],
        base_url=settings["base_url"],
        completions={state: Count(*counts) for state, counts in states.items()},
        rows=rows,
        bytes=size,
        files=files,
        # A ledger of version 1 has `true` in place of the time.
        finished_at=finished if isinstance(finished, float) else None,
        running=is_locked(Names.of(target).lock),
        resumed=run["number"] > 1,
        percent=_percent(
            run["total"], sum(count for count, _ in states.values()), finished=finished is not None
        ),
        **describe_missing(db),
    )


def _percent(total: int | None, done: int, *, finished: bool) -> float | None:
    if not total:
        return None
    return 100.0 if finished else min(100.0 * done / total, 100.0)  # an id may be given twice
