"""Total timeouts of many requests, kept by one timer of the event loop."""

import asyncio
import math
from collections.abc import Callable


class TotalTimeout:
    """The total timeout of a request: aborts its connection when it expires."""

    __slots__ = ("abort", "expired")

    def __init__(self, abort: Callable[[], object]) -> None:
        self.abort = abort
        self.expired = False


class SharedTimer:
    """Expires many timeouts by one timer of the event loop.

    The timer stays when a timeout is stopped, as the next one mostly ends later. A timer for each
    request, begun and cancelled, takes four times as long.
    """

    def __init__(self) -> None:
        self._ends: dict[TotalTimeout, float] = {}
        self._timer: asyncio.Handle | None = None
        self._due = math.inf  # kept here: a handle of uvloop that is due at once has no `when`

    def start(self, timeout: TotalTimeout, seconds: float | None) -> None:
        """Let the timeout expire in so many seconds; None means never."""
        if seconds is not None:
            loop = asyncio.get_running_loop()
            ends = self._ends[timeout] = loop.time() + seconds
            if ends < self._due:
                self._set_timer(ends, loop)

    def stop(self, timeout: TotalTimeout) -> None:
        """Stop a timeout; do nothing for one that was not started or has expired."""
        self._ends.pop(timeout, None)

    def _set_timer(self, when: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = loop.call_at(when, self._expire), when

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._due, now = math.inf, loop.time()
        for timeout in [timeout for timeout, ends in self._ends.items() if ends <= now]:
            self.stop(timeout)
            timeout.expired = True
            timeout.abort()
        if self._ends:
            self._set_timer(min(self._ends.values()), loop)
