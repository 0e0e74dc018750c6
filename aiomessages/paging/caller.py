"""The caller: every request of a client is built here, whole, and every list begins here.

A client checks the arguments of its users, and returns streams to them. Exports, the blocking
client and telemetry call the API in the client's name through its caller, and use none of the
client's underscore names.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, structs

from aiomessages.calls.attempts import Attempts
from aiomessages.calls.queue import Queue, SendQueue
from aiomessages.calls.rate_limit import Pace
from aiomessages.calls.request import Call, Deadline, OnRetry, Request
from aiomessages.models import StoredCompletion
from aiomessages.observe.operation import Kind, Listener, Operation
from aiomessages.settings import Settings, Timeout, check_headers, check_seconds
from aiomessages.values.headers import credentials_in
from aiomessages.wire.decoding import MESSAGES, Codec, decode_completion, decode_raw_completion
from aiomessages.wire.requests import API, PageOptions, Resource, check_completion_id
from aiomessages.wire.responses import read_completion

from .listing import Listing
from .page_size import PageSize
from .plain_walk import PlainWalk


class CallOptions(msgspec.Struct, frozen=True):
    """The options of one call, as its user gave them.

    `timeout` and `deadline` are in seconds, and the client's where they are UNSET. The values of
    `headers` are hidden already, and `query` is checked. `patience` is the number of seconds in
    which a 404 is asked for again.
    """

    timeout: Timeout | float | UnsetType | None = UNSET
    deadline: float | UnsetType | None = UNSET
    headers: Mapping[str, str] | None = None
    query: Mapping[str, str] = {}
    patience: float = 0.0


ResultT = TypeVar("ResultT")

DEFAULT: Final = CallOptions()


class Caller:
    """Make the calls of one client, or of a part of its work that is paced by itself."""

    def __init__(
        self,
        settings: Settings,
        attempts: Attempts,
        *,
        headers: Mapping[str, str],
        timeout: Timeout,
        deadline: float | None,
    ) -> None:
        self.base_url = settings.base_url
        self.attempts = attempts
        self._settings = settings
        self._api = API(settings.base_url)
        self._headers = headers
        self._credentials = tuple(credentials_in(headers))
        self._timeout = timeout
        self._deadline = deadline

    # --- other callers ----------------------------------------------------------------------------

    def child_of(self, parent: "Caller") -> "Caller":
        """Return this caller over the session of another one, with which it ends."""
        return self._with(parent.attempts.child(self.attempts.rules))

    def paced(
        self,
        pace: Pace,
        *,
        max_retry_after: float | None = None,
        on_retry: OnRetry | None = None,
        on_sent: Callable[[], object] | None = None,
    ) -> "Caller":
        """Return a caller that sends at a pace, and ends with this one.

        A 429 fails no call of it, unless there was nothing else for ten minutes, or it asks to wait
        for longer than `max_retry_after` seconds (None: the policy's). `on_sent` is called once for
        each request that is sent, whatever its outcome.
        """
        queue = SendQueue(pace, on_sent)
        return self.queued(queue, max_retry_after=max_retry_after, on_retry=on_retry)

    def queued(
        self,
        queue: Queue,
        *,
        max_retry_after: float | None = None,
        on_retry: OnRetry | None = None,
    ) -> "Caller":
        """Return a caller that sends as a queue allows it; all else is as for `paced`."""
        rules = self.attempts.rules
        policy = rules.policy
        if max_retry_after is not None:
            policy = structs.replace(policy, max_retry_after=max_retry_after)
        paced = structs.replace(
            rules,
            queue=queue,
            policy=policy,
            on_retry=on_retry or rules.on_retry,
        )
        return self._with(self.attempts.child(paced))

    def _with(self, attempts: Attempts) -> "Caller":
        made = copy.copy(self)
        made.attempts = attempts
        return made

    # --- calls ------------------------------------------------------------------------------------

    def messages(
        self, completion_id: str, wanted: PageOptions, options: CallOptions = DEFAULT
    ) -> Listing:
        """Return the list of the messages of one completion.

        Raises ConfigurationError for an id or options that cannot be used.
        """
        completion_id = check_completion_id(completion_id)
        order = {"order": wanted.order} if wanted.order else {}
        query = self._query(order, options)
        call = self._call(self._api.messages(completion_id, query), options, completion_id)
        return Listing(self.attempts, call, wanted)

    def completions(
        self, wanted: PageOptions, query: Mapping[str, str], options: CallOptions = DEFAULT
    ) -> Listing:
        """Return the list of the stored completions. Raises ConfigurationError as `messages`."""
        # The order is always sent, since servers differ in their defaults.
        order = {"order": wanted.order or "asc"}
        merged = self._query({**order, **query}, options)
        return Listing(self.attempts, self._call(self._api.completions(merged), options), wanted)

    def plain_walk(
        self,
        completion_id: str,
        codec: Codec = MESSAGES,
        *,
        limit: int | None = None,
        page_size: PageSize | None = None,
        wait_until_visible: float = 0.0,
    ) -> PlainWalk[Any]:
        """Return the pages of `messages`, none of which is fetched ahead.

        A page that is too large is requested again with half the limit, down to 1. The walks of one
        run may share a `page_size`; `limit` is for a walk that shares none.
        """
        wanted = PageOptions(None, limit, None, None)
        listing = self.messages(completion_id, wanted, CallOptions(patience=wait_until_visible))
        return listing.plain_walk(codec, page_size or PageSize(limit))

    async def completion(
        self, completion_id: str, options: CallOptions = DEFAULT
    ) -> StoredCompletion:
        """Fetch one stored completion."""
        return await self._fetch_completion(decode_completion, completion_id, options)

    async def raw_completion(self, completion_id: str, options: CallOptions = DEFAULT) -> bytes:
        """Fetch one stored completion as the exact bytes that the server sent."""
        return await self._fetch_completion(decode_raw_completion, completion_id, options)

    async def _fetch_completion(
        self,
        decode: Callable[[bytes], tuple[str, ResultT]],
        completion_id: str,
        options: CallOptions,
    ) -> ResultT:
        completion_id = check_completion_id(completion_id)
        resource = self._api.completion(completion_id, self._query({}, options))
        call = self._call(resource, options, completion_id)
        request = Request(call, resource.target(), patience=call.patience)
        read = partial(read_completion, decode=decode, completion_id=completion_id)
        result, _ = await self.attempts.call(request, read)
        return result

    def _query(self, query: Mapping[str, str], options: CallOptions) -> dict[str, str]:
        return {**self._settings.query, **query, **options.query}

    def _call(
        self, resource: Resource, options: CallOptions, completion_id: str | None = None
    ) -> Call:
        check_seconds("wait_until_visible", options.patience or None)
        seconds = self._deadline if options.deadline is UNSET else options.deadline
        check_seconds("deadline", seconds)
        headers = self._headers
        credentials = self._credentials
        if options.headers:
            headers = {**headers, **check_headers(options.headers)}
            credentials = tuple(credentials_in(headers))
        return Call(
            resource,
            headers,
            timeout=self._timeout if options.timeout is UNSET else Timeout.of(options.timeout),
            deadline=None if seconds is None else Deadline(seconds),
            completion_id=completion_id,
            patience=options.patience,
            credentials=credentials,
        )

    # --- observed ---------------------------------------------------------------------------------

    def operation(self, kind: Kind) -> Operation:
        """Return an operation that is made of many calls, such as an export."""
        return Operation(self.attempts.listener, kind)

    def instrument(self, listener: Listener) -> None:
        """Report the calls of this caller, and of its children from now on, to a listener."""
        self.attempts.listener = listener
