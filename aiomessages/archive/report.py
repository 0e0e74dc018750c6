"""The report of a sync."""

from pathlib import Path

import msgspec


class SyncReport(msgspec.Struct):
    """The result of one sync; counts and ids are of this run.

    Of the `listed` completions, `new` ones with `messages` messages were added, and `changed` ones
    updated. `missing` ids are kept in the archive, but the server lists them no more: a recheck
    finds them.

    Ids that are not in the archive: `pending` (not visible yet) and `failed` (by id, the error),
    which every later run tries again; `gone` (they vanished before they could be read).
    `lost` ids changed while they were read: the archive has a part of their messages.
    """

    path: Path
    listed: int = 0
    new: int = 0
    messages: int = 0
    changed: int = 0
    requests: int = 0
    seconds: float = 0.0
    missing: list[str] = []
    pending: list[str] = []
    failed: dict[str, str] = {}
    gone: list[str] = []
    lost: list[str] = []

    @property
    def complete(self) -> bool:
        """Whether everything that the server shows is in the archive, whole."""
        return not self.failed and not self.lost and not self.gone
