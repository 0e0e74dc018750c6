"""A call is made of attempts: send, read, and decide whether to send again.

What an answer means is `protocol`'s to say, whether and when to try again `retry`'s; here they are
held together, within one deadline, for as long as the client is open.
"""

import asyncio
import copy
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import structs

from aiomessages.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ClientClosedError,
    DecodeError,
    PaginationError,
    SchemaError,
)
from aiomessages.observe.logs import log, log_attempt, log_retry
from aiomessages.observe.operation import SILENCE
from aiomessages.settings import ApiKey, Timeout, check_key
from aiomessages.values.redaction import concealed
from aiomessages.values.secrets import SecretStr, hide
from aiomessages.wire.errors import is_foreign_404
from aiomessages.wire.responses import Response

from .cancellation import unless_ours
from .queue import Turns
from .request import Deadline, OnRetry, Read, Request, RetryDetails
from .retry import (
    RetryPolicy,
    RetryQuota,
    asks_all_to_wait,
    is_only_early,
    retry_delay,
    visibility_delay,
)
from .running import Call, Running

if TYPE_CHECKING:
    from aiomessages.http.transport import Transport


ResultT = TypeVar("ResultT")
ErrorT = TypeVar("ErrorT", bound=APIError)


class Attempts:
    """Make calls over one transport, with one retry quota, until closed."""

    def __init__(
        self,
        transport: "Transport",
        *,
        api_key: ApiKey,
        policy: RetryPolicy,
        max_bytes: int,
        on_retry: OnRetry | None,
    ) -> None:
        self._transport = transport
        self._quota = RetryQuota()
        self._api_key = _Key(api_key) if isinstance(api_key, str) else api_key
        self._policy = policy
        self._max_bytes = max_bytes
        self._on_retry = on_retry
        self._running = Running()
        self._turns: Turns | None = None
        self.telemetry = SILENCE
        self._elder: Attempts | None = None
        self._closed = False

    def share(self, elder: "Attempts") -> None:
        """Use another one's transport, quota and turns, and end when it ends."""
        self._elder = elder
        self.telemetry = elder.telemetry
        self._transport, self._quota, self._running, self._turns = elder.parts()

    def parts(self) -> tuple["Transport", RetryQuota, "Running", Turns | None]:
        """Return what may be shared."""
        return self._transport, self._quota, self._running, self._turns

    def take_turns(self, turns: Turns) -> None:
        """Send each attempt in its turn from now on; a 429 then only puts a call off.

        A 404 that is not the API's own is tried again then, as what a gateway answers.
        """
        self._turns = turns

    def in_the_line_of(self, other: "Attempts") -> "Attempts":
        """Return one that makes the same calls in the turns of another, and retries as it does.

        It ends when this one ends.
        """
        twin = copy.copy(self)
        twin._elder = self  # noqa: SLF001 a twin of its own
        twin._turns, twin._policy, twin._on_retry = other.manners()  # noqa: SLF001 as above
        return twin

    def manners(self) -> tuple[Turns | None, RetryPolicy, OnRetry | None]:
        """Return when and how often it sends, and who is told of it."""
        return self._turns, self._policy, self._on_retry

    def pay_for_one_more(self) -> bool:
        """Take what a retry costs from the quota; False if what is left does not pay for it."""
        return self._quota.take()

    @property
    def closed(self) -> bool:
        """Tell whether this one, or the one that it shares with, was closed."""
        return self._closed or (self._elder is not None and self._elder.closed)

    async def call(self, request: Request, read: Read[ResultT]) -> tuple[ResultT, int]:
        """Return what was read, and how many attempts it took: requests that were sent.

        Raises APIError, and ClientClosedError when the client is closed before the end.
        """
        self._transport.stay_in_one_process()
        self._refuse_once_closed()
        running = Call(self)
        self._running.enter(running)
        try:
            return await self._attempt_until_done(request, read, running)
        except asyncio.CancelledError:
            # Closing interrupts a call by the means that asyncio.timeout uses: a cancellation of
            # our own, taken back. Somebody else's goes its way.
            if running.was_only_interrupted():
                raise ClientClosedError("the client was closed during the call") from None
            raise
        finally:
            self._running.leave(running)

    def _refuse_once_closed(self) -> None:
        if self.closed:
            raise ClientClosedError("the client is closed; make a new one")

    async def _attempt_until_done(
        self, request: Request, read: Read[ResultT], call: "Call"
    ) -> tuple[ResultT, int]:
        began = time.monotonic()
        early = 0  # attempts that do not count as retries
        for attempt in itertools.count(1):
            try:
                result = await self._attempt_in_turn(request, read, call)
            except asyncio.CancelledError as cancelled:
                # It was waiting for a key, or for a name to be resolved: nothing was sent yet.
                raise self._at(unless_ours(cancelled), request, call.sent) from None
            except APIError as error:
                self._at(error, request, call.sent)
                if self._is_only_early(request, error):
                    early += 1
                    continue
                waited = time.monotonic() - began
                delay = self._delay(request, error, attempt=attempt - early, waited=waited)
                if delay is None:
                    raise
                self._tell(request, error, delay)
            else:
                self._quota.succeed()
                return result, call.sent
            await asyncio.sleep(delay)
        raise AssertionError("unreachable")  # pragma: no cover  # count() has no end

    def _at(self, error: ErrorT, request: Request, attempts: int) -> ErrorT:
        """Note where a call stood; a server may have put the key into the ids that it gave."""
        key = self._api_key.secret if isinstance(self._api_key, _Key) else ""
        return error.at(
            completion_id=concealed(request.completion_id, key),
            cursor=concealed(request.cursor, key),
            attempts=attempts,
        )

    def _is_only_early(self, request: Request, error: APIError) -> bool:
        """Tell whether the next turn is the remedy, and comes within the deadline."""
        if self._turns is None:
            return False
        if not is_only_early(self._policy, error, starved=self._turns.starved()):
            return False
        pause = self._turns.pause()
        if _is_beyond(request.deadline, pause):
            return False
        self._tell(request, error, pause)
        return True

    def _delay(
        self, request: Request, error: APIError, *, attempt: int, waited: float
    ) -> float | None:
        """Return the seconds until the next attempt, or None to give up."""
        if request.ahead and asks_all_to_wait(error):
            return None
        delay = poll = visibility_delay(
            self._policy, error, attempt=attempt, waited=waited, patience=request.patience
        )
        if delay is None:
            dice = random.random()  # noqa: S311 jitter
            delay = retry_delay(self._policy, error, attempt=attempt, dice=dice)
        if delay is None or _is_beyond(request.deadline, delay):
            return None  # to say now what is known is better than to wait for nothing
        # A poll is no retry, and only a retry that will be made is paid for; not one that comes
        # after a pause for all: that stops who sends more surely than the quota does.
        paused = self._turns is not None and asks_all_to_wait(error)
        return delay if poll is not None or paused or self._quota.take() else None

    def _tell(self, request: Request, error: APIError, delay: float) -> None:
        log_retry(error, delay)
        self.telemetry.retried(error)
        request.watch.retried()
        if self._on_retry is not None:
            details = RetryDetails(error.completion_id, error.cursor, error.attempts, delay, error)
            try:
                self._on_retry(details)
            except Exception:  # noqa: BLE001 whatever the hook does, the call goes on
                log.exception("on_retry failed; the call goes on")

    async def _attempt_in_turn(
        self, request: Request, read: Read[ResultT], call: "Call"
    ) -> ResultT:
        if self._turns is None:
            return await self._attempt(request, read, call)
        seconds = None if request.deadline is None else max(request.deadline.remaining(), 0.0)
        queued = time.monotonic()
        sent = await self._turns.take(seconds)
        self.telemetry.waited(time.monotonic() - queued)
        try:
            result = await self._attempt(request, read, call)
        except APIError as error:
            if is_foreign_404(error):
                error.retryable = True  # type: ignore[misc]  # as a 502 that a gateway sent
            self._turns.failed(error, sent, self._policy)
            raise
        self._turns.succeeded(sent)
        return result

    async def _attempt(self, request: Request, read: Read[ResultT], call: "Call") -> ResultT:
        timeout = _within(request.deadline, request.timeout)
        if isinstance(self._api_key, _Key):
            key = self._api_key
        else:
            key = _Key(await self._provided_key(self._api_key, timeout))
            self._refuse_once_closed()  # the key may have come in spite of a cancellation
            timeout = _within(request.deadline, request.timeout)  # anew: the key took its time
        secret, headers = key.secret, {"authorization": key.header, **request.headers}
        began = time.monotonic()
        if self._turns is not None:
            self._turns.on_sent()
        call.sent += 1
        try:
            response = await self._transport.get(
                request.url,
                headers,
                timeout=timeout,
                max_bytes=self._max_bytes,
                fresh=request.fresh,
            )
            self.telemetry.received(len(response.body))
            result = _read(response, read, secret)
        except (APIError, asyncio.CancelledError) as error:
            log_attempt(request.url, error, began=began, attempt=call.sent, secret=secret)
            self.telemetry.attempted(error)
            # What waits for a name to be resolved is cancelled before anything is sent.
            call.sent -= isinstance(error, asyncio.CancelledError)
            raise
        log_attempt(request.url, response, began=began, attempt=call.sent, secret=secret)
        self.telemetry.attempted(response)
        return result

    async def _provided_key(
        self, provide: Callable[[], Awaitable[str]], timeout: Timeout
    ) -> SecretStr:
        try:
            async with asyncio.timeout(timeout.total):
                return check_key(hide(await provide()))
        except TimeoutError:
            raise APITimeoutError(
                f"the api_key callable gave no key within {timeout.total:.3g} s"
            ) from None

    async def aclose(self) -> None:
        """End the calls under way, wait up to 5 s for them, and close the transport if owned."""
        if self._closed:
            return
        self._closed = True
        try:
            # A session closed under a body that is being read leaves the reader waiting for ever,
            # so the readers go first.
            await self._running.end(lambda owner: owner.closed)
        finally:  # also where the closer is cancelled: the readers were told to leave by then
            if self._elder is None:
                await self._transport.aclose()


class _Key:
    """A key, and the header that carries it: made once for as long as the key stays the same."""

    __slots__ = ("header", "secret")

    def __init__(self, key: str) -> None:
        self.secret = SecretStr(key)
        self.header = SecretStr(f"Bearer {key}")


_WRONG_ANSWERS: Final = (APIConnectionError, DecodeError, PaginationError, SchemaError)


def _read(response: Response, read: Read[ResultT], secret: SecretStr) -> ResultT:
    try:
        return read(response, secret=secret)
    except _WRONG_ANSWERS:  # it may be somebody else's answer, and so may be what follows it
        if response.hang_up is not None:
            response.hang_up()
        raise


def _is_beyond(deadline: Deadline | None, delay: float) -> bool:
    return deadline is not None and delay >= deadline.remaining()


def _within(deadline: Deadline | None, timeout: Timeout) -> Timeout:
    """Return the attempt's timeout, cut to what the deadline leaves."""
    if deadline is None:
        return timeout
    remaining = deadline.remaining()
    if remaining <= 0:
        raise APITimeoutError(f"the deadline of {deadline.seconds:g} s for the whole call is over")
    if timeout.total is not None and timeout.total <= remaining:
        return timeout
    return structs.replace(timeout, total=remaining)
