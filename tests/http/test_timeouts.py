"""The shared timer on virtual time: when a timeout expires, and when it does not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import virtual_time

from aiomessages.http.shortcut.timeouts import SharedTimer, TotalTimeout


class Aborts:
    """Makes timeouts, and notes when each one aborted its connection."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def timeout(self, name: str) -> TotalTimeout:
        """Return a timeout, which may abort once."""
        return TotalTimeout(lambda: self._note(name))

    def _note(self, name: str) -> None:
        assert name not in self.times
        self.times[name] = virtual_time.now()


def aborted(play: Callable[[SharedTimer, Aborts], Any]) -> dict[str, float]:
    """Play with a timer, let 100 s pass, and return when each timeout aborted its connection.

    An error in a callback of the loop is an error here.
    """
    problems: list[dict[str, Any]] = []
    aborts = Aborts()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, problem: problems.append(problem))
        play(SharedTimer(), aborts)
        await asyncio.sleep(100)

    virtual_time.run(main())
    assert problems == []
    return aborts.times


@pytest.mark.parametrize("order", [(3, 5, 9), (9, 5, 3), (5, 9, 3)])
def test_each_timeout_expires_at_its_own_time(order: tuple[int, ...]) -> None:
    """Each timeout aborts its connection once and at its time, in whatever order they started."""

    def play(timer: SharedTimer, aborts: Aborts) -> None:
        for seconds in order:
            timer.start(aborts.timeout(f"{seconds} s"), seconds)

    assert aborted(play) == {"3 s": 3, "5 s": 5, "9 s": 9}


def test_timeouts_of_one_moment() -> None:
    """Timeouts that end in the same moment expire together."""

    def play(timer: SharedTimer, aborts: Aborts) -> None:
        for name in ("one", "other"):
            timer.start(aborts.timeout(name), 3)

    assert aborted(play) == {"one": 3, "other": 3}


def test_a_stopped_timeout_never_expires() -> None:
    """A timeout that was stopped aborts nothing; the others keep their times."""

    def play(timer: SharedTimer, aborts: Aborts) -> None:
        stopped = aborts.timeout("stopped")
        timer.start(stopped, 3)
        timer.start(aborts.timeout("other"), 5)
        timer.stop(stopped)

    assert aborted(play) == {"other": 5}


def test_a_timer_of_stopped_timeouts() -> None:
    """A timer whose timeouts were all stopped ends, and reports no error to the loop."""

    def play(timer: SharedTimer, aborts: Aborts) -> None:
        stopped = aborts.timeout("stopped")
        timer.start(stopped, 3)
        timer.stop(stopped)

    assert aborted(play) == {}


def test_a_timeout_without_end() -> None:
    """A timeout of None never expires, and can be stopped like any other."""

    def play(timer: SharedTimer, aborts: Aborts) -> None:
        endless = aborts.timeout("endless")
        timer.start(endless, None)
        timer.stop(endless)

    assert aborted(play) == {}


def test_an_expired_timeout_says_so() -> None:
    """A timeout is expired once its time is over, and already when it aborts the connection."""
    seen: list[bool] = []
    timeout = TotalTimeout(lambda: seen.append(timeout.expired))

    def play(timer: SharedTimer, _: Aborts) -> None:
        timer.start(timeout, 3)
        seen.append(timeout.expired)

    aborted(play)
    assert seen == [False, True]


def test_a_timeout_that_starts_after_another_has_expired() -> None:
    """A timer that has nothing left to wait for waits for the next timeout."""

    def play(timer: SharedTimer, aborts: Aborts) -> None:
        later = TotalTimeout(lambda: timer.start(aborts.timeout("next"), 4))
        timer.start(later, 3)

    assert aborted(play) == {"next": 7}


def test_a_shorter_timeout_takes_over_the_timer() -> None:
    """A timeout that ends before all others moves the timer: one is set, and the old one is not."""
    timers: list[asyncio.TimerHandle] = []

    def play(timer: SharedTimer, aborts: Aborts) -> None:
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def noted(when: float, *args: Any, **options: Any) -> asyncio.TimerHandle:
            timers.append(call_at(when, *args, **options))
            return timers[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_at", noted)
            for seconds in (9, 5, 3):
                timer.start(aborts.timeout(f"{seconds} s"), seconds)
        assert [handle.when() for handle in timers if not handle.cancelled()] == [3]

    aborted(play)
