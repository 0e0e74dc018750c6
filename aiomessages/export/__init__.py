"""Export conversations to files, each exactly once; an interrupted export continues.

report = await export(client, client.completions(), "conversations.jsonl.gz")

Names load on first use: the process that makes columns imports this package and needs no client,
which would add to its memory.
"""

from typing import TYPE_CHECKING

from aiomessages._lazy import lazily, listed

if TYPE_CHECKING:
    # `X as X` re-exports X. Sorting would give each a statement of its own.
    # isort: off
    from .created_between import CreatedBetween as CreatedBetween
    from .errors import (
        ChangedError as ChangedError,
        CorruptError as CorruptError,
        DiskFullError as DiskFullError,
        ExportError as ExportError,
        LockedError as LockedError,
    )
    from .exporting import export as export
    from .report import ExportReport as ExportReport, Progress as Progress
    from .status import ExportStatus as ExportStatus, read_status as read_status
    # isort: on

_MODULES = {
    "created_between": "CreatedBetween",
    "errors": "ChangedError CorruptError DiskFullError ExportError LockedError",
    "report": "ExportReport Progress",
    "exporting": "export",
    "status": "ExportStatus read_status",
}

# Hidden from type checkers, which would accept any name.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    __all__ = list(listed(_MODULES))
    __getattr__ = lazily(__name__, _MODULES, globals())


def __dir__() -> list[str]:
    return listed(_MODULES)  # a prompt would also offer the imports and the files
