"""An operation, such as a list or an export: its pages, items and retries, and how it ended.

A listener follows the operations and the attempts of a client; without one, an end only writes a
log record. A listener gets counts, seconds, names of errors and ids of completions, and nothing
else: no content, header, key, or text of an error.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Final, Literal, Protocol, Self

from aiomessages.errors import APIError

from .logs import log_end

Kind = Literal["list messages", "list completions", "export", "sync"]
Outcome = Literal["complete", "closed", "error"]

_NOTHING: Final = nullcontext()  # any number of callers may be in it at once


class Span(Protocol):
    """An operation as a listener follows it."""

    def context(self) -> Context | None:
        """Return the context for a task that works on the operation; None is the caller's own."""

    def current(self) -> AbstractContextManager[object]:
        """Make the operation the current one, for the length of a `with` block."""

    def end(self, outcome: Outcome, counts: Mapping[str, int], error_type: str | None) -> None:
        """Note the end of the operation, and its `pages`, `items` and `retries`."""


class Listener(Protocol):
    """A receiver of a client's telemetry."""

    def begin(self, kind: Kind, completion_id: str | None) -> Span:
        """Return the span of an operation that begins in the caller's context."""

    def attempted(self, outcome: object) -> None:
        """Note an attempt: its response, or the error by which it ended."""

    def received(self, size: int) -> None:
        """Note the body of a response, of so many bytes decompressed."""

    def retried(self, error: APIError) -> None:
        """Note that another attempt will follow the one that failed."""

    def waited(self, seconds: float) -> None:
        """Note how long an attempt waited for its turn in the queue."""


class Operation:
    """Count what an operation does, and report its end once.

    It begins with its first request, and may never begin. As a context manager it is the current
    operation during its block, and ends with it.
    """

    def __init__(
        self,
        listener: Listener | None = None,
        kind: Kind = "list messages",
        completion_id: str | None = None,
    ) -> None:
        self._listener = listener
        self._kind: Kind = kind
        self._completion_id = completion_id
        self._span: Span | None = None
        self._current: AbstractContextManager[object] = _NOTHING
        self._began: float | None = None
        self._pages = self._items = self._retries = 0
        self._is_over = False

    def _begin(self) -> Span | None:
        if self._began is None:
            self._began = time.monotonic()
            if self._listener is not None:
                self._span = self._listener.begin(self._kind, self._completion_id)
        return self._span

    def context(self) -> Context | None:
        """Return the context for a task that works on the operation, which begins here."""
        span = self._begin()
        return None if span is None else span.context()

    def current(self) -> AbstractContextManager[object]:
        """Make this the current operation, for the length of a `with` block."""
        span = self._begin()
        return _NOTHING if span is None else span.current()

    def __enter__(self) -> Self:
        self._current = self.current()
        self._current.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self.over(error)
        self._current.__exit__(type(error) if error else None, error, None)
        self._end("complete")

    def page(self, items: int, *, last: bool = False) -> None:
        """Count a page of so many items; the last one is the end."""
        self._pages += 1
        self._items += items
        if last:
            self._end("complete")

    def retried(self) -> None:
        """Count a retry."""
        self._retries += 1

    def over(self, error: BaseException | None = None) -> None:
        """End with an error, or because the rest is not wanted. Only the first end counts."""
        self._end("closed" if error is None else "error", error)

    def dropped(self, loop: asyncio.AbstractEventLoop) -> None:
        """End an operation that its reader has dropped.

        The garbage collector may call this, in any thread. A listener may take locks that the
        collector's thread holds already, so the end is reported in the loop.
        """
        if not self._is_over and not loop.is_closed():
            loop.call_soon_threadsafe(self.over)

    def _end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        if self._is_over or self._began is None:
            return
        self._is_over = True
        error_type = None if error is None else type(error).__name__
        counts = {"pages": self._pages, "items": self._items, "retries": self._retries}
        if self._span is not None:
            self._span.end(outcome, counts, error_type)
        seconds = time.monotonic() - self._began
        name = self._completion_id
        log_end(self._kind, outcome, name, counts, seconds=seconds, error_type=error_type)
