"""Kills at random moments: of a worker, the pacer, the driver, and a whole node.

The run, repeated if need be, has every row exactly once, and fetches nothing twice that was done.
"""

from __future__ import annotations

import contextlib
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

from aiomessages.ray import export

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


def check(folder: Path) -> None:
    """Require that every row is there exactly once, and in the plan's order in its shard."""
    found = [(row["completion_id"], row["seq"]) for row in rows(folder)]
    expected = [
        (f"chatcmpl-{number:04}", seq)
        for number in range(COMPLETIONS)
        for seq in range(number % 5 + 2)
    ]
    assert sorted(found) == expected
    assert found == expected  # the shards are in the manifest in the plan's order


def done_ids(folder: Path) -> set[str]:
    """Return the ids in the data files that are there."""
    import gzip  # noqa: PLC0415

    return {
        json.loads(line)["completion_id"]
        for file in Path(folder, "data").glob("*.jsonl.gz")
        for line in gzip.decompress(file.read_bytes()).splitlines()
    }


@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill(number: int, server: MessagesServer, cluster: Cluster, tmp_path: Path) -> None:
    """After a kill, the run goes on or is repeated, and ends with every row once."""
    kind = KINDS[number % len(KINDS)]
    dice = random.Random(f"{SEED}-{number}")  # noqa: S311 no secret
    after, delay = dice.randrange(COMPLETIONS // SHARD - 2), dice.uniform(0, 1)
    folder = tmp_path / "run"
    if kind == "driver":
        kill_a_driver(cluster, server, folder, after, delay)
        done = done_ids(folder)
        server.requests.clear()
        report = export([project(server)], folder, workers=2, shard_size=SHARD)
        assert not {request.completion_id for request in server.requests} & done
    else:
        kills = {
            "worker": lambda: kill_process("Worker"),
            "pacer": lambda: kill_process("Pacer"),
            "node": lambda: kill_node(cluster),
        }
        strike = Strike(kills[kind], after, delay)
        report = export([project(server)], folder, workers=2, shard_size=SHARD, on_progress=strike)
        assert strike.thread is not None
        strike.thread.join()
        if kind == "node":
            cluster.add_node(num_cpus=2)  # for the next test
    assert report.complete
    assert report.completions == COMPLETIONS
    check(folder)


def kill_a_driver(
    cluster: Cluster, server: MessagesServer, folder: Path, after: int, delay: float
) -> None:
    """Run the export in a process of its own, and end it after some shards."""
    arguments = [cluster.address, server.base_url, str(folder), str(SHARD)]
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
