"""Lists of the API: one list is one set of arguments, from which pages are fetched as asked for."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import structs

from aiomessages.calls.attempts import Attempts
from aiomessages.calls.request import Call, Request
from aiomessages.errors import APIError, ResponseTooLargeError
from aiomessages.models import Json, Message, StoredCompletion
from aiomessages.observe.logs import log
from aiomessages.observe.operation import Kind, Operation
from aiomessages.pages import CompletionPage, MessagePage, Page, RawPage
from aiomessages.values.redaction import shown
from aiomessages.wire import requests, responses
from aiomessages.wire.decoding import RAW
from aiomessages.wire.responses import Codec, Response

from .cursor import Trail, step
from .page_size import PageSize, WalkSize, is_too_slow
from .plain_walk import OneByOne
from .prefetch import Walk
from .stream import PageIterator, PageStream

if TYPE_CHECKING:
    from .lookahead import LookAhead
    from .speculation import Speculation


class MessageStream(PageStream[Message, MessagePage]):
    """The messages of a completion: `await` it for one page, iterate it for all of them."""


class CompletionStream(PageStream[StoredCompletion, CompletionPage]):
    """The stored completions: `await` it for one page, iterate it for all of them."""

    selection: Mapping[str, Json] = MappingProxyType({})
    """Which completions were asked for: the arguments that decide it, without defaults."""


class RawStream(PageStream[bytes, RawPage]):
    """A list whose items are the exact bytes that the server sent."""


def _is_selection(name: str) -> bool:
    return name in ("model", "order") or name.startswith("metadata[")


StreamT = TypeVar("StreamT", bound=PageStream[Any, Any])


class Listing:
    """Fetch the pages of one list, and make the streams over them."""

    def __init__(
        self,
        attempts: Attempts,
        call: Call,
        *,
        after: str | None,
        limit: int | None,
        max_items: int | None,
    ) -> None:
        self._attempts = attempts
        self._call = call
        self._after = after
        self._limit = limit
        self._max_items = max_items

    def stream(
        self,
        kind: type[StreamT],
        codec: Codec[Any],
        *,
        prefetch: bool,
        lookahead: "LookAhead | None" = None,
    ) -> StreamT:
        """Return a stream of the given kind, of what the codec reads."""
        followed = self._watch()
        fetch = partial(self._fetch, codec, followed)
        ahead = None if lookahead is None else self._speculation(codec, followed, lookahead)
        stream = kind(
            fetch if ahead is None else partial(self._fetch_by, ahead, codec),
            fetch_one=partial(self._fetch_first, codec),
            raw=lambda: self.stream(RawStream, RAW, prefetch=prefetch, lookahead=lookahead),
            after=self._after,
            max_items=self._max_items,
            prefetch=prefetch,
            watch=followed,
            ahead=ahead,
            arguments=self._arguments(),
        )
        stream._bulk = partial(self._bulk_pages, prefetch=prefetch)  # noqa: SLF001 its maker
        return stream

    def _arguments(self) -> dict[str, Json]:
        """Return the arguments that a stream's repr shows.

        Extra parameters may hold credentials, so only the API's own ones are shown.
        """
        call = self._call
        given = {
            "completion_id": call.completion_id,
            **{name: value for name, value in call.resource.query.items() if _is_selection(name)},
            "after": shown(self._after),
            "limit": self._limit,
            "max_items": self._max_items,
        }
        return {name: value for name, value in given.items() if value is not None}

    # --- in bulk ----------------------------------------------------------------------------------

    def one_by_one(self, codec: Codec[Any], page_size: PageSize) -> OneByOne[Any]:
        """Return the pages, of what the codec reads, for whoever wants none ahead of its need.

        Each page is fetched as `_fetch_in_bulk` does it.
        """
        followed = self._watch()
        return OneByOne(
            partial(self._fetch_in_bulk, page_size.walk(), codec, followed),
            after=self._after,
            max_items=self._max_items,
            watch=followed,
        )

    def _bulk_pages(self, like: Attempts | None, *, prefetch: bool) -> PageIterator[RawPage]:
        """Return the pages of an export's list, asked for in the turns of `like` if it is given."""
        listing = Listing(
            self._attempts if like is None else self._attempts.paced_like(like),
            self._call,
            after=self._after,
            limit=self._limit,
            max_items=self._max_items,
        )
        followed, size = self._watch(), PageSize(self._limit).walk()
        walk: Walk[Any] = Walk(
            partial(listing._fetch_in_bulk, size, RAW, followed),
            after=self._after,
            max_items=self._max_items,
            prefetch=prefetch,
            watch=followed,
        )
        return PageIterator(walk, after=self._after)

    async def _fetch_in_bulk(
        self,
        size: WalkSize,
        codec: Codec[Any],
        followed: Operation,
        after: str | None,
        remaining: int | None,
        fresh: bool = False,
    ) -> Page[Any]:
        """Fetch a page; one that is too large is asked for again with half the limit, down to 1.

        So a page costs at most (1 + max_retries) * (1 + log2(limit)) requests, 21 by default; where
        the server may only be down, as with 504 or a timeout in the body, the retry quota pays for
        each halving as for a retry.
        """
        sent = 0
        while True:
            limit = requests.page_limit(size.next(), remaining, default=None) or 1
            try:
                page = await self._fetch(codec, followed, after, remaining, fresh, size=limit)
            except APIError as error:
                sent += error.attempts
                error.attempts = sent
                if not self._has_smaller(size, error, limit):
                    raise
                log.info("a page of %d failed (%s); asking for less", limit, type(error).__name__)
            else:
                page.attempts += sent
                size.passed(limit, len(page.ids))
                return page

    def _has_smaller(self, size: WalkSize, error: APIError, limit: int) -> bool:
        if limit == 1 and isinstance(error, ResponseTooLargeError):
            error.hint = "This one item alone is larger: raise max_response_bytes=."
        if not size.asks_for_less(error, limit):
            return False
        return not is_too_slow(error) or self._attempts.pay_for_one_more()

    # --- watched ----------------------------------------------------------------------------------

    def _watch(self) -> Operation:
        completion_id = self._call.completion_id
        kind: Kind = "list completions" if completion_id is None else "list messages"
        return Operation(self._attempts.listener, kind, completion_id)

    async def _fetch_first(self, codec: Codec[Any]) -> Page[Any]:
        trail = Trail(after=self._after, max_items=self._max_items)
        return await self._fetch_one(codec, None, trail)

    async def _fetch_behind(
        self, codec: Codec[Any], default_limit: int | None, page: Page[Any]
    ) -> Page[Any]:
        trail = Trail(after=page.next_cursor, max_items=page.remaining, promised=page.says_more)
        return await self._fetch_one(codec, default_limit, trail)

    async def _fetch_one(
        self, codec: Codec[Any], default_limit: int | None, trail: Trail
    ) -> Page[Any]:
        followed = self._watch()
        with followed:
            fetch = partial(self._fetch, codec, followed, default_limit=default_limit)
            page: Page[Any] = await step(trail, fetch)
            followed.page(len(page.ids))
        return page

    async def _fetch(
        self,
        codec: Codec[Any],
        followed: Operation,
        after: str | None,
        remaining: int | None,
        fresh: bool = False,
        *,
        default_limit: int | None = requests.WALK_LIMIT,
        size: int | None = None,
        ahead: bool = False,
    ) -> Page[Any]:
        limit = requests.page_limit(size or self._limit, remaining, default=default_limit)
        request = self._page_request(after, limit, followed, ahead=ahead, fresh=fresh)

        def read(response: Response, *, secret: str) -> Page[Any]:
            page = responses.read_page(
                response,
                codec,
                completion_id=request.call.completion_id,
                cursor=request.cursor,
                limit=limit,
                secret=secret,
            )
            page.hang_up = response.hang_up
            return page

        page, attempts = await self._attempts.call(request, read)
        page.attempts = attempts
        page.completion_id = request.call.completion_id
        page.get_next = partial(self._fetch_behind, codec, default_limit)
        return page

    # --- ahead of the walk ------------------------------------------------------------------------

    def _speculation(
        self, codec: Codec[Any], followed: Operation, lookahead: "LookAhead"
    ) -> "Speculation[Page[Any]]":
        """Return what fetches the pages of this list from both ends."""
        from .lookahead import Numbering, opposite  # noqa: PLC0415 few need it
        from .speculation import Speculation  # noqa: PLC0415

        resource = self._call.resource
        order = opposite(resource.query)
        back = Listing(
            self._attempts,
            structs.replace(self._call, resource=resource.with_query(order=order)),
            after=None,
            limit=self._limit,
            max_items=None,
        )
        numbering = Numbering(str(self._call.completion_id), 1 if order == "desc" else -1)
        return Speculation(
            partial(self._fetch, codec, followed),
            partial(self._fetch, codec, followed, ahead=True),
            lambda after: back._fetch(codec, followed, after, None, ahead=True),
            window=lookahead.window,
            page_size=self._limit or requests.WALK_LIMIT,
            numbering=numbering if lookahead.guesses else None,
        )

    async def _fetch_by(
        self,
        ahead: "Speculation[Page[Any]]",
        codec: Codec[Any],
        after: str | None,
        remaining: int | None,
        fresh: bool,
    ) -> Page[Any]:
        page = await ahead(after, remaining, fresh)
        page.get_next = partial(self._fetch_behind, codec, requests.WALK_LIMIT)  # not back
        return page

    def _page_request(
        self, after: str | None, limit: int | None, followed: Operation, *, ahead: bool, fresh: bool
    ) -> Request:
        return Request(
            self._call,
            self._call.resource.target(limit=limit, after=after),
            cursor=after,
            # Only a list that was not seen yet can be one that is not visible yet.
            patience=self._call.patience if after == self._after else 0.0,
            ahead=ahead,
            fresh=fresh,
            operation=followed,
        )
