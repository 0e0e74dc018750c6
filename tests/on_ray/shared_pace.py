"""Simulated workers that share one pacer, against a simulated server, on a virtual clock."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rate_limits import Outcome as Result
from rate_limits import RetryAfter, Server, exactly
from virtual_time import now, run

from aiomessages.calls.rate_limit import Learnt
from aiomessages.calls.retry import DEFAULT_POLICY
from aiomessages.errors import RateLimitError
from aiomessages.ray.pacer import Grant, Outcome, Pacer
from aiomessages.ray.remote_queue import RemoteQueue

ACTOR_CALL = 0.002  # seconds of a call of an actor, there and back


@dataclass
class SharedExport:
    """`number` requests by the callers of some workers, each repeated until it succeeds."""

    server: Server
    number: int
    workers: int
    callers: int = 64
    latency: float = 0.05
    events: Sequence[tuple[float, Callable[["SharedExport"], None]]] = ()
    pacer: Pacer = field(default_factory=Pacer)
    sent: list[float] = field(default_factory=list)
    refused: int = 0

    def run(self) -> Result:
        """Run all callers on a virtual clock."""
        return run(self._run())

    async def _run(self) -> Result:
        self.left = self.number
        for seconds, act in self.events:
            asyncio.get_running_loop().call_later(seconds, act, self)
        queues = [RemoteQueue(self.ask, self.tell) for _ in range(self.workers)]
        async with asyncio.TaskGroup() as group:
            for queue in queues:
                for _ in range(self.callers):
                    group.create_task(self.work(queue))
        return Result(now(), self.sent, self.refused)

    async def ask(self, wanted: int, outcomes: Sequence[Outcome], learnt: Learnt | None) -> Grant:
        """Ask the pacer, as a call of an actor does."""
        await asyncio.sleep(ACTOR_CALL / 2)
        grant = await self.pacer.take(wanted, outcomes, learnt)
        await asyncio.sleep(ACTOR_CALL / 2)
        return grant

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Report to the pacer without a wait."""
        asyncio.get_running_loop().call_later(ACTOR_CALL / 2, self.pacer.report, outcomes)

    async def work(self, queue: RemoteQueue) -> None:
        """Send one request after another, each until it succeeds."""
        while self.left > 0:
            self.left -= 1
            while not await self.send(queue):
                pass

    async def send(self, queue: RemoteQueue) -> bool:
        """Send a request, and return whether the server let it pass."""
        sent = await queue.take(None)
        self.sent.append(sent)
        await asyncio.sleep(self.latency)
        if wait := self.server.refusal(now()):
            self.refused += 1
            error = RateLimitError(
                "slow down", status=429, retry_after=self.server.retry_after(wait)
            )
            queue.failed(error, sent, DEFAULT_POLICY)
            return False
        queue.succeeded(sent)
        return True


def shared_export(
    rate: float,
    *,
    workers: int,
    capacity: float = 1.0,
    retry_after: RetryAfter = exactly,
    latency: float = 0.05,
    seconds: float = 60,
) -> Result:
    """Export as many requests as a server of this rate allows in so many seconds."""
    server = Server(lambda _: rate, rate * capacity, retry_after)
    callers = 64 if rate <= 200 else 256
    number = int(rate * seconds)
    return SharedExport(server, number, workers, max(callers // workers, 32), latency).run()
