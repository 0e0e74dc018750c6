"""One request, and what its attempts need to know."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

from aiomessages.errors import APIError
from aiomessages.observe.operation import UNWATCHED, Watch
from aiomessages.settings import Timeout
from aiomessages.wire.responses import Response

ResultT_co = TypeVar("ResultT_co", covariant=True)


class RetryDetails(msgspec.Struct, frozen=True):
    """What `on_retry` is told: attempt 1, 2, … failed by `error`; the next follows in `delay` s."""

    completion_id: str | None
    cursor: str | None
    attempt: int
    delay: float
    error: APIError


OnRetry = Callable[[RetryDetails], object]


class Deadline:
    """When a whole call must be over: `seconds` after its first request, by the loop's clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends: float | None = None

    def remaining(self) -> float:
        """Return the seconds that are left; the first call starts the clock."""
        now = asyncio.get_running_loop().time()
        if self._ends is None:
            self._ends = now + self.seconds
        return self._ends - now


class Request(msgspec.Struct, frozen=True):
    """One GET request with all that its attempts need to know.

    `patience` is how many seconds a 404 may mean "not visible yet". What is asked for
    `ahead` of its time is not repeated where the server asks all to wait: it gives way to the rest.
    One that is to be `fresh` goes on a connection that carried no request before.
    """

    url: str
    headers: Mapping[str, str]
    timeout: Timeout
    deadline: Deadline | None = None
    completion_id: str | None = None
    cursor: str | None = None
    patience: float = 0.0
    ahead: bool = False
    fresh: bool = False
    watch: Watch = UNWATCHED


class Read(Protocol[ResultT_co]):
    """What turns a response into a result, or raises the error that it is."""

    def __call__(self, response: Response, *, secret: str) -> ResultT_co:
        """Read; `secret` is what must not stand in any error."""
        ...
