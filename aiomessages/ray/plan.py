"""The plan of a run: which completions are in which shard, and the names that follow from it.

    plan.json                   the settings, and the shards of each project; never changed
    plan/SHARD.txt.gz           the completions of a shard: an id, or a listed completion
    data/SHARD.jsonl.gz         the conversations of the shard, which is done when this is there
    records/SHARD-SHA256.json   its counts, and the ids of what could not be read
    incomplete/SHARD.jsonl.gz   the lines that were read of conversations that changed meanwhile
    manifest.json               all files with their checksums: the run is finished

The digest of a shard is that of everything that decides on its content, so files of different plans
never have the same name. Nothing here performs I/O.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from .errors import ClusterError

# A completion of a plan: its id, and its JSON if it was listed.
Named = tuple[str, bytes | None]

VERSION: Final = 1
FORMATS: Final = ("jsonl.gz", "parquet")
_DIGITS: Final = 16


class RunSettings(msgspec.Struct, frozen=True):
    """The options that decide on the content of the files."""

    layout: str
    layout_version: int
    include_reply: bool
    format: str


class Shard(msgspec.Struct, frozen=True):
    """A part of a project: its name without an ending, and its number of completions."""

    name: str
    completions: int


class ProjectPlan(msgspec.Struct, frozen=True):
    """The shards of a project; `source` is the selection, or the digest of the ids."""

    name: str
    base_url: str
    source: dict[str, Any]
    shards: list[Shard]

    @property
    def completions(self) -> int:
        """The number of completions."""
        return sum(shard.completions for shard in self.shards)


class Plan(msgspec.Struct, frozen=True):
    """The plan of a run, as plan.json has it."""

    version: int
    settings: RunSettings
    projects: list[ProjectPlan]

    def encode(self) -> bytes:
        """Return the JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def decode_plan(data: bytes, where: str) -> Plan:
    """Return the plan in a plan.json. Raises ClusterError."""
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClusterError(
            f"{where} holds a plan.json that is no plan: {error}",
            hint="export to another destination",
        ) from None
    if plan.version != VERSION:
        raise ClusterError(
            f"{where} holds a plan of version {plan.version}",
            hint=f"this aiomessages has version {VERSION}; export to another destination",
        )
    return plan


def difference(planned: Plan, settings: RunSettings, projects: Iterable[ProjectPlan]) -> str | None:
    """Return how a run differs from a plan, in words; None if it is the run of the plan.

    `projects` are those of the run, without their shards.
    """
    asked, had = msgspec.structs.asdict(settings), msgspec.structs.asdict(planned.settings)
    for name, value in asked.items():
        if had[name] != value:
            return f"{name} is {had[name]!r} there, and {value!r} here"
    names = [project.name for project in planned.projects]
    wanted = {project.name: project for project in projects}
    if [*wanted] != names:
        return f"its projects are {', '.join(names)}, and here {', '.join(wanted)}"
    for project in planned.projects:
        here = wanted[project.name]
        if project.base_url != here.base_url:
            return f"{project.name} is at {project.base_url} there, and at {here.base_url} here"
        if project.source != here.source:
            there, now = map(json.dumps, (project.source, here.source))
            return f"{project.name} has the source {there} there, and {now} here"
    return None


# --- shards ---------------------------------------------------------------------------------------


def encode_part(lines: Iterable[bytes]) -> bytes:
    """Return the file of the completions of a shard, as gzip."""
    return gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=6, mtime=0)


def shard_of(
    project: str, base_url: str, settings: RunSettings, number: int, part: bytes, completions: int
) -> Shard:
    """Return a shard, whose name follows from all that decides on its content."""
    facts = msgspec.json.encode((VERSION, settings, project, base_url, number))
    digest = hashlib.sha256(facts + b"\n" + hashlib.sha256(part).digest()).hexdigest()
    return Shard(f"{project}-{number:06}-{digest[:_DIGITS]}", completions)


def line_of(completion_id: str, completion: bytes | None) -> bytes:
    """Return the line for a completion: its id, and a tab with its JSON if it was listed.

    JSON on one line has no tab in its strings, so the first one ends the id.
    """
    encoded = msgspec.json.encode(completion_id)
    return encoded if completion is None else encoded + b"\t" + completion


def check_part(
    shard: Shard, project: str, base_url: str, settings: RunSettings, part: bytes
) -> None:
    """Raise ClusterError if a file is not the one that was planned for a shard."""
    number = shard.name.split("-")[-2:][0]
    if number.isdecimal():
        facts = project, base_url, settings, int(number)
        if shard_of(*facts, part, shard.completions) == shard:
            return
    raise ClusterError(
        f"plan/{shard.name}.txt.gz is not the file that was planned",
        hint="restore it, or export to another destination",
    )


def decode_part(data: bytes) -> list[Named]:
    """Return the completions of a shard."""
    found = []
    for line in gzip.decompress(data).split(b"\n")[:-1]:
        encoded, tab, completion = line.partition(b"\t")
        found.append((msgspec.json.decode(encoded, type=str), completion if tab else None))
    return found
