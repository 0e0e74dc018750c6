"""The progress of an export on standard error: a live display at a terminal, lines elsewhere.

Pure functions make the texts from a `Progress` and clock readings, which are arguments.
"""

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aiomessages.export import Progress

from .stderr import say

DISPLAY_SECONDS: Final = 0.2
LINE_SECONDS: Final = 5.0
SHOWN_PAUSE: Final = 2.0  # seconds; a shorter pause would flicker
_WINDOW_SECONDS: Final = 10.0  # the window of the request rate
_ASIDES: Final = ("retries", "skipped", "gone", "pending", "lost", "failed")  # shown if not 0


class Gauge:
    """The figures of an export's progress: counts, the recent rate, and the remaining time."""

    def __init__(self) -> None:
        self.progress = Progress()
        self._began: float | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float) -> None:
        """Record the number of requests at `now`, a reading of `time.monotonic()`."""
        self._began = now if self._began is None else self._began
        self._samples.append((now, self.progress.requests))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def handled(self) -> int:
        """The number of completions with a result, of this run and those before."""
        return self.in_this_run + self.progress.already

    @property
    def in_this_run(self) -> int:
        """The number of completions with a result of this run."""
        progress = self.progress
        unread = progress.gone + progress.pending + progress.lost + progress.failed
        return progress.completions + progress.skipped + unread

    @property
    def rate(self) -> float:
        """The requests per second of the last seconds."""
        (began, before), (now, after) = self._samples[0], self._samples[-1]
        return (after - before) / (now - began) if now > began else 0.0

    @property
    def pause(self) -> float:
        """The remaining seconds of a wait that the server asked for."""
        return self.progress.paused_until - self._samples[-1][0]

    @property
    def left(self) -> float | None:
        """The estimated seconds until the end; None without a total or a first result."""
        total, done = self.progress.total, self.in_this_run
        if total is None or not done or self._began is None:
            return None
        return (total - self.handled) * (self._samples[-1][0] - self._began) / done


@contextmanager
def shown(gauge: Gauge, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a gauge while the block runs; yield a function that restores the terminal at once."""
    with ExitStack() as held:
        if not quiet:
            if _at_terminal():
                show, seconds = _display(gauge, held), DISPLAY_SECONDS
            else:
                show, seconds = lambda: say(line(gauge)), LINE_SECONDS
            ticking = asyncio.create_task(_tick(gauge, show, seconds))
            held.callback(ticking.cancel)
        yield held.close


def _at_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


async def _tick(gauge: Gauge, show: Callable[[], None], seconds: float) -> None:
    gauge.sample(time.monotonic())
    while True:
        await asyncio.sleep(seconds)
        gauge.sample(time.monotonic())
        show()


def _display(gauge: Gauge, held: ExitStack) -> Callable[[], None]:
    """Open the display until `held` is closed; return its refresh."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    live = held.enter_context(Live(console=console, auto_refresh=False, transient=True))
    return lambda: live.update(display(gauge, console.width), refresh=True)


def line(gauge: Gauge) -> str:
    """Return the progress on one line."""
    return " · ".join([_completions(gauge), *_details(gauge), *_left(gauge)])


def display(gauge: Gauge, width: int) -> Group:
    """Return the display: counts, a bar if the total is known, and details below."""
    top = Table.grid(expand=True, padding=(0, 2, 0, 0))
    top.add_column(no_wrap=True)
    top.add_column(ratio=1)
    top.add_column(no_wrap=True, justify="right")
    total = gauge.progress.total
    bar = ProgressBar(total=total or 1, completed=gauge.handled) if total is not None else ""
    top.add_row(_completions(gauge), bar, " ".join(_left(gauge)))
    details = Text(" · ".join(_details(gauge)), style="dim", no_wrap=True, overflow="ellipsis")
    details.truncate(width)
    return Group(top, details)


def _completions(gauge: Gauge) -> str:
    total = gauge.progress.total
    if total is None:
        return counted(gauge.handled, "completion")
    return f"{gauge.handled:,} of {counted(total, 'completion')}"


def _details(gauge: Gauge) -> list[str]:
    progress = gauge.progress
    asides = {name: getattr(progress, name) for name in _ASIDES}
    return [
        counted(progress.messages, "message"),
        *([megabytes(progress.bytes)] if progress.bytes else []),  # a sync writes rows
        f"{gauge.rate:,.0f} requests/s",
        *(f"{number:,} {name}" for name, number in asides.items() if number),
    ]


def _left(gauge: Gauge) -> list[str]:
    if gauge.progress.writing_columns:
        return ["writing columns …"]
    if gauge.pause >= SHOWN_PAUSE:
        return [f"the server asks to wait {duration(gauge.pause)}"]
    return [] if gauge.left is None else [f"{duration(gauge.left)} left"]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def megabytes(size: int) -> str:
    """Return a size in bytes as MB, or as kB below one MB."""
    if size < 1e6:
        return f"{size / 1e3:,.0f} kB"
    return f"{size / 1e6:,.1f} MB" if size < 100e6 else f"{size / 1e6:,.0f} MB"


def elapsed(seconds: float) -> str:
    """Return how long a run took: below a minute in seconds, else as `duration`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 59.5 else duration(seconds)


def duration(seconds: float) -> str:
    """Return seconds as minutes and seconds (1:05), with hours from an hour on (2:00:00)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
