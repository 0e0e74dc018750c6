"""The memory budget: which reservation waits, which never does, and what is released."""

from __future__ import annotations

import asyncio

import pytest

from aiomessages.export.memory_budget import FIRST_PAGE_BYTES, MemoryBudget, Reservation

PAGE = FIRST_PAGE_BYTES  # while all pages have this size, the budget assumes it for the next one


async def waiting(reservation: Reservation) -> asyncio.Task[None]:
    """Return a task that reserves a page, advanced to where it would wait."""
    task = asyncio.ensure_future(reservation.reserve_page())
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_as_many_pages_as_fit() -> None:
    """A page is reserved while the budget has bytes for it; the next one waits."""
    budget = MemoryBudget(2 * PAGE)
    with Reservation(budget) as one, Reservation(budget) as two, Reservation(budget) as three:
        await one.reserve_page()
        await two.reserve_page()
        task = await waiting(three)
        one.hold_page(PAGE)
        await asyncio.sleep(0)
        assert not task.done()
        one.release()
        await task


async def test_leaving_gives_everything_back() -> None:
    """Leaving a reservation releases the bytes that it holds and the page that it expects."""
    budget = MemoryBudget(2 * PAGE)
    with Reservation(budget):
        for _ in range(2):
            with Reservation(budget) as reservation:
                await reservation.reserve_page()
                reservation.hold_page(PAGE)
                await reservation.reserve_page()


async def test_a_page_that_did_not_come() -> None:
    """Reserving again after a page that failed takes the bytes of one page only."""
    budget = MemoryBudget(2 * PAGE)
    with Reservation(budget) as one:
        for _ in range(3):
            await one.reserve_page()
        assert not budget.is_exhausted()


async def test_the_first_never_waits() -> None:
    """The oldest reservation never waits; when it ends, the next one is the oldest."""
    budget = MemoryBudget(PAGE)
    with Reservation(budget) as first, Reservation(budget) as second:
        for _ in range(3):
            await first.reserve_page()
            first.hold_page(PAGE)
        task = await waiting(second)
        assert not task.done()
        first.__exit__()
        await task
        first.__enter__()  # so that its block can leave it


async def test_small_pages() -> None:
    """More pages fit if pages are small."""
    budget = MemoryBudget(2 * PAGE)
    with Reservation(budget) as first, Reservation(budget) as one, Reservation(budget) as other:
        for _ in range(40):
            await first.reserve_page()
            first.hold_page(10)
        for _ in range(4):
            await one.reserve_page()
            await other.reserve_page()


async def test_large_pages() -> None:
    """Fewer pages fit if pages are large."""
    budget = MemoryBudget(8 * PAGE)
    with Reservation(budget) as first, Reservation(budget) as other:
        for _ in range(40):
            await first.reserve_page()
            first.hold_page(8 * PAGE)
            first.release()
        await first.reserve_page()
        task = await waiting(other)
        assert not task.done()
        task.cancel()


async def test_being_cancelled_while_waiting() -> None:
    """A cancelled reservation takes nothing from the budget."""
    budget = MemoryBudget(PAGE)
    with Reservation(budget) as first:
        await first.reserve_page()
        with Reservation(budget) as second:
            task = await waiting(second)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        first.hold_page(PAGE)
        first.release()
        with Reservation(budget) as third:
            await third.reserve_page()


async def test_the_next_oldest_wakes_though_nothing_is_released() -> None:
    """A waiting reservation continues when the oldest one ends, even if that held no bytes."""
    budget = MemoryBudget(PAGE)
    oldest = Reservation(budget)
    oldest.__enter__()
    with Reservation(budget) as second, Reservation(budget) as third:
        await third.reserve_page()
        task = await waiting(second)
        assert not task.done()
        oldest.__exit__()
        await asyncio.wait_for(task, 5)
