"""The actor of a project's pace, which Ray starts again when it dies.

It runs beside the driver, without which there is no run anyway: on another node, the death of that
one would stop all workers until Ray has noticed it, which takes half a minute.
"""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .pacer import Pacer


def start_pacer(max_rps: float | None) -> Any:
    """Start the actor of one project's pace, and return its handle."""
    here = ray.get_runtime_context().get_node_id()
    actor = ray.remote(Pacer).options(
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    )
    return actor.remote(max_rps)
