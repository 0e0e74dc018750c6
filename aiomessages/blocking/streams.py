"""Lists and results that are iterated without `async`, over those that are."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from typing import Any, Generic, Self, TypeVar

from aiomessages import pages
from aiomessages.errors import ClientClosedError
from aiomessages.paging.stream import PageStream, turn_page, unread_items

from .thread import LoopThread
from .thread_bridge import Inbox

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class _Closing:
    """What is closed when it is left by `with`, or dropped; a `for` that ends early drops it."""

    def __init__(self, thread: LoopThread, source: AsyncGenerator[Any, None]) -> None:
        self._thread = thread
        self._close = source.aclose
        self._dropped = thread.when_dropped(self, source.aclose)

    def _leave_it_open(self) -> None:
        """Do not close it when this is dropped: it has ended, or is somebody else's to close."""
        self._dropped.detach()

    def close(self) -> None:
        """Stop fetching and give up what was not delivered. Closing it again does nothing."""
        self._leave_it_open()
        with contextlib.suppress(ClientClosedError):  # then nothing is open any more
            self._thread.run(self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Results(_Closing, Iterator[ResultT]):
    """Results one by one: pages of a list, or conversations. For one thread at a time."""

    def __init__(
        self,
        thread: LoopThread,
        source: AsyncGenerator[Any, None],
        *,
        convert: Callable[[Any], ResultT],
        inbox: Inbox | None = None,
    ) -> None:
        super().__init__(thread, source)
        self._source = source
        self._convert = convert
        self._inbox = inbox
        self._arrived: list[Any] = []

    def __next__(self) -> ResultT:
        if not self._arrived:
            self._thread.run(self._arrive, self._inbox)
        if not self._arrived:
            self._leave_it_open()
            raise StopIteration
        return self._convert(self._arrived.pop())

    async def _arrive(self) -> None:
        # Put down here, and not returned: whoever waits may be interrupted, and it would be lost.
        with contextlib.suppress(StopAsyncIteration):
            self._arrived.append(await anext(self._source))


class Stream(_Closing, Iterator[ItemT], Generic[ItemT]):
    """A list of the API, of which nothing is asked before it is iterated, or one page taken.

    Threads that share it each get other items. An interrupted wait loses none.
    """

    def __init__(self, thread: LoopThread, stream: PageStream[ItemT, Any]) -> None:
        super().__init__(thread, stream)
        self._stream = stream

    def __next__(self) -> ItemT:
        stream = self._stream
        while True:
            # The page at hand is read in place: only a page turned is a crossing.
            for item in unread_items(stream):
                return item
            try:
                self._thread.run(partial(turn_page, stream))
            except StopAsyncIteration:
                self._leave_it_open()
                raise StopIteration from None

    def page(self) -> "Page[ItemT]":
        """Return one page, as awaiting the async client's list does.

        Raises APIError and ClientClosedError.
        """
        return Page(self._thread, self._thread.run(self._one_page))

    async def _one_page(self) -> pages.Page[ItemT]:
        page: pages.Page[ItemT] = await self._stream
        return page

    def pages(self) -> "Results[Page[ItemT]]":
        """Return an iterator over whole pages.

        Raises RuntimeError once the stream was begun in another way.
        """
        view = self._stream.pages()
        self._leave_it_open()
        return Results(self._thread, view, convert=partial(Page, self._thread))

    def raw(self) -> "Stream[bytes]":
        """Return the same stream with each item as the exact bytes that the server sent.

        Raises RuntimeError once the stream was begun in another way.
        """
        view = self._stream.raw()
        self._leave_it_open()
        return Stream(self._thread, view)

    @property
    def cursor(self) -> str | None:
        """The id of the last item delivered; a later list with `after=` it goes on there."""
        return self._stream.cursor

    def for_the_loop(self) -> PageStream[ItemT, Any]:
        """Return the async stream, to be read in the loop, and closed by whoever reads it."""
        self._leave_it_open()
        return self._stream


class Page(Generic[ItemT]):
    """One page of a list, as the async client's, but that the page behind it is not awaited."""

    def __init__(self, thread: LoopThread, page: pages.Page[ItemT]) -> None:
        self._thread = thread
        self._page = page
        self.data = page.data
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

    def has_next_page(self) -> bool:
        """Tell whether there is a page behind this one."""
        return self._page.has_next_page()

    def get_next_page(self) -> "Page[ItemT]":
        """Fetch the page behind this one.

        Raises RuntimeError if there is none: see has_next_page().
        """
        return Page(self._thread, self._thread.run(self._page.get_next_page))
