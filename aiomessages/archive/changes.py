"""The changes that a sync makes in an archive, and the questions that it asks.

Each change is part of a transaction that `writer.py` commits. Times are in Unix seconds.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, Literal

import msgspec

from aiomessages.export.conversation_reader import Outcome
from aiomessages.export.created_between import created_of
from aiomessages.export.ledger_schema import State

from .errors import OtherProjectError
from .insert import insert_conversation, update_completion
from .listing import Anchor, Listed
from .report import SyncReport
from .rows import replies_of
from .sync_selection import Selection

RETENTION: Final = 30 * 86_400.0  # for which the API keeps a completion, by default
_MAX_VALUES: Final = 500  # of one statement; SQLite before 3.32 takes 999


# --- the project ----------------------------------------------------------------------------------


def check_project(db: sqlite3.Connection, found: Mapping[str, str], *, moved: bool) -> None:
    """Raise OtherProjectError if the completions of the archive come from elsewhere.

    `found` has the `base_url`, and the `organization` and `project` if the server names them.
    With `moved`, another base_url is accepted.
    """
    known = dict(db.execute("SELECT name, value FROM settings"))
    for name, value in found.items():
        before = known.get(name)
        if before is not None and before != value and not (moved and name == "base_url"):
            accept = "; --moved accepts a new address of the same project"
            raise OtherProjectError(
                f"this archive belongs to another {name}: {before}, and not {value}",
                hint="one archive holds one project" + (accept if name == "base_url" else ""),
            )


def record_project(db: sqlite3.Connection, found: Mapping[str, str], *, moved: bool) -> None:
    """Record where the completions come from. Raises OtherProjectError as `check_project` does."""
    check_project(db, found, moved=moved)
    db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", found.items())


# --- runs and anchors -----------------------------------------------------------------------------


def begin_run(db: sqlite3.Connection, selection: Selection, now: float, *, recheck: bool) -> int:
    """Record the begin of a run, with the anchor of the run before; return its number."""
    kind, text = "recheck" if recheck else "sync", selection.as_text()
    anchors = anchors_of(db, selection)
    anchor = msgspec.json.encode(anchors[0]).decode() if anchors else None
    cursor = db.execute(
        "INSERT INTO runs (kind, selection, begin, anchor) VALUES (?, ?, ?, ?)",
        (kind, text, now, anchor),
    )
    return int(cursor.lastrowid or 0)  # an INSERT has one


def end_run(
    db: sqlite3.Connection,
    *,
    number: int,
    now: float,
    result: str,
    report: SyncReport,
    refused: int,
    anchor: Anchor | None,
) -> None:
    """Record the end of a run, and its counts.

    After a complete run without an anchor, those of earlier runs are forgotten as well: the list
    has shown no order, in which they would be a place.
    """
    if anchor is not None:
        set_anchor(db, number=number, anchor=anchor)
    elif result == "complete":
        same = "SELECT selection FROM runs WHERE number = ?"
        db.execute(f"UPDATE runs SET anchor = NULL WHERE selection = ({same})", (number,))  # noqa: S608
    counts = (report.new, report.changed, len(report.missing) + len(report.gone))
    db.execute(
        'UPDATE runs SET "end" = ?, result = ?, new = ?, changed = ?, gone = ?,'
        " failed = ?, requests = ?, refused = ? WHERE number = ?",
        (now, result, *counts, len(report.failed), report.requests, refused, number),
    )


def anchors_of(db: sqlite3.Connection, selection: Selection) -> list[Anchor]:
    """Return the anchors that runs with the same selection have left, the latest first."""
    rows = db.execute(
        "SELECT anchor FROM runs WHERE selection = ? AND anchor IS NOT NULL"
        " GROUP BY anchor ORDER BY max(number) DESC LIMIT 5",
        (selection.as_text(),),
    )
    return [msgspec.json.decode(text, type=Anchor) for (text,) in rows]


def set_anchor(db: sqlite3.Connection, *, number: int, anchor: Anchor) -> None:
    """Move the anchor of a run."""
    text = msgspec.json.encode(anchor).decode()
    db.execute("UPDATE runs SET anchor = ? WHERE number = ?", (text, number))


# --- completions ----------------------------------------------------------------------------------

Verdict = Literal["same", "changed"]


def prepare_to_list(db: sqlite3.Connection) -> None:
    """Prepare a reading connection to note what a run lists, in no file of the archive."""
    db.execute("PRAGMA query_only = OFF")  # it counts temporary tables as well
    db.execute("CREATE TEMP TABLE listed (id TEXT PRIMARY KEY) WITHOUT ROWID")


def look_up(db: sqlite3.Connection, items: Sequence[Listed]) -> dict[str, Verdict]:
    """Note that completions were listed, and return those that the archive has whole.

    One whose replies or time of creation have changed is read anew, as one that is not whole.
    """
    db.executemany("INSERT OR IGNORE INTO temp.listed VALUES (?)", [item[:1] for item in items])
    found: dict[str, Verdict] = {}
    sent = {item.completion_id: item for item in items}
    ids = list(sent)
    for start in range(0, len(ids), _MAX_VALUES):
        some = ids[start : start + _MAX_VALUES]
        marks = ", ".join("?" * len(some))
        rows = db.execute(
            "SELECT id, state, CAST(body AS BLOB) FROM completions"  # noqa: S608 marks alone
            f" WHERE state != 'lost' AND id IN ({marks})",
            some,
        )
        for completion_id, state, body in rows:
            item = sent[completion_id]
            if item.body == body and state == "complete":
                found[completion_id] = "same"
            elif item.body == body or _is_of_one(item, body):
                found[completion_id] = "changed"
    return found


def _is_of_one(item: Listed, body: bytes) -> bool:
    """Return whether the messages that were read with `body` are those of a listed completion."""
    return item.created == created_of(body) and replies_of(item.body) == replies_of(body)


def see(
    db: sqlite3.Connection,
    *,
    ids: Sequence[str],
    bodies: Sequence[bytes],
    read: Sequence[str],
    now: float,
) -> None:
    """Record that completions were listed: some as they are kept, and others changed.

    Those that were `read` wait no more.
    """
    for found in read:
        stop_waiting(db, completion_id=found)
    db.executemany(
        "UPDATE completions SET last_seen = ? WHERE id = ?", [(now, found) for found in ids]
    )
    for body in bodies:
        update_completion(db, body, seen=now)


def keep(db: sqlite3.Connection, *, completion_id: str, outcome: Outcome, now: float) -> State:
    """Store a conversation, and return `done`. One of which a part was read is `lost`, and waits.

    A part of a conversation, or none of it, does not replace one that the archive has: `failed`.
    """
    body = outcome.completion or b""  # it is read before the messages
    state = "complete" if outcome.state == "done" else "lost"
    if (state == "lost" or not len(outcome.messages)) and _has_messages(db, completion_id):
        error = "its messages were no longer all there; the archive keeps those from before"
        wait(db, completion_id=completion_id, state="failed", error=error, now=now)
        return "failed"
    messages = chain.from_iterable(outcome.messages.blocks())
    insert_conversation(db, body, messages, seen=now, state=state)
    if state == "lost":
        error = "it changed while it was read"
        wait(db, completion_id=completion_id, state="failed", error=error, now=now)
    else:
        stop_waiting(db, completion_id=completion_id)
    return outcome.state


def _has_messages(db: sqlite3.Connection, completion_id: str) -> bool:
    """Return whether the archive has a conversation whole, and not empty."""
    query = "SELECT 1 FROM completions WHERE id = ? AND state != 'lost' AND message_count > 0"
    return db.execute(query, (completion_id,)).fetchone() is not None


def is_expired(created: float | None, now: float) -> bool:
    """Return whether the server has deleted a completion by itself."""
    return created is not None and created <= now - RETENTION


def mark_gone(
    db: sqlite3.Connection, *, missing: Sequence[tuple[str, float | None]], now: float
) -> None:
    """Mark completions that the server has no more."""
    rows = [
        ("expired" if is_expired(created, now) else "gone", now, found)
        for found, created in missing
    ]
    db.executemany("UPDATE completions SET state = ?, gone_since = ? WHERE id = ?", rows)


# --- waiting --------------------------------------------------------------------------------------


def waiting(db: sqlite3.Connection) -> dict[str, float]:
    """Return the ids that wait to be read, each with the time since when it waits."""
    return dict(db.execute("SELECT id, since FROM waiting ORDER BY since, id"))


def errors_of_waiting(db: sqlite3.Connection, state: str) -> dict[str, str]:
    """Return the ids that wait in a state, each with its last error."""
    return dict(db.execute("SELECT id, error FROM waiting WHERE state = ? ORDER BY id", (state,)))


def wait(db: sqlite3.Connection, *, completion_id: str, state: str, error: str, now: float) -> None:
    """Record that a completion could not be read, and is to be tried again by the next run."""
    db.execute(
        "INSERT INTO waiting VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT (id) DO UPDATE SET"
        " state = excluded.state, error = excluded.error, attempts = attempts + 1,"
        " next = excluded.next",
        (completion_id, state, error, now, now),
    )


def stop_waiting(db: sqlite3.Connection, *, completion_id: str) -> None:
    """Remove a completion from those that wait."""
    db.execute("DELETE FROM waiting WHERE id = ?", (completion_id,))
