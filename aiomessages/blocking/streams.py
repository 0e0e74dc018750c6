"""Lists and results for iteration without `async`, over those of the async client."""

import contextlib
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar

from aiomessages import pages
from aiomessages.errors import ClientClosedError
from aiomessages.paging.stream import (
    Collected,
    PageStream,
    collect,
    put_back,
    turn_page,
    unread_items,
)

from .caller_items import CallerItems
from .thread import LoopThread

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class _Closable:
    """Closes its source when a `with` block ends, or when a `for` loop is left and drops it."""

    def __init__(self, thread: LoopThread, source: AsyncGenerator[Any, None]) -> None:
        self._thread = thread
        self._aclose = source.aclose
        self._finalizer = weakref.finalize(self, thread.start_soon, source.aclose)
        self._finalizer.atexit = False

    def _keep_open(self) -> None:
        """Leave the source open when this is dropped: it has ended, or something else closes it."""
        self._finalizer.detach()

    def close(self) -> None:
        """Stop fetching, and drop the items not delivered. A second call does nothing."""
        self._keep_open()
        with contextlib.suppress(ClientClosedError):  # closing the client has closed the source
            self._thread.run(self._aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Results(_Closable, Iterator[ResultT]):
    """An iterator over pages of a list, or over conversations, for one thread at a time."""

    def __init__(
        self,
        thread: LoopThread,
        source: AsyncGenerator[Any, None],
        *,
        convert: Callable[[Any], ResultT],
        ids: CallerItems[Any] | None = None,
    ) -> None:
        super().__init__(thread, source)
        self._source = source
        self._convert = convert
        self._ids = ids
        self._arrived: list[Any] = []

    def __next__(self) -> ResultT:
        if not self._arrives():
            raise StopIteration
        return self._convert(self._arrived.pop())

    def collect(self) -> list[ResultT]:
        """Return all that are left, as a list.

        Raises what iterating raises. If it raises or is interrupted, what was read is kept for the
        next to read this.
        """
        collected: list[Any] = []
        try:
            while self._arrives():
                collected.append(self._arrived.pop())
        except BaseException:
            self._arrived += reversed(collected)
            raise
        return [self._convert(result) for result in collected]

    def _arrives(self) -> bool:
        """Wait for the next result; return False at the end."""
        if not self._arrived:
            self._thread.run(self._fetch, self._ids)
        if not self._arrived:
            self._keep_open()
        return bool(self._arrived)

    async def _fetch(self) -> None:
        # Stored and not returned: an interrupted wait would lose what it returns.
        with contextlib.suppress(StopAsyncIteration):
            self._arrived.append(await anext(self._source))


class Stream(_Closable, Iterator[ItemT], Generic[ItemT]):
    """A list of the API. Nothing is sent before it is iterated, or `page()` is called.

    Threads may share it: each item then goes to one of them. An interrupted wait loses no item.
    """

    def __init__(self, thread: LoopThread, stream: PageStream[ItemT, Any]) -> None:
        super().__init__(thread, stream)
        self._stream = stream

    def __repr__(self) -> str:
        return repr(self._stream)

    def __next__(self) -> ItemT:
        stream = self._stream
        while True:
            # The items of a page that is here are read in place: the loop only fetches pages.
            for item in unread_items(stream):
                return item
            try:
                self._thread.run(partial(turn_page, stream))
            except StopAsyncIteration:
                self._keep_open()
                raise StopIteration from None

    def collect(self, max_items: int | None = None) -> list[ItemT]:
        """Return the items that are left, at most `max_items`, as a list.

        Raises what iterating raises. If it raises or is interrupted, the stream keeps the items
        that were read: the next to read it gets them first.
        """
        collected = Collected[ItemT](self.cursor, [], [])
        try:
            return self._thread.run(partial(collect, self._stream, collected, max_items))
        except BaseException:
            put_back(self._stream, collected)  # an interrupt may come when the work has ended
            raise

    def page(self) -> "Page[ItemT]":
        """Return one page, as awaiting the async client's list does.

        Raises APIError and ClientClosedError.
        """
        return Page(self._thread, self._thread.run(self._fetch_page))

    async def _fetch_page(self) -> pages.Page[ItemT]:
        page: pages.Page[ItemT] = await self._stream
        return page

    def pages(self) -> "Results[Page[ItemT]]":
        """Return an iterator over whole pages.

        Raises RuntimeError once the stream was begun in another way.
        """
        view = self._stream.pages()
        self._keep_open()
        return Results(self._thread, view, convert=partial(Page, self._thread))

    def raw(self) -> "Stream[bytes]":
        """Return the same stream with each item as the exact bytes that the server sent.

        Raises RuntimeError once the stream was begun in another way.
        """
        view = self._stream.raw()
        self._keep_open()
        return Stream(self._thread, view)

    @property
    def cursor(self) -> str | None:
        """The id of the last item delivered. A later list with `after=` this id continues there."""
        return self._stream.cursor


def async_stream(stream: Stream[ItemT]) -> PageStream[ItemT, Any]:
    """Return the stream under a blocking one, for a reader in the loop that closes it."""
    stream._keep_open()  # noqa: SLF001 of this module
    return stream._stream  # noqa: SLF001 of this module


class Page(pages.ItemSequence[ItemT], Generic[ItemT]):
    """One page of a list: the async client's Page, whose `get_next_page` waits.

    A copy of a page, pickled or not, has no client and cannot fetch the next page.
    """

    def __init__(self, thread: LoopThread | None, page: pages.Page[ItemT]) -> None:
        self._thread = thread
        self._page = page
        self.data: Final[list[ItemT]] = page.data
        self.ids = page.ids
        self.object = page.object
        self.first_id = page.first_id
        self.last_id = page.last_id
        self.has_more = page.has_more
        self.next_cursor = page.next_cursor
        self.body = page.body
        self.headers = page.headers
        self.request_id = page.request_id
        self.attempts = page.attempts
        self.completion_id = page.completion_id

    def __repr__(self) -> str:
        return repr(self._page)

    def _repr_html_(self) -> str:
        return self._page._repr_html_()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (None, self._page)

    def to_dict(self) -> dict[str, Any]:
        """Return the page in the API's shape, as a dict of its own. `body` has the exact bytes."""
        plain: dict[str, Any] = self._page.to_dict()  # type: ignore[attr-defined]  # each kind has it
        return plain

    def to_json(self) -> str:
        """Return the JSON of `to_dict()`, on one line."""
        return str(self._page.to_json())  # type: ignore[attr-defined]

    def has_next_page(self) -> bool:
        """Return whether there is a next page."""
        return self._page.has_next_page()

    def get_next_page(self) -> "Page[ItemT]":
        """Fetch the next page.

        Raises RuntimeError if there is none: see has_next_page().
        """
        if self._thread is None:
            raise RuntimeError(pages.NO_CLIENT)
        return Page(self._thread, self._thread.run(self._page.get_next_page))
