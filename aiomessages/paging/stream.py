"""The prefetching stream, over any function that fetches one page.

A `Walk` goes from page to page around one task, which fetches the next page while the caller works
on the current one. The iterators over it yield items or pages. They are classes rather than async
generators, for two measured reasons: a task group around a `yield` cancels unrelated tasks when the
consumer leaves, and a timeout around one `__anext__` finalises a generator, whose next call then
reports that the stream is complete. Here

- a consumer's wait can be cancelled at any moment: the fetch continues, and the page is kept;
- items before an error are delivered first, the error is raised at each call after that, and
  StopAsyncIteration means that the end was reached;
- two pages at most are held: the one being consumed, and one ahead.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from itertools import islice
from operator import length_hint
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from aiomessages.models import Json, Message, StoredCompletion
from aiomessages.pages import CompletionPage, MessagePage, RawPage
from aiomessages.settings import check_count
from aiomessages.values.redaction import shown
from aiomessages.wire.page_content import PageT

from .closable import ClosableIterator, YieldT
from .prefetch import Walk

ItemT = TypeVar("ItemT")
ViewT = TypeVar("ViewT", bound="WalkIterator[Any]")


class Collected(NamedTuple, Generic[ItemT]):
    """The items that `collect()` took out of a stream, their ids, and the cursor before them."""

    cursor: str | None
    ids: list[str]
    items: list[ItemT]


class WalkIterator(ClosableIterator[YieldT]):
    """An iterator over a walk; leaving it as an async context manager closes the walk."""

    def __init__(self, walk: Walk[Any], *, after: str | None = None) -> None:
        self._walk = walk
        self._delivered = after
        self._turning = asyncio.Lock()  # for tasks that share the iterator

    @property
    def cursor(self) -> str | None:
        """The id of the last item delivered: the `after=` of a list that continues from there."""
        return self._delivered

    @property
    def _state(self) -> str:
        return self._walk.state

    async def aclose(self) -> None:
        """Stop fetching and drop the items not delivered. Any task of the loop may call it."""
        await self._walk.aclose()


class PageIterator(WalkIterator[PageT]):
    """The pages of a walk, one after another."""

    async def __anext__(self) -> PageT:
        async with self._turning:
            page: PageT | None = await self._walk.next_page()
        if page is None:
            raise StopAsyncIteration
        self._delivered = page.ids[-1] if page.ids else self._delivered
        return page


class PageStream(WalkIterator[ItemT], Generic[ItemT, PageT]):
    """A list of the API. Nothing is requested before it is awaited or iterated.

    `await stream` returns one page, `async for` every item of every page. Use `pages()` or `raw()`
    instead, not in between: a stream is read in one way only. Several tasks may share a stream.
    """

    def __init__(
        self,
        walk: Walk[PageT],
        *,
        after: str | None = None,
        fetch_one: Callable[[], Awaitable[PageT]],
        raw: Callable[[], "PageStream[bytes, Any]"],
        bulk: Callable[[Any], PageIterator[Any]],
        arguments: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        super().__init__(walk, after=after)
        self._ids: list[str] = []
        self._unread: Iterator[ItemT] = iter(())
        self._returned: list[Collected[ItemT]] = []  # read by a collect() that did not end
        self._arguments = arguments
        self._fetch_one = fetch_one
        self._raw = raw
        self._bulk = bulk
        self._view: WalkIterator[Any] | None = None

    def __repr__(self) -> str:
        reader = self if self._view is None else self._view
        words = [f"{name}={value!r}" for name, value in self._arguments().items()]
        if reader.cursor is not None:
            words.append(f"cursor={shown(reader.cursor)!r}")
        return f"<{' '.join([type(self).__name__, *words])}: {reader._state}>"  # noqa: SLF001 a view is its own

    @property
    def cursor(self) -> str | None:
        """The id of the last item delivered: the `after=` of a list that continues from there."""
        if self._view is not None:
            return self._view.cursor
        read = len(self._ids) - length_hint(self._unread)
        return self._ids[read - 1] if read else self._delivered

    @property
    def _state(self) -> str:
        return "reading" if self._has_items() else super()._state

    def _has_items(self) -> bool:
        return length_hint(self._unread) > 0 or bool(self._returned)

    def __await__(self) -> Generator[Any, None, PageT]:
        return self._fetch_one().__await__()

    async def __anext__(self) -> ItemT:
        while True:
            for item in self._unread:  # goes on where it was left: the cheapest way to take one
                return item
            await self._turn_page()

    async def _turn_page(self) -> None:
        self._refuse_second_reader()
        async with self._turning:
            if length_hint(self._unread):
                return  # another task turned it
            self._put_down()
            if self._returned:
                back = self._returned.pop()
                self._delivered, self._ids, self._unread = back.cursor, back.ids, iter(back.items)
                return
            page = await self._walk.next_page()
            if page is None:
                raise StopAsyncIteration
            self._ids, self._unread = page.ids, iter(page.data)

    def _put_down(self) -> None:
        """Drop the page that was read, before the next one arrives."""
        self._delivered = self.cursor
        self._ids, self._unread = [], iter(())

    async def _collect(self, collected: Collected[ItemT], max_items: int | None) -> list[ItemT]:
        """Move the items that are left, at most `max_items`, into `collected`; return them."""
        if max_items is not None:
            check_count("max_items", max_items, least=0)
        try:
            while not self._take(collected, max_items):
                await self._turn_page()
        except StopAsyncIteration:
            pass
        except BaseException:
            self._put_back(collected)
            raise
        return collected.items

    def _take(self, collected: Collected[ItemT], max_items: int | None) -> bool:
        """Move items of the current page; return whether that makes `max_items`."""
        count = len(collected.items)
        first = len(self._ids) - length_hint(self._unread)
        room = None if max_items is None else max_items - count
        collected.items.extend(islice(self._unread, room))
        collected.ids.extend(self._ids[first : first + len(collected.items) - count])
        return len(collected.items) == max_items

    def _put_back(self, collected: Collected[ItemT]) -> None:
        """Let what was collected be read again, before the items that are left."""
        if not collected.items:
            return
        self._take(collected, None)  # the rest of the page follows it
        self._returned.append(Collected(collected.cursor, [*collected.ids], [*collected.items]))
        self._delivered, self._ids = collected.cursor, []
        collected.ids.clear()  # putting back once more does nothing
        collected.items.clear()

    async def collect(self, max_items: int | None = None) -> list[ItemT]:
        """Return the items that are left, at most `max_items`, as a list.

        Without `max_items` here or in the call that made the stream, a list of any length is held
        in memory. Raise what iterating raises. If it raises or is cancelled, the stream keeps the
        items that were read: the next to read it gets them first.
        """
        return await self._collect(Collected(self.cursor, [], []), max_items)

    def pages(self) -> PageIterator[PageT]:
        """Return an iterator over whole pages. Raises RuntimeError once the stream was begun."""
        return self._look_through(PageIterator(self._walk, after=self._delivered))

    def raw(self) -> "PageStream[bytes, Any]":
        """Return the same stream with each item as the exact bytes that the server sent.

        Raises RuntimeError once the stream was begun in another way.
        """
        return self._look_through(self._raw())

    def _look_through(self, view: ViewT) -> ViewT:
        self._refuse_second_reader()
        if self._walk.begun:
            raise RuntimeError("this stream is being read already; list again with after=cursor")
        self._view = view
        return view

    def _refuse_second_reader(self) -> None:
        if self._view is not None:
            raise RuntimeError("this stream is being read through its pages() or raw()")

    async def aclose(self) -> None:
        """Stop fetching and drop the items not delivered. Any task of the loop may call it."""
        all_delivered = not self._has_items()
        self._put_down()
        self._returned = []
        await self._walk.aclose(all_delivered=all_delivered)
        if self._view is not None:
            await self._view.aclose()


# --- for other parts of the package, and out of sight in a user's tab completion ------------------


def bulk_pages(stream: PageStream[Any, Any], like: Any = None) -> PageIterator[Any]:
    """Return an iterator over the stream's pages, with raw items, as an export reads them.

    A page that is too large is requested again with a smaller limit. `like` is the Attempts whose
    queue and retry policy apply; None means those of the stream. Raises RuntimeError once the
    stream was begun in another way.
    """
    return stream._look_through(stream._bulk(like))  # noqa: SLF001 of this module


def unread_items(stream: PageStream[ItemT, Any]) -> Iterator[ItemT]:
    """Return an iterator over the items of the current page; taking from it reads the stream."""
    return stream._unread  # noqa: SLF001 of this module


async def turn_page(stream: PageStream[Any, Any]) -> None:
    """Make the next page the current one. Raises StopAsyncIteration at the end of the list."""
    await stream._turn_page()  # noqa: SLF001 of this module


async def collect(
    stream: PageStream[ItemT, Any], collected: Collected[ItemT], max_items: int | None
) -> list[ItemT]:
    """Move the items that are left, at most `max_items`, into `collected`; return them."""
    return await stream._collect(collected, max_items)  # noqa: SLF001 of this module


def put_back(stream: PageStream[ItemT, Any], collected: Collected[ItemT]) -> None:
    """Let what was collected be read again, before the items that are left."""
    stream._put_back(collected)  # noqa: SLF001 of this module


class MessageStream(PageStream[Message, MessagePage]):
    """The messages of a completion: `await` it for one page, iterate it for all of them."""


class CompletionStream(PageStream[StoredCompletion, CompletionPage]):
    """The stored completions: `await` it for one page, iterate it for all of them."""

    selection: Mapping[str, Json] = MappingProxyType({})
    """The arguments that select the completions, without those left at their defaults."""


class RawStream(PageStream[bytes, RawPage]):
    """A list whose items are the exact bytes that the server sent."""
