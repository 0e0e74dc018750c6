"""An export at the command line: its display, its signals, and its last lines."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import structs

from aiomessages.errors import APIError, MessagesError
from aiomessages.export import ExportReport, read_status

from . import exits, formats, output, progress, stderr, summary

if TYPE_CHECKING:
    from aiomessages.export import Progress

_STOPPING: Final = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
# Seconds within which a repeated signal counts once: `timeout` sends it to the process and to its
# group, and a parent program forwards a Ctrl-C that the terminal sent to both.
_TOGETHER: Final = 1.0
ReportT = TypeVar("ReportT")
_COMMITTING: Final = "committing what was fetched; a second signal ends it at once"
_STOPPING_LINES: Final = "writing what was fetched; a second signal ends it at once"
_NO_LEDGER: Final = "there is no ledger: another run begins at the start"


async def run(
    start: Callable[..., Awaitable[ExportReport]],
    destination: Path,
    *,
    quiet: bool,
    zone: tzinfo | None,
) -> int:
    """Start an export to the destination, print the result, and return the exit code.

    Times are printed in the zone, or local.
    """
    gauge = progress.Gauge()

    def update(now: "Progress") -> None:
        gauge.progress = now

    with progress.shown(gauge, quiet=quiet) as close_display:
        report = await stoppable(start(on_progress=update), close_display)
    return _report(report, destination, quiet=quiet, zone=zone)


async def run_to_stdout(start: Callable[..., Awaitable[ExportReport]], *, quiet: bool) -> int:
    """Start an export to standard output, print the result, and return the exit code.

    Nothing else is printed there, and no progress: it would mix with what the reader shows.
    """
    screen = output.screen_for(output.STANDARD_OUTPUT)
    with output.opened(output.STANDARD_OUTPUT) as write:

        def write_safely(lines: bytes) -> None:
            write(formats.safe(lines, screen))

        exporting = asyncio.ensure_future(start(write_safely))
        with output.reader_watched(exporting.cancel) as reader:
            try:
                report = await stoppable(exporting, lambda: None, said=_STOPPING_LINES)
            except asyncio.CancelledError:
                if reader.is_gone:
                    raise exits.ReaderGone from None
                raise
    return _report_lines(report, quiet=quiet)


def _report_lines(report: ExportReport | None, *, quiet: bool) -> int:
    """Print the result of an export to standard output, and return its exit code."""
    if report is None:
        stderr.say("stopped: the lines so far are whole conversations", _NO_LEDGER)
        return exits.INTERRUPTED
    if not quiet:
        first, *rest = summary.of_lines(report)
        stderr.say(first)
        stderr.say_all("\n".join(rest))
    return exits.OK if report.complete else exits.RUNTIME


async def stoppable(
    exporting: Awaitable[ReportT], close_display: Callable[[], None], said: str = _COMMITTING
) -> ReportT | None:
    """Return the report of an export or a sync, None if a signal stopped it.

    The first Ctrl-C, SIGTERM, or SIGHUP (a terminal was closed) lets it commit what it has; the
    second ends the process.
    """
    task, loop = asyncio.ensure_future(exporting), asyncio.get_running_loop()
    first: tuple[int, float] | None = None

    def stop(number: int) -> None:
        nonlocal first
        if first is None:
            first = number, loop.time()
            stderr.say(said)
            task.cancel()
        elif first[0] != number or loop.time() - first[1] > _TOGETHER:
            close_display()
            os._exit(exits.INTERRUPTED)

    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores SIGHUP
            loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if first is not None:
            return None
        raise


def _report(
    report: ExportReport | None, destination: Path, *, quiet: bool, zone: tzinfo | None
) -> int:
    """Print the result of an export, and return its exit code."""
    status = read_status(destination)
    if report is None or status is None:
        stderr.say(summary.of_interruption(status))
        return exits.INTERRUPTED
    if not quiet:
        size = destination.stat().st_size if destination.is_file() else status.bytes
        first, *rest = summary.of_report(report, structs.replace(status, bytes=size), zone)
        stderr.say(first)
        stderr.say_all("\n".join(rest))
    return exits.OK if report.complete else exits.RUNTIME


@contextmanager
def explained(destination: Path, zone: tzinfo | None = None) -> Iterator[None]:
    """Print how to continue after an API error, and name the file in a system error."""
    try:
        yield
    except APIError as error:
        status = None if destination == output.STANDARD_OUTPUT else read_status(destination)
        if status is not None and status.files:
            stderr.say(summary.of_interruption(status))
        retry_after = getattr(error, "retry_after", None)
        if retry_after is not None:
            stderr.say(summary.of_wait(retry_after, datetime.now().astimezone(zone)))
        raise
    except MessagesError:
        raise
    except OSError as error:
        raise exits.CommandError(
            f"cannot write {destination}: {error.strerror}",
            "mend it, and run the same command again",
        ) from error
