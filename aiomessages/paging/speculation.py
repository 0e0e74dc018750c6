"""Requests that are sent before a walk asks for their pages: from the other end, and on a guess.

A `Speculation` is one more way to fetch a page for a walk, which takes no notice of it. Whatever
it holds was asked for ahead of time; it is handed out where `lookahead` says that it is what the
walk's own request would bring, and given up where not. So the walk's own requests are the only
ones whose errors count, and a speculation that fails costs time alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from aiomessages.calls.retry import asks_all_to_wait
from aiomessages.errors import APIError
from aiomessages.observe.logs import log

from .cursor import Fetch
from .lookahead import Gap, Guess, Numbering, PageT, Tail, between

ResultT = TypeVar("ResultT")
FetchBack = Callable[[str | None], Awaitable[PageT]]
"""From a cursor to a page in the opposite order."""


class Speculation(Generic[PageT]):
    """Fetch pages in plain order, some of them before they are asked for.

    At most `window` pages are held or under way in advance. With a `numbering` the middle is
    guessed, once both ends are there; without, or where the guess is wrong, a walk from the other
    end goes on until it meets the one in plain order. Nothing is fetched ahead where `page_size`
    items are enough, nor any more once the server has asked to wait.
    """

    def __init__(
        self,
        fetch: Fetch[PageT],
        fetch_ahead: Fetch[PageT],
        fetch_back: FetchBack[PageT],
        *,
        window: int,
        page_size: int,
        numbering: Numbering | None,
    ) -> None:
        self._fetch = fetch
        self._fetch_ahead = fetch_ahead
        self._fetch_back = fetch_back
        self._window = window
        self._page_size = page_size
        self._numbering = numbering  # until the guess is made, or found to be impossible
        self.tasks: set[asyncio.Task[Any]] = set()
        self._begun = False
        self._refused = False  # the server has had enough: no more is asked for ahead
        # The walk in plain order: the ids of its last two pages, how many of them are the last
        # page's, how many are wanted beyond them, and whether a request of its own is under way.
        self._recent: list[str] = []
        self._length = 0
        self._wanted: int | None = None
        self._asking = False
        # From the other end, and the cursor behind which the walk is served from there.
        self._tail: Tail[PageT] = Tail()
        self._walking_back = False
        self._joint: str | None = None
        # The guess: what of it was not asked for yet, and what was, by cursor.
        self._gap: Gap | None = None
        self._guesses: dict[str, tuple[Guess, asyncio.Task[PageT | None]]] = {}

    async def __call__(
        self, after: str | None, remaining: int | None, fresh: bool = False
    ) -> PageT:
        """Return the page behind `after`; raise what the request for it does. One at a time.

        A page that is asked for again, on a `fresh` connection, is asked for by a request.
        """
        if not self._begun:
            self._begun = True
            self._recent = [] if after is None else [after]
            if remaining is None or remaining > self._page_size:
                self._walk_back()
        if after is not None and after == self._joint:
            page = self._tail.take()
            self._joint = page.next_cursor
            return page
        guessed = None if fresh else await self._guessed(after)
        page = await self._ask(after, remaining, fresh) if guessed is None else guessed
        self._look_around(page, remaining)
        return page

    def give_up(self) -> None:
        """Cancel what is under way, and let go of what is held."""
        for task in self.tasks:
            task.cancel()
        self._tail.drop()
        self._guesses.clear()
        self._gap = self._joint = None

    # --- the walk in plain order ------------------------------------------------------------------

    async def _guessed(self, after: str | None) -> PageT | None:
        if after is None or after not in self._guesses:
            return None
        guess, task = self._guesses[after]
        await asyncio.wait({task})
        page = None if task.cancelled() else task.result()
        if page is not None and not guess.fits(page):
            self._drop_guess()
            return None
        del self._guesses[after]
        return page

    async def _ask(self, after: str | None, remaining: int | None, fresh: bool) -> PageT:
        if self._gap and after == self._gap.cursor:
            self._gap.take()
        self._asking = True
        try:
            return await self._fetch(after, remaining, fresh)
        finally:
            self._asking = False

    def _look_around(self, page: PageT, remaining: int | None) -> None:
        """See where the walk has come to, and what that says of the pages that it has not seen."""
        cursor, count = page.next_cursor, len(page.ids)
        if cursor is None or (remaining is not None and remaining <= count):
            return  # it is at its end
        self._recent = [*self._recent[-self._length - 1 :], *page.ids]
        self._length = count
        self._wanted = None if remaining is None else remaining - count
        if self._gap is not None and cursor != self._gap.cursor and cursor not in self._guesses:
            self._drop_guess()
        self._compare_ends()
        self._send_guesses()

    def _compare_ends(self) -> None:
        """See whether they have met, or tell what is between them, when one of them has grown."""
        if not self._length:
            return
        met = self._tail.joins(self._recent, numbered=self._gap is not None)
        self._joint = self._recent[-1] if met else None
        if self._numbering is not None and self._tail:
            numbering, self._numbering = self._numbering, None
            if self._joint is None:
                self._guess(numbering)
            self._walk_back()

    # --- from the other end -----------------------------------------------------------------------

    def _walk_back(self) -> None:
        if not self._walking_back and self._wants_more():
            self._walking_back = True
            self._spawn(self._walk_back_until_met())

    def _wants_more(self) -> bool:
        guessing = self._numbering is not None or self._gap is not None
        if self._refused:
            return False
        return self._tail.open and len(self._tail) < (1 if guessing else self._window)

    async def _walk_back_until_met(self) -> None:
        try:
            while self._wants_more():
                # No variable keeps a page that may have been read and let go of meanwhile.
                if self._tail.add(await self._fetch_back(self._tail.cursor), self._recent):
                    self._compare_ends()
        except Exception as error:  # noqa: BLE001 whatever it is, the walk goes on without
            log.info("no more comes from the other end: %s", type(error).__name__)
            self._tail.open = False
            self._heed(error)
        finally:
            self._walking_back = False

    # --- on a guess -------------------------------------------------------------------------------

    def _guess(self, numbering: Numbering) -> None:
        """Guess what is missing, and ask for all of it but for what is being asked for already."""
        gap = between(self._recent[-self._length :], self._tail.ids, numbering)
        if gap is None:
            return
        self._gap = gap
        if self._wanted is not None:
            gap.limit(self._wanted)
        if self._asking and gap:
            gap.take()
        self._send_guesses()

    def _send_guesses(self) -> None:
        while (
            self._gap and not self._refused and len(self._guesses) + len(self._tail) < self._window
        ):
            guess = self._gap.take()
            self._guesses[guess.after] = guess, self._spawn(self._try(guess))

    async def _try(self, guess: Guess) -> PageT | None:
        try:
            # A page of fewer items than a page has is asked for as such.
            return await self._fetch_ahead(guess.after, guess.length, False)
        except Exception as error:  # noqa: BLE001 whatever it is, the walk asks again by itself
            log.info("a page that was asked for ahead failed: %s", type(error).__name__)
            self._heed(error)
            return None

    def _heed(self, error: Exception) -> None:
        self._refused |= isinstance(error, APIError) and asks_all_to_wait(error)

    def _drop_guess(self) -> None:
        log.info("the list is not as it was guessed to be: it is walked from both ends")
        for _, task in self._guesses.values():
            task.cancel()
        self._guesses.clear()
        self._gap = self._joint = None
        self._walk_back()

    def _spawn(self, coroutine: Coroutine[Any, Any, ResultT]) -> "asyncio.Task[ResultT]":
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
