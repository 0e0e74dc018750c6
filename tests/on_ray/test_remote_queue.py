"""A worker's queue: it sends in granted slots alone, and reports what became of the requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from virtual_time import now, run, work

from aiomessages.calls.retry import DEFAULT_POLICY
from aiomessages.errors import APITimeoutError, InternalServerError, NotFoundError, RateLimitError
from aiomessages.ray.pacer import AHEAD, LIFE, Grant
from aiomessages.ray.remote_queue import (
    REPORT,
    REPORT_AT_FIRST,
    REPORT_IF_FREE,
    SPARE,
    SPARE_IF_FREE,
    RemoteQueue,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiomessages.calls.rate_limit import Learnt
    from aiomessages.ray.pacer import Outcome


class Scripted:
    """A pacer that grants what a test says, and keeps what it was told."""

    def __init__(self, *grants: Grant | Exception, delay: float = 0.0) -> None:
        self.grants = list(grants)
        self.delay = delay
        self.asked: list[tuple[int, list[Outcome], Learnt | None]] = []
        self.told: list[Outcome] = []

    async def ask(self, wanted: int, outcomes: Sequence[Outcome], learnt: Learnt | None) -> Grant:
        """Answer with the next grant; without one, never."""
        self.asked.append((wanted, list(outcomes), learnt))
        await asyncio.sleep(self.delay)
        if not self.grants:
            await asyncio.Event().wait()
        grant = self.grants.pop(0)
        if isinstance(grant, Exception):
            raise grant
        return grant

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Keep outcomes."""
        self.told += outcomes

    def queue(self) -> RemoteQueue:
        """Return a queue at this pacer."""
        return RemoteQueue(self.ask, self.tell)


def grant(*slots: float, waited: float = 0.0, starved: float = 0.0) -> Grant:
    """Return a grant of slots."""
    return Grant([*slots], waited, starved, {"rate": 7.0}, knows_limit=True, is_free=False)


def refused(retry_after: float | None) -> RateLimitError:
    """Return a 429."""
    return RateLimitError("slow down", status=429, retry_after=retry_after)


def test_callers_send_at_the_slots() -> None:
    """Each caller gets one slot, in the order in which they came, and not before it begins."""
    pacer = Scripted(grant(0.0, 0.02, 0.04), grant(0.0))

    async def main() -> list[float]:
        queue = pacer.queue()
        return await asyncio.gather(*(queue.take(None) for _ in range(4)))

    assert run(main()) == pytest.approx([0, 0.02, 0.04, 0.04])
    assert [wanted for wanted, _, _ in pacer.asked] == [SPARE, 1]
    assert pacer.asked[1][2] == {"rate": 7.0}  # what the pacer had learnt is returned to it


def test_a_slot_ends() -> None:
    """A process that was stopped does not use the slots of before."""
    pacer = Scripted(grant(0.0, 0.01), grant(0.0))

    async def main() -> None:
        queue = pacer.queue()
        await queue.take(None)
        work(LIFE + 0.1)
        assert await queue.take(None) == now()

    run(main())
    assert len(pacer.asked) == 2


def test_a_grant_that_was_on_its_way_for_too_long() -> None:
    """Time between the grant and its arrival counts; time that the pacer waited does not."""
    for waited, questions in ((0.0, 2), (2.0, 1)):
        pacer = Scripted(grant(0.0, waited=waited), grant(0.0, waited=2.0), delay=2.0)
        run(pacer.queue().take(None))
        assert len(pacer.asked) == questions


def test_a_deadline_in_the_queue() -> None:
    """A caller waits no longer than it may, and the grant serves the next one."""
    pacer = Scripted(grant(0.0, waited=3.0), delay=3.0)

    async def main() -> float:
        queue = pacer.queue()
        with pytest.raises(APITimeoutError, match="in the queue"):
            await queue.take(1.0)
        return await queue.take(None)

    assert run(main()) == 3.0
    assert len(pacer.asked) == 1


def test_a_cancelled_caller_leaves_its_slot_to_the_next() -> None:
    """A slot is taken when it begins, not before."""
    pacer = Scripted(grant(0.5))

    async def main() -> float:
        queue = pacer.queue()
        first = asyncio.create_task(queue.take(None))
        await asyncio.sleep(0.1)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        return await queue.take(None)

    assert run(main()) == 0.5


def test_a_pacer_that_is_gone() -> None:
    """Its error reaches the callers, and later ones ask again."""
    pacer = Scripted(ConnectionError("gone"), grant(0.0))

    async def main() -> None:
        queue = pacer.queue()
        with pytest.raises(ConnectionError):
            await queue.take(None)
        await queue.take(None)

    run(main())


def test_an_error_that_nobody_waits_for() -> None:
    """A question whose caller is gone may fail without a word."""
    pacer = Scripted(ConnectionError("gone"), delay=1.0)

    async def main() -> None:
        queue = pacer.queue()
        for _ in range(2):  # the second one is cancelled with its loop
            with pytest.raises(APITimeoutError):
                await queue.take(0.5)
            await asyncio.sleep(1.0)

    run(main())


def test_successes_are_reported_soon() -> None:
    """A success is told after a moment, or with the next question, once."""
    pacer = Scripted(grant(0.0, 0.0), grant(0.0))

    async def main() -> None:
        queue = pacer.queue()
        sent = await queue.take(None)
        await asyncio.sleep(0.1)
        queue.succeeded(sent)
        await asyncio.sleep(REPORT + 0.001)
        assert [outcome.sent for outcome in pacer.told] == pytest.approx([0.1 + REPORT])
        queue.failed(NotFoundError("none", status=404), await queue.take(None), DEFAULT_POLICY)
        await queue.take(None)
        await asyncio.sleep(1)

    run(main())
    assert len(pacer.told) == 1
    assert len(pacer.asked[1][1]) == 1


def test_before_the_first_refusal() -> None:
    """While no limit is known, a worker asks for more slots at once, and reports less often."""
    unlimited = grant(0.0)._replace(knows_limit=False)
    pacer = Scripted(unlimited, grant(0.0))

    async def main() -> None:
        queue = pacer.queue()
        queue.succeeded(await queue.take(None))
        await asyncio.sleep(REPORT_AT_FIRST - 0.001)
        assert pacer.told == []
        await asyncio.sleep(0.002)
        assert len(pacer.told) == 1
        queue.failed(refused(0.0), await queue.take(None), DEFAULT_POLICY)
        queue.succeeded(0.0)
        await asyncio.sleep(REPORT + 0.001)
        assert len(pacer.told) == 3

    run(main())
    assert [wanted for wanted, _, _ in pacer.asked] == [SPARE, SPARE]


def test_a_pace_that_bounds_nothing() -> None:
    """While nobody waits for the pace, a worker asks for still more, and reports rarely."""
    free = grant(0.0)._replace(knows_limit=False, is_free=True)
    pacer = Scripted(free, grant(0.0))

    async def main() -> None:
        queue = pacer.queue()
        queue.succeeded(await queue.take(None))
        await asyncio.sleep(REPORT_IF_FREE - 0.001)
        assert pacer.told == []
        await asyncio.sleep(0.002)
        assert len(pacer.told) == 1
        await queue.take(None)

    run(main())
    assert [wanted for wanted, _, _ in pacer.asked] == [SPARE, SPARE_IF_FREE]


def test_a_refusal_is_reported_at_once() -> None:
    """A 429 pauses this worker's slots before its end, and tells the pacer."""
    pacer = Scripted(grant(0.0, 0.01, 0.5))

    async def main() -> float:
        queue = pacer.queue()
        sent = await queue.take(None)
        queue.succeeded(sent)
        queue.failed(refused(0.2), sent, DEFAULT_POLICY)
        assert [outcome.refused for outcome in pacer.told] == [False, True]
        assert pacer.told[1].retry_after == 0.2
        assert queue.pause() == 0.2
        assert queue.refused == 1
        return await queue.take(None)

    assert run(main()) == 0.5


def test_a_refusal_without_a_time() -> None:
    """Without Retry-After, or with one that is too long, the slots at hand are given up."""
    for retry_after in (None, 86_400.0):
        pacer = Scripted(grant(0.0, AHEAD / 2), grant(0.0))

        async def main(pacer: Scripted = pacer, after: float | None = retry_after) -> None:
            queue = pacer.queue()
            queue.failed(refused(after), await queue.take(None), DEFAULT_POLICY)
            assert pacer.told[0].retry_after is None
            assert await queue.take(None) == AHEAD

        run(main())
        assert len(pacer.asked) == 2


def test_other_errors_say_nothing_about_the_pace() -> None:
    """An answer of a broken server is neither a success nor a refusal."""
    pacer = Scripted(grant(0.0))

    async def main() -> None:
        queue = pacer.queue()
        error = InternalServerError("broken", status=500)
        queue.failed(error, await queue.take(None), DEFAULT_POLICY)
        await asyncio.sleep(1)

    run(main())
    assert pacer.told == []


def test_starving() -> None:
    """The time without a success since a 429 is that of all workers."""
    pacer = Scripted(grant(0.0, 0.0, 0.0), grant(0.0, starved=5.0), grant(0.0))

    async def main() -> None:
        queue = pacer.queue()
        assert queue.starved() == 0.0
        queue.failed(refused(0.0), await queue.take(None), DEFAULT_POLICY)
        queue.failed(refused(0.0), await queue.take(None), DEFAULT_POLICY)
        await asyncio.sleep(1)
        assert queue.starved() == 1.0
        queue.succeeded(await queue.take(None))
        assert queue.starved() == 0.0
        await queue.take(None)  # another worker has starved for 5 s
        assert queue.starved() == 5.0
        await queue.take(None)
        assert queue.starved() == 0.0

    run(main())


def test_counts() -> None:
    """Requests are counted as they go out."""
    queue = Scripted().queue()
    queue.on_sent()
    assert (queue.sent, queue.refused) == (1, 0)
