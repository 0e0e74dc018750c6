"""The progress of one run: its counts, and the calls of `on_progress`."""

import time
from collections.abc import Callable
from typing import Final

from aiomessages.calls.request import RetryDetails
from aiomessages.calls.retry import asks_all_to_wait
from aiomessages.observe.operation import Operation

from .ledger_schema import Entry
from .report import Progress

PROGRESS_SECONDS: Final = 0.1  # at least, between two calls of `on_progress`


class ProgressTracker:
    """Count the events of one run, and report them to `on_progress` and to telemetry."""

    def __init__(
        self, on_progress: Callable[[Progress], object] | None, operation: Operation
    ) -> None:
        self.progress = Progress()
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
