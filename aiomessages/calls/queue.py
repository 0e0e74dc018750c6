"""Waiting for one's turn to send, as a Pace decides it: one caller after the other.

This is where a Pace meets the loop's clock. Nothing here decides how fast, or whether to retry.
"""

import asyncio
from collections.abc import Callable

from aiomessages.errors import APIError, APIStatusError, APITimeoutError

from .rate_limit import Pace
from .retry import RetryPolicy, asks_all_to_wait, asks_for_too_long


class Turns:
    """Let callers through at a pace, first come, first served, and tell the pace what came of it.

    Only the first in the line sleeps, so a new rate or a pause holds for all behind it at once,
    and after a pause they go one by one. `on_sent` is called as each request goes out, whatever
    becomes of it.
    """

    def __init__(self, pace: Pace, on_sent: Callable[[], object] | None = None) -> None:
        self._pace = pace
        self._line = asyncio.Lock()
        self.on_sent = on_sent or _nobody_counts

    async def take(self, seconds: float | None) -> float:
        """Wait until it is one's turn, at most so many seconds, and return when that was.

        Raises APITimeoutError. Tell `succeeded` or `failed` what came of it.
        """
        if seconds is None:
            return await self._take()
        try:
            async with asyncio.timeout(seconds):
                return await self._take()
        except TimeoutError:
            raise APITimeoutError("the deadline of the whole call ran out in the queue") from None

    def succeeded(self, sent: float) -> None:
        """Hear that what was sent at that time was answered."""
        self._pace.succeeded(_now(), sent=sent)

    def failed(self, error: APIError, sent: float, policy: RetryPolicy) -> None:
        """Hear how what was sent at that time failed.

        A wait that the policy does not allow fails the call that met it, and stops no other: else
        they would sleep for a day in a line that nobody comes to end.
        """
        if isinstance(error, APIStatusError) and asks_all_to_wait(error):
            seconds = None if asks_for_too_long(policy, error) else error.retry_after
            self._pace.limited(_now(), seconds, sent=sent)
        elif isinstance(error, APIStatusError) and not error.retryable:
            self.succeeded(sent)  # an answer like any other: a 404, say

    def pause(self) -> float:
        """Return the seconds that nobody sends."""
        return self._pace.paused(_now())

    def starved(self) -> float:
        """Return the seconds in which there was nothing but refusals."""
        return self._pace.starved(_now())

    async def _take(self) -> float:
        async with self._line:
            delay = self._pace.wait(_now())
            while delay > 0:
                await asyncio.sleep(delay)
                delay = self._pace.paused(_now())  # one may have begun meanwhile
            return _now()


def _nobody_counts() -> None:
    """Let a request go out."""


def _now() -> float:
    return asyncio.get_running_loop().time()
