"""Keep every stored completion in one SQLite file that stays current, and search it.

async with Archive("archive.db") as archive:
    async for hit in archive.search("umbrella"):
        print(hit.completion_id, hit.snippet)

Names load on first use: the local server reads and writes archives, and needs no client.
"""

from typing import TYPE_CHECKING

from aiomessages._lazy import lazily

if TYPE_CHECKING:
    from .errors import (
        ArchiveError,
        CorruptError,
        DiskError,
        DiskFullError,
        ImportFileError,
        IncompleteError,
        LockedError,
        NotAnArchiveError,
        NotInArchiveError,
        OtherProjectError,
        SearchError,
    )
    from .hits import Hit
    from .importing import ImportReport, Kept, import_file
    from .reader import Archive
    from .report import SyncReport
    from .snippets import Snippet
    from .status import ArchiveStatus, Run, Waiting
    from .syncing import sync

_MODULES = {
    "errors": (
        "ArchiveError CorruptError DiskError DiskFullError ImportFileError IncompleteError"
        " LockedError NotAnArchiveError NotInArchiveError OtherProjectError SearchError"
    ),
    "importing": "ImportReport Kept import_file",
    "reader": "Archive",
    "report": "SyncReport",
    "hits": "Hit",
    "snippets": "Snippet",
    "status": "ArchiveStatus Run Waiting",
    "syncing": "sync",
}

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveStatus",
    "CorruptError",
    "DiskError",
    "DiskFullError",
    "Hit",
    "ImportFileError",
    "ImportReport",
    "IncompleteError",
    "Kept",
    "LockedError",
    "NotAnArchiveError",
    "NotInArchiveError",
    "OtherProjectError",
    "Run",
    "SearchError",
    "Snippet",
    "SyncReport",
    "Waiting",
    "import_file",
    "sync",
]


# Hidden from type checkers, which would accept any name.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    __getattr__ = lazily(__name__, _MODULES, globals())


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
