"""Simulated servers that limit requests, and exports from them, on a virtual clock."""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from aiomessages.calls.rate_limit import Pace

Rate = Callable[[float], float]
RetryAfter = Callable[[float], float | None]
Latency = Callable[[], float]


def exactly(wait: float) -> float:
    """Return the exact wait, as retry-after-ms nearly does."""
    return wait


def in_seconds(wait: float) -> float:
    """Return the wait in whole seconds, rounded up, as Retry-After does."""
    return float(math.ceil(wait))


def absent(_: float) -> None:
    """Return no wait: the server sends no Retry-After."""


def varying(seed: int) -> Latency:
    """Return a latency of 50 to 200 ms, so that requests overtake each other."""
    dice = random.Random(seed)  # noqa: S311 not for secrets
    return lambda: dice.uniform(0.05, 0.2)


@dataclass
class Server:
    """A token bucket that is full at first; `rate` may change with time."""

    rate: Rate
    capacity: float
    retry_after: RetryAfter = exactly

    def __post_init__(self) -> None:
        self.tokens, self.seen = self.capacity, 0.0

    def refusal(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        rate = self.rate(now)
        self.tokens = min(self.capacity, self.tokens + (now - self.seen) * rate)
        self.seen = now
        if self.tokens < 1 - 1e-9:  # what a sum of floats may lack of 1
            return (1 - self.tokens) / rate
        self.tokens -= 1
        return 0.0


@dataclass
class Outcome:
    """The outcome of an export: seconds, requests, and requests answered 429."""

    seconds: float
    sent: list[float]
    refused: int

    @property
    def share(self) -> float:
        """The share of the requests that were answered 429."""
        return self.refused / len(self.sent)


class Export:
    """`number` requests by `concurrency` workers, each repeated until it succeeds.

    Answers are read every `tick` seconds, as by a loop that is busy in between; 0 is at once.
    """

    def __init__(
        self,
        server: Server,
        number: int,
        *,
        latency: float | Latency,
        concurrency: int = 256,
        tick: float = 0.0,
    ) -> None:
        self.server, self.pace, self.tick = server, Pace(), tick
        self.latency = latency if callable(latency) else lambda: latency
        self.to_send, self.to_finish, self.workers = number, number, concurrency
        self.now, self.queue_moves, self.refused = 0.0, True, 0
        self.sent: list[float] = []
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()

    def run(self) -> Outcome:
        """Run the agenda until each request has passed."""
        self.next_in_queue()
        while self.to_finish:
            self.now, _, act = heapq.heappop(self.agenda)
            act()
        return Outcome(self.now, self.sent, self.refused)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Schedule an event after a delay."""
        heapq.heappush(self.agenda, (self.now + seconds, next(self.order), act))

    def next_in_queue(self) -> None:
        """Let one worker at a time ask the pace for a slot."""
        if self.queue_moves and self.to_send and self.workers:
            self.queue_moves, self.to_send, self.workers = False, self.to_send - 1, self.workers - 1
            self.after(self.pace.wait(self.now), self.wake)

    def wake(self) -> None:
        """Send, or sleep on if a pause has begun."""
        if pause := self.pace.paused(self.now):
            self.after(pause, self.wake)
            return
        sent = self.now
        self.sent.append(sent)
        self.after(self.latency(), lambda: self.arrive(sent))
        self.queue_moves = True
        self.next_in_queue()

    def arrive(self, sent: float) -> None:
        """Answer at the end of the latency, as the local server does."""
        wait = self.server.refusal(self.now)
        if self.tick:
            until_read = math.ceil(self.now / self.tick) * self.tick - self.now
            self.after(until_read, lambda: self.read(sent, wait))
        else:
            self.read(sent, wait)

    def read(self, sent: float, wait: float) -> None:
        """Report the outcome to the pace, and free the worker."""
        self.workers += 1
        if wait:
            self.refused, self.to_send = self.refused + 1, self.to_send + 1
            self.pace.limited(self.now, self.server.retry_after(wait), sent=sent)
        else:
            self.to_finish -= 1
            self.pace.succeeded(self.now, sent=sent)
        self.next_in_queue()


def export(
    rate: float,
    capacity: float,
    *,
    latency: float | Latency = 0.1,
    retry_after: RetryAfter = exactly,
    seconds: float = 60,
) -> Outcome:
    """Export as many requests as a server of this rate allows in so many seconds.

    An export has 64 workers; they cannot send 500 requests a second at 200 ms.
    """
    server = Server(lambda _: rate, capacity, retry_after)
    concurrency = 64 if rate <= 200 else 256
    return Export(server, int(rate * seconds), latency=latency, concurrency=concurrency).run()
