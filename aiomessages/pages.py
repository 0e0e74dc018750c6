"""Pages: what a list answer is to the caller, and the frame that it comes in.

Nothing here performs I/O.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Generic, Self, TypeVar

from msgspec import Struct

from .models import Json, Message, StoredCompletion
from .models.pydantic_schema import SerializablePage
from .values.headers import Headers

ItemT = TypeVar("ItemT")


class Envelope(Struct, Generic[ItemT]):
    """The body of a list answer.

    `data` may be null where there is nothing, and `has_more` is None where a server leaves it out.
    By `object` and `first_id` nobody goes, and by `last_id` only where a page follows, so that they
    may be anything.
    """

    data: list[ItemT] | None
    object: Json = "list"
    first_id: Json = None
    last_id: Json = None
    has_more: bool | None = None
    error: Json = None  # some gateways answer 200 and put an error in the body

    def __repr__(self) -> str:
        # A traceback that shows local variables shows no texts.
        return f"{type(self).__name__}({len(self.data or ())} items, has_more={self.has_more})"


class Page(Generic[ItemT]):
    """One page of a list.

    A copy of a page, pickled or not, has no client, and so cannot fetch the page behind it.
    """

    __slots__ = {
        "attempts": "How many requests were sent for this page.",
        "body": "The answer's exact bytes.",
        "completion_id": "Whose messages these are; None where the list is not of one completion.",
        "data": "The items.",
        "first_id": "The id of the first item, None on an empty page.",
        "get_next": None,
        "hang_up": None,
        "has_more": "Whether the list goes on behind this page.",
        "headers": "The answer's headers; case does not matter.",
        "ids": "The ids of the items.",
        "last_id": "The id of the last item, None on an empty page.",
        "next_cursor": "The `after` of the next page; None at the end of the list or `max_items`.",
        "object": "What the API calls the page: `list`.",
        "remaining": "How many items of `max_items` are left behind this page, None without it.",
        "says_more": "Whether the server itself said that there is more.",
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
        # Where a server leaves has_more out, only an empty page is the end.
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

    def __getstate__(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        state: Any = super().__getstate__()  # of a class with slots a pair
        headers = Headers((name.lower(), value) for name, value in self.headers.items())
        return state[0], state[1] | {"headers": headers, "get_next": None, "hang_up": None}

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, to quote in a support case."""
        return self.headers.get("x-request-id")

    def has_next_page(self) -> bool:
        """Tell whether there is a page behind this one, within `max_items`."""
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
        """Fetch the page behind this one.

        Raises RuntimeError if there is none, or none within `max_items`: see has_next_page().
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
    """Return an id; some servers send "" on an empty page."""
    return value if value and isinstance(value, str) else None


class MessagePage(Page[Message], SerializablePage):
    """One page of a completion's messages."""


class CompletionPage(Page[StoredCompletion], SerializablePage):
    """One page of the stored completions."""


class RawPage(Page[bytes]):
    """One page whose items are the exact bytes that the server sent."""
