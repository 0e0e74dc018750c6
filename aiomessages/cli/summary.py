"""The last lines of an export: pure functions of its report and status.

Nothing here prints or reads a file.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from aiomessages.export import ExportReport, ExportStatus
from aiomessages.export.preview import Preview

from .progress import counted, duration, elapsed, megabytes

GO_ON: Final = "run the same command again to continue"
SHOWN: Final = 10  # ids of one kind; `status --format json` and the manifest have all

# The meaning of each state in the summary.
_MEANINGS: Final = {
    "gone": "no longer on the server",
    "pending": "not visible yet; the next run retries",
    "lost": "changed while they were read; the messages read are in {incomplete}",
}
# The same without a ledger, and without a file of what was read.
_LEFT_OUT: Final = {
    "gone": "no longer on the server",
    "pending": "not visible yet; left out",
    "lost": "changed while they were read; left out",
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


def of_lines(report: ExportReport) -> list[str]:
    """Return the lines of an export to standard output that ended by itself."""
    progress = report.progress
    said = f"{counted(progress.completions, 'completion')}, {counted(report.rows, 'row')}"
    effort = f"{counted(progress.requests, 'request')}, {elapsed(progress.seconds)}"
    details = [*reasons("skipped", report.skipped), *named(report, _LEFT_OUT)]
    if not progress.completions and not details:
        details.append("no completion was given or selected")
    return [f"written to standard output: {said} ({effort})", *(f"  {line}" for line in details)]


def of_preview(found: Preview, zone: tzinfo | None = None) -> list[str]:
    """Return the lines of an export that was only looked at; times are in the zone, or local."""
    span = ""
    if found.first is not None and found.last is not None:
        span = f", created from {moment(found.first, zone)} to {moment(found.last, zone)}"
    lines = [f"would export {counted(found.completions, 'completion')}{span}"]
    if found.already:
        lines.append(f"  already in the output: {found.already:,}")
    if found.completions:
        lines.append(
            f"  with {counted(found.requests, 'request')}, and one more for each further page of a"
            " long conversation"
        )
    else:
        lines.append(f"  {counted(found.requests, 'request')} for the list, and no other")
    return [*lines, "  nothing was written"]


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
    since = moment(status.finished_at or 0.0, zone)
    return f"already complete; nothing new since {since}: {report.destination}"


def _written(status: ExportStatus) -> str:
    done = status.completions.get("done")
    files = "" if status.files == 1 else f" in {status.files:,} files"
    return (
        f"{counted(done.completions if done else 0, 'completion')},"
        f" {counted(status.rows, 'row')}, {megabytes(status.bytes)}{files}"
    )


def named(
    export: ExportReport | ExportStatus, meanings: Mapping[str, str] = _MEANINGS
) -> list[str]:
    """Return a line with number and ids for each kind of completion that the output lacks."""
    incomplete = f"{export.destination}.incomplete.jsonl"
    ids = {"gone": export.gone, "pending": export.pending, "lost": export.lost}
    lines = [
        f"{state}: {len(found):,} ({_ids(found)}): {meanings[state].format(incomplete=incomplete)}"
        for state, found in ids.items()
        if found
    ]
    failed = [f"{line} ({_ids(export.failed_ids)})" for line in reasons("failed", export.failed)]
    return [*lines, *failed]


def _ids(found: Sequence[str]) -> str:
    more = len(found) - SHOWN
    shown = ", ".join(found[:SHOWN])
    return f"{shown} and {more:,} more" if more > 0 else shown


def moment(seconds: float, zone: tzinfo | None) -> str:
    """Return a time with its zone; a number if no calendar has it, as a server may send any."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone(zone).strftime("%F %H:%M %Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s"


def reasons(what: str, numbers: Mapping[str, int]) -> list[str]:
    """Return one line with the number of each reason; no line without reasons."""
    most_first = sorted(numbers.items(), key=lambda item: -item[1])
    counts = ", ".join(f"{number:,} × {reason}" for reason, number in most_first)
    return [f"{what}: {counts}"] if counts else []
