"""Room for pages: how many bytes of conversations that are not written yet are held at once.

Nothing here knows of HTTP or files. How large a page is, is only known when it is there; until then
it is counted as large as those before it were on average.
"""

import asyncio
from typing import Final, Self

# Of the bytes that servers send; for each of them up to four are held for a while, as there are the
# page that is read, its messages, their lines and the batch that is written.
ROOM_BYTES: Final = 12 * 1024 * 1024

# What the first page is thought to be: more than most, which is soon known. Else all that begin at
# once would ask for pages of any size.
FIRST_PAGE_BYTES: Final = 1024 * 1024
_WEIGHT: Final = 1 / 8  # of a page in the average of those before it


class Room:
    """Bytes that are shared by conversations, each of which takes a Place."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._page = FIRST_PAGE_BYTES
        self._places: dict[Place, None] = {}  # the first that came stands first
        self._freed = asyncio.Event()
        self._waiting = 0

    def enter(self, place: "Place") -> None:
        """Count a place among those that are taken."""
        self._places[place] = None

    def leave(self, place: "Place") -> None:
        """Count it among them no longer."""
        del self._places[place]
        self.give_back(0)  # another one is first now

    async def take_page(self, place: "Place") -> int:
        """Wait until a page fits, and return how many bytes are taken for it.

        The first of all places never waits: nobody else may have anything to give back.
        """
        while self._left < self._page and place is not next(iter(self._places)):
            self._waiting += 1
            try:
                await self._freed.wait()
            finally:
                self._waiting -= 1
        self._left -= self._page
        return self._page

    def is_tight(self) -> bool:
        """Tell whether the next page of a conversation would have to wait."""
        return self._left < self._page

    def learn(self, size: int) -> None:
        """Hear how large a page was."""
        self._page += int((size - self._page) * _WEIGHT)

    def give_back(self, size: int) -> None:
        """Let others have what was taken."""
        self._left += size
        if self._waiting:
            self._freed.set()
            self._freed.clear()  # who waits now is woken, who comes later waits


class Place:
    """What one conversation holds of a room; leaving the `with` block gives all of it back."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._expected = 0
        self._held = 0

    async def expect(self) -> None:
        """Wait until there is room for one page more, in place of one that did not come."""
        self._room.give_back(self._expected)
        self._expected = 0
        self._expected = await self._room.take_page(self)

    def fill(self, size: int) -> None:
        """Hold the page that was expected, of so many bytes."""
        self._room.learn(size)
        self._room.give_back(self._expected - size)
        self._expected, self._held = 0, self._held + size

    @property
    def held(self) -> int:
        """The bytes of the pages that are held."""
        return self._held

    def empty(self) -> None:
        """Give back what is held, as when it is written to a file."""
        self._room.give_back(self._held)
        self._held = 0

    def __enter__(self) -> Self:
        self._room.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._room.give_back(self._expected + self._held)
        self._room.leave(self)
