"""The actor of a project's pace, which Ray starts again when it dies."""

from typing import Any

import ray

from .pacer import Pacer


def start_pacer(max_rps: float | None) -> Any:
    """Start the actor of one project's pace, and return its handle."""
    actor = ray.remote(Pacer).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return actor.remote(max_rps)
