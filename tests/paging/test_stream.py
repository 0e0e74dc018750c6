"""The prefetching stream over a test's own fetch: order, cancellation, closing, memory.

There is no network: a `Pages` object replaces the server, and events replace delays.
"""

import asyncio
import gc
import subprocess
import sys
import warnings
from typing import Any

import anyio
import pytest
from schedules import items_of

from aiomessages.errors import APIConnectionError, ClientClosedError, PaginationError
from aiomessages.pages import Page
from aiomessages.paging.cursor import Fetched, WalkState
from aiomessages.paging.stream import PageIterator, PageStream, Walk
from aiomessages.wire.page_content import PageContent


def content(ids: list[str], *, more: bool) -> Fetched[Page[str]]:
    """Return a page of ids, which are also its items, and one request for it."""
    data = [item.upper() for item in ids]
    return PageContent(Page, data, ids, has_more=more, promised=more, completion_id="chatcmpl-1"), 1


class Pages:
    """Serves pages by cursor, and records requests, concurrency and held pages."""

    def __init__(self, *pages: list[str] | Exception) -> None:
        self.pages = list(pages)
        self.asked: list[str | None] = []
        self.remaining: list[int | None] = []
        self.fresh: list[bool] = []
        self.running = 0
        self.most_running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()

    async def fetch(
        self, after: str | None, remaining: int | None = None, fresh: bool = False
    ) -> Fetched[Page[str]]:
        """Return the page after a cursor, once the gate is open."""
        self.asked.append(after)
        self.remaining.append(remaining)
        self.fresh.append(fresh)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        self.arrived.set()
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            return self._page(after)
        finally:
            self.running -= 1

    def _page(self, after: str | None) -> Fetched[Page[str]]:
        number = 0 if after is None else 1 + self._page_ending_with(after)
        page = self.pages[number]
        if isinstance(page, Exception):
            raise page
        more = number + 1 < len(self.pages)
        return content(page, more=more and bool(page))

    def _page_ending_with(self, cursor: str) -> int:
        return next(
            n for n, page in enumerate(self.pages) if isinstance(page, list) and page[-1] == cursor
        )

    def stream(
        self, *, after: str | None = None, max_items: int | None = None, **options: Any
    ) -> PageStream[str, Page[str]]:
        """Return a stream over these pages."""
        return PageStream(
            Walk(self.fetch, WalkState(after=after, max_items=max_items), **options),
            after=after,
            fetch_one=self.first,
            raw=self.stream,  # type: ignore[arg-type]  # as good as any
            bulk=lambda _: PageIterator(Walk(self.fetch, WalkState())),
        )

    async def first(self) -> Page[str]:
        """Return the first page."""
        got, attempts = await self.fetch(None)
        return got.page(next_cursor=got.next_cursor, attempts=attempts, fetch_next=None)


def three_pages() -> Pages:
    """Return pages of five items."""
    return Pages(["a", "b"], ["c", "d"], ["e"])


async def until_idle() -> None:
    """Run everything that can run."""
    for _ in range(10):
        await asyncio.sleep(0)


# --- order and extent -----------------------------------------------------------------------------


async def test_nothing_is_fetched_before_it_is_asked_for() -> None:
    """Making, entering and leaving a stream sends nothing."""
    pages = three_pages()
    async with pages.stream():
        await until_idle()
    assert pages.asked == []


@pytest.mark.parametrize("prefetch", [True, False])
async def test_every_item_once_and_in_order(*, prefetch: bool) -> None:
    """Items come in order, the end is the end every time, and one page is fetched at a time."""
    pages = three_pages()
    stream = pages.stream(prefetch=prefetch)
    assert [item async for item in stream] == ["A", "B", "C", "D", "E"]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert pages.asked == [None, "b", "d"]
    assert pages.most_running == 1


async def collecting_the_second_page(
    stream: PageStream[str, Page[str]], pages: Pages
) -> asyncio.Task[list[str]]:
    """Begin to collect, and return when the second page is asked for."""
    collecting = asyncio.create_task(stream.collect())
    while len(pages.asked) < 2:
        pages.arrived.clear()
        await pages.arrived.wait()
    return collecting


@pytest.mark.parametrize("first", [0, 1])
async def test_a_cancelled_collect_loses_nothing(first: int) -> None:
    """After a time limit, collect() returns every item, also those that it had read before."""
    pages = Pages(["a", "b"], ["c"], Exception())
    stream = pages.stream(prefetch=False)
    read = await stream.collect(first)
    cursor = stream.cursor
    collecting = await collecting_the_second_page(stream, pages)
    collecting.cancel()
    await asyncio.wait({collecting})
    assert stream.cursor == cursor
    assert read + await stream.collect(3 - first) == ["A", "B", "C"]
    assert stream.cursor == "c"


async def test_a_cancelled_collect_beside_another_reader() -> None:
    """Another task that waits for the next page at that moment does not overwrite the items."""
    pages = three_pages()
    stream = pages.stream(prefetch=False)
    collecting = await collecting_the_second_page(stream, pages)
    pages.gate.clear()
    other = asyncio.create_task(anext(stream))
    await until_idle()
    collecting.cancel()
    await until_idle()
    pages.gate.set()
    assert {await other, *await stream.collect()} == {"A", "B", "C", "D", "E"}


async def test_closing_a_stream_drops_what_a_collect_has_put_back() -> None:
    """A closed stream gives none of it."""
    stream = Pages(["a"], Exception("broken")).stream()
    with pytest.raises(Exception, match="broken"):
        await stream.collect()
    await stream.aclose()
    with pytest.raises(Exception, match="broken"):
        await anext(stream)


async def test_an_empty_list() -> None:
    """An empty list ends at once."""
    assert [item async for item in Pages([]).stream()] == []


async def test_starting_after_a_cursor() -> None:
    """A stream with after= begins after that item."""
    stream = three_pages().stream(after="b")
    assert stream.cursor == "b"
    assert [item async for item in stream] == ["C", "D", "E"]


async def test_the_next_page_is_under_way_while_the_caller_works() -> None:
    """After the first item of a page the next page is being fetched, also without an await."""
    pages = three_pages()
    stream = pages.stream()
    await anext(stream)
    assert pages.asked == [None, "b"]
    await stream.aclose()


async def test_a_page_that_lay_ready_starts_the_next_fetch() -> None:
    """Taking a page that was ready sends the next request, though the caller never waits."""
    pages = three_pages()
    stream = pages.stream()
    await anext(stream)
    await until_idle()
    assert [await anext(stream), await anext(stream)] == ["B", "C"]
    assert pages.asked == [None, "b", "d"]
    await stream.aclose()


async def test_without_prefetch() -> None:
    """With prefetch=False a page is fetched only when its first item is asked for."""
    pages = three_pages()
    stream = pages.stream(prefetch=False)
    await anext(stream)
    await until_idle()
    assert pages.asked == [None]
    await anext(stream)
    await anext(stream)
    assert pages.asked == [None, "b"]


async def test_a_slow_consumer() -> None:
    """However slow the consumer, one page is ahead and no more."""
    pages = three_pages()
    stream = pages.stream()
    await anext(stream)
    await until_idle()
    assert pages.asked == [None, "b"]
    await stream.aclose()


async def test_max_items() -> None:
    """max_items ends the stream in the middle of a page; each fetch gets the wanted number."""
    pages = three_pages()
    stream = pages.stream(max_items=3)
    assert [item async for item in stream] == ["A", "B", "C"]
    assert stream.cursor == "c"
    assert (pages.asked, pages.remaining) == ([None, "b"], [3, 1])


async def test_the_cursor_follows_the_delivered_items() -> None:
    """The cursor is the last item handed out, not the last one fetched."""
    stream = three_pages().stream()
    seen = [stream.cursor async for _ in stream]
    assert seen == ["a", "b", "c", "d", "e"]
    assert stream.cursor == "e"


async def test_the_cursor_behind_an_empty_page() -> None:
    """An empty last page moves no cursor: it stays on the last item delivered."""
    stream = Pages(["a"], []).stream()
    assert [item async for item in stream] == ["A"]
    assert stream.cursor == "a"


# --- pages and raw --------------------------------------------------------------------------------


async def test_awaiting_a_stream() -> None:
    """Awaiting gives the first page and leaves the stream as it was."""
    stream = three_pages().stream()
    assert (await stream).ids == ["a", "b"]
    assert len([item async for item in stream]) == 5


async def test_whole_pages() -> None:
    """pages() gives the pages, and moves the stream's cursor."""
    stream = three_pages().stream()
    got = [page.data async for page in stream.pages()]
    assert got == [["A", "B"], ["C", "D"], ["E"]]
    assert stream.cursor == "e"


async def test_pages_within_max_items() -> None:
    """pages() gives no more items than max_items either."""
    assert [p.ids async for p in three_pages().stream(max_items=3).pages()] == [["a", "b"], ["c"]]


async def test_an_empty_page_at_the_end() -> None:
    """An empty last page is delivered as a page and moves no cursor."""
    stream = Pages(["a"], []).stream()
    assert [page.ids async for page in stream.pages()] == [["a"], []]
    assert stream.cursor == "a"


async def test_one_way_of_reading() -> None:
    """A stream read as pages or raw is not read as items besides, nor the other way round."""
    stream = three_pages().stream()
    view = stream.pages()
    with pytest.raises(RuntimeError, match=r"pages\(\) or raw\(\)"):
        await anext(stream)
    with pytest.raises(RuntimeError, match=r"pages\(\) or raw\(\)"):
        stream.raw()
    await view.aclose()
    begun = three_pages().stream()
    await anext(begun)
    with pytest.raises(RuntimeError, match="being read already"):
        begun.pages()
    await begun.aclose()


async def test_leaving_a_stream_closes_its_view() -> None:
    """`async with` around a stream ends the fetches of its raw() or pages()."""
    pages = three_pages()
    async with pages.stream() as stream:
        view = stream.raw()
        await anext(view)
    assert pages.running == 0
    assert stream.cursor == "a"
    with pytest.raises(ClientClosedError):
        await anext(view)


# --- errors ---------------------------------------------------------------------------------------


async def test_an_error_in_a_later_page() -> None:
    """Items before an error are delivered first; then each step raises the error."""
    stream = Pages(["a", "b"], APIConnectionError("lost")).stream()
    assert [await anext(stream), await anext(stream)] == ["A", "B"]
    for _ in range(3):
        with pytest.raises(APIConnectionError, match="lost"):
            await anext(stream)
    await stream.aclose()
    with pytest.raises(APIConnectionError, match="lost"):
        await anext(stream)
    assert stream.cursor == "b"


async def test_an_error_that_is_never_retrieved() -> None:
    """A failed prefetch of a stream that was left is not reported to anyone."""
    stream = Pages(["a"], APIConnectionError("lost")).stream()
    await anext(stream)
    await until_idle()
    await stream.aclose()
    del stream
    gc.collect()


class SamePage(Pages):
    """Ignores the cursor."""

    def _page(self, after: str | None) -> Fetched[Page[str]]:  # noqa: ARG002 that is the point
        return content(["a", "b"], more=True)


async def test_a_server_that_ignores_the_cursor() -> None:
    """A repeated page is detected one request later, and nothing is delivered twice."""
    pages = SamePage()
    stream = pages.stream()
    assert [await anext(stream), await anext(stream)] == ["A", "B"]
    with pytest.raises(PaginationError, match="is repeated") as caught:
        await anext(stream)
    assert (caught.value.completion_id, caught.value.cursor) == ("chatcmpl-1", "b")
    assert len(pages.asked) == 2


class LastPageAgain(Pages):
    """Ignores the cursor, and says that this page is the last."""

    def _page(self, after: str | None) -> Fetched[Page[str]]:
        return content(["a", "b"], more=after is None)


async def test_a_last_page_that_only_repeats() -> None:
    """A last page that only repeats earlier items contradicts its cursor and is an error."""
    stream = LastPageAgain().stream()
    assert [await anext(stream), await anext(stream)] == ["A", "B"]
    with pytest.raises(PaginationError, match="repeats"):
        await anext(stream)


class Cycle(Pages):
    """Leads back to where it began."""

    def _page(self, after: str | None) -> Fetched[Page[str]]:
        following = {None: "a", "a": "b", "b": "c", "c": "a"}[after]
        return content([following], more=True)


async def test_a_cycle_of_cursors() -> None:
    """Cursors that lead back to an earlier one are detected, one request later at most."""
    pages = Cycle()
    stream = pages.stream()
    assert [await anext(stream) for _ in range(3)] == ["A", "B", "C"]
    with pytest.raises(PaginationError):
        await anext(stream)
    assert len(pages.asked) == 4


class Overlap(Pages):
    """Begins its second page with the last item of the first."""

    def _page(self, after: str | None) -> Fetched[Page[str]]:
        return content(["a", "b"], more=True) if after is None else content(["b", "c"], more=False)


async def test_overlapping_pages(caplog: pytest.LogCaptureFixture) -> None:
    """A page that overlaps the one before gives each item once, and a warning is logged."""
    assert [item async for item in Overlap().stream()] == ["A", "B", "C"]
    assert "repeats 1 " in caplog.text


# --- cancellation ---------------------------------------------------------------------------------


async def test_a_timeout_around_each_next() -> None:
    """Polling with a timeout loses nothing: the fetch goes on, and its page is kept."""
    pages = three_pages()
    pages.gate.clear()
    stream = pages.stream()
    got: list[str] = []
    for turn in range(40):
        if turn % 5 == 4:
            pages.gate.set()
        try:
            async with asyncio.timeout(0):
                got.append(await anext(stream))
        except TimeoutError:
            await until_idle()
        except StopAsyncIteration:
            break
        if turn % 5 == 4:
            pages.gate.clear()
    assert got == ["A", "B", "C", "D", "E"]
    assert pages.asked == [None, "b", "d"]


async def test_wait_for_around_each_next() -> None:
    """asyncio.wait_for, which may run each next in a task of its own, loses nothing either."""
    stream = three_pages().stream()
    got = [await asyncio.wait_for(anext(stream), 5) for _ in range(5)]
    assert got == ["A", "B", "C", "D", "E"]


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_at_any_moment(turns: int) -> None:
    """Cancelling a waiting consumer after any number of turns loses and repeats nothing."""
    pages = three_pages()
    stream = pages.stream()
    got: list[str] = []

    async def consume() -> None:
        async for item in stream:
            got.append(item)
            await asyncio.sleep(0)

    consumer = asyncio.create_task(consume())
    for _ in range(turns):
        await asyncio.sleep(0)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    got += [item async for item in stream]
    assert got == ["A", "B", "C", "D", "E"]
    assert pages.asked == [None, "b", "d"]


async def test_a_consumers_own_exception() -> None:
    """An exception of the consumer passes unchanged through `async with`, and no task stays."""
    pages = three_pages()

    async def fail_at_once() -> None:
        async with pages.stream() as stream:
            async for _ in stream:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_at_once()
    assert pages.running == 0


async def test_several_tasks_in_turn() -> None:
    """Each item goes to one task, whichever asks; no item is lost between them."""
    stream = three_pages().stream()
    got = [await asyncio.create_task(anext_of(stream)) for _ in range(5)]
    assert got == ["A", "B", "C", "D", "E"]


async def test_several_tasks_at_once() -> None:
    """Tasks that share a stream get each item once between them."""
    pages = three_pages()
    stream = pages.stream()
    got: list[str] = []

    async def work() -> None:
        async for item in stream:
            got.append(item)
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(4)))
    assert sorted(got) == ["A", "B", "C", "D", "E"]
    assert pages.most_running == 1


async def anext_of(stream: PageStream[str, Page[str]]) -> str:
    """Take one item, as a coroutine."""
    return await anext(stream)


async def test_a_fetch_that_was_cancelled_from_outside() -> None:
    """A fetch that was cancelled from outside, while its consumer was not, is repeated."""
    pages = three_pages()
    pages.gate.clear()
    stream = pages.stream()
    waiting = asyncio.create_task(anext_of(stream))
    await pages.arrived.wait()
    (fetching,) = asyncio.all_tasks() - {asyncio.current_task(), waiting}
    fetching.cancel()
    await until_idle()
    pages.gate.set()
    assert await waiting == "A"
    assert pages.asked[:2] == [None, None]
    await stream.aclose()


# --- closing --------------------------------------------------------------------------------------


async def test_closing_early() -> None:
    """A stream that was closed before its end raises an error, and never seems complete."""
    pages = three_pages()
    pages_running_at_close = []
    stream = pages.stream()
    await anext(stream)
    pages_running_at_close.append(pages.running)
    await stream.aclose()
    await stream.aclose()
    assert (pages_running_at_close, pages.running) == ([1], 0)
    for _ in range(2):
        with pytest.raises(ClientClosedError, match=r"after=stream\.cursor"):
            await anext(stream)
    assert stream.cursor == "a"


async def test_closing_with_the_last_page_unread() -> None:
    """Closing when the last page lies ready, or is half read, is closing early as well."""
    ready = Pages(["a"], ["b"]).stream()
    await anext(ready)
    await until_idle()
    await ready.aclose()
    half_read = Pages(["a", "b"]).stream()
    await anext(half_read)
    await half_read.aclose()
    for stream in (ready, half_read):
        with pytest.raises(ClientClosedError):
            await anext(stream)


async def test_closing_twice_with_the_last_page_unread() -> None:
    """A second closing makes no end of a stream whose last page was not read."""
    stream = Pages(["a"], ["b"]).stream()
    await anext(stream)
    await until_idle()
    for _ in range(2):
        await stream.aclose()
    with pytest.raises(ClientClosedError):
        await anext(stream)


async def test_closing_pages_at_the_end() -> None:
    """Pages that were closed behind the last one have ended, and stay so."""
    pages = Pages(["a"]).stream().pages()
    await anext(pages)
    await pages.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(pages)


async def test_closing_at_the_end() -> None:
    """A stream that is closed after its last item has ended, and stays so."""
    stream = Pages(["a"]).stream()
    await anext(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_closing_from_another_task() -> None:
    """A consumer that waits while another task closes its stream gets an error."""
    pages = three_pages()
    pages.gate.clear()
    stream = pages.stream()
    waiting = asyncio.create_task(anext_of(stream))
    await pages.arrived.wait()
    await stream.aclose()
    with pytest.raises(ClientClosedError):
        await waiting


async def test_closing_inside_a_cancelled_scope() -> None:
    """In a cancelled anyio scope, as a web framework leaves one, closing still waits."""
    pages = three_pages()
    pages.gate.clear()
    with anyio.CancelScope() as scope:
        async with pages.stream() as stream:
            waiting = asyncio.create_task(anext_of(stream))
            await pages.arrived.wait()
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert pages.running == 0
    with pytest.raises(ClientClosedError):
        await waiting


async def test_closing_inside_a_cancelled_scope_waits_for_the_fetch() -> None:
    """In a cancelled anyio scope, a fetch that takes long to clean up has ended after closing."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def fetch(_: str | None, __: int | None, ___: bool) -> Fetched[Page[str]]:
        begun.set()
        try:
            return await asyncio.Future()
        finally:
            await until_idle()
            ended.set()

    stream = PageStream(Walk(fetch, WalkState()), fetch_one=None, raw=None, bulk=None)  # type: ignore[arg-type,var-annotated]
    waiting = asyncio.create_task(anext_of(stream))
    await begun.wait()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await stream.aclose()
    assert ended.is_set()
    with pytest.raises(ClientClosedError):
        await waiting


async def test_a_fetch_that_does_not_want_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that ignores its cancellation delays closing for a bounded time only."""
    monkeypatch.setattr("aiomessages.paging.prefetch.CLOSE_TIMEOUT", 0.01)
    release = asyncio.Event()

    async def stubborn(_: str | None, __: int | None, ___: bool) -> Fetched[Page[str]]:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return content(["a"], more=False)

    stream = items_of(Walk(stubborn, WalkState()))
    waiting = asyncio.create_task(anext_of(stream))
    await until_idle()
    await stream.aclose()
    release.set()
    with pytest.raises(ClientClosedError):
        await waiting
    await until_idle()
    with pytest.raises(ClientClosedError):  # its page has come, and is not delivered
        await anext(stream)


async def test_sending_and_throwing() -> None:
    """asend(None) is next; nothing else can be sent; athrow closes and raises."""
    pages = three_pages()
    stream = pages.stream()
    assert await stream.asend(None) == "A"
    with pytest.raises(TypeError):
        await stream.asend("x")  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        await stream.athrow(ZeroDivisionError())
    assert pages.running == 0
    for thrown in [(KeyError,), (KeyError, "x"), (KeyError, KeyError("x")), (KeyError("x"),)]:
        with pytest.raises(KeyError):
            await stream.athrow(*thrown)  # type: ignore[arg-type]
    await until_idle()


# --- being dropped --------------------------------------------------------------------------------


async def test_a_dropped_stream_cancels_its_fetch() -> None:
    """A stream dropped during a fetch leaves no task, and warns at the line that dropped it."""
    pages = three_pages()
    stream = pages.stream()
    await anext(stream)
    assert pages.running == 1
    with pytest.warns(ResourceWarning, match="aclose") as warned:
        del stream  # its last reference
    assert warned[0].filename == __file__
    await until_idle()
    assert pages.running == 0


async def test_a_stream_dropped_between_fetches() -> None:
    """A stream that is dropped while nothing is under way gives no warning."""
    stream = three_pages().stream()
    await anext(stream)
    await until_idle()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del stream
        gc.collect()


async def test_pages_outlive_the_stream_they_came_from() -> None:
    """pages() of a stream that is otherwise dropped continues to the end."""
    pages = three_pages().stream().pages()
    gc.collect()
    assert [page.ids async for page in pages] == [["a", "b"], ["c", "d"], ["e"]]


def test_a_stream_dropped_after_its_loop() -> None:
    """A stream may be dropped after its loop was closed."""
    kept = []

    async def begin() -> None:
        pages = three_pages()
        stream = pages.stream()
        await anext(stream)
        pages.gate.clear()
        kept.append(stream)

    asyncio.run(begin())
    kept.clear()
    gc.collect()


@pytest.mark.measured_programs
def test_a_stream_that_is_left_when_the_interpreter_ends() -> None:
    """The end of the interpreter gives no warning of the stream that a script still holds."""
    script = """
import asyncio
from aiomessages.paging.cursor import WalkState
from aiomessages.paging.prefetch import Walk

async def fetch(*_):
    await asyncio.Event().wait()

async def begin():
    asyncio.ensure_future(walk.next_page())
    await asyncio.sleep(0)
    print(walk.state)

loop = asyncio.new_event_loop()
walk = Walk(fetch, WalkState())
loop.run_until_complete(begin())
"""
    command = [sys.executable, "-W", "always", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "reading\n")
    assert "dropped" not in run.stderr


def test_a_stream_in_two_loops() -> None:
    """A stream in another loop raises an error that says how to continue."""
    stream = Pages(["a"], ["b"]).stream()

    async def take_one() -> str:
        return await anext(stream)

    assert asyncio.run(take_one()) == "A"
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(take_one())
