"""The time that a deadline leaves to an attempt, and to a wait."""

import pytest

from aiomessages import APITimeoutError, Timeout
from aiomessages.calls.request import Deadline, is_beyond, within


class At(Deadline):
    """A deadline of 5 s that leaves so many seconds by now."""

    def __init__(self, left: float) -> None:
        super().__init__(5.0)
        self.left = left

    def remaining(self) -> float:
        """Return the seconds that are left."""
        return self.left


@pytest.mark.parametrize(
    ("left", "delay", "beyond"), [(2.0, 1.9, False), (2.0, 2.0, True), (2.0, 2.1, True)]
)
def test_a_wait_and_the_deadline(left: float, delay: float, beyond: bool) -> None:
    """A wait that ends at the very deadline leaves no time for an attempt."""
    assert is_beyond(At(left), delay) is beyond


def test_a_wait_without_a_deadline() -> None:
    """Without a deadline no wait is too long."""
    assert not is_beyond(None, 1e9)


def test_a_timeout_without_a_deadline() -> None:
    """Without a deadline an attempt has all of its timeout."""
    timeout = Timeout(total=3.0)
    assert within(None, timeout) is timeout


@pytest.mark.parametrize(
    ("left", "total", "bound"),
    [(2.0, None, 2.0), (2.0, 3.0, 2.0), (2.0, 2.0, 2.0), (2.0, 1.0, 1.0)],
)
def test_a_timeout_and_the_deadline(left: float, total: float | None, bound: float) -> None:
    """An attempt has its timeout, and no more than the deadline leaves; its other bounds stay."""
    assert within(At(left), Timeout(total=total, connect=4.0)) == Timeout(total=bound, connect=4.0)


@pytest.mark.parametrize("left", [0.0, -1.0])
def test_a_deadline_that_is_over(left: float) -> None:
    """No attempt begins once the deadline is over."""
    with pytest.raises(APITimeoutError, match="deadline of 5 s"):
        within(At(left), Timeout())
