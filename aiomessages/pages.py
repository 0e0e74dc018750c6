"""Pages: the objects that a list returns, complete when they are made.

Nothing here performs I/O.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, overload

from .models import Message, StoredCompletion
from .models.pydantic_schema import SerializablePage

NO_CLIENT: Final = "a copied page has no client: ask for a list after page.next_cursor"

ItemT = TypeVar("ItemT")


class ItemSequence(Sequence[ItemT], Generic[ItemT]):
    """The sequence of the items in `data`, for the pages of both clients."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def data(self) -> list[ItemT]:
            """The items."""

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        return True  # an empty page is a page: `while page` must not end at one

    def __iter__(self) -> Iterator[ItemT]:
        return iter(self.data)

    @overload
    def __getitem__(self, index: int) -> ItemT: ...
    @overload
    def __getitem__(self, index: slice) -> list[ItemT]: ...
    def __getitem__(self, index: int | slice) -> ItemT | list[ItemT]:
        return self.data[index]


class Page(ItemSequence[ItemT], Generic[ItemT]):
    """One page of a list: a sequence of its items, which are also in `data`.

    A page is true even if it is empty, and equal to itself alone. It is complete when it is made:
    nothing of the package writes to it. A copy of a page, pickled or not, has no client and cannot
    fetch the next page.
    """

    __slots__ = {
        "_fetch_next": None,
        "attempts": "The number of requests that were sent for this page.",
        "body": "The exact bytes of the response body.",
        "completion_id": "The completion whose messages these are; None on a page of completions.",
        "data": "The items.",
        "first_id": "The id of the first item, None on an empty page.",
        "has_more": "True if the list continues after this page.",
        "headers": "The response headers; names match in any case.",
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

    def _repr_html_(self) -> str:
        from .models.notebook import box, boxes  # noqa: PLC0415 only notebooks need it

        more = ", has_more" if self.has_more else ""
        head = f"{type(self).__name__}: {len(self.data)} items{more}"
        return box(head, [], inner=boxes(self.data))

    def __getstate__(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        state: Any = super().__getstate__()  # a pair, for a class with slots
        return state[0], state[1] | {"_fetch_next": None}

    @property
    def request_id(self) -> str | None:
        """The server's id of the request; quote it to the server's support."""
        return self.headers.get("x-request-id")

    def has_next_page(self) -> bool:
        """Return whether there is a next page, within `max_items`."""
        return self.next_cursor is not None

    async def get_next_page(self) -> Self:
        """Fetch the next page.

        Raises RuntimeError if there is none, or none within `max_items`: see `has_next_page()`.
        Raises APIError if the request fails.
        """
        if self.next_cursor is None and self.has_more:
            raise RuntimeError(
                "there is no further page within max_items: check page.has_next_page() first, or"
                " ask for a list after the last item's id"
            )
        if self.next_cursor is None:
            raise RuntimeError("there is no next page: check page.has_next_page() first")
        if self._fetch_next is None:
            raise RuntimeError(NO_CLIENT)
        page: Self = await self._fetch_next()
        return page


class MessagePage(Page[Message], SerializablePage):
    """One page of a completion's messages."""


class CompletionPage(Page[StoredCompletion], SerializablePage):
    """One page of stored completions."""


class RawPage(Page[bytes], SerializablePage):
    """One page whose items are the exact bytes of each message or completion.

    `to_dict()` decodes them, and raises msgspec.DecodeError for half an emoji (a lone surrogate).
    """
