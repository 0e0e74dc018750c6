"""One conversation, read whole, or what became of it: the table of "not found" lives here.

- The API's own "not found" on the first page, for a completion that is listed or young: it is not
  visible yet. Ask again for 15 s, then it is `pending`.
- The same for any other completion: it is `gone`.
- The same on a later page, or a cursor that is refused there: the conversation changed while it was
  read. Read it again from its first page, once, then it is `lost`.
- Any other 404: somebody else answered. It is an error, which the client has tried again.

Nothing here writes to the output.
"""

from pathlib import Path
from typing import Final, Self

import msgspec

from aiomessages.errors import APIError, NotFoundError
from aiomessages.observe.operation import Operation
from aiomessages.pages import RawPage
from aiomessages.paging.caller import Caller
from aiomessages.paging.page_size import PageSize
from aiomessages.paging.plain_walk import OneByOne
from aiomessages.wire.decoding import RAW
from aiomessages.wire.errors import is_about_cursor
from aiomessages.wire.retry_after import date_of

from .created import created_of
from .layouts import one_line
from .ledger import Entry, State
from .media import MediaStore
from .memory_budget import Place, Room
from .spool import Messages
from .writer import to_its_end

# The live API shows a completion 3 to 7 seconds after it was made.
VISIBLE_SECONDS: Final = 15.0
YOUNG_SECONDS: Final = 60.0


class Item(msgspec.Struct, frozen=True):
    """A completion to fetch: what is known of it, and its JSON if it was listed with it."""

    completion_id: str
    known: Entry | None = None
    completion: bytes | None = None

    @property
    def listed(self) -> bool:
        """Tell whether the server has named it in this run."""
        return self.completion is not None


class Outcome(msgspec.Struct, frozen=True):
    """What became of a completion: `done` with its messages, `lost` with those that were read.

    `error` is the server's answer where it is `gone`, `pending` or `lost`. Leaving it as a context
    manager gives up its messages.
    """

    state: State
    messages: Messages
    completion: bytes | None = None
    error: APIError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.messages.close()


def state_of(error: APIError, *, waited: bool) -> State | None:
    """Return what an answer makes of a completion; None where it is an error like any other.

    `waited` tells whether the completion was asked for again until it should be visible.
    """
    absent = isinstance(error, NotFoundError) and error.is_of_api
    if error.cursor is None:
        return ("pending" if waited else "gone") if absent else None
    return "lost" if absent or is_about_cursor(error) else None


def is_young(completion: bytes | None, error: APIError | None) -> bool:
    """Tell whether a completion was made less than a minute before the answer, by its own Date."""
    created = None if completion is None else created_of(completion)
    answered = date_of(getattr(error, "headers", {}))
    return created is not None and answered is not None and answered - created < YOUNG_SECONDS


class ConversationReader:
    """Read conversations for one export, by a client that is paced."""

    def __init__(
        self,
        caller: Caller,
        directory: Path,
        *,
        include_reply: bool,
        media: MediaStore | None,
        limit: int | None,
        room: Room,
        operation: Operation,
    ) -> None:
        self._caller = caller
        self._directory = directory
        self._include_reply = include_reply
        self._media = media
        self._limit = limit
        self._page_size = PageSize(limit)
        self._room = room
        self._operation = operation

    async def read(self, item: Item, place: Place) -> Outcome:
        """Return what became of a completion. Raises APIError for what may be read another time."""
        first = await self._read(item, place, waiting=item.listed)
        if first.state == "gone" and is_young(first.completion, first.error):
            return await self._read(item, place, waiting=True)
        if first.state != "lost":
            return first
        await self._spill(first.messages, place)
        return await self._read_again(item, place, first)

    async def _read_again(self, item: Item, place: Place, first: Outcome) -> Outcome:
        """Read what changed while it was read once more; keep the longer part of what was read."""
        try:
            again = await self._read(item, place, waiting=False)
        except BaseException:
            first.messages.close()
            raise
        if again.state == "done" or len(again.messages) > len(first.messages):
            first, again = again, first
        again.messages.close()
        return first if first.state == "done" else msgspec.structs.replace(first, state="lost")

    async def _read(self, item: Item, place: Place, *, waiting: bool) -> Outcome:
        """Read it once; where `waiting`, for as long as it may not be visible yet."""
        messages = Messages(self._directory)
        completion: bytes | None = item.completion
        try:
            completion = await self._completion(item) if self._include_reply else None
            with self._pages(item, waiting=waiting) as pages:
                while await self._read_page(pages, place, messages):
                    pass
        except APIError as error:
            if state := state_of(error, waited=waiting):
                return Outcome(state, messages, completion, error)
            messages.close()
            raise
        except BaseException:
            messages.close()
            raise
        return Outcome("done", messages, completion)

    async def _completion(self, item: Item) -> bytes:
        body = item.completion or one_line(await self._caller.raw_completion(item.completion_id))
        return body if self._media is None else (await _without_blobs([body], self._media))[0]

    def _pages(self, item: Item, *, waiting: bool) -> OneByOne[RawPage]:
        # Nothing ahead of its need: others are fetched meanwhile, and a page takes its room.
        return self._caller.plain_walk(
            item.completion_id,
            RAW,
            limit=self._limit,
            page_size=self._page_size,
            wait_until_visible=VISIBLE_SECONDS if waiting else 0.0,
        )

    async def _read_page(self, pages: OneByOne[RawPage], place: Place, messages: Messages) -> bool:
        """Add the next page's messages; tell whether there is another page."""
        if place.held and self._room.is_tight():
            await self._spill(messages, place)
        await place.expect()
        page = await anext(pages)
        self._operation.page(len(page.ids))
        place.fill(len(page.body))
        lines = [*map(one_line, page.data)] if _is_indented(page.body) else page.data
        messages.add(lines if self._media is None else await _without_blobs(lines, self._media))
        return page.next_cursor is not None

    async def _spill(self, messages: Messages, place: Place) -> None:
        await to_its_end(messages.spill)
        place.empty()


def _is_indented(body: bytes) -> bool:
    return b"\n" in body or b"\r" in body


async def _without_blobs(items: list[bytes], media: MediaStore) -> list[bytes]:
    return await to_its_end(lambda: [*map(media.extract, items)])
