"""The last lines of an export."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from aiomessages.cli import summary
from aiomessages.export import ExportReport, ExportStatus, Progress
from aiomessages.export.status import Count

STATUS = ExportStatus(
    destination="out.jsonl",
    finished=True,
    layout="messages",
    include_reply=True,
    media=None,
    base_url="https://api.openai.com/v1",
    completions={"done": Count(1200, 5000)},
    rows=6200,
    bytes=12_300_000,
    files=1,
    skipped={},
    failed={},
)
EMPTY: dict[str, Any] = {"completions": {}, "rows": 0, "bytes": 0, "files": 0}


def report(**changes: Any) -> ExportReport:
    """Return a report, with changes."""
    fields: dict[str, Any] = {
        "destination": Path("out.jsonl"),
        "layout": "messages",
        "progress": Progress(completions=1200, requests=2400, seconds=65.0),
        "finished": True,
        "rows": 6200,
        "sha256": {},
        "skipped": {},
        "failed": {},
    }
    return ExportReport(**(fields | changes))


def changed(**changes: Any) -> ExportStatus:
    """Return the status, with changes."""
    return ExportStatus(
        **({name: getattr(STATUS, name) for name in STATUS.__struct_fields__} | changes)
    )


def test_finished() -> None:
    """The summary names the output and the work of this run."""
    assert summary.of_report(report(), STATUS) == [
        "finished: out.jsonl",
        "  1,200 completions, 6,200 rows, 12.3 MB",
        "  in this run: 1,200 completions, 2,400 requests, 1:05",
    ]


FINISHED_AT = datetime(2026, 11, 27, 3, 0).astimezone()


@pytest.mark.parametrize("progress", [Progress(requests=1), Progress(already=1200, requests=1)])
def test_nothing_new(progress: Progress) -> None:
    """A run that added nothing to a finished export says so, with the time since then."""
    status = changed(finished_at=FINISHED_AT.timestamp())
    first, *_ = summary.of_report(report(progress=progress, was_finished=True), status)
    since = f"2026-11-27 03:00 {FINISHED_AT:%Z}"
    assert first == f"already complete; nothing new since {since}: out.jsonl"
    elsewhere = timezone(timedelta(hours=-3), "XYZ")
    status = changed(finished_at=1_767_225_600.0)
    first, *_ = summary.of_report(report(progress=progress, was_finished=True), status, elsewhere)
    assert first == "already complete; nothing new since 2025-12-31 21:00 XYZ: out.jsonl"


def test_not_listed_again() -> None:
    """A run that did not list says why it could not find new completions."""
    progress = Progress(listed=False)
    first, *_ = summary.of_report(report(progress=progress, was_finished=True), STATUS)
    assert first == "already complete, and not listed again (--no-refresh): out.jsonl"


@pytest.mark.parametrize("progress", [Progress(completions=1), Progress(skipped=1)])
def test_something_new(progress: Progress) -> None:
    """A run that added completions says that the export is finished."""
    first, *_ = summary.of_report(report(progress=progress, was_finished=True), STATUS)
    assert first == "finished: out.jsonl"


def test_empty() -> None:
    """An export of nothing says why, because a misspelled name looks the same."""
    _, written, why, *_ = summary.of_report(report(rows=0), changed(**EMPTY))
    assert written == "  0 completions, 0 rows, 0 kB in 0 files"
    assert why == "  no completion was given or selected"


def test_not_finished() -> None:
    """An unfinished export says how to continue, and why: the most frequent reason first."""
    lines = summary.of_report(
        report(
            finished=False,
            progress=Progress(requests=9, retries=4),
            skipped={"audio": 1, "no reply": 2000},
            failed={"InternalServerError": 3},
            failed_ids=["a", "b", "c"],
            removed=5,
        ),
        changed(files=3),
    )
    assert lines == [
        "not finished: out.jsonl; run the same command again to continue",
        "  1,200 completions, 6,200 rows, 12.3 MB in 3 files",
        "  in this run: 0 completions, 9 requests, 4 of them retries, 0.0 s",
        "  skipped: 2,000 × no reply, 1 × audio",
        "  failed: 3 × InternalServerError (a, b, c)",
        "  no longer listed by the server; kept in the file: 5",
    ]


def test_named() -> None:
    """Missing completions are named by id: the first ten of each kind, and how many more."""
    gone = [f"g{number}" for number in range(12)]
    assert summary.named(report(gone=gone, pending=["p"], lost=["l"])) == [
        f"gone: 12 ({', '.join(gone[:10])} and 2 more): no longer on the server",
        "pending: 1 (p): not visible yet; the next run retries",
        (
            "lost: 1 (l): changed while they were read; the messages read are in"
            " out.jsonl.incomplete.jsonl"
        ),
    ]


def test_one_more_id() -> None:
    """The eleventh id is counted."""
    (line,) = summary.named(report(gone=[f"g{number}" for number in range(11)]))
    assert "g9 and 1 more)" in line


def test_when_to_come_back() -> None:
    """A server that asks for a long wait is reported with the time at which to continue."""
    assert summary.of_wait(86_400, FINISHED_AT) == (
        "the server asks to wait 24:00:00: run the same command again after 2026-11-28 03:00"
        f" {FINISHED_AT:%Z}"
    )


def test_interrupted() -> None:
    """An interrupted export says what is safe and how to continue."""
    assert summary.of_interruption(STATUS) == (
        "stopped: 1,200 completions, 6,200 rows, 12.3 MB are safe;"
        " run the same command again to continue"
    )


@pytest.mark.parametrize("status", [None, changed(**EMPTY)], ids=["no ledger", "nothing in it"])
def test_interrupted_early(status: ExportStatus | None) -> None:
    """If nothing was committed, nothing is said to be safe."""
    assert summary.of_interruption(status).startswith("stopped before anything was written;")


def test_nothing_done() -> None:
    """A part of one conversation counts as rows and not as a completion."""
    assert "0 completions, 6,200 rows" in summary.of_interruption(changed(completions={}))
