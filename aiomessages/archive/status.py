"""What an archive holds: numbers, the days that it covers, its last runs, and what waits."""

import os
import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from aiomessages.export.locks import is_locked

from .connection import snapshot
from .guard import lock_of

_RUNS: Final = 5  # the last ones


class Run(msgspec.Struct, frozen=True):
    """One run that wrote the archive. Times are in Unix seconds; `end` is None while it runs.

    `refused` is the number of 429 responses; a run that was killed has no `result`.
    """

    kind: str
    selection: str
    begin: float
    end: float | None
    result: str | None
    new: int
    changed: int
    gone: int
    failed: int
    requests: int
    refused: int


class Waiting(msgspec.Struct, frozen=True):
    """A completion that could not be read so far. Times are in Unix seconds.

    `state` is `pending` (not visible yet) or `failed`, and `error` why.
    """

    id: str
    state: str
    error: str | None
    since: float
    attempts: int
    next: float


class ArchiveStatus(msgspec.Struct, frozen=True):
    """What an archive holds. Times are in Unix seconds.

    `project` says where they come from: `base_url`, `organization` and `project`, as far as they
    are known. `completions` are their numbers by state; `messages` counts those that were sent to
    models, and `replies` the replies. `first_created` and `last_created` are those of the oldest
    and the newest completion. `runs` are the last ones, the newest first. `bytes` is the size on
    disk. `running` is true while a sync holds the archive's lock.
    """

    path: str
    project: dict[str, str]
    completions: dict[str, int]
    messages: int
    replies: int
    first_created: int | None
    last_created: int | None
    runs: list[Run]
    waiting: list[Waiting]
    bytes: int
    running: bool = False


def read_status(db: sqlite3.Connection, path: str | os.PathLike[str]) -> ArchiveStatus:
    """Return the status of an open archive."""
    with snapshot(db):
        states = db.execute(
            "SELECT state, count(*), sum(message_count), min(created), max(created)"
            " FROM completions GROUP BY state ORDER BY state"
        ).fetchall()
        (stored,) = db.execute("SELECT count(*) FROM messages").fetchone()
        project = db.execute("SELECT name, value FROM settings ORDER BY name").fetchall()
        runs = db.execute(
            'SELECT kind, selection, begin, "end", result, new, changed, gone, failed, requests,'
            " refused FROM runs ORDER BY number DESC LIMIT ?",
            (_RUNS,),
        ).fetchall()
        waiting = db.execute(
            "SELECT id, state, error, since, attempts, next FROM waiting ORDER BY since, id"
        ).fetchall()
    messages = sum(row[2] for row in states)
    return ArchiveStatus(
        path=os.fspath(path),
        project=dict(project),
        completions={row[0]: row[1] for row in states},
        messages=messages,
        replies=stored - messages,
        first_created=min((row[3] for row in states if row[3] is not None), default=None),
        last_created=max((row[4] for row in states if row[4] is not None), default=None),
        runs=[Run(*row) for row in runs],
        waiting=[Waiting(*row) for row in waiting],
        bytes=sum(file.stat().st_size for file in _files(Path(path))),
        running=is_locked(lock_of(Path(path))),
    )


def _files(path: Path) -> list[Path]:
    """Return the file of the archive and, while it is written, that of its next pages."""
    wal = path.with_name(f"{path.name}-wal")
    return [file for file in (path, wal) if file.exists()]
