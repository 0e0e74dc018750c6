"""The manifest of a finished run, and its report: the files, and what could not be read.

Nothing here performs I/O.
"""

from collections.abc import Iterable, Mapping

import msgspec

from .errors import ClusterError
from .plan import Plan
from .records import ShardRecord


class DataFile(msgspec.Struct, frozen=True):
    """A file of a run: its name in the destination, rows, bytes and SHA-256."""

    name: str
    rows: int
    bytes: int
    sha256: str


class ProjectReport(msgspec.Struct, frozen=True):
    """The result for one project: what its files hold, and the completions that they lack."""

    completions: int = 0
    """Conversations in the files."""
    messages: int = 0
    """Messages in the files."""
    rows: int = 0
    """Rows in the files."""
    gone: list[str] = []
    """Ids that the server no longer had."""
    pending: list[str] = []
    """Ids that were not visible yet."""
    lost: list[str] = []
    """Ids of conversations that changed while they were read; incomplete/ has the part."""
    failed: dict[str, str] = {}
    """Ids that could not be read, each with the reason."""
    skipped: dict[str, str] = {}
    """Ids that the layout cannot express, each with the reason."""
    left_out: dict[str, str] = {}
    """Ids of conversations in the files that lack a reply, each with the reason."""


class Manifest(msgspec.Struct, frozen=True):
    """The manifest, as manifest.json has it."""

    layout: str
    format: str
    rows: int
    completions: int
    messages: int
    projects: dict[str, ProjectReport]
    files: list[DataFile]

    def encode(self) -> bytes:
        """Return the JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Return a manifest. Raises ClusterError for anything else."""
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClusterError(
            f"{where} holds a manifest.json that is none: {error}",
            hint="remove it, and run the export again",
        ) from None


def manifest_of(plan: Plan, records: Mapping[str, ShardRecord]) -> Manifest:
    """Return the manifest of a run, with the records of all its shards by their names."""
    by_project = {
        project.name: [records[shard.name] for shard in project.shards] for project in plan.projects
    }
    every = [record for found in by_project.values() for record in found]
    return Manifest(
        plan.settings.layout,
        plan.settings.format,
        sum(record.rows for record in every),
        sum(record.completions for record in every),
        sum(record.messages for record in every),
        {name: _report(found) for name, found in by_project.items()},
        [
            DataFile(f"data/{record.file}", record.rows, record.bytes, record.sha256)
            for record in every
        ],
    )


def _report(records: Iterable[ShardRecord]) -> ProjectReport:
    found = [*records]

    def ids(name: str) -> list[str]:
        return [one for record in found for one in getattr(record, name)]

    def reasons(name: str) -> dict[str, str]:
        return {one: why for record in found for one, why in getattr(record, name).items()}

    return ProjectReport(
        completions=sum(record.completions for record in found),
        messages=sum(record.messages for record in found),
        rows=sum(record.rows for record in found),
        gone=ids("gone"),
        pending=ids("pending"),
        lost=ids("lost"),
        failed=reasons("failed"),
        skipped=reasons("skipped"),
        left_out=reasons("left_out"),
    )
