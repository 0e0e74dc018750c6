"""The workers of a run: actors that get tasks, and are replaced if they die.

A task whose worker died is given to another one. Tasks are idempotent, so a worker that was only
thought to be dead does no harm.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from .errors import ClusterError
from .worker import Job, Worker

TaskT = TypeVar("TaskT")

# The tasks of one worker at the same time: while the last conversations of a shard are read, those
# of the next one begin.
AT_ONCE: Final = 2
DEATHS: Final = 5  # of workers without a result in between, beside one of each
PATIENCE: Final = 600.0  # seconds without any worker


class _Member:
    """One worker: its actor, whether it runs, and the tasks that it has."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.runs = False
        self.tasks = 0


class WorkerPool(Generic[TaskT]):
    """`count` workers for a job, each with `cpus` of the cluster.

    A run that has none for `patience` seconds ends.
    """

    def __init__(
        self,
        job: Job,
        pacers: dict[str, Any],
        count: int,
        *,
        cpus: int = 1,
        patience: float = PATIENCE,
    ) -> None:
        self._cpus = cpus
        self.patience = patience
        self._arguments = (job, pacers)
        self._members: list[_Member] = []
        self._pending: dict[Any, tuple[_Member, Any]] = {}  # by reference; None: it starts
        self._deaths = 0  # since the last result
        self._bearable = count + DEATHS
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        actor = ray.remote(Worker).options(
            num_cpus=self._cpus, max_restarts=0, max_concurrency=16, scheduling_strategy="SPREAD"
        )
        member = _Member(actor.remote(*self._arguments))
        self._members.append(member)
        self._pending[member.actor.ready.remote()] = member, None

    def results(
        self, tasks: Iterable[TaskT], submit: Callable[[Any, TaskT], Any]
    ) -> Iterator[tuple[TaskT, Any]]:
        """Yield each task with its result, as they are done. Raises ClusterError.

        `submit` gives a task to an actor, and returns the reference.
        """
        waiting = deque(tasks)
        left = len(waiting)
        while left:
            self._assign(waiting, submit)
            done, _ = ray.wait([*self._pending], num_returns=1, timeout=self.patience)
            if not done:
                if any(member.runs for member in self._members):
                    continue  # it has much to do
                raise ClusterError(
                    f"no worker could be started for {self.patience:.0f} s",
                    hint="each worker takes one CPU; look at the cluster's resources",
                )
            member, task = self._pending.pop(done[0])
            try:
                result = ray.get(done[0])
            except RayTaskError as error:  # an error that is no Problem: a bug
                raise ClusterError(
                    f"a worker failed: {error.cause!r}", hint="look at the logs of Ray"
                ) from None
            except RayError as error:
                waiting.extendleft(self._bury(member, task, error))
                continue
            if task is None and result is not None:
                raise result.error()
            if task is None:
                member.runs = True
                continue
            member.tasks -= 1
            left -= 1
            self._deaths = 0
            yield task, result

    def _assign(self, waiting: "deque[TaskT]", submit: Callable[[Any, TaskT], Any]) -> None:
        """Give the tasks to the workers that run, one to each before the second."""
        while waiting:
            free = [one for one in self._members if one.runs and one.tasks < AT_ONCE]
            if not free:
                return
            member = min(free, key=lambda one: one.tasks)
            task = waiting.popleft()
            member.tasks += 1
            self._pending[submit(member.actor, task)] = member, task

    def _bury(self, member: _Member, task: Any, error: RayError) -> list[Any]:
        """Start another worker, and return the tasks of the one that died."""
        lost = [reference for reference, (one, _) in self._pending.items() if one is member]
        tasks = [task, *(self._pending.pop(reference)[1] for reference in lost)]
        self._members.remove(member)
        ray.kill(member.actor)
        self._deaths += 1
        if self._deaths >= self._bearable:
            said = " ".join(str(error).split())[:500]
            raise ClusterError(
                f"{self._deaths} workers died without a result: {said}",
                hint="look at the logs of Ray; a worker may need more memory",
            ) from None
        self._start()
        return [one for one in tasks if one is not None]

    def close(self) -> None:
        """End the workers and their connections."""
        closing = [member.actor.close.remote() for member in self._members if member.runs]
        ray.wait(closing, num_returns=len(closing), timeout=5) if closing else None
        for member in self._members:
            ray.kill(member.actor)
