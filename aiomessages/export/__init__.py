"""Every conversation, exported to files: exactly once, and whenever it is killed, run again.

report = await export(client, client.completions(), "conversations.jsonl.gz")

Names load when they are first used: the process that makes columns needs no client, and its memory
is counted.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_MODULES = {
    "created": "CreatedBetween",
    "errors": "ChangedError CorruptError DiskFullError ExportError LockedError",
    "report": "ExportReport Progress",
    "run": "export",
    "status": "ExportStatus read_status",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}

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

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value  # the next look-up finds it without this function
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
