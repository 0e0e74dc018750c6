"""The workers of a run: what happens if they cannot start, die, or fail."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
import ray
from msgspec import structs
from ray.exceptions import RayError

from aiomessages.ray.errors import ClusterError
from aiomessages.ray.plan import RunSettings
from aiomessages.ray.pool import WorkerPool
from aiomessages.ray.worker import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

SETTINGS = RunSettings("messages", 2, include_reply=True, format="jsonl.gz")


@pytest.fixture
def job(cluster: Cluster, tmp_path: Path) -> Job:  # noqa: ARG001 it is started
    """Return a job without projects."""
    return Job(str(tmp_path), SETTINGS, {}, raises=False, concurrency=1, shard_size=1)


@pytest.fixture
def pool(job: Job) -> Iterator[WorkerPool[str]]:
    """Return a pool of one worker."""
    made = WorkerPool[str](job, {}, 1)
    yield made
    made.close()


def end(actor: Any) -> None:
    """Kill an actor, and wait until it is dead."""
    ray.kill(actor)
    with contextlib.suppress(RayError):
        while True:
            ray.get(actor.ready.remote(), timeout=60)
            time.sleep(0.05)


def test_a_worker_that_dies_is_replaced(pool: WorkerPool[str]) -> None:
    """Its task is given to the next one."""
    killed: list[Any] = []

    def submit(actor: Any, task: str) -> Any:
        if task == "deadly" and not killed:
            killed.append(actor)
            end(actor)
        return actor.ready.remote()

    done = [task for task, _ in pool.results(["deadly", "other"], submit)]
    assert sorted(done) == ["deadly", "other"]


def test_workers_that_all_die(pool: WorkerPool[str]) -> None:
    """A task that ends each of its workers ends the run."""

    def submit(actor: Any, _: str) -> Any:
        end(actor)
        return actor.ready.remote()

    with pytest.raises(ClusterError, match="6 workers died without a result"):
        list(pool.results(["deadly"], submit))


def test_a_worker_that_fails(pool: WorkerPool[str]) -> None:
    """An error that is no problem of the run is a bug, and named."""
    with pytest.raises(ClusterError, match="a worker failed: KeyError"):
        list(pool.results(["x"], lambda actor, _: actor.plan.remote("no such", None)))


def test_a_worker_of_another_version(job: Job) -> None:
    """A node that joined late was not checked; it ends the run, and is named."""
    pool = WorkerPool[str](structs.replace(job, version="0.0.1"), {}, 1)
    with pytest.raises(ClusterError, match=r"on node .*, and 0\.0\.1 on the driver"):
        list(pool.results(["x"], lambda actor, _: actor.ready.remote()))
    pool.close()


def test_a_task_that_takes_its_time(pool: WorkerPool[str]) -> None:
    """A worker may work for longer than a run waits for its first one."""

    def work() -> None:
        time.sleep(1)

    def submit(_: Any, __: str) -> Any:
        pool.patience = 0.2
        return ray.remote(work).options(num_cpus=0).remote()

    assert list(pool.results(["slow"], submit)) == [("slow", None)]


def test_no_room_for_a_worker(job: Job) -> None:
    """If no worker can be started for a while, the run ends and says why."""
    pool = WorkerPool[str](job, {}, 1, patience=1.0, cpus=1000)
    with pytest.raises(ClusterError, match="no worker could be started for 1 s"):
        list(pool.results(["x"], lambda actor, _: actor.ready.remote()))
    pool.close()
    assert list(pool.results([], lambda actor, _: actor)) == []
