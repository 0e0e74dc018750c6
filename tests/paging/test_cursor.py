"""The plain walk from page to page: the order of pages, the end, and the reports.

The rules of a `WalkState` are tested in `test_stream` as well, through the stream.
"""

import asyncio
from dataclasses import dataclass
from string import ascii_letters
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from virtual_time import run

from aiomessages.errors import APIConnectionError, PaginationError
from aiomessages.observe.operation import Operation
from aiomessages.pages import Page
from aiomessages.paging.cursor import Fetched, WalkState
from aiomessages.paging.plain_walk import PlainWalk
from aiomessages.wire.page_content import PageContent

Content = PageContent[Page[str]]


def content(ids: str, *, more: bool = False, **fields: Any) -> Content:
    """Return a page of ids, which are also its items; the next one is behind the last of them."""
    name = "chatcmpl-1"
    says = {"has_more": more, "promised": more, "completion_id": name, **fields}
    return PageContent(Page, list(ids.upper()), list(ids), **says)


class Notes(Operation):
    """Notes pages and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    def page(self, items: int, *, last: bool = False) -> None:
        """Note a page."""
        self.notes.append((items, last))

    def over(self, error: BaseException | None = None) -> None:
        """Note an end."""
        self.notes.append(error)


def walk(
    *pages: Content | BaseException,
    after: str | None = None,
    max_items: int | None = None,
    operation: Operation | None = None,
) -> tuple[PlainWalk[Page[str]], list[tuple[Any, ...]]]:
    """Return a walk over these pages, and the list of its requests."""
    left, asked = list(pages), []

    async def fetch(after: str | None, remaining: int | None, fresh: bool) -> Fetched[Page[str]]:
        asked.append((after, remaining, "fresh") if fresh else (after, remaining))
        await asyncio.sleep(0)
        page = left.pop(0)
        if isinstance(page, BaseException):
            raise page
        return page, 1

    state: WalkState[Page[str]] = WalkState(after=after, max_items=max_items)
    return PlainWalk(fetch, state, operation=operation or Operation()), asked


async def test_to_the_end() -> None:
    """Pages come one by one until no other follows; the end is final."""
    notes = Notes()
    pages, asked = walk(content("ab", more=True), content("c"), operation=notes)
    with pages:
        assert [page.data async for page in pages] == [["A", "B"], ["C"]]
        with pytest.raises(StopAsyncIteration):
            await anext(pages)
    assert asked == [(None, None), ("b", None)]
    assert notes.notes == [(2, False), (1, True), None]


async def test_nothing_ahead_of_its_need() -> None:
    """The page after the current one is not requested."""
    notes = Notes()
    pages, asked = walk(content("a", more=True), content("b"), operation=notes)
    with pages:
        await anext(pages)
        await asyncio.sleep(0.01)
    assert asked == [(None, None)]
    assert notes.notes == [(1, False), None]


async def test_no_more_than_is_wanted() -> None:
    """With a bound, later items are left out, and no page is requested in vain."""
    pages, asked = walk(content("ab", more=True), content("cd", more=True), max_items=3)
    assert [page.ids async for page in pages] == [["a", "b"], ["c"]]
    assert asked == [(None, 3), ("b", 1)]


async def test_an_overlap() -> None:
    """Items of the page before are left out, even if that makes a page short."""
    pages, _ = walk(content("ab", more=True), content("bc", more=True), content("bcd"))
    assert [page.ids async for page in pages] == [["a", "b"], ["c"], ["d"]]


@pytest.mark.parametrize(
    ("after", "ids"),
    [
        pytest.param("b", ["bc", "d"], id="its own item"),
        pytest.param("b", ["abc", "d"], id="and one in front of it"),
        pytest.param("b", ["bc", "cd"], id="and the next page, too"),
        pytest.param("b", ["bc", "bcd"], id="and the next page all of it"),
        pytest.param("x", ["cd"], id="nothing of it"),
    ],
)
async def test_items_in_front_of_the_first_cursor(
    after: str, ids: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The item of the first cursor, and items in front of it, are left out and logged."""
    *first, last = ids
    pages, _ = walk(*(content(each, more=True) for each in first), content(last), after=after)
    assert [item for page in [page async for page in pages] for item in page.ids] == ["c", "d"]
    assert ("repeats" in caplog.text) is (after == "b")


async def test_a_page_that_is_shortened() -> None:
    """Items that are left out change the first and last id, and do not count."""
    pages, asked = walk(
        content("abc", more=True),
        content("cde", more=True),
        content("efgh", more=True),
        after="a",
        max_items=5,
    )
    got = [page async for page in pages]
    assert [(p.ids, p.data, p.first_id, p.last_id) for p in got] == [
        (["b", "c"], ["B", "C"], "b", "c"),
        (["d", "e"], ["D", "E"], "d", "e"),
        (["f"], ["F"], "f", "f"),
    ]
    assert [page.has_next_page() for page in got] == [True, True, False]
    assert asked == [("a", 5), ("c", 4), ("e", 2)]  # one more than wanted, for the repeated item


async def test_max_items_that_leave_no_room() -> None:
    """If repeated items fill all that max_items leaves, one full page is requested."""
    pages, asked = walk(
        content("ab", more=True), content("b", more=True), content("bcd", more=True), max_items=3
    )
    got = [page async for page in pages]
    assert [(page.ids, page.attempts) for page in got] == [(["a", "b"], 1), (["c"], 2)]
    assert asked == [(None, 3), ("b", 1), ("b", None)]
    pages, asked = walk(content("ab", more=True), *[content("b", more=True)] * 3, max_items=3)
    await anext(pages)
    with pytest.raises(PaginationError, match=r"larger limit=") as caught:
        await anext(pages)
    assert (len(asked), caught.value.attempts) == (3, 2)


@pytest.mark.parametrize("ids", ["", "b", "ab"], ids=["nothing", "the item", "and one in front"])
async def test_an_end_that_was_not_promised(ids: str) -> None:
    """If a page promised more and nothing new comes, it is requested on a fresh connection."""
    ended: list[int] = []
    doubtful, sure = content(ids, hang_up=lambda: ended.append(1)), content(ids)
    pages, asked = walk(content("zab", more=True), doubtful, sure)
    got = [page async for page in pages]
    assert [(page.ids, page.attempts) for page in got] == [(["z", "a", "b"], 1), ([], 2)]
    assert asked == [(None, None), ("b", None), ("b", None, "fresh")]
    assert ended == [1]
    pages, asked = walk(
        content("zab", more=True), content(ids), content("c", more=True), content("d")
    )
    assert [page.ids async for page in pages] == [["z", "a", "b"], ["c"], ["d"]]
    assert asked[2:] == [("b", None, "fresh"), ("c", None)]


async def test_an_end_that_fails_at_the_second_look() -> None:
    """If the second look at an end fails, that is the error; the first look is an attempt."""
    problem = APIConnectionError("lost").at(completion_id=None, cursor=None, attempts=3)
    pages, _ = walk(content("a", more=True), content(""), problem)
    await anext(pages)
    with pytest.raises(APIConnectionError) as caught:
        await anext(pages)
    assert caught.value.attempts == 4


async def test_an_end_without_a_promise() -> None:
    """An empty page is the end at once, unless a page promised more."""
    first = content("a", more=True, promised=False)  # its server leaves has_more out
    pages, asked = walk(first, content(""))
    assert [page.ids async for page in pages] == [["a"], []]
    pages, more = walk(content(""), after="a")
    assert [page.ids async for page in pages] == [[]]
    assert (len(asked), len(more)) == (2, 1)


async def test_the_connection_of_a_page() -> None:
    """The connection of a page is closed if the walk refuses the page, and only then."""
    ended: list[str] = []
    first = content("ab", more=True, hang_up=lambda: ended.append("first"))
    second = content("ab", more=True, hang_up=lambda: ended.append("second"))
    pages, _ = walk(first, second)
    await anext(pages)
    with pytest.raises(PaginationError):
        await anext(pages)
    assert ended == ["second"]


@pytest.mark.parametrize(("ids", "more"), [("cb", True), ("ab", False)], ids=["loop", "same"])
async def test_a_page_that_leads_astray(*, ids: str, more: bool) -> None:
    """A repeated cursor, or a page that only repeats, is an error with its place."""
    notes = Notes()
    pages, _ = walk(content("ab", more=True), content(ids, more=more), operation=notes)
    await anext(pages)
    with pytest.raises(PaginationError) as caught:
        await anext(pages)
    assert (caught.value.completion_id, caught.value.cursor) == ("chatcmpl-1", "b")
    assert notes.notes == [(2, False), caught.value]


async def test_an_error_of_the_fetch() -> None:
    """An error of the fetch ends the walk, and is reported."""
    notes, problem = Notes(), ZeroDivisionError()
    pages, _ = walk(problem, operation=notes)
    with pytest.raises(ZeroDivisionError), pages:
        await anext(pages)
    assert notes.notes == [problem, None]


async def test_being_cancelled() -> None:
    """A cancelled reader cancels the fetch, and gets the CancelledError."""
    notes = Notes()
    pages, _ = walk(content("a"), operation=notes)

    async def read() -> None:
        with pages:
            await anext(pages)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert notes.notes == [None]


async def test_a_cancellation_of_something_else() -> None:
    """A cancellation that targets something else is an error, and does not end the reader."""
    pages, _ = walk(asyncio.CancelledError())
    with pytest.raises(APIConnectionError, match="was cancelled") as caught:
        await anext(pages)
    assert caught.value.__context__ is None


# --- servers that repeat, whatever they are ------------------------------------------------------


@dataclass
class Repeating:
    """A server of so many items, whose pages begin with `overlap` of those up to the cursor.

    With `counted` these count in the `limit` of a page; `most` is the largest page; with `sloppy` a
    full page says that there is more without looking.
    """

    items: list[str]
    overlap: int
    counted: bool
    most: int
    sloppy: bool
    requests: int = 0

    def page(self, after: str | None, limit: int) -> Content:
        """Return the page behind a cursor."""
        self.requests += 1
        limit = min(limit, self.most)
        begin = 0 if after is None else self.items.index(after) + 1
        again = self.items[max(begin - self.overlap, 0) : begin]
        room = limit if self.counted else limit + len(again)
        left = [*again, *self.items[begin:]]
        ids = left[:room]
        more = len(left) > room or (self.sloppy and len(ids) == room)
        return content("".join(ids), more=more)


@given(
    count=st.integers(0, 26),
    overlap=st.integers(0, 4),
    counted=st.booleans(),
    sloppy=st.booleans(),
    limit=st.integers(1, 9),
    most=st.sampled_from([100, 1, 3]),
    max_items=st.none() | st.integers(1, 27),
    behind=st.none() | st.integers(0, 25),
    backwards=st.booleans(),
)
def test_a_server_that_repeats(
    *,
    count: int,
    overlap: int,
    counted: bool,
    sloppy: bool,
    limit: int,
    most: int,
    max_items: int | None,
    behind: int | None,
    backwards: bool,
) -> None:
    """Each item comes once and in order, up to max_items of them.

    If pages are too short for a new item, a PaginationError is raised at once.
    """
    items = list(ascii_letters[:count])[:: -1 if backwards else 1]
    after = items[behind % count] if behind is not None and count else None
    expected = items[0 if after is None else items.index(after) + 1 :][:max_items]
    server = Repeating(items, overlap, counted, most, sloppy)
    wanted = limit if max_items is None else min(limit, max_items)
    assume(
        after is None or not counted or overlap <= min(wanted, most)
    )  # otherwise it cannot be detected

    async def fetch(cursor: str | None, remaining: int | None, _: bool) -> Fetched[Page[str]]:
        return server.page(cursor, limit if remaining is None else min(limit, remaining)), 1

    async def read() -> list[str]:
        state: WalkState[Page[str]] = WalkState(after=after, max_items=max_items)
        pages = PlainWalk(fetch, state, operation=Operation())
        got: list[str] = []
        try:
            async for page in pages:
                got += page.ids
        except PaginationError:
            # A repetition of the whole last page may come from a server that ignores cursors.
            if not (sloppy and got == expected):
                assert counted
                assert overlap >= min(limit, most), "an error where there was room for another item"
                assert got == expected[: len(got)]
            return expected
        return got

    assert run(read()) == expected
    assert server.requests <= 2 * (count + 2)
