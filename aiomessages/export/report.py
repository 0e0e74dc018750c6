"""The values that an export reports: its progress while it runs, and its report at the end."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from aiomessages.calls.request import RetryDetails
from aiomessages.calls.retry import asks_all_to_wait
from aiomessages.errors import RateLimitError
from aiomessages.observe.operation import Operation

from .ledger_schema import Entry

PROGRESS_SECONDS: Final = 0.1  # at least, between two calls of `on_progress`


class Progress(msgspec.Struct):
    """The progress of an export. Counts are of this run.

    `total` is the number of ids, or None if it is unknown. `completions`, `messages` and `bytes`
    are those written by this run, in `seconds` so far; `already` counts the completions of earlier
    runs; `skipped`, `gone`, `pending`, `lost` and `failed` are as in ExportReport. `requests`
    counts all requests, also those for the list, and `retries` the attempts after a failed one.
    `listed` is false if the source was not read. `paused_until` is the `time.monotonic()` until
    which the server asked to wait (0: never). `writing_columns` is true while columns are made at
    the end.
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


class ProgressTracker:
    """Count the events of one run, and report them to `on_progress` and to telemetry."""

    def __init__(
        self, on_progress: Callable[[Progress], object] | None, operation: Operation
    ) -> None:
        self.progress = Progress()
        self.refused = 0  # requests, by a rate limit
        self._on_progress = on_progress or (lambda _: None)
        self._operation = operation
        self._began = self._reported = time.monotonic()

    def count(self, entry: Entry) -> None:
        """Count a completion by its state."""
        name = "completions" if entry.state == "done" else entry.state
        setattr(self.progress, name, getattr(self.progress, name) + 1)
        if entry.state == "done":
            self.progress.messages += entry.messages

    def sent(self) -> None:
        """Count a request that was sent."""
        self.progress.requests += 1

    def retried(self, details: RetryDetails) -> None:
        """Count a retry, and note until when the server asked all requests to wait."""
        self.progress.retries += 1
        self.refused += isinstance(details.error, RateLimitError)
        self._operation.retried()
        if asks_all_to_wait(details.error):
            self.progress.paused_until = time.monotonic() + details.delay

    def committed(self, size: int) -> None:
        """Count committed bytes."""
        self.progress.bytes += size

    def report(self, *, at_once: bool = False) -> None:
        """Call `on_progress`, unless it was called less than PROGRESS_SECONDS ago."""
        now = time.monotonic()
        if at_once or now - self._reported >= PROGRESS_SECONDS:
            self._reported = now
            self.progress.seconds = now - self._began
            self._on_progress(self.progress)


class ExportReport(msgspec.Struct, frozen=True):
    """The result of an export.

    `progress` counts this run. The other fields describe the whole export: `rows` in its files,
    `sha256` by file name, `skipped` (the layout cannot express them) and `failed` (they could not
    be read), both counted by reason, and `removed`: the number of completions in the files that
    the source no longer names.

    Lists of ids name the completions that are not in the files: `gone` (the server no longer has
    them), `pending` (not visible yet; every later run asks again), `lost` (they changed while they
    were read; NAME.incomplete.jsonl holds the part that was read) and `failed_ids`.

    `finished` is false if a completion failed that the next run would try again; `was_finished` is
    true if an earlier run had finished the export.
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
        """Whether the export is finished and no completion failed or was lost."""
        return self.finished and not self.failed_ids and not self.lost
