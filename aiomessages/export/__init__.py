"""Every conversation, exported to files: exactly once, and whenever it is killed, run again.

    report = await export(client, client.completions(), "conversations.jsonl.gz")
"""

from .errors import (
    ChangedError,
    CorruptError,
    DiskFullError,
    ExportError,
    LockedError,
)
from .report import ExportReport, Progress
from .run import export

__all__ = [
    "ChangedError",
    "CorruptError",
    "DiskFullError",
    "ExportError",
    "ExportReport",
    "LockedError",
    "Progress",
    "export",
]
