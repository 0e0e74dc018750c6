"""Archives as the version before labels wrote them: version 2 of the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conftest_archive import write

if TYPE_CHECKING:
    from pathlib import Path

# What version 2 had in place of the tables and indexes of today.
_CHANGES = (
    "DROP TABLE labels",
    "DROP INDEX messages_by_role",
    "DROP INDEX completions_by_time",
    "CREATE INDEX completions_by_time  ON completions (ifnull(created, 0), id, created)",
    "PRAGMA user_version = 2",
)


def make_older(path: Path, *statements: str) -> Path:
    """Bring an archive of today back to version 2, and run further statements."""
    write(path, *statements, *_CHANGES)
    return path
