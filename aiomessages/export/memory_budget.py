"""The memory budget: how many bytes of fetched conversations may wait to be written.

Nothing here knows HTTP or files. The size of a page is known only when the page has arrived; until
then the budget counts the average size of earlier pages.
"""

import asyncio
from typing import Final, Self

# Bytes as servers send them. Each costs up to four bytes of memory for a while: in the page, in its
# messages, in their lines, and in the batch that is being written.
BUDGET_BYTES: Final = 12 * 1024 * 1024

# The size to assume for the first page. It is larger than most, and soon corrected; with a smaller
# one, all conversations would start at once, whatever the size of their pages.
FIRST_PAGE_BYTES: Final = 1024 * 1024
_WEIGHT: Final = 1 / 8  # of one page in the average of the pages before it


class MemoryBudget:
    """Bytes that conversations share, each through a Reservation."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._page = FIRST_PAGE_BYTES
        self.reservations: dict[Reservation, None] = {}  # those that are open, the oldest first
        self._released = asyncio.Event()

    async def reserve_page(self, reservation: "Reservation") -> int:
        """Wait until a page fits, and return the number of bytes reserved for it.

        The oldest reservation never waits: there may be no other one that could release bytes.
        """
        while self.is_exhausted() and reservation is not next(iter(self.reservations)):
            await self._released.wait()
        self._left -= self._page
        return self._page

    def is_exhausted(self) -> bool:
        """Return whether the next page does not fit."""
        return self._left < self._page

    def replace_page(self, expected: int, size: int) -> None:
        """Count the size of a page that has arrived, instead of the bytes reserved for it."""
        self._page += int((size - self._page) * _WEIGHT)
        self.release(expected - size)

    def release(self, size: int) -> None:
        """Return bytes to the budget."""
        self._left += size
        self._released.set()
        self._released.clear()  # wakes the tasks that wait now; a later one waits


class Reservation:
    """The bytes of one conversation; leaving the `with` block releases all of them."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._expected = 0
        self._held = 0

    async def reserve_page(self) -> None:
        """Wait until another page fits, and release the reservation of one that did not arrive."""
        self._budget.release(self._expected)
        self._expected = 0
        self._expected = await self._budget.reserve_page(self)

    def hold_page(self, size: int) -> None:
        """Hold the page that was reserved for, with its size in bytes."""
        self._budget.replace_page(self._expected, size)
        self._expected, self._held = 0, self._held + size

    @property
    def held(self) -> int:
        """The bytes of the pages that are held."""
        return self._held

    def release(self) -> None:
        """Release the held pages, for instance when they are written to a file."""
        self._budget.release(self._held)
        self._held = 0

    def __enter__(self) -> Self:
        self._budget.reservations[self] = None
        return self

    def __exit__(self, *_: object) -> None:
        del self._budget.reservations[self]
        # Wakes the waiting ones even without any bytes: another one may be the oldest now.
        self._budget.release(self._expected + self._held)
