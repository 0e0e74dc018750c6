"""What is said of an export at its end."""

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
    """What was written where, and what this run did for it."""
    assert summary.of_report(report(), STATUS) == [
        "finished: out.jsonl",
        "  1,200 completions, 6,200 rows, 12.3 MB",
        "  in this run: 1,200 completions, 2,400 requests, 1:05",
    ]


def test_finished_before() -> None:
    """A run that asked for nothing says so, and how to ask again."""
    first, *_ = summary.of_report(report(progress=Progress()), STATUS)
    assert "--refresh" in first


def test_all_there() -> None:
    """Ids that all were there already are no reason to speak of --refresh."""
    lines = summary.of_report(report(progress=Progress(already=1200)), STATUS)
    assert lines == ["finished: out.jsonl", "  1,200 completions, 6,200 rows, 12.3 MB"]


def test_not_finished() -> None:
    """An unfinished export says how to go on, and why it has to: the most frequent reason first."""
    lines = summary.of_report(
        report(
            finished=False,
            progress=Progress(requests=9, retries=4),
            skipped={"audio": 1, "no reply": 2000},
            failed={"InternalServerError": 3},
            removed=5,
        ),
        changed(files=3),
    )
    assert lines == [
        "not finished: out.jsonl; run the same command again to go on",
        "  1,200 completions, 6,200 rows, 12.3 MB in 3 files",
        "  in this run: 0 completions, 9 requests, 4 of them retries, 0:00",
        "  skipped: 2,000 × no reply, 1 × audio",
        "  failed: 3 × InternalServerError",
        "  not named by the source this time: 5",
    ]


def test_interrupted() -> None:
    """What is safe is told, and how to go on."""
    assert summary.of_interruption(STATUS) == (
        "stopped: 1,200 completions, 6,200 rows, 12.3 MB are safe;"
        " run the same command again to go on"
    )


@pytest.mark.parametrize("status", [None, changed(**EMPTY)], ids=["no ledger", "nothing in it"])
def test_interrupted_early(status: ExportStatus | None) -> None:
    """Where nothing was committed, nothing is claimed."""
    assert summary.of_interruption(status).startswith("stopped before anything was written;")


def test_nothing_done() -> None:
    """A part of one conversation is rows and no completion."""
    assert "0 completions, 6,200 rows" in summary.of_interruption(changed(completions={}))
