"""A worker's queue of callers: it sends in the slots that the project's pacer grants, and reports.

It takes the place of the SendQueue of a single process. Nothing here knows Ray: `ask` and `tell`
carry the questions.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from aiomessages.calls.rate_limit import Learnt
from aiomessages.calls.retry import RetryPolicy, asks_all_to_wait, asks_for_too_long
from aiomessages.errors import APIError, APIStatusError, APITimeoutError

from .pacer import AHEAD, LIFE, Grant, Outcome

Ask = Callable[[int, Sequence[Outcome], Learnt | None], Awaitable[Grant]]
Tell = Callable[[Sequence[Outcome]], object]

# Seconds until a success is reported without a question. A question can wait for long, and a pacer
# that does not know what has passed takes the server for slower than it is. Before the first 429,
# and while the pace bounds nothing, it has no use for it so soon, and each report costs as much CPU
# time as some messages.
REPORT: Final = 0.02
REPORT_AT_FIRST: Final = 0.04
REPORT_IF_FREE: Final = 0.25
# The slots to ask for at least, before the first 429: those that nobody uses are no loss then.
SPARE: Final = 24
SPARE_IF_FREE: Final = 64


class _Slot(NamedTuple):
    begins: float
    ends: float


class RemoteQueue:
    """Let callers send in granted slots, first come, first served.

    `ask` is the pacer's `take`, and `tell` its `report`, without a wait for the result. `learnt` is
    what the pacer knew when this queue was made, if that is known.
    """

    def __init__(self, ask: Ask, tell: Tell, learnt: Learnt | None = None) -> None:
        self._ask, self._tell = ask, tell
        self.learnt = learnt
        self._slots: deque[_Slot] = deque()
        self._outcomes: list[tuple[float, float]] = []  # of successes: sent, answered
        self._waiting = 0
        self._first = asyncio.Lock()
        self._question: asyncio.Task[None] | None = None
        self._resume = float("-inf")
        self._knows_limit = self._is_free = False
        self._starved_since: float | None = None
        self.sent = self.refused = 0

    def on_sent(self) -> None:
        """Count a request that goes out."""
        self.sent += 1

    async def take(self, seconds: float | None) -> float:
        """Wait for a slot as every Queue does.

        Raises what `ask` raises, such as the error that the pacer is gone.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds), self._first:
                return await self._next()
        except TimeoutError:
            raise APITimeoutError("the deadline of the whole call ran out in the queue") from None
        finally:
            self._waiting -= 1

    async def _next(self) -> float:
        while True:
            if not self._slots:
                await self._refill()
                continue
            begins, ends = self._slots[0]
            delay = max(begins, self._resume) - _now()
            if delay > 0:
                await asyncio.sleep(delay)
                continue
            self._slots.popleft()  # only now: a caller may be cancelled while it sleeps
            if _now() <= ends:
                return _now()

    async def _refill(self) -> None:
        """Wait for a grant; a caller that is cancelled leaves it to the next one."""
        if self._question is None:
            self._question = asyncio.create_task(self._put_question())
            self._question.add_done_callback(_forget)  # nobody may be left to hear its error
        await asyncio.shield(self._question)

    async def _put_question(self) -> None:
        try:
            asked = _now()
            spare = 0 if self._knows_limit else SPARE_IF_FREE if self._is_free else SPARE
            wanted = max(self._waiting, spare)
            grant = await self._ask(wanted, self._reported(), self.learnt)
            received = _now()
        finally:
            self._question = None
        self.learnt = grant.learnt
        self._knows_limit, self._is_free = grant.knows_limit, grant.is_free
        self._starved_since = received - grant.starved if grant.starved else None
        # The way back takes time, and so does a process that is stopped meanwhile.
        late = received - asked - grant.waited
        for slot in grant.slots:
            self._slots.append(_Slot(received + slot, received + slot - late + LIFE))

    def _reported(self) -> list[Outcome]:
        now = _now()
        outcomes = [Outcome(now - sent, now - answered) for sent, answered in self._outcomes]
        self._outcomes.clear()
        return outcomes

    def succeeded(self, sent: float) -> None:
        """Record an answer; it is reported with the next question, or soon."""
        self._starved_since = None
        if not self._outcomes:
            delay = REPORT if self._knows_limit else REPORT_AT_FIRST
            delay = REPORT_IF_FREE if self._is_free else delay
            asyncio.get_running_loop().call_later(delay, self._report)
        self._outcomes.append((sent, _now()))

    def _report(self) -> None:
        if self._outcomes:
            self._tell(self._reported())

    def failed(self, error: APIError, sent: float, policy: RetryPolicy) -> None:
        """Record an error; a 429 is reported at once, and the slots before its end are given up."""
        if isinstance(error, APIStatusError) and asks_all_to_wait(error):
            seconds = None if asks_for_too_long(policy, error) else error.retry_after
            self.refused += 1
            self._knows_limit, self._is_free = True, False
            now = _now()
            # Without a Retry-After the pacer's own pause is longer than the slots reach.
            self._resume = max(self._resume, now + (AHEAD if seconds is None else seconds))
            if self._starved_since is None:
                self._starved_since = now
            while self._slots and self._slots[0].begins < self._resume:
                self._slots.popleft()
            refused = Outcome(now - sent, 0.0, refused=True, retry_after=seconds)
            self._tell([*self._reported(), refused])
        elif isinstance(error, APIStatusError) and not error.retryable:
            self.succeeded(sent)  # an answer like any other, such as a 404

    def pause(self) -> float:
        """Return the seconds that the pause of all requests still takes, as far as is known."""
        return max(self._resume - _now(), 0.0)

    def starved(self) -> float:
        """Return the seconds since the first 429 after the last success; 0 without one."""
        return 0.0 if self._starved_since is None else _now() - self._starved_since


def _forget(question: asyncio.Task[None]) -> None:
    if not question.cancelled():
        question.exception()


def _now() -> float:
    return asyncio.get_running_loop().time()
