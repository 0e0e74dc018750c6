"""The display of an export while it runs."""

import asyncio
import io
import sys
from typing import Any

import pytest
from rich.console import Console

from aiomessages.cli import progress
from aiomessages.export import Progress


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def gauge(total: int | None = 100, **counts: Any) -> progress.Gauge:
    """Return a gauge after ten seconds, begun at a clock's 1000."""
    found = progress.Gauge()
    found.sample(1000.0)
    found.progress = Progress(total=total, **counts)
    found.sample(1010.0)
    return found


def test_a_line() -> None:
    """The line has completions, messages, MB, requests a second, retries, and time left."""
    found = gauge(completions=20, messages=4321, bytes=12_345_678, requests=400, retries=3)
    assert progress.line(found) == (
        "20 of 100 completions · 4,321 messages · 12.3 MB · 40 requests/s · 3 retries · 0:40 left"
    )


def test_a_line_without_a_total() -> None:
    """Without a known total, no time left is shown."""
    found = gauge(None, completions=20, skipped=2, failed=1, bytes=512_000)
    assert progress.line(found) == (
        "23 completions · 0 messages · 512 kB · 0 requests/s · 2 skipped · 1 failed"
    )


@pytest.mark.parametrize("total", [None, 20])
def test_columns(total: int | None) -> None:
    """While columns are written at the end, the display says so and shows no time left."""
    found = gauge(total, completions=20)
    found.progress.writing_columns = True
    assert progress.line(found).endswith(" requests/s · writing columns …")
    with (console := Console(file=io.StringIO(), width=80)).capture() as captured:
        console.print(progress.display(found, 80))
    assert captured.get().splitlines()[0].rstrip().endswith("writing columns …")


def test_a_pause() -> None:
    """While the server asks to wait, the line says for how long; a short pause is not worth it."""
    found = gauge(paused_until=1085.0)
    assert progress.line(found).endswith("the server asks to wait 1:15")
    found.sample(1084.0)
    assert "asks to wait" not in progress.line(found)


def test_completions_of_earlier_runs() -> None:
    """The work of earlier runs counts as done, and not in this run's rate."""
    found = gauge(completions=10, already=80)
    assert (found.handled, found.left) == (90, 10.0)


def test_at_the_very_beginning() -> None:
    """Before anything has happened there is no rate and no time left."""
    found = progress.Gauge()
    assert found.left is None
    found.sample(5.0)
    assert (found.rate, found.left) == (0.0, None)


def test_the_rate_is_recent() -> None:
    """Requests a second are those of the last ten seconds, not of the whole run."""
    found = progress.Gauge()
    for second in range(100):
        found.progress = Progress(requests=second if second < 50 else 50 + (second - 50) * 20)
        found.sample(float(second))
    assert found.rate == pytest.approx(20)


@pytest.mark.parametrize("total", [None, 0, 100])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_display(total: int | None, width: int) -> None:
    """At a terminal it is two lines, whatever is known, no wider than the screen."""
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(progress.display(gauge(total, completions=20, retries=3), width))
    lines = captured.get().splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    assert "20" in lines[0]
    assert lines[1].startswith("0 messages · 0 requests/s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.42, "0.4 s"), (9.97, "10 s"), (59.4, "59 s"), (59.7, "1:00"), (65, "1:05")],
)
def test_elapsed(seconds: float, text: str) -> None:
    """How long a run took is in seconds below a minute."""
    assert progress.elapsed(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (7200, "2:00:00"), (36_061, "10:01:01")]
)
def test_durations(seconds: float, text: str) -> None:
    """Seconds are written as minutes and hours."""
    assert progress.duration(seconds) == text


def test_sizes() -> None:
    """Bytes are written in the unit that fits."""
    assert [progress.megabytes(n) for n in (999, 1_500_000, 2_345_678_901)] == [
        "1 kB",
        "1.5 MB",
        "2,346 MB",
    ]


async def shown(monkeypatch: pytest.MonkeyPatch, file: io.StringIO, *, quiet: bool) -> str:
    """Show a gauge for a few ticks, and return the output."""
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr(progress, "DISPLAY_SECONDS", 0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    with progress.shown(gauge(completions=20), quiet=quiet):
        for _ in range(10):
            await asyncio.sleep(0)
    return file.getvalue()


async def test_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe there are plain lines and no escape sequences."""
    text = await shown(monkeypatch, io.StringIO(), quiet=False)
    assert text.startswith("aiomessages: 20 of 100 completions")
    assert "\x1b" not in text


async def test_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal it stays in its place, and in the end the cursor is back."""
    monkeypatch.setenv("TERM", "xterm")
    text = await shown(monkeypatch, Terminal(), quiet=False)
    assert "20 of 100 completions" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


async def test_at_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that can move no cursor gets lines."""
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in await shown(monkeypatch, Terminal(), quiet=False)


async def test_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet shows nothing."""
    monkeypatch.setenv("TERM", "xterm")
    assert await shown(monkeypatch, Terminal(), quiet=True) == ""
