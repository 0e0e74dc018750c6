"""Time limits of many requests, kept by one timer of the event loop."""

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """What ends a connection when its time is over, and tells whether it has."""

    __slots__ = ("abort", "rung")

    def __init__(self, abort: Callable[[], object]) -> None:
        self.abort = abort
        self.rung = False


class AlarmClock:
    """Rings the alarms that are set, by one timer of the loop.

    The timer stays when an alarm is stopped, as the next one is mostly set for later. To begin and
    to cancel one for each request takes four times as long.
    """

    def __init__(self) -> None:
        self._ends: dict[Alarm, float] = {}
        self._timer: asyncio.Handle | None = None
        self._due = math.inf  # not to be asked of it: uvloop gives what is due at once no time

    def set(self, alarm: Alarm, seconds: float | None) -> None:
        """Let it ring in so many seconds, or never."""
        if seconds is not None:
            loop = asyncio.get_running_loop()
            ends = self._ends[alarm] = loop.time() + seconds
            if ends < self._due:
                self._wake_at(ends, loop)

    def stop(self, alarm: Alarm) -> None:
        """Let it ring no more."""
        self._ends.pop(alarm, None)

    def _wake_at(self, when: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = loop.call_at(when, self._look), when

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._due, now = math.inf, loop.time()
        for alarm in [alarm for alarm, ends in self._ends.items() if ends <= now]:
            self.stop(alarm)
            alarm.rung = True
            alarm.abort()
        if self._ends:
            self._wake_at(min(self._ends.values()), loop)
