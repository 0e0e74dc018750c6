"""The pace as numbers: against simulated servers, with a clock that is just a number.

The targets are 1.15 times N/R for N requests to a server that allows R a second, and 3 % of the
requests answered 429. They hold for R from 20 to 500, for buckets of half a second's to two
seconds' worth, for latencies of 10 to 300 ms, steady or varying, and for every form of Retry-After,
if N is at least 5,000 and N/R at least half a minute (a minute for 256 workers, which have more
requests under way when the bucket is empty). Outside of these bounds:

- Finding the rate costs up to two seconds' worth of 429s, a large share of a small N.
- A Retry-After of whole seconds makes all wait a second for a token that comes in milliseconds. The
  tokens that the bucket cannot hold meanwhile are lost: up to 1.25 times N/R for bursts of a
  quarter of a second's worth.
- If the latency varies by more than the distance of the requests, they arrive at random. A
  bucket of a tenth of a second's worth then refuses some at any rate, and it takes about twice
  N/R; with a bucket of one token it takes up to 16 times N/R. `max_rps` is the remedy.
- A server that suddenly allows twice as much does not announce it. Two half minutes, one before and
  one after, take up to 1.3 times N/R, and 1.45 times if Retry-After is in whole seconds.
- A server that halves its rate refuses up to 4 % of the requests of two such half minutes.
"""

import itertools
import math

import pytest
from rate_limits import (
    Export,
    Outcome,
    RetryAfter,
    Server,
    absent,
    exactly,
    export,
    in_seconds,
    varying,
)

from aiomessages.calls.rate_limit import (
    ENOUGH,
    FALL,
    FIRST_PAUSE,
    FIRST_RATE,
    GAIN,
    LEAST_RATE,
    LONGEST_HOLD,
    LONGEST_PAUSE,
    LOST,
    MARGIN,
    PAUSED_SHARE,
    PROBE,
    REFUSED_SHARE,
    RISE,
    UNDER_WAY,
    Pace,
)

TIME, SHARE = 1.15, 0.03  # the targets

RATES = [20, 50, 100, 200, 500]
LATENCIES = {"50 ms": 0.05, "100 ms": 0.1, "200 ms": 0.2}
RETRY_AFTER = {"exact": exactly, "whole seconds": in_seconds, "absent": absent}


def with_retry_after(*names: str) -> pytest.MarkDecorator:
    """Parametrize a test by these kinds of Retry-After."""
    return pytest.mark.parametrize("retry_after", [RETRY_AFTER[name] for name in names], ids=names)


def worst(outcomes: list[Outcome], seconds: float) -> tuple[float, float]:
    """Return the longest time, as a multiple of what is due, and the largest share of 429s."""
    return (
        max(outcome.seconds for outcome in outcomes) / seconds,
        max(outcome.share for outcome in outcomes),
    )


def all_latencies(
    rate: float, capacity: float, retry_after: RetryAfter, seconds: float
) -> tuple[float, float]:
    """Return the worst of exports at each of the latencies."""
    outcomes = [
        export(rate, capacity, latency=latency, retry_after=retry_after, seconds=seconds)
        for latency in LATENCIES.values()
    ]
    return worst(outcomes, seconds)


def varying_latencies(
    rate: float, capacity: float, retry_after: RetryAfter, seconds: float
) -> tuple[float, float]:
    """Return the worst of exports with latencies that vary."""
    outcomes = [
        export(rate, capacity, latency=varying(seed), retry_after=retry_after, seconds=seconds)
        for seed in range(3)
    ]
    return worst(outcomes, seconds)


# --- what it promises -----------------------------------------------------------------------------


def seconds_of(rate: float) -> float:
    """Return the seconds of 5,000 requests, at least 30; 40 for 500 a second by 256 workers."""
    return max(5000 / rate, 30.0) if rate < 500 else 40.0


@pytest.mark.unmeasured
@with_retry_after("exact", "whole seconds", "absent")
@pytest.mark.parametrize("capacity", [0.5, 1], ids=["1/2 s", "1 s"])
@pytest.mark.parametrize("rate", RATES)
def test_a_steady_limit(rate: float, capacity: float, retry_after: RetryAfter) -> None:
    """Buckets of half a second's worth and more are within the targets at each latency."""
    time, share = all_latencies(rate, rate * capacity, retry_after, seconds_of(rate))
    assert time <= TIME
    assert share <= SHARE


@pytest.mark.unmeasured
@with_retry_after("exact", "whole seconds")
@pytest.mark.parametrize("rate", [20, 100])
def test_large_bursts(rate: float, retry_after: RetryAfter) -> None:
    """A bucket of two seconds' worth hides the rate for longer, within the targets."""
    time, share = all_latencies(rate, rate * 2, retry_after, seconds_of(rate))
    assert time <= TIME
    assert share <= SHARE


@pytest.mark.unmeasured
@with_retry_after("exact", "whole seconds", "absent")
@pytest.mark.parametrize("capacity", [0.5, 1], ids=["1/2 s", "1 s"])
@pytest.mark.parametrize("rate", [20, 50, 200])
def test_a_latency_that_varies(rate: float, capacity: float, retry_after: RetryAfter) -> None:
    """If requests overtake each other, the same buckets are within the targets."""
    time, share = varying_latencies(rate, rate * capacity, retry_after, seconds_of(rate))
    assert time <= TIME
    assert share <= SHARE


@pytest.mark.unmeasured
@with_retry_after("exact", "absent")
@pytest.mark.parametrize("rate", [20, 200])
def test_small_bursts(rate: float, retry_after: RetryAfter) -> None:
    """A tenth of a second's worth is enough if the latency is steady and no pause takes seconds."""
    time, share = all_latencies(rate, rate / 10, retry_after, seconds_of(rate))
    assert time <= TIME
    assert share <= SHARE


@pytest.mark.unmeasured
@pytest.mark.parametrize("rate", [20, 200])
def test_whole_seconds_and_small_bursts(rate: float) -> None:
    """If all wait for whole seconds, a quarter of a second's worth costs time but no 429s."""
    time, share = all_latencies(rate, rate / 4, in_seconds, seconds_of(rate))
    assert time <= 1.25
    assert share <= SHARE


@pytest.mark.unmeasured
def test_random_arrivals() -> None:
    """A small bucket that refuses requests by chance costs time, but few refusals."""
    time, share = varying_latencies(50, 5, exactly, seconds_of(50))
    assert time <= 2
    assert share <= SHARE


@pytest.mark.unmeasured
@with_retry_after("exact", "whole seconds", "absent")
@pytest.mark.parametrize("rate", [20, 100, 500])
def test_a_busy_loop(rate: float, retry_after: RetryAfter) -> None:
    """Answers that are read up to 20 ms late, many at once, leave the pace within the targets."""
    server = Server(lambda _: rate, rate, retry_after)
    time, share = worst([Export(server, int(rate * 60), latency=0.1, tick=0.02).run()], 60)
    assert time <= TIME
    assert share <= SHARE


@pytest.mark.unmeasured
@pytest.mark.parametrize(("factor", "most"), [(0.5, TIME), (2, 1.25)])
@pytest.mark.parametrize("rate", [50, 200])
def test_a_rate_that_changes(rate: float, factor: float, most: float) -> None:
    """A rate that halves or doubles in the middle is found again; the latter takes some time."""
    server = Server(lambda now: rate if now < 30 else rate * factor, rate / 2)
    number = int(rate * 30 + rate * factor * 30)
    time, share = worst([Export(server, number, latency=0.1, concurrency=64).run()], 60)
    assert time <= most
    assert share <= SHARE


def test_no_limit() -> None:
    """Without a limit the workers bound the speed, after some latencies, and no request waits."""
    run = Export(Server(lambda _: 1e9, 1e9), 272, latency=0.05, concurrency=64)
    outcome = run.run()
    assert outcome.refused == 0
    assert outcome.seconds <= 21 * 0.05
    run = Export(Server(lambda _: 1e9, 1e9), 60_000, latency=0.02, concurrency=64)
    outcome = run.run()
    assert sum(sent > 1 for sent in outcome.sent) > 0.95 * (outcome.seconds - 1) * 64 / 0.02
    assert run.pace.rate < 2 * 64 / 0.02


def test_no_herd() -> None:
    """Nothing is sent during a pause; after it, requests go one by one and below the old rate."""
    run = Export(Server(lambda _: 100, 1, lambda _: 2.0), 300, latency=0.1)
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
    """A slot that nobody took is lost."""
    pace = Pace()
    pace.wait(0.0)
    assert [pace.wait(5.0), pace.wait(5.0)] == [0, pytest.approx(1 / FIRST_RATE)]


def test_a_timer_that_is_late() -> None:
    """A few milliseconds of lateness are made up for, so that timers do not lower the rate."""
    pace = Pace()
    pace.wait(0.0)
    slot = 1 / FIRST_RATE
    assert pace.wait(0.005) == pytest.approx(slot - 0.005)
    assert pace.wait(2 * slot + 0.003) == 0
    assert pace.wait(2 * slot + 0.003) == pytest.approx(slot - 0.003)


def test_growth_only_where_the_rate_limits() -> None:
    """A success raises the rate if somebody had to wait for the pace, and only then."""
    pace = Pace()
    pace.wait(0.0)
    pace.succeeded(0.02, sent=0.0)
    assert pace.rate == FIRST_RATE
    assert [pace.wait(0.02), pace.wait(0.02)] == [0, pytest.approx(2 / FIRST_RATE - 0.02)]
    pace.succeeded(0.03, sent=0.01)
    assert pace.rate == pytest.approx(FIRST_RATE + GAIN / 0.02)


def test_growth_with_successes() -> None:
    """With many requests under way, the rate grows only after enough of them succeeded."""
    pace, latency, succeeded = Pace(), 0.2, 0
    pace.wait(0.0)
    pace.wait(0.0)
    while pace.rate == FIRST_RATE:
        pace.succeeded(0.0, sent=-latency)
        succeeded += 1
    assert succeeded == pytest.approx((FIRST_RATE * latency - UNDER_WAY) / GAIN, abs=1)


def after_the_first_event(*, refused: int = 1, retry_after: float = 0.0) -> Pace:
    """Return a pace that was limited at 0.0 by so many 429s, at the first rate and 100 ms."""
    pace = Pace()
    for _ in range(refused):
        pace.limited(0.0, retry_after, sent=-0.1)
    return pace


def test_the_first_event() -> None:
    """The first 429 says nothing of the rate that is allowed, so it falls by a fixed factor."""
    assert after_the_first_event().rate == pytest.approx(FIRST_RATE / FALL * MARGIN)


def test_an_event_counts_once() -> None:
    """429s to requests that were sent within a latency of the first one change no rate."""
    pace = after_the_first_event()
    once = pace.rate
    pace.succeeded(0.05, sent=-0.05)
    pace.limited(0.1, 0.0, sent=0.0)
    pace.limited(0.2, 0.0, sent=0.1)
    assert pace.rate == once
    pace.succeeded(1.0, sent=0.9)
    pace.limited(1.0, 0.0, sent=0.11)
    assert pace.rate != once


def test_measuring() -> None:
    """The next event sets the rate to the lower bound, and lets it rise to the upper one."""
    pace = after_the_first_event(retry_after=1.0)
    for _ in range(ENOUGH):
        pace.succeeded(2.0, sent=1.9)
    pace.limited(4.0, 0.0, sent=3.9)
    lower = ENOUGH / (4 - LOST) * MARGIN
    upper = ENOUGH / (4 - (1 - LOST)) * MARGIN
    assert pace.rate == pytest.approx(lower)
    assert [pace.wait(4.0), pace.wait(4.0)] == pytest.approx([1 / lower, 2 / lower])
    pace.succeeded(4.1, sent=4.0)
    assert pace.rate == pytest.approx(lower + math.log(upper / lower) / RISE)
    for _ in range(100):
        pace.succeeded(4.1, sent=4.0)
    assert pace.rate == pytest.approx(upper, rel=0.03)


def test_a_measurement_restarts() -> None:
    """Enough requests are a measurement of their own; fewer are counted with the next ones."""
    for passed, rate in (ENOUGH, 10 / 2), (ENOUGH - 1, (ENOUGH + 9) / 4):
        pace = after_the_first_event()
        for _ in range(passed):
            pace.succeeded(2.0, sent=1.9)
        pace.limited(2.0, 0.0, sent=1.9)
        for _ in range(10):
            pace.succeeded(4.0, sent=3.9)
        pace.limited(4.0, 0.0, sent=3.9)
        assert pace.rate == pytest.approx(rate * MARGIN)


def test_the_longer_pause_is_paused_once() -> None:
    """Overlapping pauses count once: the bounds leave out parts of 3 seconds."""
    pace = after_the_first_event(retry_after=2.0)
    pace.limited(0.5, 2.5, sent=0.0)
    for _ in range(10):
        pace.succeeded(3.5, sent=3.4)
    pace.limited(4.0, 0.0, sent=3.9)
    assert pace.rate == pytest.approx(10 / (4 - LOST * 3) * MARGIN)


def test_a_pause_that_is_not_over() -> None:
    """A request that was sent before a pause is answered within it: only the past is measured."""
    pace = after_the_first_event()
    for _ in range(ENOUGH):
        pace.succeeded(2.0, sent=1.9)
    pace.limited(2.0, 100.0, sent=0.05)
    pace.limited(2.0, 0.0, sent=1.9)
    assert pace.rate == pytest.approx(ENOUGH / 2 / (1 - LOST) * MARGIN)


@pytest.mark.parametrize("retry_after", [0.0, 0.5])
def test_holding(retry_after: float) -> None:
    """A rate grows again as soon as the last event is a small share, and then ever faster."""
    pace = after_the_first_event()
    for _ in range(ENOUGH):
        pace.succeeded(1.0, sent=0.9)
    pace.limited(1.0, retry_after, sent=0.95)  # at 30 a second, and no pause on the way
    rate = pace.rate
    hold = 1 / (REFUSED_SHARE * rate) + retry_after / PAUSED_SHARE
    ends = 1.0 + retry_after + hold
    [pace.wait(ends) for _ in range(50)]
    pace.succeeded(ends - 0.1, sent=ends - 0.2)
    assert pace.rate == rate
    pace.succeeded(ends + 0.5, sent=ends)
    assert pace.rate == pytest.approx(rate + 0.5 * PROBE)
    pace.succeeded(ends + 1.0, sent=ends)
    assert pace.rate == pytest.approx(rate + 1.5 * PROBE)


def test_the_longest_hold() -> None:
    """However much an event cost, a server that allows more is noticed within a bound."""
    pace = after_the_first_event()
    for _ in range(ENOUGH):
        pace.succeeded(1.0, sent=0.9)
    pace.limited(1.0, 100.0, sent=0.95)
    rate, ends = pace.rate, 101.0 + LONGEST_HOLD
    [pace.wait(ends) for _ in range(50)]
    pace.succeeded(ends, sent=ends - 0.1)
    assert pace.rate == rate
    pace.succeeded(ends + 1.0, sent=ends)
    assert pace.rate == pytest.approx(rate + PROBE)


def test_a_bucket_that_is_not_full_at_first() -> None:
    """Another client may have emptied the bucket: then it looks small, which costs nothing."""
    server = Server(lambda _: 100, 100)
    server.tokens = 0
    run = Export(server, 6000, latency=0.1)
    time, share = worst([run.run()], 60)
    assert time <= TIME
    assert share <= SHARE
    assert run.pace.rate == pytest.approx(100, rel=0.1)


def test_the_longest_pause_holds() -> None:
    """The latest end of several Retry-Afters counts, and the next slot comes after it."""
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


@pytest.mark.parametrize("events", [1, 2, 4])
def test_recovering(events: int) -> None:
    """If all requests are refused for a while, the rate falls, and recovers at a success."""
    pace = Pace()
    for number in range(40):
        pace.wait(number / FIRST_RATE)
        pace.succeeded(number / FIRST_RATE + 0.001, sent=number / FIRST_RATE)
    pace.limited(2.0, 0.1, sent=1.9)
    once = pace.rate
    for now in range(4, 2 + 2 * events, 2):
        pace.limited(now, 0.1, sent=now - 0.1)
        pace.limited(now + 0.05, 0.1, sent=now - 0.05)
    assert pace.rate == once / 2 ** (events - 1)
    pace.succeeded(12.0, sent=11.9)
    assert pace.rate == once


def test_starving() -> None:
    """`starved` counts the seconds from the first refusal until a success."""
    pace = Pace()
    assert pace.starved(5.0) == 0
    pace.limited(10.0, 1.0, sent=9.0)
    pace.limited(15.0, 1.0, sent=14.0)
    assert pace.starved(20.0) == 10
    pace.succeeded(21.0, sent=20.0)
    assert pace.starved(22.0) == 0
