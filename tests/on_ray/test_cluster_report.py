"""The report of a run: whether it has everything."""

from __future__ import annotations

import pytest

from aiomessages.ray import ClusterProgress, ClusterReport, ProjectReport


@pytest.mark.parametrize(
    ("project", "complete"),
    [
        (ProjectReport(), True),
        (ProjectReport(completions=1, gone=["x"]), True),
        (ProjectReport(gone=["x"], skipped={"y": "no reply"}), True),
        (ProjectReport(completions=1, failed={"x": "APITimeoutError"}), False),
        (ProjectReport(completions=1, lost=["x"]), False),
        (ProjectReport(completions=1, pending=["x"]), False),
        (ProjectReport(gone=["x", "y"]), False),
    ],
    ids=["none", "one gone", "the rest skipped", "failed", "lost", "pending", "all gone"],
)
def test_a_run_is_complete(project: ProjectReport, *, complete: bool) -> None:
    """Nothing is left to be read; ids that are all gone are most likely another project's."""
    projects = {"a": ProjectReport(completions=1), "b": project}
    report = ClusterReport("run", 1, 1, 1, 1, projects, ClusterProgress())
    assert report.complete is complete
