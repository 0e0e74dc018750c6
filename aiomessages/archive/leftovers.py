"""Remove the archive that a command has just created in vain: an empty one helps nobody."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

_HELD: Final = "SELECT 1 FROM completions UNION ALL SELECT 1 FROM waiting"


@contextmanager
def none_left(db: sqlite3.Connection, path: Path, *, created: bool) -> Iterator[None]:
    """Remove the file if the block fails, was `created` for it, and has no completion."""
    try:
        yield
    except BaseException:
        if created:
            remove_if_empty(db, path)
        raise


@contextmanager
def no_file_left(path: Path) -> Iterator[None]:
    """Remove an archive if the block fails, made it, and has put no completion into it."""
    created = not path.exists()
    try:
        yield
    except BaseException:
        if created and path.is_file():
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                remove_if_empty(db, path)
        raise


def remove_if_empty(db: sqlite3.Connection, path: Path) -> None:
    """Remove an archive without a completion. Nobody else can write it meanwhile."""
    with suppress(sqlite3.Error, OSError):  # the error that brought us here is the one to report
        db.execute("BEGIN EXCLUSIVE")
        try:
            if db.execute(_HELD).fetchone() is None:
                for ending in ("-wal", "-shm", ""):
                    Path(f"{path.resolve()}{ending}").unlink(missing_ok=True)
        finally:
            db.execute("ROLLBACK")
