"""Export conversations to files, each exactly once; an interrupted export continues.

report = await export(client, client.completions(), "conversations.jsonl.gz")

Names load on first use: the process that makes columns imports this package and needs no client,
which would add to its memory.
"""

from typing import TYPE_CHECKING

from aiomessages._lazy import lazily

if TYPE_CHECKING:
    from .created_between import CreatedBetween
    from .errors import ChangedError, CorruptError, DiskFullError, ExportError, LockedError
    from .exporting import export
    from .report import ExportReport, Progress
    from .status import ExportStatus, read_status

_MODULES = {
    "created_between": "CreatedBetween",
    "errors": "ChangedError CorruptError DiskFullError ExportError LockedError",
    "report": "ExportReport Progress",
    "exporting": "export",
    "status": "ExportStatus read_status",
}

__all__ = [
    "ChangedError",
    "CorruptError",
    "CreatedBetween",
    "DiskFullError",
    "ExportError",
    "ExportReport",
    "ExportStatus",
    "LockedError",
    "Progress",
    "export",
    "read_status",
]


# Hidden from type checkers, which would accept any name.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    __getattr__ = lazily(__name__, _MODULES, globals())


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
