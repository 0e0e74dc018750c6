"""Calls under way: how closing a client ends them, and a cancellation that is not theirs."""

import asyncio
from typing import TYPE_CHECKING, Final, cast

import anyio

from aiomessages.errors import APIConnectionError

if TYPE_CHECKING:
    from .api_key import Key
    from .attempts import Attempts

# Seconds. A fetch that was cancelled needs a moment to give its connection back. If it does not end
# by then, it does not hold up the closing of a stream, of results or of a client.
CLOSE_TIMEOUT: Final = 5.0


class RunningCall:
    """A call under way: its owner, its task, and whether closing interrupted it.

    `sent` counts the requests that were sent for it. An attempt that ran out of time before, in the
    queue or without a key, is not counted. `key` is that of the last attempt, and `asked_again` is
    true once the api_key callable was asked for another one after a 401.
    """

    __slots__ = (
        *("_cancelled_before", "_interrupted", "_task"),
        *("asked_again", "key", "owner", "sent"),
    )

    def __init__(self, owner: "Attempts") -> None:
        self.owner = owner
        self.sent = 0
        self.key: Key | None = None
        self.asked_again = False
        self._task = cast("asyncio.Task[object]", asyncio.current_task())  # a coroutine runs in one
        self._cancelled_before = self._task.cancelling()
        self._interrupted = False

    def interrupt(self) -> None:
        """Cancel the task, once: each cancellation has to be taken back."""
        if not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    def was_only_interrupted(self) -> bool:
        """Return whether closing alone has cancelled the task since the call began."""
        return self._interrupted and self._task.cancelling() == self._cancelled_before + 1

    def leave(self) -> None:
        """Take the cancellation of `interrupt` back."""
        if self._interrupted:
            self._task.uncancel()


class RunningCalls:
    """The calls under way of a client, and of the clients that share its session."""

    def __init__(self) -> None:
        # Keyed by call, because one task can hold two: an api_key callable may make the second, and
        # a task may call an open client as soon as another one was closed.
        self._calls: set[RunningCall] = set()
        self._left: asyncio.Event | None = None  # made by the first `end`

    def enter(self, call: RunningCall) -> None:
        """Note a call that begins."""
        self._calls.add(call)

    def leave(self, call: RunningCall) -> None:
        """Note that a call has ended."""
        call.leave()
        self._calls.remove(call)
        if self._left is not None:
            self._left.set()

    async def end(self) -> None:
        """Interrupt the calls whose owner is closed, and wait up to 5 s for them to leave."""
        calls = {call for call in self._calls if call.owner.closed}
        for call in calls:
            call.interrupt()
        self._left = left = self._left or asyncio.Event()
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            while calls & self._calls:
                left.clear()
                await left.wait()


def translate_cancellation(cancelled: asyncio.CancelledError) -> APIConnectionError:
    """Return the error for a CancelledError that did not target this task.

    Somebody cancelled what the task waited for, and a retry would meet the same. Raises the
    CancelledError where this task was the target.
    """
    if cast("asyncio.Task[object]", asyncio.current_task()).cancelling():
        raise cancelled
    return APIConnectionError("what the fetch of a page waited for was cancelled")
