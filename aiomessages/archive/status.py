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
    """One run that wrote the archive. Times are in Unix seconds."""

    kind: str
    """`sync` or `recheck`."""
    selection: str
    """What was selected, as a JSON object; `{}` is everything."""
    begin: float
    """When it began."""
    end: float | None
    """When it ended; None while it runs, or if it was killed."""
    result: str | None
    """`complete`, `interrupted`, or the name of the error that ended it; None without an end."""
    new: int
    """Completions that it added."""
    changed: int
    """Completions whose metadata changed."""
    gone: int
    """Completions that the server listed no more."""
    failed: int
    """Completions that could not be read."""
    requests: int
    """Requests that were sent."""
    refused: int
    """Responses with the status 429."""


class Waiting(msgspec.Struct, frozen=True):
    """A completion that could not be read so far. Times are in Unix seconds."""

    id: str
    """Id of the completion."""
    state: str
    """`pending` (not visible yet) or `failed`."""
    error: str | None
    """The last error; None without one."""
    since: float
    """When it could first not be read."""
    attempts: int
    """How often it was tried."""
    next: float
    """When it may be tried again; every sync tries all."""


class ArchiveStatus(msgspec.Struct, frozen=True):
    """What an archive holds. Times are in Unix seconds."""

    path: str
    """The archive."""
    project: dict[str, str]
    """Where its completions come from: `base_url`, `organization` and `project`, as far as known.
    """
    completions: dict[str, int]
    """Number of completions by state: `complete`, `gone`, `expired` or `lost`."""
    messages: int
    """Number of messages that were sent to models."""
    replies: int
    """Number of replies."""
    first_created: int | None
    """When the oldest completion was created."""
    last_created: int | None
    """When the newest completion was created."""
    runs: list[Run]
    """The last runs, at most five, the newest first."""
    waiting: list[Waiting]
    """The completions that could not be read so far."""
    bytes: int
    """Size on disk."""
    running: bool = False
    """True while a sync holds the archive's lock."""


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
