"""What answers show of the bucket behind them."""

import pytest
from rate_limits import RetryAfter, Server, absent, exactly

from aiomessages.calls.token_buckets import STEP, Buckets

NEAR = STEP**2  # as near as guesses that stand a step apart can be


def ask(
    buckets: Buckets, server: Server, *, at_rate: float, times: int, since: float = 0.0
) -> float:
    """Send evenly, without any latency; return when the next request would be due."""
    for number in range(times):
        now = since + number / at_rate
        if wait := server.refusal(now):
            buckets.refused(now, server.retry_after(wait), sent_at=at_rate)
        else:
            buckets.passed(now)
    return since + times / at_rate


@pytest.mark.parametrize("retry_after", [exactly, absent])
@pytest.mark.parametrize("capacity", [2, 10, 100])
def test_a_rate_that_is_too_high(capacity: float, retry_after: RetryAfter) -> None:
    """The requests that pass an empty bucket tell its rate, however large it was."""
    buckets = Buckets(10, 1000, [-1.0])
    server = Server(lambda _: 100, capacity, retry_after)
    ask(buckets, server, at_rate=250, times=int(capacity * 5 / 3) + 100)
    slowest, fastest = buckets.rates()
    assert 100 / NEAR <= slowest <= fastest <= 100 * NEAR


def test_a_bucket_of_one() -> None:
    """It refuses every other request of a rate that is a trifle too high; that is ambiguous.

    A large bucket of half the rate does the same, until more passes than it can have held.
    """
    server = Server(lambda _: 100, 1, absent)
    buckets = Buckets(10, 101, [-1.0])
    now = ask(buckets, server, at_rate=101, times=40)
    slowest, fastest = buckets.rates()
    assert slowest < 60
    assert fastest > 95
    ask(buckets, server, at_rate=95, times=40, since=now)
    slowest, fastest = buckets.rates()
    assert 95 / NEAR <= slowest <= fastest <= 101


def test_no_guess_is_faster_than_what_was_refused() -> None:
    """A full bucket refuses nobody, and evenly spaced requests at its rate leave it full."""
    buckets = Buckets(10, 1000, [-1.0])
    buckets.refused(1.0, None, sent_at=50.0)
    assert buckets.rates()[1] <= 50


def test_a_full_bucket_that_refused() -> None:
    """It refuses nobody, so where all guesses say that it was full, they explain nothing."""
    buckets = Buckets(50, 100, [-1.0])
    buckets.refused(1.0, None)
    assert not buckets.explain()


def test_guesses_that_are_nearly_as_good() -> None:
    """Whoever trusts the answers less finds a wider range, around the narrower one."""
    buckets = Buckets(10, 1000, [-1.0])
    ask(buckets, Server(lambda _: 100, 100), at_rate=250, times=250)
    slowest, fastest = buckets.rates()
    wider = buckets.rates(as_good=0.1)
    assert wider[0] < slowest <= fastest < wider[1]


def test_a_server_that_bears_less_than_any_guess() -> None:
    """Refusals at rates that are lower and lower leave none, and nothing is explained."""
    buckets = Buckets(10, 100, [-1.0])
    for tick in range(1, 30):
        buckets.refused(tick / 10, None, sent_at=100.0 / 1.1**tick)
    assert not buckets.explain()


def test_a_server_that_bears_more_by_now() -> None:
    """Where much passes that the guesses would refuse, they explain nothing any more."""
    server = Server(lambda now: 100 if now < 4 else 200, 10)
    buckets = Buckets(10, 150, [-1.0])
    now = ask(buckets, server, at_rate=150, times=600)
    assert buckets.explain()
    ask(buckets, server, at_rate=190, times=600, since=now)
    assert not buckets.explain()
    assert buckets.rates()[1] <= 150  # but one is the nearest


def test_the_level_of_an_empty_bucket() -> None:
    """It is what the next guesses begin with: less than a token below the capacity."""
    buckets = Buckets(99, 101, [-1.0])
    ask(buckets, Server(lambda _: 100, 20), at_rate=150, times=200)
    assert 18 < buckets.level_when_empty <= 20.1
