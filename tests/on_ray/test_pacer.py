"""The pacer: it hands out slots to many workers, and what it knows survives it."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import now, run

from aiomessages.calls.rate_limit import FIRST_PAUSE, Pace
from aiomessages.ray.pacer import AHEAD, Outcome, Pacer


def test_a_grant_has_the_slots_of_a_moment() -> None:
    """At 500 a second, a worker gets those of the next 30 ms, and no more than it asks for."""

    async def main() -> None:
        pacer = Pacer()
        few = await pacer.take(3, learnt=Pace().learnt(0.0) | {"rate": 500.0})
        many = await pacer.take(1000)
        assert few.slots == pytest.approx([0, 0.002, 0.004])
        assert many.slots[:15] == pytest.approx([0.002 * number for number in range(15)])
        assert many.slots[-1] <= AHEAD

    run(main())


def test_a_pace_that_bounds_nothing() -> None:
    """A grant is free if all slots were there at once, and no server has refused anything."""

    async def main() -> None:
        pacer = Pacer()
        fast = Pace().learnt(0.0) | {"rate": 5000.0}
        assert (await pacer.take(10, learnt=fast)).is_free
        assert not (await pacer.take(1000)).is_free
        await asyncio.sleep(1)
        pacer.report([Outcome(0.1, 0.0, refused=True, retry_after=0.0)])
        found = await pacer.take(1)
        assert (found.knows_limit, found.is_free) == (True, False)

    run(main())


def test_first_come_first_served() -> None:
    """Workers get their slots in the order of their questions, none twice."""

    async def main() -> None:
        pacer = Pacer(max_rps=10)
        moments: list[float] = []

        async def worker() -> None:
            for _ in range(5):
                begun = await pacer.take(1)
                moments.extend(now() + slot for slot in begun.slots)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(worker())
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert min(gaps) == pytest.approx(0.1)

    run(main())


def test_a_refusal_pauses_everybody() -> None:
    """After a 429 that asks for two seconds, nobody gets a slot before."""

    async def main() -> None:
        pacer = Pacer()
        await pacer.take(1)
        pacer.report([Outcome(0.05, 0.0, refused=True, retry_after=2.0)])
        found = await pacer.take(1)
        assert now() == pytest.approx(2.0, abs=0.05)
        assert found.waited == pytest.approx(now())
        assert found.starved == pytest.approx(2.0, abs=0.05)

    run(main())


def test_a_pause_that_begins_while_a_worker_waits() -> None:
    """It holds for the one that waits already."""

    async def main() -> None:
        pacer = Pacer(max_rps=1)
        await pacer.take(1)
        waiting = asyncio.create_task(pacer.take(1))
        await asyncio.sleep(0.5)
        pacer.report([Outcome(0.1, 0.0, refused=True, retry_after=5.0)])
        await waiting
        assert now() == pytest.approx(5.5, abs=0.05)

    run(main())


def test_refusals_of_one_moment_are_one_event() -> None:
    """Workers that have not heard of a pause yet lower the rate once, and not once each."""

    async def main() -> float:
        pacer = Pacer()
        pacer.report([Outcome(0.1, 0.0)] * 100)
        for _ in range(4):
            pacer.report([Outcome(0.05, 0.0, refused=True)])
            await asyncio.sleep(AHEAD / 2)
        grant = await pacer.take(1)
        rate: float = grant.learnt["rate"]
        assert now() < 4 * FIRST_PAUSE
        return rate

    assert run(main()) > 20


def test_a_new_pacer_learns_from_the_workers() -> None:
    """The first question to a pacer that knows nothing carries what the last one had learnt."""

    async def main() -> None:
        old = Pacer()
        old.report([Outcome(0.1, 0.0)] * 50 + [Outcome(0.1, 0.0, refused=True, retry_after=3.0)])
        learnt = (await old.take(1)).learnt
        await asyncio.sleep(100)
        new = Pacer()
        assert (await new.take(1, learnt=learnt)).learnt["rate"] == learnt["rate"]
        # A second one is not believed: this pacer has its own experience by now.
        assert (await new.take(1, learnt=learnt | {"rate": 1.0})).learnt["rate"] == learnt["rate"]

    run(main())


outcomes = st.lists(
    st.tuples(
        st.floats(0, 5),  # until then
        st.booleans(),
        st.none() | st.floats(0, 30),
        st.floats(0, 1),  # latency
    ),
    max_size=40,
)


@given(outcomes, st.floats(0, 1e6), st.floats(0, 1e6))
def test_what_is_learnt_survives_a_move(
    history: list[tuple[float, bool, float | None, float]], here: float, there: float
) -> None:
    """A pace that is restored at another clock decides as the old one would."""
    old, moment = Pace(), here
    for seconds, is_refused, retry_after, latency in history:
        moment += seconds
        old.wait(moment)
        if is_refused:
            old.limited(moment, retry_after, sent=moment - latency)
        else:
            old.succeeded(moment, sent=moment - latency)
    new = Pace()
    new.restore(old.learnt(moment), there)
    for _ in range(3):
        assert new.due(there) == pytest.approx(old.due(moment), abs=1e-6)
        assert new.wait(there) == pytest.approx(old.wait(moment), abs=1e-6)
        assert new.paused(there) == pytest.approx(old.paused(moment), abs=1e-6)
        assert new.starved(there) == pytest.approx(old.starved(moment), abs=1e-6)
    assert new.rate == old.rate
