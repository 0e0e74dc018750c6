"""Claims about the token bucket; `test_app` tests the middleware over a socket."""

from __future__ import annotations

import pytest

from aiomessages.server.middleware import TokenBucket


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now


def test_a_burst_of_one_second_passes() -> None:
    """At 3 requests a second three pass at once, and the fourth waits a third of a second."""
    bucket = TokenBucket(3.0, Clock())
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(1 / 3)]


def test_after_the_wait_that_was_named_a_request_passes() -> None:
    """The wait is exact, and a rejected request takes no token."""
    clock = Clock()
    bucket = TokenBucket(0.5, clock)
    assert bucket.take() == 0.0
    assert [bucket.take(), bucket.take()] == [2.0, 2.0]
    clock.now += 2.0
    assert bucket.take() == 0.0


def test_idle_time_is_saved_for_one_second_only() -> None:
    """After an idle hour the bucket holds no more than one second's worth."""
    clock = Clock()
    bucket = TokenBucket(2.0, clock)
    clock.now += 3600.0
    assert [bucket.take() > 0 for _ in range(3)] == [False, False, True]
