"""Keep every stored completion in one SQLite file that stays current.

Names load on first use: the local server reads and writes archives, and needs no client.
"""

from typing import TYPE_CHECKING

from aiomessages._lazy import lazily

if TYPE_CHECKING:
    from .errors import ArchiveError, DiskError, ImportFileError
    from .importing import ImportReport, Kept, import_file

_MODULES = {
    "errors": "ArchiveError DiskError ImportFileError",
    "importing": "ImportReport Kept import_file",
}

__all__ = [
    "ArchiveError",
    "DiskError",
    "ImportFileError",
    "ImportReport",
    "Kept",
    "import_file",
]


# Hidden from type checkers, which would accept any name.
if not TYPE_CHECKING:  # pragma: no branch  # at run time it is false
    __getattr__ = lazily(__name__, _MODULES, globals())


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
