"""The report of a sync."""

from pathlib import Path

import msgspec


class SyncReport(msgspec.Struct):
    """The result of one sync; counts and ids are of this run.

    Ids that are `pending`, `failed` or `gone` are not in the archive.
    """

    path: Path
    """The archive."""
    listed: int = 0
    """Completions that the server listed."""
    new: int = 0
    """Completions that were added."""
    messages: int = 0
    """Messages that were added, replies not counted."""
    changed: int = 0
    """Completions whose metadata was updated."""
    requests: int = 0
    """Requests that were sent, those for the list included."""
    seconds: float = 0.0
    """Duration of the sync."""
    missing: list[str] = []
    """Ids that the archive keeps and the server lists no more; a recheck finds them."""
    pending: list[str] = []
    """Ids that are not visible yet; every later sync tries them again."""
    failed: dict[str, str] = {}
    """The error of each id that could not be read; every later sync tries them again."""
    gone: list[str] = []
    """Ids that vanished before they could be read."""
    lost: list[str] = []
    """Ids that changed while they were read: the archive has a part of their messages."""

    @property
    def complete(self) -> bool:
        """Whether everything that the server shows is in the archive, whole."""
        return not self.failed and not self.lost and not self.gone
