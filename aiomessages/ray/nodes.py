"""Checks that each node of the cluster can do its part, before the first request is sent."""

from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aiomessages import __version__
from aiomessages.errors import MessagesError

from .destination import Destination
from .errors import ClusterError, Problem
from .worker import Job

SECONDS: Final = 120.0  # for all checks; an import on a slow disk takes some


def check_nodes(job: Job, probe: str) -> None:
    """Check each node that runs workers. Raises ClusterError, which names the node.

    `probe` is the name of a file that the driver has written to the destination.
    """
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    able = {key: node for key, node in nodes.items() if node["Resources"].get("CPU")}
    if not able:
        raise ClusterError("no node of the cluster has a CPU", hint="start one")
    answers = {
        key: _on_node(key).remote(job, probe, __version__)  # type: ignore[attr-defined]
        for key in able
    }
    ray.wait([*answers.values()], num_returns=len(answers), timeout=SECONDS)
    for key, answer in answers.items():
        name = f"{able[key]['NodeManagerHostname']} ({key[:8]})"
        try:
            problem = ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            raise ClusterError(
                f"on node {name}: no answer for {SECONDS:.0f} s", hint="look at the node", node=name
            ) from None
        except ray.exceptions.RayError as error:
            said = " ".join(str(error).split())[-300:]
            raise ClusterError(
                f"on node {name}: {said}", hint="install aiomessages[ray] there", node=name
            ) from None
        if problem is not None:
            raise problem.error()


def _on_node(node_id: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return ray.remote(check_here).options(  # type: ignore[attr-defined]
        num_cpus=0, max_retries=2, scheduling_strategy=strategy
    )


def check_here(job: Job, probe: str, version: str) -> Problem | None:
    """Return the problem that this node has with a job, if any."""
    try:
        if version != __version__:
            raise ClusterError(
                f"aiomessages {__version__} is installed, and {version} on the driver",
                hint="install the same version on all nodes",
            )
        if not Destination(job.destination).exists(probe):
            raise ClusterError(
                f"the destination {job.destination} is not the driver's",
                hint="name a folder that all nodes share, or an object store",
            )
        for name, access in job.accesses.items():
            try:
                access.client()
            except MessagesError as error:
                return Problem.of(error, f"project {name}")
    except (MessagesError, OSError) as error:
        return Problem.of(error)
    return None
