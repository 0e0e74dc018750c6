"""A queue of callers that wait to send, as a Pace allows it.

The queue reads the loop's clock and sleeps. The pace decides on the rate, and `retry` on retries.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from aiomessages.errors import APIError, APIStatusError, APITimeoutError

from .rate_limit import Pace
from .retry import RetryPolicy, asks_all_to_wait, asks_for_too_long


class Queue(Protocol):
    """A queue of callers that wait for a slot; its clock is the running loop's."""

    def on_sent(self) -> object:
        """Note that a request goes out, whatever its outcome."""

    async def take(self, seconds: float | None) -> float:
        """Wait for a slot, at most so many seconds (None: for ever), and return its clock reading.

        Raises APITimeoutError. Report the outcome to `succeeded` or `failed`.
        """

    def succeeded(self, sent: float) -> None:
        """Record the answer to the request that was sent at `sent`."""

    def failed(self, error: APIError, sent: float, policy: RetryPolicy) -> None:
        """Record the error of the request that was sent at `sent`."""

    def pause(self) -> float:
        """Return the seconds that the pause of all requests still takes."""

    def starved(self) -> float:
        """Return the seconds since the first 429 after the last success; 0 without one."""


class SendQueue:
    """Let callers send at a pace, first come, first served, and report outcomes to the pace.

    Only the first caller in the queue sleeps, so a new rate or a pause holds for all behind it at
    once, and after a pause they go at the distance of the rate.
    """

    def __init__(self, pace: Pace, on_sent: Callable[[], object] | None = None) -> None:
        self._pace = pace
        self._first = asyncio.Lock()
        self._on_sent = on_sent

    def on_sent(self) -> None:
        """Note that a request goes out."""
        if self._on_sent is not None:
            self._on_sent()

    async def take(self, seconds: float | None) -> float:
        """Wait for a slot as every Queue does."""
        try:
            async with asyncio.timeout(seconds), self._first:
                delay = self._pace.wait(_now())
                while delay > 0:
                    await asyncio.sleep(delay)
                    delay = self._pace.paused(_now())  # one may have begun meanwhile
                return _now()
        except TimeoutError:
            raise APITimeoutError("the deadline of the whole call ran out in the queue") from None

    def succeeded(self, sent: float) -> None:
        """Record the answer to the request that was sent at `sent`."""
        self._pace.succeeded(_now(), sent=sent)

    def failed(self, error: APIError, sent: float, policy: RetryPolicy) -> None:
        """Record the error of the request that was sent at `sent`.

        A wait that the policy does not allow fails its own call and stops no other: the others
        would sleep for a day in a queue that nobody ends.
        """
        if isinstance(error, APIStatusError) and asks_all_to_wait(error):
            seconds = None if asks_for_too_long(policy, error) else error.retry_after
            self._pace.limited(_now(), seconds, sent=sent)
        elif isinstance(error, APIStatusError) and not error.retryable:
            self.succeeded(sent)  # an answer like any other, such as a 404

    def pause(self) -> float:
        """Return the seconds that the pause of all requests still takes."""
        return self._pace.paused(_now())

    def starved(self) -> float:
        """Return the seconds since the first 429 after the last success; 0 without one."""
        return self._pace.starved(_now())


def _now() -> float:
    return asyncio.get_running_loop().time()
