"""The errors of an export besides those of its requests, each with its exit code.

Exit codes above 64 are those of sysexits.h.
"""

from typing import ClassVar

from aiomessages.errors import MessagesError


class ExportError(MessagesError):
    """An export cannot begin, go on, or be finished; what was committed is safe."""

    exit_code: ClassVar[int] = 1


class ChangedError(ExportError):
    """The destination holds an export with other options, or of another server."""

    exit_code = 2


class CorruptError(ExportError):
    """A file is not what the ledger says it must be."""

    exit_code = 65


class DiskFullError(ExportError):
    """The disk is full; free some room and run the same export again."""

    exit_code = 74


class LockedError(ExportError):
    """Another process is writing to this destination."""

    exit_code = 75
