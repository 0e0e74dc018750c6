"""The values that a run on a cluster reports."""

import msgspec

from .manifest import ProjectReport


class ClusterProgress(msgspec.Struct):
    """The progress of a run. Other counts than those of shards are of this run alone."""

    shards: int = 0
    """Shards of the plan."""
    done: int = 0
    """Shards that have their file."""
    already: int = 0
    """Shards that had it when this run began."""
    completions: int = 0
    """Conversations written."""
    messages: int = 0
    """Messages written."""
    requests: int = 0
    """Requests sent, apart from those for the lists of completions."""
    refused: int = 0
    """Requests that were answered 429."""
    seconds: float = 0.0
    """Seconds since the run began."""


class ClusterReport(msgspec.Struct, frozen=True):
    """The result of a run. `progress` counts this run, the other fields describe all files."""

    destination: str
    """Absolute path of the folder, or its URI."""
    files: int
    """Data files; a shard has one."""
    rows: int
    """Rows in all files."""
    completions: int
    """Conversations in all files."""
    messages: int
    """Messages in all files."""
    projects: dict[str, ProjectReport]
    """What the files of each project hold and lack, by its name."""
    progress: ClusterProgress
    """Counts of this run."""
    was_finished: bool = False
    """True if an earlier run had finished the export."""

    @property
    def complete(self) -> bool:
        """Whether no completion failed, was lost or is not visible yet, and no project is all gone.

        A project whose ids are all gone has most likely the key or the address of another one.
        """
        return all(map(_is_complete, self.projects.values()))


def _is_complete(report: ProjectReport) -> bool:
    is_gone = report.gone and not (report.completions or report.skipped)
    return not (report.failed or report.lost or report.pending or is_gone)
