"""Checks that each node of the cluster can do its part, before the first request is sent."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aiomessages import __version__
from aiomessages.errors import MessagesError

from .destination import Destination
from .errors import ClusterError, Problem, check_version
from .projects import Access

SECONDS: Final = 120.0  # for all checks; an import on a slow disk takes some


class Probe(NamedTuple):
    """A destination, and the name of a file that the driver has written to it."""

    destination: str
    name: str


def check_nodes(accesses: Mapping[str, Access], probe: Probe | None = None) -> None:
    """Check each node that can run workers now. Raises ClusterError, which names the node.

    A node that is started later is not checked; its workers return a Problem with its name.
    `accesses` are those of the projects by their names.
    """
    _connect()
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    able = {key: node for key, node in nodes.items() if node["Resources"].get("CPU")}
    answers = {key: _on_node(key).remote(dict(accesses), probe, __version__) for key in able}
    ray.wait([*answers.values()], num_returns=len(answers), timeout=SECONDS)
    for key, answer in answers.items():
        take_answer(answer, f"{able[key]['NodeManagerHostname']} ({key[:8]})")


def _connect() -> None:
    """Connect to Ray, or start it on this machine, unless that is done."""
    if ray.is_initialized():
        return
    try:
        ray.init()
    except Exception as error:  # Ray raises errors of several classes, also a bare Exception
        said = " ".join(str(error).split())[:500]
        raise ClusterError(
            f"no connection to Ray: {said}",
            hint="check RAY_ADDRESS, whether Ray and Python are those of the cluster, and, if it"
            " has a token, RAY_AUTH_MODE=token and the token",
        ) from error


def take_answer(answer: Any, name: str) -> None:
    """Raise ClusterError if the answer of a node is a problem, an error, or not there."""
    try:
        problem = ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        raise ClusterError(
            f"on node {name}: no answer for {SECONDS:.0f} s", hint="look at the node", node=name
        ) from None
    except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
        return  # the node has gone meanwhile: no worker will run there
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[-300:]
        raise ClusterError(
            f"on node {name}: {said}", hint="install aiomessages[ray] there", node=name
        ) from None
    if problem is not None:
        raise problem.error()


def _on_node(node_id: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return ray.remote(check_here).options(num_cpus=0, max_retries=2, scheduling_strategy=strategy)


def check_here(accesses: dict[str, Access], probe: Probe | None, version: str) -> Problem | None:
    """Return the problem that this node has with a run, if any."""
    try:
        check_version(version)
        if probe is not None:
            _check_destination(probe)
        for name, access in accesses.items():
            try:
                access.client()
            except MessagesError as error:
                return Problem.of(error, f"project {name}" if name else "")
    except (MessagesError, OSError) as error:
        return Problem.of(error)
    return None


def _check_destination(probe: Probe) -> None:
    """Raise ClusterError unless this node finds the driver's file, and can write one as well."""
    destination = Destination(probe.destination)
    if not destination.exists(probe.name):
        raise ClusterError(
            f"the destination {probe.destination} is not the driver's",
            hint="name a folder that all nodes share, or an object store",
        )
    destination.remove_probe(destination.write_probe())
