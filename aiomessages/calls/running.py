"""Calls under way, and how closing a client ends them."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import anyio

if TYPE_CHECKING:
    from .attempts import Attempts

CLOSE_TIMEOUT: Final = 5.0  # as long as a stream waits, for the same reason


class RunningCall:
    """A call under way: whose it is, the task that makes it, and whether closing interrupted it.

    `sent` is how many requests were sent for it. An attempt that ran out of time before, as in the
    queue or without a key, is none of them.
    """

    __slots__ = ("_cancelled_before", "_interrupted", "_task", "owner", "sent")

    def __init__(self, owner: "Attempts") -> None:
        self.owner = owner
        self.sent = 0
        self._task = cast("asyncio.Task[object]", asyncio.current_task())  # a coroutine runs in one
        self._cancelled_before = self._task.cancelling()
        self._interrupted = False

    def interrupt(self) -> None:
        """Cancel the task, once: each cancellation has to be taken back."""
        if not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    def was_only_interrupted(self) -> bool:
        """Tell whether nobody else has cancelled the task since the call began."""
        return self._interrupted and self._task.cancelling() == self._cancelled_before + 1

    def leave(self) -> None:
        """Take the cancellation back, whatever came of it."""
        if self._interrupted:
            self._task.uncancel()


class RunningCalls:
    """The calls under way, of a client and of those that share its session."""

    def __init__(self) -> None:
        # By call and not by task: a task may be in two, where an api_key callable makes the second,
        # and may make one more with an open client as soon as another was closed.
        self._calls: set[RunningCall] = set()
        self._left: asyncio.Event | None = None  # made when somebody waits for calls to leave

    def enter(self, call: RunningCall) -> None:
        """Note a call that begins."""
        self._calls.add(call)

    def leave(self, call: RunningCall) -> None:
        """Note that a call has ended."""
        call.leave()
        self._calls.remove(call)
        if self._left is not None:
            self._left.set()

    async def end(self, doomed: Callable[["Attempts"], bool]) -> None:
        """Interrupt the calls of doomed owners, and wait up to 5 s until they have left."""
        calls = {call for call in self._calls if doomed(call.owner)}
        for call in calls:
            call.interrupt()
        self._left = left = self._left or asyncio.Event()
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            while calls & self._calls:
                left.clear()
                await left.wait()
