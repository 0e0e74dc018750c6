"""The content of a list response: its JSON frame, and the content of a page.

Nothing here performs I/O.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Generic, Self, TypeVar

from msgspec import Struct, structs

from aiomessages.models import Json
from aiomessages.pages import Page
from aiomessages.values.secrets import ReprAlone

ItemT = TypeVar("ItemT")
PageT = TypeVar("PageT", bound=Page[Any])

HangUp = Callable[[], object]


class Envelope(ReprAlone, Struct, Generic[ItemT]):
    """The JSON body of a list response.

    `data` may be null for an empty list, and `has_more` is None if a server omits it. `object` and
    `first_id` decide nothing, and `last_id` only if a page follows, so they may be any JSON.
    """

    data: list[ItemT] | None
    object: Json = "list"
    first_id: Json = None
    last_id: Json = None
    has_more: bool | None = None
    error: Json = None  # some gateways answer 200 and put an error in the body

    def __repr__(self) -> str:
        # A traceback with local variables must show no texts.
        return f"{type(self).__name__}({len(self.data or ())} items, has_more={self.has_more})"


class PageContent(ReprAlone, Struct, Generic[PageT], frozen=True):
    """The content of one response; `page` adds its position in the walk.

    `promised` is true if the server said that there is more. `hang_up` closes the connection that
    the response arrived on; a walk that refuses the page calls it.
    """

    page_class: type[PageT]
    data: list[Any]
    ids: list[str]
    object: str = "list"
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False
    promised: bool = False
    body: bytes = b""
    headers: Mapping[str, str] = {}
    completion_id: str | None = None
    hang_up: HangUp | None = None

    @classmethod
    def of(
        cls,
        page_class: type[PageT],
        envelope: Envelope[Any],
        ids: list[str],
        *,
        body: bytes = b"",
        headers: Mapping[str, str],
        completion_id: str | None,
        hang_up: HangUp | None = None,
    ) -> Self:
        """Return the content of an envelope whose items have these ids."""
        return cls(
            page_class,
            [] if envelope.data is None else envelope.data,
            ids,
            envelope.object if isinstance(envelope.object, str) else "",
            _id_or_none(envelope.first_id),
            _id_or_none(envelope.last_id),
            # Without has_more, only an empty page is the end.
            bool(ids) if envelope.has_more is None else envelope.has_more,
            envelope.has_more is True,
            body,
            headers,
            completion_id,
            hang_up,
        )

    def __repr__(self) -> str:
        # A traceback with local variables must show no texts.
        return f"{type(self).__name__}({len(self.ids)} items, has_more={self.has_more})"

    @property
    def next_cursor(self) -> str | None:
        """The `after` of the next page; None at the end of the list."""
        return self.ids[-1] if self.has_more else None

    def without(self, repeated: Collection[str]) -> Self:
        """Return the content without the items that have these ids; `body` stays unchanged."""
        kept = [n for n, item in enumerate(self.ids) if item not in repeated]
        ids = [self.ids[n] for n in kept]
        return structs.replace(
            self,
            data=[self.data[n] for n in kept],
            ids=ids,
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
        )

    def first(self, count: int) -> Self:
        """Return the content truncated to `count` items; the next page starts with the rest."""
        if len(self.ids) <= count:
            return self
        return structs.replace(
            self,
            data=self.data[:count],
            ids=self.ids[:count],
            last_id=self.ids[count - 1],
            has_more=True,
        )

    def page(
        self,
        *,
        next_cursor: str | None,
        attempts: int,
        fetch_next: Callable[[], Awaitable[Any]] | None,
    ) -> PageT:
        """Return the page: this content, the number of attempts, and how to fetch the next."""
        return self.page_class(
            self.data,
            self.ids,
            object=self.object,
            first_id=self.first_id,
            last_id=self.last_id,
            has_more=self.has_more,
            next_cursor=next_cursor,
            body=self.body,
            headers=self.headers,
            attempts=attempts,
            completion_id=self.completion_id,
            fetch_next=fetch_next,
        )


def _id_or_none(value: Json) -> str | None:
    """Return an id; some servers send "" on an empty page."""
    return value if value and isinstance(value, str) else None
