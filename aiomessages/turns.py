"""Waiting for one's turn to send, as a Pace decides it: one caller after the other.

This is where a Pace meets the loop's clock. Nothing here decides how fast, or whether to retry.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .errors import APIError, APIStatusError, APITimeoutError
from .pace import Pace
from .retry import asks_all_to_wait


class Turns:
    """Let callers through at a pace, first come, first served, and tell the pace what came of it.

    Only the first in the line sleeps, so a new rate or a pause holds for all behind it at once,
    and after a pause they go one by one.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._line = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, seconds: float | None) -> AsyncIterator[None]:
        """Wait until it is one's turn, at most so many seconds; then hear how the attempt ends.

        Raises APITimeoutError.
        """
        try:
            async with asyncio.timeout(seconds):
                sent = await self._take()
        except TimeoutError:
            raise APITimeoutError("the deadline of the whole call ran out in the queue") from None
        try:
            yield
        except APIError as error:
            self._hear(error, sent)
            raise
        self._pace.succeeded(_now(), sent=sent)

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

    def _hear(self, error: APIError, sent: float) -> None:
        if asks_all_to_wait(error):
            self._pace.limited(_now(), getattr(error, "retry_after", None), sent=sent)
        elif isinstance(error, APIStatusError) and not error.retryable:
            self._pace.succeeded(_now(), sent=sent)  # an answer like any other: a 404, say


def _now() -> float:
    return asyncio.get_running_loop().time()
