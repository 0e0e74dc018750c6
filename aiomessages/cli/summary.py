"""What is said of an export at its end: pure functions from what it came to, to lines.

Nothing here prints, or reads a file.
"""

from collections.abc import Mapping
from typing import Final

from aiomessages.cli.progress import counted, duration, megabytes
from aiomessages.export import ExportReport, ExportStatus

GO_ON: Final = "run the same command again to go on"


def of_report(report: ExportReport, status: ExportStatus) -> list[str]:
    """Return the lines about an export that ran to its end, finished or not."""
    return [_outcome(report), *_indented(_written(status), *_this_run(report), *_asides(report))]


def of_interruption(status: ExportStatus | None) -> str:
    """Return the line about an export that was stopped."""
    if status is None or not status.files:
        return f"stopped before anything was written; {GO_ON}"
    return f"stopped: {_written(status)} are safe; {GO_ON}"


def _outcome(report: ExportReport) -> str:
    if not report.finished:
        return f"not finished: {report.destination}; {GO_ON}"
    if not report.progress.requests and not report.progress.already:
        return f"finished before, and nothing was asked for (--refresh does): {report.destination}"
    return f"finished: {report.destination}"


def _written(status: ExportStatus) -> str:
    done = status.completions.get("done")
    files = "" if status.files == 1 else f" in {status.files:,} files"
    return (
        f"{counted(done.completions if done else 0, 'completion')},"
        f" {counted(status.rows, 'row')}, {megabytes(status.bytes)}{files}"
    )


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
    removed = [f"not named by the source this time: {report.removed:,}"] if report.removed else []
    return [*reasons("skipped", report.skipped), *reasons("failed", report.failed), *removed]


def reasons(what: str, numbers: Mapping[str, int]) -> list[str]:
    """Return one line with the number of each reason, or none if there are none."""
    most_first = sorted(numbers.items(), key=lambda item: -item[1])
    told = ", ".join(f"{number:,} × {reason}" for reason, number in most_first)
    return [f"{what}: {told}"] if told else []


def _indented(*lines: str) -> list[str]:
    return [f"  {line}" for line in lines]
