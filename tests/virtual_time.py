"""An event loop with a virtual clock: if nothing can run, the next timer is due at once.

A test with it sees exact times and takes no time. Nothing here depends on streams or clients.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
Events = list[tuple[selectors.SelectorKey, int]]


class StalledError(AssertionError):
    """Nothing can run, and no timer is set: a task waits for something that never comes."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock instead of waiting, once nothing arrived for `grace` real seconds."""

    def __init__(self, jump: Callable[[float], None], grace: float) -> None:
        super().__init__()
        self._jump = jump
        self._grace = grace

    def select(self, timeout: float | None = None) -> Events:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        events = super().select(self._grace)
        if events:
            return events
        if timeout is None:
            raise StalledError
        self._jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, in seconds from 0.

    `grace` is for loops with sockets: how long, in real seconds, bytes may take from one end of a
    loopback connection to the other.
    """

    def __init__(self, grace: float = 0.0) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self.work, grace))

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._now

    def work(self, seconds: float) -> None:
        """Let time pass without running anything, as work that blocks the loop does."""
        self._now += seconds


def run(main: Coroutine[Any, Any, ResultT], *, grace: float = 0.0) -> ResultT:
    """Run a coroutine in a virtual loop of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(grace)) as runner:
        return runner.run(main)


def now() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()


def work(seconds: float) -> None:
    """Block the running loop for some virtual seconds."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.work(seconds)
