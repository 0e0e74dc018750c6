"""Room for pages: who waits for it, who never does, and what is given back."""

from __future__ import annotations

import asyncio

import pytest

from aiomessages.export.memory_budget import FIRST_PAGE_BYTES, Place, Room

PAGE = FIRST_PAGE_BYTES  # as long as all pages are of this size, the next one is thought to be


async def waiting(place: Place) -> asyncio.Task[None]:
    """Return the task of one that was let to the point where it would wait."""
    task = asyncio.ensure_future(place.expect())
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_as_many_pages_as_fit() -> None:
    """Pages are let in while there is room for another of their size, and no further."""
    room = Room(2 * PAGE)
    with Place(room) as one, Place(room) as two, Place(room) as three:
        await one.expect()
        await two.expect()
        task = await waiting(three)
        one.fill(PAGE)
        await asyncio.sleep(0)
        assert not task.done()
        one.empty()
        await task


async def test_leaving_gives_everything_back() -> None:
    """What a place holds and what it expects is free again when it is left."""
    room = Room(2 * PAGE)
    with Place(room):
        for _ in range(2):
            with Place(room) as place:
                await place.expect()
                place.fill(PAGE)
                await place.expect()


async def test_a_page_that_did_not_come() -> None:
    """Expecting a page anew, where the one before failed, takes no more room than one."""
    room = Room(2 * PAGE)
    with Place(room) as one:
        for _ in range(3):
            await one.expect()
        assert not room.is_tight()


async def test_the_first_never_waits() -> None:
    """Of those who hold a place the first goes on whatever is held, and then the next one is it."""
    room = Room(PAGE)
    with Place(room) as first, Place(room) as second:
        for _ in range(3):
            await first.expect()
            first.fill(PAGE)
        task = await waiting(second)
        assert not task.done()
        first.__exit__()
        await task
        first.__enter__()  # for its block to leave


async def test_small_pages() -> None:
    """Where pages turn out to be small, more of them are let in."""
    room = Room(2 * PAGE)
    with Place(room) as first, Place(room) as one, Place(room) as other:
        for _ in range(40):
            await first.expect()
            first.fill(10)
        for _ in range(4):
            await one.expect()
            await other.expect()


async def test_large_pages() -> None:
    """Where pages turn out to be large, fewer of them are let in."""
    room = Room(8 * PAGE)
    with Place(room) as first, Place(room) as other:
        for _ in range(40):
            await first.expect()
            first.fill(8 * PAGE)
            first.empty()
        await first.expect()
        task = await waiting(other)
        assert not task.done()
        task.cancel()


async def test_being_cancelled_while_waiting() -> None:
    """Whoever is cancelled leaves nothing behind that another one would lack."""
    room = Room(PAGE)
    with Place(room) as first:
        await first.expect()
        with Place(room) as second:
            task = await waiting(second)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        first.fill(PAGE)
        first.empty()
        with Place(room) as third:
            await third.expect()
