"""Kills at random moments: of a worker, the pacer, the driver, and a whole node.

The run, repeated if need be, has every row exactly once, and fetches nothing twice that was done.
Each kind of kill has its turn with a folder and with an object store.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import ray
from conftest_cluster import serve
from test_cluster_export import project, rows

from aiomessages.ray import ClusterReport, export, read_conversations
from aiomessages.ray.destination import Destination
from aiomessages.ray.pace_actor import start_pacer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ray.cluster_utils import Cluster

    from aiomessages.testing import MessagesServer

KILLS = int(os.environ.get("AIOMESSAGES_CLUSTER_KILLS", "8"))
SEED = os.environ.get("AIOMESSAGES_SEED", "0")
COMPLETIONS = 150
SHARD = 15
KINDS = ("worker", "pacer", "node", "driver")

DRIVER = """
import sys, ray
from aiomessages.ray import Project, export
address, base_url, folder, shard = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
project = Project("a", key="env:KEY_A", base_url=base_url)
export([project], folder, workers=2, shard_size=int(shard),
       on_progress=lambda progress: print(progress.done, flush=True))
"""


@pytest.fixture
def server(cluster: Cluster) -> Iterator[MessagesServer]:  # noqa: ARG001 it has the key
    """Serve completions slowly enough that there is a middle to kill in."""
    with serve("KEY_A", COMPLETIONS, rate=80) as running:
        yield running


def pids(class_name: str) -> list[int]:
    """Return the processes of the actors of a class, among those that this process started."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):  # it has ended meanwhile
            pid = int(folder.name)
            parents[pid] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(f"ray::{class_name}".encode()):
                found.append(pid)
    return [pid for pid in found if os.getpid() in ancestors(pid, parents)]


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """Yield the processes that a process descends from."""
    while pid := parents.get(pid, 0):
        yield pid


def kill_process(class_name: str) -> None:
    """End a process that Ray started for this test."""
    if found := pids(class_name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(random.choice(found), signal.SIGKILL)  # noqa: S311 no secret


def kill_node(cluster: Cluster) -> None:
    """End all processes of a node."""
    workers = [node for node in cluster.list_all_nodes() if not node.is_head()]
    cluster.remove_node(random.choice(workers), allow_graceful=False)  # noqa: S311 no secret


class Strike:
    """Kill something in a thread, after some shards and a random time."""

    def __init__(self, kill: Callable[[], None], after: int, delay: float) -> None:
        self._kill, self._after, self._delay = kill, after, delay
        self.thread: threading.Thread | None = None

    def __call__(self, progress: Any) -> None:
        """Begin when so many shards are done."""
        if self.thread is None and progress.done >= self._after:
            self.thread = threading.Thread(target=self._strike)
            self.thread.start()

    def _strike(self) -> None:
        time.sleep(self._delay)
        self._kill()


def check(destination: str) -> None:
    """Require that every row is there exactly once, and in the plan's order in its shard."""
    found = [(row["completion_id"], row["seq"]) for row in rows(destination)]
    expected = [
        (f"chatcmpl-{number:04}", seq)
        for number in range(COMPLETIONS)
        for seq in range(number % 5 + 2)
    ]
    assert sorted(found) == expected
    assert found == expected  # the shards are in the manifest in the plan's order


def done_ids(destination: str) -> set[str]:
    """Return the ids in the data files that are there."""
    store = Destination(destination)
    return {
        json.loads(line)["completion_id"]
        for name in store.sizes("data")
        for line in gzip.decompress(store.read(f"data/{name}")).splitlines()
    }


@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill(
    number: int, server: MessagesServer, cluster: Cluster, s3: str, tmp_path: Path
) -> None:
    """After a kill, the run goes on or is repeated, and ends with every row once."""
    kind, place = KINDS[number % len(KINDS)], number // len(KINDS) % 2
    dice = random.Random(f"{SEED}-{number}")  # noqa: S311 no secret
    after, delay = dice.randrange(COMPLETIONS // SHARD - 2), dice.uniform(0, 1)
    destination = f"s3://bucket/kill-{number}{s3}" if place else str(tmp_path / "run")
    done: set[str] = set()
    requests = 0  # those of before the kill

    def run(on_progress: Callable[[Any], None] | None = None) -> ClusterReport:
        return export(
            [project(server)], destination, workers=2, shard_size=SHARD, on_progress=on_progress
        )

    def kill() -> None:
        nonlocal done, requests
        done, requests = done_ids(destination), len(server.requests)
        if kind == "node":
            kill_node(cluster)
        else:
            kill_process({"worker": "Worker", "pacer": "Pacer"}[kind])

    if kind == "driver":
        kill_a_driver(cluster, server, destination, after, delay)
        done, requests = done_ids(destination), len(server.requests)
        report = run()
    else:
        strike = Strike(kill, after, delay)
        report = run(strike)
        assert strike.thread is not None
        strike.thread.join()
        if kind == "node":
            cluster.add_node(num_cpus=2)  # for the next test
    assert not {request.completion_id for request in server.requests[requests:]} & done
    assert report.complete
    assert report.completions == COMPLETIONS
    check(destination)
    requests = len(server.requests)
    assert run().was_finished
    assert len(server.requests) == requests


def test_the_pace_is_beside_the_driver(cluster: Cluster) -> None:  # noqa: ARG001 it is started
    """The death of another node, which Ray notices late, does not stop the workers of all."""
    before = {*pids("Pacer")}
    pacer = start_pacer(None)
    ray.get(pacer.take.remote(1))
    [process] = {*pids("Pacer")} - before
    # The driver is at the head, whose environment alone has no keys.
    assert b"KEY_A=" not in Path(f"/proc/{process}/environ").read_bytes()
    ray.kill(pacer)


class Counted(list[Any]):
    """A list that tells when it has so many items."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self._wanted = wanted
        self.reached = threading.Event()

    def append(self, item: Any) -> None:
        """Append an item."""
        super().append(item)
        if len(self) >= self._wanted:
            self.reached.set()


@pytest.mark.skipif(KILLS <= 8, reason="Ray takes its time; the session `ray_crash` waits for it")
# Ray sets deprecated options of its own.
@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
def test_a_dataset_whose_node_dies(server: MessagesServer, cluster: Cluster) -> None:
    """Its tasks are read again on other nodes, and each row is there once, in its place."""
    server.requests = requests = Counted(COMPLETIONS // 2)
    ids = [f"chatcmpl-{number:04}" for number in range(COMPLETIONS)]
    dataset = read_conversations(
        ids, key="env:KEY_A", base_url=server.base_url, task_size=10, block_bytes=500
    )

    def kill() -> None:
        assert requests.reached.wait(60)
        kill_node(cluster)

    thread = threading.Thread(target=kill)
    thread.start()
    found = [row["completion_id"] for row in dataset.take_all()]
    thread.join()
    cluster.add_node(num_cpus=2)  # for the next test
    assert found == ids


def kill_a_driver(
    cluster: Cluster, server: MessagesServer, destination: str, after: int, delay: float
) -> None:
    """Run the export in a process of its own, and end it after some shards."""
    arguments = [cluster.address, server.base_url, destination, str(SHARD)]
    command = [sys.executable, "-c", DRIVER, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as driver:
        assert driver.stdout is not None
        said = []
        for line in driver.stdout:
            said.append(line)
            if line.strip().isdigit() and int(line) >= after:
                time.sleep(delay)
                break
        driver.kill()
    assert driver.returncode in (0, -signal.SIGKILL), "".join(said)
    deadline = time.monotonic() + 60
    while pids("Worker"):  # Ray ends what the driver has started
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ray.is_initialized()
