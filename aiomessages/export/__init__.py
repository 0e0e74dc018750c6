"""Every conversation, exported to files: exactly once, and whenever it is killed, run again.

report = await export(client, client.completions(), "conversations.jsonl.gz")

Names load when they are first used: the process that makes columns needs no client, and its memory
is counted.
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


# A type checker that saw it would take every name for one of ours.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    __getattr__ = lazily(__name__, _MODULES, globals())


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
