"""What is told of the work: a log record at its end, and spans and metrics where they are wanted.

This is the seam that OpenTelemetry fits in; nothing here knows of it. A `Telemetry` hears of each
attempt and makes the span of each operation, a `Watch` follows one operation from its begin to its
end. Those that stand here hear and see nothing, which is what a client has until somebody
instruments it. Counts, seconds, names of errors and ids of completions go through here, and
nothing else: no content, header, key, or text of an error.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context
from typing import Final, Literal

from aiomessages.errors import APIError

from .logs import log_end, logs_ends

Operation = Literal["list messages", "list completions", "export"]
Outcome = Literal["complete", "closed", "error"]

_NOTHING: Final = nullcontext()  # to be entered by any number at once


class Span:
    """An operation as it is seen from outside; this one is not seen."""

    def context(self) -> Context | None:
        """Return the context for a task that works on it; None is that of whoever starts it."""
        return None

    def current(self) -> AbstractContextManager[object]:
        """Make this what the caller works on, for the length of a `with` block."""
        return _NOTHING

    def end(
        self, outcome: Outcome, *, pages: int, items: int, retries: int, error_type: str | None
    ) -> None:
        """Hear what came of it."""


class Telemetry:
    """Hears of a client's work; this one forgets it at once."""

    def begin(self, operation: Operation, completion_id: str | None) -> Span:  # noqa: ARG002
        """Return the span of an operation that begins in the caller's context."""
        return _UNSEEN

    def attempted(self, outcome: object) -> None:
        """Hear of an attempt: its response, or the error by which it ended."""

    def received(self, size: int) -> None:
        """Hear of a response's body, of so many bytes decompressed."""

    def retried(self, error: APIError) -> None:
        """Hear that another attempt will follow the one that failed."""

    def waited(self, seconds: float) -> None:
        """Hear how long an attempt waited for its turn to be sent."""


class Watch:
    """Follows one operation, which may never begin; this one looks away."""

    def context(self) -> Context | None:
        """Return the context for a task that works on it, which has begun by now."""
        return None

    def current(self) -> AbstractContextManager[object]:
        """Make it what the caller works on, for the length of a `with` block."""
        return _NOTHING

    def whole(self) -> AbstractContextManager[object]:
        """Hold the whole of the operation: the caller works on it, and it ends with the block."""
        return _NOTHING

    def page(self, items: int, *, last: bool = False) -> None:
        """Count a page of so many items; the last one is the end."""

    def retried(self) -> None:
        """Count a retry."""

    def over(self, error: BaseException | None = None) -> None:
        """End by an error, or because nobody wants more of it; what is over stays as it is."""

    def dropped(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what its reader has dropped. The garbage collector may call this, in any thread."""


_UNSEEN: Final = Span()
SILENCE: Final = Telemetry()
UNWATCHED: Final = Watch()


def watch(telemetry: Telemetry, operation: Operation, completion_id: str | None = None) -> Watch:
    """Return what follows an operation; where nobody would hear of it, it costs nothing."""
    if telemetry is SILENCE and not logs_ends():
        return UNWATCHED
    return _Following(telemetry, operation, completion_id)


class _Following(Watch):
    """Counts, and tells the log and the span at the end."""

    def __init__(
        self, telemetry: Telemetry, operation: Operation, completion_id: str | None
    ) -> None:
        self._telemetry = telemetry
        self._operation: Operation = operation
        self._completion_id = completion_id
        self._span: Span | None = None
        self._began = 0.0
        self._pages = self._items = self._retries = 0
        self._is_over = False

    def _begin(self) -> Span:
        if self._span is None:
            self._began = time.monotonic()
            self._span = self._telemetry.begin(self._operation, self._completion_id)
        return self._span

    def context(self) -> Context | None:
        return self._begin().context()

    def current(self) -> AbstractContextManager[object]:
        return self._begin().current()

    @contextmanager
    def whole(self) -> Iterator[None]:
        with self.current():
            try:
                yield
            except BaseException as error:
                self.over(error)
                raise
        self._end("complete")

    def page(self, items: int, *, last: bool = False) -> None:
        self._pages += 1
        self._items += items
        if last:
            self._end("complete")

    def retried(self) -> None:
        self._retries += 1

    def over(self, error: BaseException | None = None) -> None:
        self._end("closed" if error is None else "error", error)

    def dropped(self, loop: asyncio.AbstractEventLoop) -> None:
        # Whoever hears of the end may take locks, which the collector's thread may hold already.
        if not self._is_over and not loop.is_closed():
            loop.call_soon_threadsafe(self.over)

    def _end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        if self._is_over or self._span is None:
            return
        self._is_over = True
        error_type = None if error is None else type(error).__name__
        self._span.end(
            outcome,
            pages=self._pages,
            items=self._items,
            retries=self._retries,
            error_type=error_type,
        )
        log_end(
            self._operation,
            outcome,
            completion_id=self._completion_id,
            pages=self._pages,
            items=self._items,
            retries=self._retries,
            seconds=time.monotonic() - self._began,
            error_type=error_type,
        )
