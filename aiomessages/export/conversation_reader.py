"""One conversation, read whole, and the state of it: the table of "not found" answers.

- The API's own "not found" on the first page, for a completion that is listed or young: it is not
  visible yet. Ask again for 15 s; then it is `pending`.
- The same for any other completion: it is `gone`.
- The same on a later page, or a refused cursor there: the conversation changed while it was read.
  Read it again from its first page, once; then it is `lost`.
- Any other 404: another server answered, such as a proxy. It is an error, which the client has
  retried.

Nothing here writes to the output.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from aiomessages.errors import APIError, NotFoundError
from aiomessages.observe.operation import Operation
from aiomessages.pages import RawPage
from aiomessages.paging.caller import Caller
from aiomessages.paging.page_size import PageSize
from aiomessages.paging.plain_walk import PlainWalk
from aiomessages.values.json_lines import on_one_line
from aiomessages.wire.decoding import RAW
from aiomessages.wire.errors import is_about_cursor
from aiomessages.wire.retry_after import date_of

from .created_between import created_of
from .ledger_schema import Entry, State
from .media import MediaStore
from .memory_budget import MemoryBudget, Reservation
from .message_buffer import MessageBuffer
from .writer import run_to_end

# The live API shows a completion 3 to 7 seconds after its creation.
VISIBLE_SECONDS: Final = 15.0
YOUNG_SECONDS: Final = 60.0


class Item(msgspec.Struct, frozen=True):
    """A completion to fetch, with its entry of an earlier run and its JSON from a list, if any.

    `old_list` is true if it may have been deleted since the list was read.
    """

    completion_id: str
    known: Entry | None = None
    completion: bytes | None = None
    old_list: bool = False

    @property
    def listed(self) -> bool:
        """Whether the server has listed it just now."""
        return self.completion is not None and not self.old_list

    @property
    def was_lost(self) -> bool:
        """Whether an earlier run lost it."""
        return self.known is not None and self.known.state == "lost"


class Outcome(msgspec.Struct, frozen=True):
    """The state of a completion, with its messages if it is `done`, and those read if `lost`.

    `error` is the server's answer if it is `gone`, `pending` or `lost`. Close it after use.
    """

    state: State
    messages: MessageBuffer
    completion: bytes | None = None
    error: APIError | None = None

    def close(self) -> None:
        """Delete the file of the messages."""
        self.messages.close()


def state_of(error: APIError, *, waited: bool) -> State | None:
    """Return the state that an error means for a completion; None for any other error.

    `waited` is true if the completion was requested until it should have been visible.
    """
    absent = isinstance(error, NotFoundError) and error.is_of_api
    if error.cursor is None:
        return ("pending" if waited else "gone") if absent else None
    return "lost" if absent or is_about_cursor(error) else None


def is_young(completion: bytes | None, error: APIError | None) -> bool:
    """Return whether a completion is younger than a minute, by the Date of the answer."""
    created = None if completion is None else created_of(completion)
    answered = date_of(getattr(error, "headers", {}))
    return created is not None and answered is not None and answered - created < YOUNG_SECONDS


@dataclass
class ConversationReader:
    """Read the conversations of one export."""

    caller: Caller
    directory: Path
    include_reply: bool
    media: MediaStore | None
    limit: int | None
    budget: MemoryBudget
    operation: Operation

    def __post_init__(self) -> None:
        self._page_size = PageSize(self.limit)

    async def read(self, item: Item, reservation: Reservation) -> Outcome:
        """Return the outcome for a completion. Raises APIError if another run may read it."""
        first = await self._read(item, reservation, waiting=item.listed)
        if first.state == "gone" and is_young(first.completion, first.error):
            return await self._read(item, reservation, waiting=True)
        if first.state != "lost":
            return first
        await self._spill(first.messages, reservation)
        return await self._read_again(item, reservation, first)

    async def _read_again(self, item: Item, reservation: Reservation, first: Outcome) -> Outcome:
        """Read a conversation that changed once more; if it changes again, keep the longer part."""
        try:
            again = await self._read(item, reservation, waiting=False)
        except BaseException:
            first.messages.close()
            raise
        if again.state == "done" or len(again.messages) > len(first.messages):
            first, again = again, first
        again.messages.close()
        return first if first.state == "done" else msgspec.structs.replace(first, state="lost")

    async def _read(self, item: Item, reservation: Reservation, *, waiting: bool) -> Outcome:
        """Read a conversation once; with `waiting`, ask until it should be visible."""
        messages, completion = MessageBuffer(self.directory), item.completion
        try:
            completion = await self._completion(item) if self.include_reply else None
            with self._pages(item, waiting=waiting) as pages:
                while await self._read_page(pages, reservation, messages):
                    pass
        except BaseException as error:
            if isinstance(error, APIError) and (state := state_of(error, waited=waiting)):
                return Outcome(state, messages, completion, error)
            messages.close()
            raise
        return Outcome("done", messages, completion)

    async def _completion(self, item: Item) -> bytes:
        body = item.completion or on_one_line(await self.caller.raw_completion(item.completion_id))
        return body if self.media is None else (await _without_blobs([body], self.media))[0]

    def _pages(self, item: Item, *, waiting: bool) -> PlainWalk[RawPage]:
        # No page is fetched ahead: other conversations use the time, and a page takes memory.
        return self.caller.plain_walk(
            item.completion_id,
            RAW,
            limit=self.limit,
            page_size=self._page_size,
            wait_until_visible=VISIBLE_SECONDS if waiting else 0.0,
        )

    async def _read_page(
        self, pages: PlainWalk[RawPage], reservation: Reservation, messages: MessageBuffer
    ) -> bool:
        """Add the messages of the next page; return whether another page follows."""
        if reservation.held and self.budget.is_exhausted():
            await self._spill(messages, reservation)
        await reservation.reserve_page()
        page = await anext(pages)
        self.operation.page(len(page.ids))
        reservation.hold_page(len(page.body))
        lines = [*map(on_one_line, page.data)] if _is_indented(page.body) else page.data
        messages.add(lines if self.media is None else await _without_blobs(lines, self.media))
        return page.next_cursor is not None

    async def _spill(self, messages: MessageBuffer, reservation: Reservation) -> None:
        await run_to_end(messages.spill)
        reservation.release()


def _is_indented(body: bytes) -> bool:
    return b"\n" in body or b"\r" in body


async def _without_blobs(items: list[bytes], media: MediaStore) -> list[bytes]:
    return await run_to_end(lambda: [*map(media.extract, items)])
