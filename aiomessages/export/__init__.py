"""Every conversation, exported to files: exactly once, and whenever it is killed, run again.

report = await export(client, client.completions(), "conversations.jsonl.gz")
"""

from .created import CreatedBetween
from .errors import (
    ChangedError,
    CorruptError,
    DiskFullError,
    ExportError,
    LockedError,
)
from .report import ExportReport, Progress
from .run import export
from .status import ExportStatus, read_status

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
