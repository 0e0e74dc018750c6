"""One run of an export on a cluster: check the nodes, plan, export the shards, write the manifest.

Nothing is leased and nothing is swept up. The plan is written once and never changed; a shard is
done when its file is there, and its name follows from the plan.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import ray
from msgspec import structs

from .destination import Destination
from .errors import ClusterError, Problem
from .manifest import Manifest, decode_manifest, manifest_of
from .nodes import Probe, check_nodes
from .pace_actor import start_pacer
from .plan import VERSION, Plan, ProjectPlan, Shard, decode_plan, difference
from .planning import Parts, digest_of_ids, plan_ids
from .pool import WorkerPool
from .projects import Project, Selection
from .records import ShardRecord, decode_record, shard_in
from .report import ClusterProgress, ClusterReport
from .worker import Done, Job

if TYPE_CHECKING:
    from aiomessages.calls.rate_limit import Learnt

FOLDERS: Final = ("plan", "data", "records", "incomplete")
_READERS: Final = 32  # threads that read records of earlier runs: an object store takes its time


class ClusterRun:
    """One run of an export."""

    def __init__(
        self,
        destination: Destination,
        job: Job,
        projects: list[Project],
        workers: int,
        on_progress: Callable[[ClusterProgress], object] | None,
    ) -> None:
        self._destination = destination
        self._job = job
        self._projects = projects
        self._workers = workers
        self._on_progress = on_progress or (lambda _: None)
        self._progress = ClusterProgress()
        self._began = time.monotonic()

    def run(self) -> ClusterReport:
        """Do what is left to do, and return the report."""
        sources = [self._without_shards(project) for project in self._projects]
        plan = self._known_plan(sources)
        if plan is not None and self._destination.exists("manifest.json"):
            return self._report(self._known_manifest(), was_finished=True)
        self._check_cluster()
        self._destination.make_folders(*FOLDERS)
        with self._pool() as pool:
            if plan is None:
                plan = self._publish(self._new_plan(pool, sources), sources)
            records = self._export(pool, plan)
        return self._report(self._finish(plan, records))

    def _check_cluster(self) -> None:
        probe = self._destination.write_probe()
        try:
            check_nodes(self._job.accesses, Probe(self._destination.uri, probe))
        finally:
            self._destination.remove_probe(probe)

    @contextmanager
    def _pool(self) -> Iterator[WorkerPool[Any]]:
        pacers = {project.name: start_pacer(project.max_rps) for project in self._projects}
        pool = WorkerPool[Any](self._job, pacers, self._workers)
        try:
            yield pool
        finally:
            pool.close()
            for pacer in pacers.values():
                ray.kill(pacer)

    # --- the plan ---------------------------------------------------------------------------------

    def _without_shards(self, project: Project) -> ProjectPlan:
        base_url = self._job.accesses[project.name].base_url
        if isinstance(project.source, Selection):
            source = structs.asdict(project.source)
        else:
            source = digest_of_ids(project.source)
        return ProjectPlan(project.name, base_url, source, [])

    def _known_plan(self, sources: list[ProjectPlan]) -> Plan | None:
        """Return the plan of the destination, if there is one. Raises as `_read_plan` does."""
        return self._read_plan(sources) if self._destination.exists("plan.json") else None

    def _read_plan(self, sources: list[ProjectPlan]) -> Plan:
        """Return the plan of the destination. Raises ClusterError if it is that of another run."""
        where = self._destination.uri
        plan = decode_plan(self._destination.read("plan.json"), where)
        if differs := difference(plan, self._job.settings, sources):
            raise ClusterError(
                f"{where} holds another plan: {differs}",
                hint="repeat the call that made it, or export to another destination",
            )
        return plan

    def _new_plan(self, pool: WorkerPool[Any], sources: list[ProjectPlan]) -> Plan:
        """List the completions of all projects, and write their parts."""
        shards: dict[str, list[Shard]] = {}
        listed = []
        for project in self._projects:
            if isinstance(project.source, Selection):
                listed.append(project)
            else:
                parts = Parts(
                    project.name,
                    self._job.accesses[project.name].base_url,
                    self._job.settings,
                    self._destination,
                    self._job.shard_size,
                )
                shards[project.name] = plan_ids(project.source, parts)

        def submit(worker: Any, project: Project) -> Any:
            return worker.plan.remote(project.name, project.source)

        for project, result in pool.results(listed, submit):
            shards[project.name] = _value(result)
        planned = [structs.replace(one, shards=shards[one.name]) for one in sources]
        return Plan(VERSION, self._job.settings, planned)

    def _publish(self, plan: Plan, sources: list[ProjectPlan]) -> Plan:
        """Write the plan, and return the one that is there: another driver may have been faster.

        Raises ClusterError if that is the plan of another run.
        """
        self._destination.put("plan.json", plan.encode())
        return self._read_plan(sources)

    # --- the shards -------------------------------------------------------------------------------

    def _export(self, pool: WorkerPool[Any], plan: Plan) -> dict[str, ShardRecord]:
        """Export the shards that are not there; return the records of this run by their shards."""
        there = self._destination.sizes("data")
        shards = [(project.name, shard) for project in plan.projects for shard in project.shards]
        ending = plan.settings.format
        left = [one for one in shards if f"{one[1].name}.{ending}" not in there]
        progress = self._progress
        progress.shards, progress.already = len(shards), len(shards) - len(left)
        progress.done = progress.already
        self._tell()
        learnt: dict[str, Learnt | None] = {}

        def submit(worker: Any, task: tuple[str, Shard]) -> Any:
            project, shard = task
            return worker.export.remote(project, shard, learnt.get(project))

        records = {}
        for (project, shard), result in pool.results(_mixed(left), submit):
            done: Done = _value(result)
            learnt[project] = done.learnt
            records[shard.name] = done.record
            progress.done += 1
            progress.completions += done.record.completions
            progress.messages += done.record.messages
            progress.requests += done.requests
            progress.refused += done.refused
            self._tell()
        return records

    def _tell(self) -> None:
        self._progress.seconds = time.monotonic() - self._began
        self._on_progress(self._progress)

    # --- the manifest -----------------------------------------------------------------------------

    def _known_manifest(self) -> Manifest:
        """Return the manifest of the destination. Raises ClusterError if it lacks a file of it."""
        where = self._destination.uri
        manifest = decode_manifest(self._destination.read("manifest.json"), where)
        sizes = self._destination.sizes("data")
        for file in manifest.files:
            if sizes.get(file.name.removeprefix("data/")) != file.bytes:
                raise ClusterError(
                    f"{file.name} is not the file that the manifest names",
                    hint="restore it; or remove it and manifest.json, and run the export again",
                )
        return manifest

    def _finish(self, plan: Plan, records: dict[str, ShardRecord]) -> Manifest:
        """Write the manifest, once each shard's file and record are there and agree."""
        if self._destination.read("plan.json") != plan.encode():
            raise ClusterError(
                f"another run has replaced the plan of {self._destination.uri}",
                hint="run the export again, and one at a time",
            )
        sizes = self._destination.sizes("data")
        named: dict[str, list[str]] = {}
        for name in self._destination.sizes("records"):
            named.setdefault(shard_in(name), []).append(name)
        shards = [shard.name for project in plan.projects for shard in project.shards]
        with ThreadPoolExecutor(_READERS) as threads:
            found = threads.map(lambda shard: self._record(shard, named, records), shards)
            complete = dict(zip(shards, found, strict=True))
        for shard, record in complete.items():
            if sizes.get(record.file) != record.bytes:
                raise ClusterError(
                    f"data/{record.file} is not the file that was written for {shard}",
                    hint="remove it, and run the export again",
                )
        manifest = manifest_of(plan, complete)
        self._destination.put("manifest.json", manifest.encode(), replace=True)
        return manifest

    def _record(
        self, shard: str, named: dict[str, list[str]], records: dict[str, ShardRecord]
    ) -> ShardRecord:
        """Return the record of a shard's file; of several, that with the file's checksum."""
        names = named.get(shard, [])
        if names == [getattr(records.get(shard), "name", None)]:
            return records[shard]
        read = self._destination.read
        found = [decode_record(read(f"records/{name}"), name) for name in names]
        if len(found) > 1:
            sha256 = self._destination.sha256(f"data/{found[0].file}")
            found = [record for record in found if record.sha256 == sha256]
        if not found:
            raise ClusterError(
                f"the file of {shard} has no record",
                hint=f"remove data/{shard}.*, and run the export again",
            )
        return found[0]

    def _report(self, manifest: Manifest, *, was_finished: bool = False) -> ClusterReport:
        self._progress.seconds = time.monotonic() - self._began
        return ClusterReport(
            self._destination.uri,
            len(manifest.files),
            manifest.rows,
            manifest.completions,
            manifest.messages,
            manifest.projects,
            self._progress,
            was_finished,
        )


def _value(result: Any) -> Any:
    if isinstance(result, Problem):
        raise result.error()
    return result


def _mixed(shards: list[tuple[str, Shard]]) -> list[tuple[str, Shard]]:
    """Return the shards of all projects in turn: each project has a rate of its own."""
    places: dict[str, int] = {}
    numbered = []
    for order, one in enumerate(shards):
        places[one[0]] = places.get(one[0], -1) + 1
        numbered.append((places[one[0]], order, one))
    return [one for _, _, one in sorted(numbered, key=lambda each: each[:2])]
