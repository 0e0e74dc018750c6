"""Remove the ledger of a run that failed before it had anything: a wrong key, a wrong address."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .errors import ExportError
from .names import Names
from .sqlite_files import read_snapshot

# A part or a made file may exist on the disk: only its record says whose it is.
_HELD = (
    "SELECT 1 FROM parts UNION ALL SELECT 1 FROM made"
    " UNION ALL SELECT 1 FROM completions WHERE state IN ('done', 'skipped', 'lost')"
)


@contextmanager
def none_left(names: Names) -> Iterator[None]:
    """Remove the ledger, and an empty directory of parts, if the block fails with nothing held.

    The ledger is closed by then, and the lock of the export is still held.
    """
    is_new = not names.destination.exists()
    try:
        yield
    except BaseException:
        # The error that brought us here is the one to report.
        with suppress(OSError, sqlite3.Error, ExportError):
            if _is_empty(names):
                names.ledger.unlink()
                if is_new and names.destination.is_dir():
                    names.destination.rmdir()
        raise


def _is_empty(names: Names) -> bool:
    return read_snapshot(names.ledger, lambda db: db.execute(_HELD).fetchone()) is None
