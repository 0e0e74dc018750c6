"""The last lines of an export: pure functions of its report and status.

Nothing here prints or reads a file.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from aiomessages.export import ExportReport, ExportStatus

from .progress import counted, duration, elapsed, megabytes

GO_ON: Final = "run the same command again to continue"
SHOWN: Final = 10  # ids of one kind; `status --format json` and the manifest have all

# The meaning of each state in the summary.
_MEANINGS: Final = {
    "gone": "no longer on the server",
    "pending": "not visible yet; the next run retries",
    "lost": "changed while they were read; the messages read are in {incomplete}",
}


def of_report(report: ExportReport, status: ExportStatus, zone: tzinfo | None = None) -> list[str]:
    """Return the lines of an export that ended by itself; times are in the zone, or local."""
    details = [_written(status)]
    if not status.completions:  # else a misspelled name would look like success
        details.append("no completion was given or selected")
    progress = report.progress
    if progress.requests:
        retries = f", {progress.retries:,} of them retries" if progress.retries else ""
        details.append(
            f"in this run: {counted(progress.completions, 'completion')},"
            f" {counted(progress.requests, 'request')}{retries}, {elapsed(progress.seconds)}"
        )
    details += [*reasons("skipped", report.skipped), *named(report)]
    if report.removed:
        details.append(f"no longer listed by the server; kept in the file: {report.removed:,}")
    return [_outcome(report, status, zone), *(f"  {line}" for line in details)]


def of_interruption(status: ExportStatus | None) -> str:
    """Return the line of an export that was stopped."""
    if status is None or not status.files:
        return f"stopped before anything was written; {GO_ON}"
    return f"stopped: {_written(status)} are safe; {GO_ON}"


def of_wait(retry_after: float, now: datetime) -> str:
    """Return the line for a server that asks for a longer wait than a run accepts."""
    then = datetime.fromtimestamp(now.timestamp() + retry_after, now.tzinfo)
    return (
        f"the server asks to wait {duration(retry_after)}: run the same command again after"
        f" {then:%Y-%m-%d %H:%M %Z}"
    )


def _outcome(report: ExportReport, status: ExportStatus, zone: tzinfo | None) -> str:
    if not report.finished:
        return f"not finished: {report.destination}; {GO_ON}"
    progress = report.progress
    if not report.was_finished or progress.completions or progress.skipped:
        return f"finished: {report.destination}"
    if not progress.listed:
        return f"already complete, and not listed again (--no-refresh): {report.destination}"
    since = datetime.fromtimestamp(status.finished_at or 0.0, UTC).astimezone(zone)
    return f"already complete; nothing new since {since:%Y-%m-%d %H:%M %Z}: {report.destination}"


def _written(status: ExportStatus) -> str:
    done = status.completions.get("done")
    files = "" if status.files == 1 else f" in {status.files:,} files"
    return (
        f"{counted(done.completions if done else 0, 'completion')},"
        f" {counted(status.rows, 'row')}, {megabytes(status.bytes)}{files}"
    )


def named(export: ExportReport | ExportStatus) -> list[str]:
    """Return a line with number and ids for each kind of completion that the output lacks."""
    incomplete = f"{export.destination}.incomplete.jsonl"
    ids = {"gone": export.gone, "pending": export.pending, "lost": export.lost}
    lines = [
        f"{state}: {len(found):,} ({_ids(found)}): {_MEANINGS[state].format(incomplete=incomplete)}"
        for state, found in ids.items()
        if found
    ]
    failed = [f"{line} ({_ids(export.failed_ids)})" for line in reasons("failed", export.failed)]
    return [*lines, *failed]


def _ids(found: Sequence[str]) -> str:
    more = len(found) - SHOWN
    shown = ", ".join(found[:SHOWN])
    return f"{shown} and {more:,} more" if more > 0 else shown


def reasons(what: str, numbers: Mapping[str, int]) -> list[str]:
    """Return one line with the number of each reason; no line without reasons."""
    most_first = sorted(numbers.items(), key=lambda item: -item[1])
    counts = ", ".join(f"{number:,} × {reason}" for reason, number in most_first)
    return [f"{what}: {counts}"] if counts else []
