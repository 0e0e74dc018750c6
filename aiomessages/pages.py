"""Pages of a list: the object that users get, and the JSON envelope it is decoded from.

Nothing here performs I/O.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any, Final, Generic, Self, TypeVar, overload

from msgspec import Struct

from .models import Json, Message, StoredCompletion
from .models.pydantic_schema import SerializablePage
from .values.headers import Headers

ItemT = TypeVar("ItemT")


class Envelope(Struct, Generic[ItemT]):
    """The body of a list response.

    Some servers send `data` as null if the list is empty, and no `has_more`. The other keys may
    have any type: nothing depends on `object` and `first_id`, and `last_id` is only compared with
    the ids of the items if another page follows.
    """

    data: list[ItemT] | None
    object: Json = "list"
    first_id: Json = None
    last_id: Json = None
    has_more: bool | None = None
    error: Json = None  # some gateways answer 200 and put an error in the body

    def __repr__(self) -> str:
        # Tracebacks that print local variables must not print the texts of messages.
        return f"{type(self).__name__}({len(self.data or ())} items, has_more={self.has_more})"


# The names that only the package uses; tab completion leaves them out.
_INTERNAL: Final = {"cut", "drop", "get_next", "hang_up", "says_more", "turn_round"}


class Page(Generic[ItemT]):
    """One page of a list: a sequence of its items, which are also in `data`.

    A page is true even if it is empty. A copy of a page, pickled or not, has no client and cannot
    fetch the next page.
    """

    __slots__ = {
        "attempts": "The number of requests that were sent for this page.",
        "body": "The exact bytes of the response body.",
        "completion_id": "The completion whose messages these are; None on a page of completions.",
        "data": "The items.",
        "first_id": "The id of the first item, None on an empty page.",
        "get_next": None,
        "hang_up": None,
        "has_more": "True if the list goes on after this page.",
        "headers": "The response headers; names match in any case.",
        "ids": "The ids of the items.",
        "last_id": "The id of the last item, None on an empty page.",
        "next_cursor": "The `after` of the next page; None at the end of the list or `max_items`.",
        "object": "The API's name for the page: `list`.",
        "remaining": "The items that `max_items` leaves after this page; None without it.",
        "says_more": "True if the server sent `has_more` as true.",
    }

    def __init__(
        self,
        envelope: Envelope[ItemT],
        ids: list[str],
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.data: list[ItemT] = [] if envelope.data is None else envelope.data
        self.object: str = envelope.object if isinstance(envelope.object, str) else ""
        self.first_id: str | None = _id_or_none(envelope.first_id)
        self.last_id: str | None = _id_or_none(envelope.last_id)
        self.ids: list[str] = ids
        self.body: bytes = body
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        # If the server sends no has_more, only an empty page is the end of the list.
        self.has_more: bool = bool(ids) if envelope.has_more is None else envelope.has_more
        self.says_more: bool = envelope.has_more is True
        self.next_cursor: str | None = ids[-1] if self.has_more else None
        self.attempts: int = 1
        self.completion_id: str | None = None
        self.remaining: int | None = None
        self.get_next: Callable[[Self], Awaitable[Any]] | None = None
        # What ends the connection that the page came on, until a walk has accepted the page.
        self.hang_up: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.data)} items, first_id={self.first_id!r},"
            f" last_id={self.last_id!r}, has_more={self.has_more})"
        )

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

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in _INTERNAL]

    def _repr_html_(self) -> str:
        from .models.notebook import box, boxes  # noqa: PLC0415 only notebooks need it

        more = ", has_more" if self.has_more else ""
        head = f"{type(self).__name__}: {len(self.data)} items{more}"
        return box(head, [], inner=boxes(self.data))

    def __getstate__(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        state: Any = super().__getstate__()  # a pair, for a class with slots
        headers = Headers((name.lower(), value) for name, value in self.headers.items())
        return state[0], state[1] | {"headers": headers, "get_next": None, "hang_up": None}

    @property
    def request_id(self) -> str | None:
        """The server's id of the request; quote it to the server's support."""
        return self.headers.get("x-request-id")

    def has_next_page(self) -> bool:
        """Return whether there is a next page, within `max_items`."""
        return self.next_cursor is not None

    def cut(self, count: int) -> None:
        """Leave out what is above `count` items; the page behind begins with them."""
        if len(self.ids) > count:
            del self.data[count:], self.ids[count:]
            self.last_id = self.next_cursor = self.ids[-1]
            self.has_more = True

    def drop(self, repeated: Collection[str]) -> None:
        """Leave out the items with these ids; `body` stays as it came."""
        fresh = [n for n, item in enumerate(self.ids) if item not in repeated]
        self.data = [self.data[n] for n in fresh]
        self.ids = [self.ids[n] for n in fresh]
        self.first_id = self.ids[0] if fresh else None
        self.last_id = self.ids[-1] if fresh else None

    def turn_round(self, count: int, *, has_more: bool) -> None:
        """Leave the first items, as many as `count`, in the opposite order.

        `body` stays as it came, in the order that was asked for.
        """
        self.data, self.ids = self.data[:count][::-1], self.ids[:count][::-1]
        self.first_id, self.last_id = self.ids[0], self.ids[-1]
        self.has_more = has_more
        self.next_cursor = self.last_id if has_more else None

    async def get_next_page(self) -> Self:
        """Fetch the next page.

        Raise RuntimeError if there is none, or none within `max_items`: see `has_next_page()`.
        Raise APIError if the request fails.
        """
        if self.remaining == 0:
            raise RuntimeError(
                "there is no further page within max_items: look at page.has_next_page() first, or"
                " ask for a list after the last item's id"
            )
        if not self.has_next_page():
            raise RuntimeError("there is no next page: look at page.has_next_page() first")
        if self.get_next is None:
            raise RuntimeError("a copied page has no client: ask for a list after page.next_cursor")
        page: Self = await self.get_next(self)
        return page


def _id_or_none(value: Json) -> str | None:
    """Return an id, or None for the "" that some servers send on an empty page."""
    return value if value and isinstance(value, str) else None


class MessagePage(Page[Message], SerializablePage):
    """One page of a completion's messages."""


class CompletionPage(Page[StoredCompletion], SerializablePage):
    """One page of stored completions."""


class RawPage(Page[bytes]):
    """One page whose items are the exact bytes of each message or completion."""
