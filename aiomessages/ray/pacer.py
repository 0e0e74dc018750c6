"""The pace of one project on many machines: slots to send in, handed out by one process.

A worker asks for as many slots as it has callers, with the outcomes of its last requests. A slot is
a moment from which on one request may be sent, for a second. Moments are seconds from the grant or
before the report, so no two clocks have to agree.

If the process is gone, nobody hands out slots, and the workers stop sending. The next process
begins with what the last one had learnt: each grant carries it, and each worker returns it. Nothing
here knows Ray.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from aiomessages.calls.rate_limit import Learnt, Pace

# Seconds. A grant has the slots of this time, so that a fast server costs a worker thirty questions
# a second and no more. A worker hears of another one's 429 by so much later.
AHEAD: Final = 0.03
# Seconds for which a slot can be used. A process that was stopped for longer sends no burst.
LIFE: Final = 1.0


class Outcome(NamedTuple):
    """The outcome of a request: when it was sent and answered, in seconds before the report.

    `refused` is true for a 429, and `retry_after` the seconds that it asks to wait, if any.
    """

    sent: float
    answered: float
    refused: bool = False
    retry_after: float | None = None


class Grant(NamedTuple):
    """Slots, in seconds from the grant, which was made `waited` seconds after the question.

    `starved` is the time without a success since a 429, and `learnt` what the pace has learnt.
    `knows_limit` is false until the first 429. `is_free` is true if nothing had to be waited for
    then: not the pace bounds the speed.
    """

    slots: list[float]
    waited: float
    starved: float
    learnt: Learnt
    knows_limit: bool
    is_free: bool


class Pacer:
    """Hand out the slots of one project, first come, first served."""

    def __init__(self, max_rps: float | None = None) -> None:
        self._pace = Pace(max_rps)
        self._knows = False
        self._first = asyncio.Lock()

    async def take(
        self, wanted: int, outcomes: Sequence[Outcome] = (), learnt: Learnt | None = None
    ) -> Grant:
        """Return at most `wanted` slots, when the first one has come.

        `learnt` is what an earlier process knew, for one that knows nothing yet.
        """
        asked = _now()
        if learnt is not None and not self._knows:
            self._pace.restore(learnt, asked)
        self._knows = True
        self.report(outcomes)
        async with self._first:
            delay = first = self._pace.wait(_now())
            while delay > 0:
                await asyncio.sleep(delay)
                delay = self._pace.paused(_now())  # one may have begun meanwhile
            now = _now()
            slots = [0.0]
            while len(slots) < wanted and self._pace.due(now) <= AHEAD:
                slots.append(self._pace.wait(now))
        pace = self._pace
        is_free = not pace.knows_limit and first <= 0 and len(slots) == wanted
        learnt = pace.learnt(now)
        return Grant(
            slots, now - asked, pace.starved(now), learnt, pace.knows_limit, is_free=is_free
        )

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from the outcomes of requests."""
        now = _now()
        for outcome in outcomes:
            sent, answered = now - outcome.sent, now - outcome.answered
            if outcome.refused:
                # The other workers hear of it later, and send in their slots until then. What is
                # refused to them belongs to the same event: as a new one, it would be measured
                # over a moment, and before their successes are reported.
                self._pace.limited(answered, outcome.retry_after, sent=sent - AHEAD)
            else:
                self._pace.succeeded(answered, sent=sent)


def _now() -> float:
    return asyncio.get_running_loop().time()
