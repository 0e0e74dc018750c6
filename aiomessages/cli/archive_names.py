"""What the name of a file says on a command line: an archive, or an export.

No id of a completion is the name of an archive, and no archive gets the name of an export.
"""

from collections.abc import Sequence
from pathlib import Path

from .exits import UsageError

DATABASE_ENDINGS = (".db", ".sqlite", ".sqlite3")
_EXPORT_ENDINGS = (".json", ".jsonl", ".gz", ".zst", ".parquet", ".duckdb", ".csv")


def archive_among(tokens: Sequence[str]) -> str | None:
    """Return the first word that is a database by its name and exists; None if there is none."""
    return next((word for word in tokens if is_archive(word)), None)


def is_archive(word: str) -> bool:
    """Return whether a word is a database by its name, and exists. No id is."""
    return word.endswith(DATABASE_ENDINGS) and Path(word).is_file()


def check_archive(path: Path) -> None:
    """Raise UsageError for a new archive with the name of an export, which is a mistake."""
    if path.name.endswith(_EXPORT_ENDINGS) and not (path.exists() and path.stat().st_size):
        raise UsageError(
            f"{path}: an archive is an SQLite database, and this is the name of an export",
            f"name it {path.name.partition('.')[0]}.db;"
            f" `aiomessages export --all -o {path}` writes such a file",
        )
