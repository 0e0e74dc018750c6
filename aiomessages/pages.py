"""Pages: what a list returns to its reader, complete when they are made.

Nothing here performs I/O.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Self, TypeVar

from .models import Message, StoredCompletion
from .values.headers import Headers

ItemT = TypeVar("ItemT")


class Page(Generic[ItemT]):
    """One page of a list.

    A page is made complete, and nothing of the package writes to it. A copy of a page, pickled or
    not, has no client, and so cannot fetch the page behind it.
    """

    __slots__ = {
        "_fetch_next": None,
        "attempts": "The number of requests that were sent for this page.",
        "body": "The response's exact bytes.",
        "completion_id": "The completion whose messages these are; None for a list of completions.",
        "data": "The items.",
        "first_id": "The id of the first item, None on an empty page.",
        "has_more": "Whether the list goes on behind this page.",
        "headers": "The response's headers; case does not matter.",
        "ids": "The ids of the items.",
        "last_id": "The id of the last item, None on an empty page.",
        "next_cursor": "The `after` of the next page; None at the end of the list or `max_items`.",
        "object": "The API's name for the page: `list`.",
    }

    def __init__(
        self,
        data: list[ItemT],
        ids: list[str],
        *,
        object: str = "list",  # noqa: A002 the API's own word
        first_id: str | None = None,
        last_id: str | None = None,
        has_more: bool = False,
        next_cursor: str | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        attempts: int = 1,
        completion_id: str | None = None,
        fetch_next: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        # Final: type checkers refuse to assign to them.
        self.data: Final[list[ItemT]] = data
        self.ids: Final[list[str]] = ids
        self.object: Final[str] = object
        self.first_id: Final[str | None] = first_id
        self.last_id: Final[str | None] = last_id
        self.has_more: Final[bool] = has_more
        self.next_cursor: Final[str | None] = next_cursor
        self.body: Final[bytes] = body
        self.headers: Final[Mapping[str, str]] = {} if headers is None else headers
        self.attempts: Final[int] = attempts
        self.completion_id: Final[str | None] = completion_id
        self._fetch_next = fetch_next

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.data)} items, first_id={self.first_id!r},"
            f" last_id={self.last_id!r}, has_more={self.has_more})"
        )

    def __getstate__(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        state: Any = super().__getstate__()  # of a class with slots a pair
        headers = Headers((name.lower(), value) for name, value in self.headers.items())
        return state[0], state[1] | {"headers": headers, "_fetch_next": None}

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, to quote in a support case."""
        return self.headers.get("x-request-id")

    def has_next_page(self) -> bool:
        """Return whether there is a page behind this one, within `max_items`."""
        return self.next_cursor is not None

    async def get_next_page(self) -> Self:
        """Fetch the page behind this one.

        Raises RuntimeError if there is none, or none within `max_items`: see has_next_page().
        """
        if self.next_cursor is None and self.has_more:
            raise RuntimeError(
                "there is no further page within max_items: look at page.has_next_page() first, or"
                " ask for a list after the last item's id"
            )
        if self.next_cursor is None:
            raise RuntimeError("there is no next page: look at page.has_next_page() first")
        if self._fetch_next is None:
            raise RuntimeError("a copied page has no client: ask for a list after page.next_cursor")
        page: Self = await self._fetch_next()
        return page


class MessagePage(Page[Message]):
    """One page of a completion's messages."""


class CompletionPage(Page[StoredCompletion]):
    """One page of the stored completions."""


class RawPage(Page[bytes]):
    """One page whose items are the exact bytes that the server sent."""
