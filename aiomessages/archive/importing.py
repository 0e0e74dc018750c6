"""Import conversations from a file into an archive: the records of the local server, or an export.

Each file is one transaction: all of it is in the archive, or nothing. So an import that was killed
is repeated as it was; what the archive has already stays as it is.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from .conversation_lines import Conversation, read_conversations
from .database import MEMORY, open_to_write
from .errors import NotAnArchiveError, sqlite_errors
from .insert import insert_conversation
from .leftovers import none_left, remove_if_empty


class Kept(NamedTuple):
    """A conversation that the archive has in another form: the line of the file, and its id."""

    line: int
    """Line of the file, counted from 1."""
    completion_id: str
    """Id of the conversation."""


class ImportReport(NamedTuple):
    """The result of an import, in conversations."""

    new: int
    """Conversations that the archive did not have."""
    unchanged: int
    """Conversations that it had already."""
    replaced: int
    """Conversations that differed, and are now as in the file."""
    kept: tuple[Kept, ...]
    """Those that differ, and stayed as they are in the archive."""


def import_file(
    path: str | PathLike[str],
    archive: str | PathLike[str],
    *,
    replace: bool = False,
    clock: Callable[[], float] = time.time,
) -> ImportReport:
    """Import the conversations of a file into an archive, which is created if it is missing.

    `path` is a file of JSON Lines, plain or compressed by gzip or zstd: records of the local server
    (`{"completion": {…}, "messages": […]}`), or an export with the layout `conversations`.

    A conversation that the archive has already is not changed. If it differs, the archive's is
    kept, and the report names it; `replace` takes that of the file. A conversation of which the
    archive has only a part is always replaced.

    The call blocks; in an event loop use `asyncio.to_thread`. `clock` gives the time of the import
    in Unix seconds.

    Raises ImportFileError for a line that is no conversation, and another ArchiveError for a file
    or an archive that cannot be used. Nothing is changed then: the whole file is read before the
    archive is opened.
    """
    check_file(path)
    return import_checked(path, archive, replace=replace, clock=clock)


def check_file(path: str | PathLike[str]) -> int:
    """Return the number of conversations in a file. Raises as `import_file` does."""
    return sum(1 for _ in read_conversations(Path(path)))


def import_checked(
    path: str | PathLike[str],
    archive: str | PathLike[str],
    *,
    replace: bool = False,
    clock: Callable[[], float] = time.time,
) -> ImportReport:
    """Do what `import_file` does, for a file that was checked before."""
    if os.fspath(archive) == MEMORY:
        raise NotAnArchiveError(
            f"{MEMORY}: an archive in memory would be gone at once", hint="name a file"
        )
    counts = dict.fromkeys((_NEW, _UNCHANGED, _REPLACED), 0)
    kept: list[Kept] = []
    created = not Path(archive).exists()
    db = open_to_write(archive)
    try:
        with none_left(db, Path(archive), created=created), sqlite_errors(archive), db:
            db.execute("BEGIN IMMEDIATE")
            now = clock()
            for conversation in read_conversations(Path(path)):
                result = _import(db, conversation, replace=replace, now=now)
                if result == _KEPT:
                    kept.append(Kept(conversation.line, conversation.completion_id))
                else:
                    counts[result] += 1
        if created:
            remove_if_empty(db, Path(archive))
    finally:
        db.close()
    return ImportReport(counts[_NEW], counts[_UNCHANGED], counts[_REPLACED], tuple(kept))


_NEW: Final = "new"
_UNCHANGED: Final = "unchanged"
_REPLACED: Final = "replaced"
_KEPT: Final = "kept"


def _import(db: sqlite3.Connection, sent: Conversation, *, replace: bool, now: float) -> str:
    found = db.execute(
        "SELECT number, state, gone_since, last_seen, CAST(body AS BLOB) FROM completions"
        " WHERE id = ?",
        (sent.completion_id,),
    ).fetchone()
    if found is None:
        _insert(db, sent, now)
        return _NEW
    number, state, gone_since, last_seen, body = found
    if state == "lost":
        _insert(db, sent, now)
        return _REPLACED
    if _is_same(db, number, body, sent):
        return _UNCHANGED
    if not replace:
        return _KEPT
    _insert(db, sent, now)
    # A file says nothing about what the server still has.
    db.execute(
        "UPDATE completions SET state = ?, gone_since = ?, last_seen = ? WHERE id = ?",
        (state, gone_since, last_seen, sent.completion_id),
    )
    return _REPLACED


def _insert(db: sqlite3.Connection, sent: Conversation, now: float) -> None:
    insert_conversation(db, sent.completion, sent.messages, seen=now)
    db.execute("DELETE FROM waiting WHERE id = ?", (sent.completion_id,))


def _is_same(db: sqlite3.Connection, number: int, body: bytes, sent: Conversation) -> bool:
    """Return whether the archive has a conversation with the same JSON, apart from spaces."""
    if not _are_equal(body, sent.completion):
        return False
    rows = db.execute(
        "SELECT CAST(body AS BLOB) FROM messages WHERE completion = ? AND choice IS NULL"
        " ORDER BY n",
        (number,),
    ).fetchall()
    return len(rows) == len(sent.messages) and all(
        _are_equal(row[0], message) for row, message in zip(rows, sent.messages, strict=True)
    )


def _are_equal(one: bytes, other: bytes) -> bool:
    return one == other or _compact(one) == _compact(other)


def _compact(text: bytes) -> bytes:
    try:
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text
