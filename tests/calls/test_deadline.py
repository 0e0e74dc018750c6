"""Waits at the edge of a call's deadline."""

import pytest

from aiomessages.calls import attempts
from aiomessages.calls.request import Deadline


class TwoSeconds(Deadline):
    """A deadline that is exactly two seconds away."""

    def remaining(self) -> float:
        """Return the seconds that are left."""
        return 2.0


@pytest.mark.parametrize(("delay", "beyond"), [(1.999, False), (2.0, True), (2.001, True)])
def test_a_wait_until_the_deadline(delay: float, beyond: bool) -> None:
    """A wait that ends with the deadline leaves no time for an attempt."""
    assert attempts._is_beyond(TwoSeconds(2.0), delay) is beyond  # noqa: SLF001 to the last digit
    assert not attempts._is_beyond(None, delay)  # noqa: SLF001 as above
