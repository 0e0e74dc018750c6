"""Lists of the API: the requests for the pages of one list, and the streams over them."""

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import structs

from aiomessages.calls.attempts import Attempts
from aiomessages.calls.request import Call, Request
from aiomessages.errors import APIError, ResponseTooLargeError
from aiomessages.models import Json
from aiomessages.observe.logs import log
from aiomessages.observe.operation import Kind, Operation
from aiomessages.pages import Page, RawPage
from aiomessages.values.redaction import shown
from aiomessages.wire import requests, responses
from aiomessages.wire.decoding import RAW, Codec
from aiomessages.wire.page_content import PageContent
from aiomessages.wire.requests import PageOptions

from .cursor import Fetched, WalkState, step
from .page_size import PageSize, WalkSize, is_too_slow
from .plain_walk import PlainWalk
from .prefetch import Walk
from .stream import PageIterator, PageStream, RawStream

if TYPE_CHECKING:
    from .prediction import Prediction


StreamT = TypeVar("StreamT", bound=PageStream[Any, Any])


class Listing:
    """One list: a request without a cursor, and the bounds of the walks over its pages."""

    def __init__(self, attempts: Attempts, call: Call, wanted: PageOptions) -> None:
        self._attempts = attempts
        self._call = call
        self._wanted = wanted

    def stream(
        self,
        kind: type[StreamT],
        codec: Codec,
        *,
        prefetch: bool,
        lookahead: int | None = None,
    ) -> StreamT:
        """Return a stream of the given kind over the items that the codec reads.

        `lookahead` is the number of pages to fetch in advance if the ids are numbered.
        """
        operation = self._operation()
        fetch = partial(self._fetch, codec, operation)
        ahead = None if lookahead is None else self._prediction(codec, operation, lookahead)
        walk: Walk[Any] = Walk(
            fetch if ahead is None else ahead,
            self._state(codec),
            prefetch=prefetch,
            operation=operation,
            ahead=ahead,
        )
        first = partial(self._fetch_one, codec, None, self._wanted.after, self._wanted.max_items)
        return kind(
            walk,
            after=self._wanted.after,
            fetch_one=first,
            raw=lambda: self.stream(RawStream, RAW, prefetch=prefetch, lookahead=lookahead),
            bulk=partial(self._bulk_pages, prefetch=prefetch),
            arguments=self._arguments,
        )

    def _arguments(self) -> dict[str, Json]:
        """Return the arguments that a stream's repr shows.

        Extra parameters may hold credentials, so only the API's own ones are shown.
        """
        query = self._call.resource.query
        names = [name for name in query if name in ("model", "order") or name[:9] == "metadata["]
        given = {
            "completion_id": self._call.completion_id,
            **{name: query[name] for name in names},
            "after": shown(self._wanted.after),
            "limit": self._wanted.limit,
            "max_items": self._wanted.max_items,
        }
        return {name: value for name, value in given.items() if value is not None}

    # --- in bulk ----------------------------------------------------------------------------------

    def plain_walk(self, codec: Codec, page_size: PageSize) -> PlainWalk[Any]:
        """Return the pages of items that the codec reads, each fetched when it is asked for.

        A page that is too large is requested again with a smaller limit.
        """
        operation = self._operation()
        return PlainWalk(
            partial(self._fetch_in_bulk, page_size.walk(), codec, operation),
            self._state(codec),
            operation=operation,
        )

    def _bulk_pages(self, like: Attempts | None, *, prefetch: bool) -> PageIterator[RawPage]:
        """Return raw pages for an export, requested through the queue of `like` if it is given."""
        attempts = self._attempts if like is None else self._attempts.paced_like(like)
        listing = Listing(attempts, self._call, self._wanted)
        operation, size = self._operation(), PageSize(self._wanted.limit).walk()
        walk: Walk[Any] = Walk(
            partial(listing._fetch_in_bulk, size, RAW, operation),
            listing._state(RAW),
            prefetch=prefetch,
            operation=operation,
        )
        return PageIterator(walk, after=self._wanted.after)

    async def _fetch_in_bulk(
        self,
        size: WalkSize,
        codec: Codec,
        operation: Operation,
        after: str | None,
        remaining: int | None,
        fresh: bool = False,
    ) -> Fetched[Page[Any]]:
        """Fetch a page; request one that is too large again with half the limit, down to 1.

        So a page costs at most (1 + max_retries) * (1 + log2(limit)) requests, 21 by default. If
        the server may only be down, as with a 504 or a timeout in the body, the retry quota pays
        for each halving as for a retry.
        """
        sent = 0
        while True:
            limit = requests.page_limit(size.next(), remaining, default=None) or 1
            try:
                page, attempts = await self._fetch(
                    codec, operation, after, remaining, fresh, size=limit
                )
            except APIError as error:
                sent += error.attempts
                error.attempts = sent
                if not self._has_smaller(size, error, limit):
                    raise
                log.info("a page of %d failed (%s); asking for less", limit, type(error).__name__)
            else:
                size.passed(limit, len(page.ids))
                return _doubted(page, limit, after), attempts + sent

    def _has_smaller(self, size: WalkSize, error: APIError, limit: int) -> bool:
        if limit == 1 and isinstance(error, ResponseTooLargeError):
            error.hint = "This one item alone is larger: raise max_response_bytes=."
        if not size.asks_for_less(error, limit):
            return False
        return not is_too_slow(error) or self._attempts.pay_for_one_more()

    # --- observed ---------------------------------------------------------------------------------

    def _operation(self) -> Operation:
        completion_id = self._call.completion_id
        kind: Kind = "list completions" if completion_id is None else "list messages"
        return Operation(self._attempts.listener, kind, completion_id)

    def _state(self, codec: Codec) -> WalkState[Page[Any]]:
        return WalkState(
            after=self._wanted.after,
            max_items=self._wanted.max_items,
            fetch_next=partial(self._fetch_one, codec, requests.WALK_LIMIT),
        )

    async def _fetch_one(
        self,
        codec: Codec,
        default_limit: int | None,
        after: str | None,
        remaining: int | None,
        promised: bool = False,
    ) -> Page[Any]:
        state: WalkState[Page[Any]] = WalkState(
            after=after,
            max_items=remaining,
            promised=promised,
            fetch_next=partial(self._fetch_one, codec, default_limit),
        )
        operation = self._operation()
        with operation:
            fetch = partial(self._fetch, codec, operation, default_limit=default_limit)
            page = await step(state, fetch)
            operation.page(len(page.ids))
        return page

    async def _fetch(
        self,
        codec: Codec,
        operation: Operation,
        after: str | None,
        remaining: int | None,
        fresh: bool = False,
        *,
        default_limit: int | None = requests.WALK_LIMIT,
        size: int | None = None,
        ahead: bool = False,
    ) -> Fetched[Page[Any]]:
        call, wanted = self._call, self._wanted
        limit = requests.page_limit(size or wanted.limit, remaining, default=default_limit)
        request = Request(
            call,
            call.resource.target(limit=limit, after=after),
            cursor=after,
            # Only a list that was not seen yet can be one that is not visible yet.
            patience=call.patience if after == wanted.after else 0.0,
            ahead=ahead,
            fresh=fresh,
            operation=operation,
        )
        read = partial(
            responses.read_page,
            codec=codec,
            completion_id=call.completion_id,
            cursor=after,
            limit=limit,
        )
        return await self._attempts.call(request, read)

    # --- ahead of the walk ------------------------------------------------------------------------

    def _prediction(
        self, codec: Codec, operation: Operation, window: int
    ) -> "Prediction[Page[Any]]":
        """Return a function that fetches the pages of this list, most of them ahead."""
        from .lookahead import Numbering, opposite  # noqa: PLC0415 few need it
        from .prediction import Prediction  # noqa: PLC0415

        resource = self._call.resource
        order = opposite(resource.query)
        back = Listing(
            self._attempts,
            structs.replace(self._call, resource=resource.with_query(order=order)),
            self._wanted._replace(after=None, max_items=None),
        )

        async def fetch_end() -> list[str]:
            # Two ids show that they are numbered and in which order; more would only cost bytes.
            page, _ = await back._fetch(codec, operation, None, 2, ahead=True)
            return page.ids[::-1]

        return Prediction(
            partial(self._fetch, codec, operation),
            partial(self._fetch, codec, operation, ahead=True),
            fetch_end,
            window=window,
            page_size=self._wanted.limit or requests.WALK_LIMIT,
            numbering=Numbering(str(self._call.completion_id), 1 if order == "desc" else -1),
        )


def _doubted(page: PageContent[Page[Any]], limit: int, after: str | None) -> PageContent[Page[Any]]:
    """Return a page so that another one follows it, if it is full: only an empty one is the end.

    Some servers say `has_more: false` on each page (https://github.com/ogx-ai/ogx/issues/5611), and
    in bulk nobody would see that the rest is missing. A page that ends with its own cursor comes
    from a server that ignores it.
    """
    is_full = len(page.ids) == limit and page.ids[-1] != after
    return structs.replace(page, has_more=True) if is_full else page
