"""The last lines of an export: pure functions of its report and status.

Nothing here prints or reads a file.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from aiomessages.export import ExportReport, ExportStatus

from .progress import counted, duration, megabytes

GO_ON: Final = "run the same command again to continue"
SHOWN: Final = 10  # ids of one kind; `status --format json` and the manifest have all

# The meaning of each state in the summary.
_MEANINGS: Final = {
    "gone": "no longer on the server",
    "pending": "not visible yet; the next run retries",
    "lost": "changed while they were read; the messages read are in {incomplete}",
}


def of_report(report: ExportReport, status: ExportStatus) -> list[str]:
    """Return the lines of an export that ended by itself, finished or not."""
    return [
        _outcome(report, status),
        *_indented(_written(status), *_nothing(status), *_this_run(report), *_asides(report)),
    ]


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
        f" {then:%Y-%m-%d %H:%M}"
    )


def _outcome(report: ExportReport, status: ExportStatus) -> str:
    if not report.finished:
        return f"not finished: {report.destination}; {GO_ON}"
    if _is_unchanged(report):
        if not report.progress.listed:
            return f"already complete, and not listed again (--no-refresh): {report.destination}"
        return f"already complete; nothing new{_since(status)}: {report.destination}"
    return f"finished: {report.destination}"


def _is_unchanged(report: ExportReport) -> bool:
    """Return whether this run added nothing to an export that had finished before."""
    progress = report.progress
    return report.was_finished and not progress.completions and not progress.skipped


def _since(status: ExportStatus) -> str:
    finished_at = datetime.fromtimestamp(status.finished_at or 0.0).astimezone()
    return f" since {finished_at:%Y-%m-%d %H:%M}"


def _written(status: ExportStatus) -> str:
    done = status.completions.get("done")
    files = "" if status.files == 1 else f" in {status.files:,} files"
    return (
        f"{counted(done.completions if done else 0, 'completion')},"
        f" {counted(status.rows, 'row')}, {megabytes(status.bytes)}{files}"
    )


def _nothing(status: ExportStatus) -> list[str]:
    """Return a line if the export is empty: else a misspelled name would look like success."""
    return [] if status.completions else ["no completion was given or selected"]


def _this_run(report: ExportReport) -> list[str]:
    progress = report.progress
    if not progress.requests:
        return []
    retries = f", {progress.retries:,} of them retries" if progress.retries else ""
    return [
        (
            f"in this run: {counted(progress.completions, 'completion')},"
            f" {counted(progress.requests, 'request')}{retries}, {duration(progress.seconds)}"
        )
    ]


def _asides(report: ExportReport) -> list[str]:
    removed = report.removed
    kept = [f"no longer listed by the server; kept in the file: {removed:,}"] if removed else []
    return [*reasons("skipped", report.skipped), *named(report), *kept]


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


def _indented(*lines: str) -> list[str]:
    return [f"  {line}" for line in lines]
