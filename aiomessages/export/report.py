"""What an export says of itself: while it runs, and at its end."""

from pathlib import Path
from typing import Final

import msgspec

from .ledger_schema import State

# The states of completions that are not in the output and should be: these are named by their ids.
NAMED: Final[dict[str, State]] = {
    "gone": "gone",
    "pending": "pending",
    "lost": "lost",
    "failed_ids": "failed",
}


class Progress(msgspec.Struct):
    """How far an export is. Counts are of this run; `total` is None where it cannot be known.

    `completions` are those that were written, `already` those that earlier runs wrote; `skipped`,
    `gone`, `pending`, `lost` and `failed` are as in ExportReport. `requests` are all that were sent
    with those of the list, `retries` the attempts after a failed one. `listed` tells whether
    the source was read, `paused_until` until when the server asked to wait (`time.monotonic()`).
    `writing_columns` is true at the end of one that makes columns of what it fetched.
    """

    total: int | None = None
    completions: int = 0
    messages: int = 0
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    skipped: int = 0
    gone: int = 0
    pending: int = 0
    lost: int = 0
    failed: int = 0
    already: int = 0
    seconds: float = 0.0
    listed: bool = True
    paused_until: float = 0.0
    writing_columns: bool = False


class ExportReport(msgspec.Struct, frozen=True):
    """What an export came to.

    `progress` counts this run; the others the whole export: `rows` in its files, `sha256` by file
    name, `skipped` (the layout cannot express them) and `failed` (they could not be read), both by
    reason, and `removed`: completions in the files that the source no longer names.

    What is not in the files is named by id: `gone` (the server has it no longer), `pending` (not
    visible yet; every later run asks again), `lost` (it changed while it was read; what was read
    of it is in NAME.incomplete.jsonl) and `failed_ids`.

    `finished` is false where something failed that the same export, run again, would try again;
    `was_finished` tells whether an earlier run had finished it.
    """

    destination: Path
    layout: str
    progress: Progress
    finished: bool
    rows: int
    sha256: dict[str, str]
    skipped: dict[str, int]
    failed: dict[str, int]
    removed: int = 0
    was_finished: bool = False
    gone: list[str] = []
    pending: list[str] = []
    lost: list[str] = []
    failed_ids: list[str] = []

    @property
    def complete(self) -> bool:
        """Tell whether the export is finished and nothing of it failed or was lost."""
        return self.finished and not self.failed_ids and not self.lost
