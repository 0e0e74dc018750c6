"""The values that a run on a cluster reports."""

import msgspec

from .manifest import ProjectReport


class ClusterProgress(msgspec.Struct):
    """The progress of a run.

    `done` of `shards` have their file, `already` of them since an earlier run. The other counts are
    of this run: conversations and messages written, requests sent, and those answered 429.
    """

    shards: int = 0
    done: int = 0
    already: int = 0
    completions: int = 0
    messages: int = 0
    requests: int = 0
    refused: int = 0
    seconds: float = 0.0


class ClusterReport(msgspec.Struct, frozen=True):
    """The result of a run. `progress` counts this run, the other fields describe all files.

    `projects` has, by the names of the projects, what their files hold and lack. `was_finished` is
    true if an earlier run had finished the export.
    """

    destination: str
    files: int
    rows: int
    completions: int
    messages: int
    projects: dict[str, ProjectReport]
    progress: ClusterProgress
    was_finished: bool = False

    @property
    def complete(self) -> bool:
        """Whether no completion failed, was lost or is not visible yet."""
        reports = self.projects.values()
        return not any(report.failed or report.lost or report.pending for report in reports)
