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
    """The progress of an export. Counts are of this run."""

    total: int | None = None
    """Number of ids; None if it is unknown."""
    completions: int = 0
    """Completions that this run wrote."""
    messages: int = 0
    """Messages that this run wrote."""
    bytes: int = 0
    """Bytes that this run wrote."""
    requests: int = 0
    """Requests that were sent, those for the list included."""
    retries: int = 0
    """Attempts after a failed one."""
    skipped: int = 0
    """Completions that the layout cannot express."""
    gone: int = 0
    """Completions that the server no longer has."""
    pending: int = 0
    """Completions that are not visible yet."""
    lost: int = 0
    """Completions that changed while they were read."""
    failed: int = 0
    """Completions that could not be read."""
    already: int = 0
    """Completions of earlier runs."""
    seconds: float = 0.0
    """Duration so far."""
    listed: bool = True
    """False if the source was not read."""
    paused_until: float = 0.0
    """The `time.monotonic()` until which the server asked to wait; 0 if it never did."""
    writing_columns: bool = False
    """True while columns are made, at the end."""


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

    `progress` counts this run; the other fields describe the whole export. The lists of ids name
    the completions that are not in the files.
    """

    destination: Path
    """The file or directory."""
    layout: str
    """`messages`, `conversations`, `finetune` or `chat`."""
    progress: Progress
    """Counts of this run."""
    finished: bool
    """False if a completion failed that the next run would try again."""
    rows: int
    """Rows in all files."""
    sha256: dict[str, str]
    """SHA-256 in hexadecimal digits, by the name of the file."""
    skipped: dict[str, int]
    """Completions that the layout cannot express, counted by reason."""
    failed: dict[str, int]
    """Completions that could not be read, counted by reason."""
    removed: int = 0
    """Completions in the files that the source no longer names."""
    was_finished: bool = False
    """True if an earlier run had finished the export."""
    gone: list[str] = []
    """Ids that the server no longer has."""
    pending: list[str] = []
    """Ids that are not visible yet; every later run asks again."""
    lost: list[str] = []
    """Ids that changed while they were read; NAME.incomplete.jsonl has the part that was read."""
    failed_ids: list[str] = []
    """Ids that could not be read."""

    @property
    def complete(self) -> bool:
        """Whether the export is finished and no completion failed or was lost."""
        return self.finished and not self.failed_ids and not self.lost
