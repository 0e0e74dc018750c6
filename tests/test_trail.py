"""The plain way from page to page: what follows what, what ends it, what is told of it.

The rules of a `Trail` are tested in `test_stream` as well, by the stream that keeps to them.
"""

import asyncio
from typing import Any

import pytest

from aiomessages.errors import APIConnectionError, PaginationError
from aiomessages.pages import Envelope, Page
from aiomessages.telemetry import Watch
from aiomessages.trail import OneByOne


class FakePage(Page[str]):
    """A page of ids, which are also its items."""

    def __init__(self, ids: str, next_cursor: str | None) -> None:
        super().__init__(Envelope(list(ids.upper()), has_more=next_cursor is not None), list(ids))
        self.completion_id = "chatcmpl-1"


class Told(Watch):
    """Notes pages and ends."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def page(self, items: int, *, last: bool = False) -> None:
        """Note a page."""
        self.notes.append((items, last))

    def over(self, error: BaseException | None = None) -> None:
        """Note an end."""
        self.notes.append(error)


def walk(
    *pages: FakePage | BaseException, max_items: int | None = None, watch: Watch | None = None
) -> tuple[OneByOne[FakePage], list[tuple[str | None, int | None]]]:
    """Return a way along these pages, and the list of what is asked for on it."""
    left, asked = list(pages), []

    async def fetch(after: str | None, remaining: int | None, _: bool) -> FakePage:
        asked.append((after, remaining))
        await asyncio.sleep(0)
        page = left.pop(0)
        if isinstance(page, BaseException):
            raise page
        return page

    way = OneByOne(fetch, after=None, max_items=max_items, watch=watch or Watch())
    return way, asked


async def test_to_the_end() -> None:
    """Pages come one by one until one has nothing behind it; what is over stays over."""
    watch = Told()
    pages, asked = walk(FakePage("ab", "b"), FakePage("c", None), watch=watch)
    with pages:
        assert [page.data async for page in pages] == [["A", "B"], ["C"]]
        with pytest.raises(StopAsyncIteration):
            await anext(pages)
    assert asked == [(None, None), ("b", None)]
    assert watch.notes == [(2, False), (1, True), None]


async def test_nothing_ahead_of_its_need() -> None:
    """The page behind the one that was given is not asked for."""
    watch = Told()
    pages, asked = walk(FakePage("a", "a"), FakePage("b", None), watch=watch)
    with pages:
        await anext(pages)
        await asyncio.sleep(0.01)
    assert asked == [(None, None)]
    assert watch.notes == [(1, False), None]


async def test_no_more_than_is_wanted() -> None:
    """With a bound, what is above it is left out, and no page is asked for in vain."""
    pages, asked = walk(FakePage("ab", "b"), FakePage("cd", "d"), max_items=3)
    assert [page.ids async for page in pages] == [["a", "b"], ["c"]]
    assert asked == [(None, 3), ("b", 1)]


async def test_an_overlap() -> None:
    """What the page before had already is left out, also where that makes a page short."""
    pages, _ = walk(FakePage("ab", "b"), FakePage("bc", "c"), FakePage("bcd", None))
    assert [page.ids async for page in pages] == [["a", "b"], ["c"], ["d"]]


@pytest.mark.parametrize("second", [("cb", "b"), ("ab", None)], ids=["loop", "same"])
async def test_what_leads_astray(second: tuple[str, str | None]) -> None:
    """A cursor that was used, or a page that only repeats, is an error that says where."""
    watch = Told()
    pages, _ = walk(FakePage("ab", "b"), FakePage(*second), watch=watch)
    await anext(pages)
    with pytest.raises(PaginationError) as caught:
        await anext(pages)
    assert (caught.value.completion_id, caught.value.cursor) == ("chatcmpl-1", "b")
    assert watch.notes == [(2, False), caught.value]


async def test_an_error_of_the_fetch() -> None:
    """An error is the end of it, and told as such."""
    watch, problem = Told(), ZeroDivisionError()
    pages, _ = walk(problem, watch=watch)
    with pytest.raises(ZeroDivisionError), pages:
        await anext(pages)
    assert watch.notes == [problem, None]


async def test_being_cancelled() -> None:
    """Whoever is cancelled gives the fetch up, and hears of it as it is."""
    watch = Told()
    pages, _ = walk(FakePage("a", None), watch=watch)

    async def read() -> None:
        with pages:
            await anext(pages)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert watch.notes == [None]


async def test_what_the_fetch_waited_for_is_cancelled() -> None:
    """A cancellation that was meant for somebody else is an error, and not the reader's end."""
    pages, _ = walk(asyncio.CancelledError())
    with pytest.raises(APIConnectionError, match="was cancelled") as caught:
        await anext(pages)
    assert caught.value.__context__ is None
