"""The pace as numbers: against servers that are simulated, with a clock that is just a number."""

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from aiomessages.pace import (
    FIRST_PAUSE,
    FIRST_RATE,
    GROWTH,
    LEAST_RATE,
    LONGEST_PAUSE,
    Pace,
)

Rate = Callable[[float], float]
RetryAfter = Callable[[float], float | None]


def in_milliseconds(wait: float) -> float:
    """Say when to come again as retry-after-ms does."""
    return math.ceil(wait * 1000) / 1000


def in_seconds(wait: float) -> float:
    """Say it as Retry-After does, which knows whole seconds only."""
    return float(math.ceil(wait))


def absent(_: float) -> None:
    """Say nothing."""


@dataclass
class Server:
    """A token bucket that is full at first; `rate` may change with time."""

    rate: Rate
    capacity: float
    retry_after: RetryAfter = in_milliseconds

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
    """How an export went: seconds, requests sent, those of them that were answered 429."""

    seconds: float
    sent: list[float]
    refused: int

    @property
    def share(self) -> float:
        """The share of the requests that were answered 429."""
        return self.refused / len(self.sent)


class Export:
    """`number` requests by `concurrency` workers, each sent again until it is let through."""

    def __init__(self, server: Server, number: int, *, latency: float, concurrency: int) -> None:
        self.server, self.latency, self.pace = server, latency, Pace()
        self.to_send, self.to_finish, self.workers = number, number, concurrency
        self.now, self.line_moves, self.refused = 0.0, True, 0
        self.sent: list[float] = []
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()

    def run(self) -> Outcome:
        """Do what is next until all is done."""
        self.next_in_line()
        while self.to_finish:
            self.now, _, act = heapq.heappop(self.agenda)
            act()
        return Outcome(self.now, self.sent, self.refused)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Put something on the agenda."""
        heapq.heappush(self.agenda, (self.now + seconds, next(self.order), act))

    def next_in_line(self) -> None:
        """Let one worker at a time ask the pace."""
        if self.line_moves and self.to_send and self.workers:
            self.line_moves, self.to_send, self.workers = False, self.to_send - 1, self.workers - 1
            self.after(self.pace.wait(self.now), self.wake)

    def wake(self) -> None:
        """Send, or sleep on where a pause has begun."""
        if pause := self.pace.paused(self.now):
            self.after(pause, self.wake)
            return
        sent = self.now
        self.sent.append(sent)
        self.after(self.latency, lambda: self.arrive(sent))
        self.line_moves = True
        self.next_in_line()

    def arrive(self, sent: float) -> None:
        """Answer, as the local server does: at the end of the latency."""
        wait = self.server.refusal(self.now)
        self.workers += 1
        if wait:
            self.refused, self.to_send = self.refused + 1, self.to_send + 1
            self.pace.limited(self.now, self.server.retry_after(wait), sent=sent)
        else:
            self.to_finish -= 1
            self.pace.succeeded(self.now, sent=sent)
        self.next_in_line()


def export(
    rate: float,
    capacity: float,
    *,
    latency: float = 0.1,
    retry_after: RetryAfter = in_milliseconds,
    seconds: float = 60,
) -> Outcome:
    """Export what a server of this rate lets through in so many seconds."""
    server = Server(lambda _: rate, capacity, retry_after)
    return Export(server, int(rate * seconds), latency=latency, concurrency=256).run()


# --- what it promises -----------------------------------------------------------------------------


@pytest.mark.parametrize("retry_after", [in_milliseconds, absent], ids=["ms", "absent"])
@pytest.mark.parametrize("capacity", [0.05, 0.25, 1], ids=["1/20 s", "1/4 s", "1 s"])
@pytest.mark.parametrize("latency", [0.05, 0.2])
@pytest.mark.parametrize("rate", [20, 100, 500])
def test_a_token_bucket(
    rate: float, latency: float, capacity: float, retry_after: RetryAfter
) -> None:
    """A minute's worth takes 1.1 times as long as it must at most, with 2 % refused or hardly more.

    Where a burst of five or more is let through.
    """
    burst = max(5.0, rate * capacity)
    outcome = export(rate, burst, latency=latency, retry_after=retry_after)
    assert outcome.seconds <= 60 * 1.1
    assert outcome.share <= 0.023


@pytest.mark.parametrize("rate", [20, 50, 100, 200, 500])
@pytest.mark.parametrize("latency", [0.05, 0.1, 0.2])
def test_whole_seconds_and_a_bucket_of_a_second(rate: float, latency: float) -> None:
    """Pauses of whole seconds cost nothing where the bucket fills meanwhile."""
    outcome = export(rate, rate, latency=latency, retry_after=in_seconds)
    assert outcome.seconds <= 60 * 1.1
    assert outcome.share <= 0.02


@pytest.mark.parametrize("rate", [20, 50, 100, 200, 500])
def test_half_a_minute(rate: float) -> None:
    """A shorter export is as fast, with up to 3.5 % refused: the first look for the rate weighs."""
    outcome = export(rate, rate, latency=0.2, seconds=30)
    assert outcome.seconds <= 30 * 1.1
    assert outcome.share <= 0.035


@pytest.mark.parametrize("rate", [20, 100, 500])
@pytest.mark.parametrize(
    ("retry_after", "most"), [(in_milliseconds, 1.5), (absent, 1.5), (in_seconds, 2.0)]
)
def test_a_bucket_of_one(rate: float, retry_after: RetryAfter, most: float) -> None:
    """No burst at all is the hardest: the target is missed, by a bounded factor."""
    outcome = export(rate, 1, retry_after=retry_after)
    assert outcome.seconds <= 60 * most
    assert outcome.share <= 0.02


@pytest.mark.parametrize("factor", [0.5, 2])
@pytest.mark.parametrize("capacity", [5, 200])
def test_a_rate_that_changes(factor: float, capacity: float) -> None:
    """A rate that halves or doubles in the middle is found again."""
    server = Server(lambda now: 200 if now < 30 else 200 * factor, capacity)
    number = int(200 * 30 + 200 * factor * 30)
    outcome = Export(server, number, latency=0.1, concurrency=256).run()
    assert outcome.seconds <= 60 * 1.1
    assert outcome.share <= 0.02


def test_no_limit() -> None:
    """Without a limit the workers bound the speed, after seconds, and the rate stays in reach."""
    run = Export(Server(lambda _: 1e9, 1e9), 60_000, latency=0.02, concurrency=64)
    outcome = run.run()
    assert outcome.refused == 0
    assert sum(sent > outcome.seconds - 1 for sent in outcome.sent) > 0.95 * 64 / 0.02
    assert run.pace.rate < 2 * 64 / 0.02


def test_no_herd() -> None:
    """Nothing is sent in a pause, and behind it one by one, at less than the rate before."""
    run = Export(Server(lambda _: 100, 1, lambda _: 2.0), 300, latency=0.1, concurrency=256)
    outcome = run.run()
    gaps = [b - a for a, b in itertools.pairwise(outcome.sent)]
    first = next(n for n, gap in enumerate(gaps) if gap > 1)
    assert gaps[first] >= 2.0
    assert min(gaps[first + 1 : first + 20]) > max(gaps[first - 5 : first])


# --- single decisions -----------------------------------------------------------------------------


def test_the_first_requests() -> None:
    """The first goes at once, the next ones follow at the first rate."""
    pace = Pace()
    assert [pace.wait(0.0) for _ in range(3)] == [0, 1 / FIRST_RATE, 2 / FIRST_RATE]


def test_max_rps() -> None:
    """A bound of the caller's holds from the first request on, and growth ends there."""
    pace = Pace(max_rps=10)
    assert [pace.wait(0.0) for _ in range(3)] == [0, 0.1, 0.2]
    pace.succeeded(0.2, sent=0.0)
    assert pace.wait(0.2) == pytest.approx(0.1)
    pace = Pace(max_rps=FIRST_RATE)
    pace.wait(0.0)
    pace.wait(0.0)
    pace.succeeded(0.01, sent=0.0)
    assert pace.rate == FIRST_RATE


def test_idle_time_earns_no_burst() -> None:
    """A slot that nobody took is gone."""
    pace = Pace()
    pace.wait(0.0)
    assert [pace.wait(5.0), pace.wait(5.0)] == [0, pytest.approx(1 / FIRST_RATE)]


def test_a_timer_that_is_late() -> None:
    """A few milliseconds of lateness are made up for, so that timers do not lower the rate."""
    pace = Pace()
    pace.wait(0.0)
    assert pace.wait(0.005) == pytest.approx(1 / FIRST_RATE - 0.005)
    assert pace.wait(0.053) == 0
    assert pace.wait(0.053) == pytest.approx(3 / FIRST_RATE - 0.053)


def test_growth_only_where_the_rate_limits() -> None:
    """A success raises the rate if somebody had to wait for the pace, and only then."""
    pace = Pace()
    pace.wait(0.0)
    pace.succeeded(0.01, sent=0.0)
    assert pace.rate == FIRST_RATE
    pace.wait(0.01)
    pace.succeeded(0.02, sent=0.0)
    assert FIRST_RATE < pace.rate < FIRST_RATE + GROWTH


def test_one_epoch_counts_once() -> None:
    """Refusals of what was under way say how much too high the rate was; older ones say nothing."""
    pace = Pace()
    pace.limited(1.0, 0.0, sent=0.9)
    once = pace.rate
    assert once < FIRST_RATE
    pace.limited(1.01, 0.0, sent=0.8)
    assert pace.rate == once
    pace.limited(1.02, 0.0, sent=0.95)
    assert pace.rate < once
    pace.succeeded(1.03, sent=0.96)
    pace.succeeded(1.03, sent=0.97)
    assert pace.rate > once


def test_the_longest_pause_holds() -> None:
    """Of several Retry-Afters the one that ends last counts, and the next slot is behind it."""
    pace = Pace()
    pace.limited(1.0, 3.0, sent=0.9)
    pace.limited(1.1, 1.0, sent=0.9)
    assert pace.paused(1.5) == 2.5
    assert pace.wait(1.5) == pytest.approx(2.5 + 1 / pace.rate)
    assert pace.paused(4.0) == 0


def test_pauses_of_its_own() -> None:
    """Without Retry-After pauses double up to a bound while nothing comes through."""
    pace, now, pauses = Pace(), 0.0, []
    for _ in range(100):
        now += 1.0 + pace.paused(now)
        pace.limited(now, None, sent=now)
        pauses.append(pace.paused(now))
    assert pauses[:3] == pytest.approx([FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE])
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)
    assert pace.rate == LEAST_RATE
    pace.succeeded(now + 1, sent=now + 0.5)
    pace.limited(now + 2, None, sent=now + 1.5)
    assert pace.paused(now + 2) == pytest.approx(max(FIRST_PAUSE, LONGEST_PAUSE - 2))


def test_starving() -> None:
    """It counts the seconds from a refusal on, until something comes through."""
    pace = Pace()
    assert pace.starved(5.0) == 0
    pace.limited(10.0, 1.0, sent=9.0)
    pace.limited(15.0, 1.0, sent=14.0)
    assert pace.starved(20.0) == 10
    pace.succeeded(21.0, sent=20.0)
    assert pace.starved(22.0) == 0
