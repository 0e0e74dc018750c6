"""One request, and the rules by which its attempts are made."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from aiomessages.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    DecodeError,
    PaginationError,
    SchemaError,
)
from aiomessages.observe.operation import Operation
from aiomessages.settings import Timeout
from aiomessages.values.redaction import Secrets
from aiomessages.wire.requests import Resource
from aiomessages.wire.responses import Response

from .api_key import Key, ProvideKey
from .queue import Queue
from .retry import RetryPolicy

ResultT = TypeVar("ResultT")


class RetryDetails(msgspec.Struct, frozen=True):
    """The argument of `on_retry`: an attempt failed, and the next one will follow."""

    completion_id: str | None
    """Id of the completion; None for a list of completions."""
    cursor: str | None
    """The `after` of the request; None for the first page of a list."""
    attempt: int
    """Number of the attempt that failed, counted from 1."""
    delay: float
    """Seconds until the next attempt."""
    error: APIError
    """The error of the attempt that failed."""


OnRetry = Callable[[RetryDetails], object]

Read = Callable[[Response, Secrets], ResultT]
"""Return the result in a response, or raise the error that it is; the secrets are in none."""

# After one of these errors, the response may belong to another request, and so may the next bytes.
_WRONG_ANSWERS: Final = (APIConnectionError, DecodeError, PaginationError, SchemaError)


def read_or_hang_up(response: Response, read: Read[ResultT], secret: Secrets) -> ResultT:
    """Read a response; end the connection of a wrong one. An error names a proxy in between."""
    try:
        return read(response, secret)
    except APIError as error:
        if isinstance(error, _WRONG_ANSWERS) and response.hang_up is not None:
            response.hang_up()
        if response.forwarded_by and "json" not in response.headers.get("content-type", ""):
            proxy = response.forwarded_by.removeprefix("the ")
            error.hint = f"The {proxy} may have answered in place of the API."
        raise


class Deadline:
    """The end of a whole call: `seconds` after its first request, by the loop's clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends: float | None = None

    def remaining(self) -> float:
        """Return the seconds that are left; the first call starts the clock."""
        now = asyncio.get_running_loop().time()
        if self._ends is None:
            self._ends = now + self.seconds
        return self._ends - now


def is_beyond(deadline: Deadline | None, delay: float) -> bool:
    """Return whether a wait of `delay` seconds would leave no time before the deadline."""
    return deadline is not None and delay >= deadline.remaining()


def within(deadline: Deadline | None, timeout: Timeout) -> Timeout:
    """Return the timeout of one attempt, cut to what the deadline leaves.

    Raises APITimeoutError if no time is left.
    """
    if deadline is None:
        return timeout
    remaining = deadline.remaining()
    if remaining <= 0:
        raise APITimeoutError(f"the deadline of {deadline.seconds:g} s for the whole call is over")
    if timeout.total is not None and timeout.total <= remaining:
        return timeout
    return msgspec.structs.replace(timeout, total=remaining)


class Call(msgspec.Struct, frozen=True):
    """The part that all requests of one call have in common.

    `patience` is the number of seconds in which a 404 may mean that the completion is not visible
    yet, and is requested again. `credentials` are those in the headers.
    """

    resource: Resource
    headers: Mapping[str, str]
    timeout: Timeout
    deadline: Deadline | None
    completion_id: str | None
    patience: float
    credentials: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True):
    """One GET request, with all facts that its attempts need.

    A request that is sent `ahead` of its need is not repeated if the server asks all to wait: it
    gives way to the others. A `fresh` request goes on a connection that carried none before.
    """

    call: Call
    target: str
    cursor: str | None = None
    patience: float = 0.0
    ahead: bool = False
    fresh: bool = False
    operation: Operation | None = None


class Rules(msgspec.Struct, frozen=True):
    """The rules of calls: their key, their retries, and the bytes that an answer may have at most.

    With a `queue` each attempt waits for its slot, and a 429 only puts a call off. A 404 that is
    not the API's own is tried again then, like an answer of a gateway.
    """

    api_key: Key | ProvideKey
    policy: RetryPolicy
    max_bytes: int
    on_retry: OnRetry | None
    queue: Queue | None = None
