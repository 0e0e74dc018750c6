"""A call is made of attempts: send, read, and decide whether to send again.

`wire` reads a response, and `retry` decides whether and when to try again. This module connects
them, within one deadline, while the client is open.
"""

import asyncio
import copy
import itertools
import random
import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from aiomessages.errors import (
    APIError,
    AuthenticationError,
    ClientClosedError,
)
from aiomessages.observe.logs import log, log_attempt, log_retry
from aiomessages.settings import UnusableKeyError
from aiomessages.values.redaction import concealed
from aiomessages.wire.errors import is_foreign_404

from .api_key import Key, gives_another, provided
from .request import (
    Read,
    Request,
    RetryDetails,
    Rules,
    is_beyond,
    read_or_hang_up,
    within,
)
from .retry import (
    RetryQuota,
    asks_all_to_wait,
    is_only_early,
    retry_delay,
    visibility_delay,
)
from .running import RunningCall, RunningCalls, translate_cancellation

if TYPE_CHECKING:
    from aiomessages.http.transport import Transport
    from aiomessages.observe.operation import Listener


ResultT = TypeVar("ResultT")
ErrorT = TypeVar("ErrorT", bound=APIError)


class Attempts:
    """Make calls by certain rules until closed. A child ends with its parent.

    It shares the transport, the retry quota and the set of calls under way.
    """

    def __init__(self, transport: "Transport", rules: Rules) -> None:
        self.transport, self.rules = transport, rules
        self.quota = RetryQuota()
        self.listener: Listener | None = None
        self._running = RunningCalls()
        self._parent: Attempts | None = None
        self._closed = False

    def child(self, rules: Rules) -> "Attempts":
        """Return attempts by other rules, over the same transport."""
        child = copy.copy(self)
        child.rules, child._parent, child._closed = rules, self, False  # noqa: SLF001 its own class
        return child

    def paced_like(self, other: "Attempts") -> "Attempts":
        """Return attempts that wait in the queue of others, and retry as those do."""
        theirs = other.rules
        return self.child(
            msgspec.structs.replace(
                self.rules, queue=theirs.queue, policy=theirs.policy, on_retry=theirs.on_retry
            )
        )

    def pay_for_one_more(self) -> bool:
        """Take the cost of a retry from the quota; return False if too little is left."""
        return self.quota.take()

    @property
    def closed(self) -> bool:
        """Whether these attempts, or their parent's, were closed."""
        return self._closed or (self._parent is not None and self._parent.closed)

    async def call(self, request: Request, read: Read[ResultT]) -> tuple[ResultT, int]:
        """Return the result of `read`, and the number of requests that were sent for it.

        Raises APIError, and ClientClosedError when the client is closed before the end.
        """
        self.transport.stay_in_one_process()
        self._refuse_once_closed()
        running = RunningCall(self)
        self._running.enter(running)
        try:
            return await self._attempt_until_done(request, read, running)
        except asyncio.CancelledError:
            # Closing interrupts a call as asyncio.timeout does: by a cancellation of its own, which
            # is taken back. Another cancellation is passed on.
            if running.was_only_interrupted():
                raise ClientClosedError("the client was closed during the call") from None
            raise
        finally:
            self._running.leave(running)

    def _refuse_once_closed(self) -> None:
        if self.closed:
            raise ClientClosedError("the client is closed; make a new one")

    async def _attempt_until_done(
        self, request: Request, read: Read[ResultT], running: RunningCall
    ) -> tuple[ResultT, int]:
        began = time.monotonic()
        put_off = 0  # attempts that do not count as retries
        for attempt in itertools.count(1):
            try:
                result = await self._attempt_in_turn(request, read, running)
            except asyncio.CancelledError as cancelled:
                # The attempt was waiting for a key, or for a name to be resolved: nothing was sent
                # yet.
                raise self._locate(translate_cancellation(cancelled), request, running) from None
            except APIError as error:
                self._locate(error, request, running)
                other_key = await self._has_other_key(request, error, running)
                if other_key or self._is_put_off(request, error):
                    put_off += 1
                    continue
                waited = time.monotonic() - began
                delay = self._delay(request, error, attempt=attempt - put_off, waited=waited)
                if delay is None:
                    raise
                self._report_retry(request, error, delay)
            else:
                self.quota.succeed()
                return result, running.sent
            await asyncio.sleep(delay)
        raise AssertionError("unreachable")  # pragma: no cover  # count() has no end

    def _locate(self, error: ErrorT, request: Request, running: RunningCall) -> ErrorT:
        """Note in an error where the call stood; an id of the server's may hold the key."""
        key = running.key or self.rules.api_key
        secret = (key.secret if isinstance(key, Key) else "", *request.call.credentials)
        return error.at(
            completion_id=concealed(request.call.completion_id, secret),
            cursor=concealed(request.cursor, secret),
            attempts=running.sent,
        )

    async def _has_other_key(self, request: Request, error: APIError, running: RunningCall) -> bool:
        """Return whether the callable gives another key than the refused one; a call asks once.

        If so, report a retry.
        """
        provide, refused = self.rules.api_key, running.key
        if isinstance(provide, Key) or refused is None or running.asked_again:
            return False
        if not isinstance(error, AuthenticationError):
            return False
        running.asked_again = True
        try:
            seconds = within(request.call.deadline, request.call.timeout).total
            if not await gives_another(provide, refused, seconds):
                return False
        except (APIError, UnusableKeyError) as problem:
            error.hint = f"There is no other key: {str(problem).rstrip('.')}."
            return False
        self._refuse_once_closed()  # the callable may ignore a cancellation
        self._report_retry(request, error, 0.0)
        return True

    def _is_put_off(self, request: Request, error: APIError) -> bool:
        """Return whether another turn in the queue helps, and comes before the deadline.

        If so, report a retry.
        """
        queue = self.rules.queue
        if queue is None or not is_only_early(self.rules.policy, error, starved=queue.starved()):
            return False
        pause = queue.pause()
        if is_beyond(request.call.deadline, pause):
            return False
        self._report_retry(request, error, pause)
        return True

    def _delay(
        self, request: Request, error: APIError, *, attempt: int, waited: float
    ) -> float | None:
        """Return the seconds until the next attempt, or None to give up."""
        policy, paused = self.rules.policy, asks_all_to_wait(error)
        if request.ahead and paused:
            return None
        delay = poll = visibility_delay(
            policy, error, attempt=attempt, waited=waited, patience=request.patience
        )
        if delay is None:
            dice = random.random()  # noqa: S311 jitter
            delay = retry_delay(policy, error, attempt=attempt, dice=dice)
        if delay is None or is_beyond(request.call.deadline, delay):
            return None  # raise now: the wait would be in vain
        # A poll is no retry, and only a retry that will be made is paid for. A retry after a pause
        # of all calls is not paid for either: the pause limits the requests more than the quota
        # does.
        if poll is not None or (paused and self.rules.queue is not None):
            return delay
        return delay if self.quota.take() else None

    def _report_retry(self, request: Request, error: APIError, delay: float) -> None:
        log_retry(error, delay)
        if self.listener is not None:
            self.listener.retried(error)
        if request.operation is not None:
            request.operation.retried()
        on_retry = self.rules.on_retry
        if on_retry is not None:
            details = RetryDetails(error.completion_id, error.cursor, error.attempts, delay, error)
            try:
                on_retry(details)
            except Exception:  # noqa: BLE001 whatever the hook does, the call goes on
                log.exception("on_retry failed; the call continues")

    async def _attempt_in_turn(
        self, request: Request, read: Read[ResultT], running: RunningCall
    ) -> ResultT:
        queue = self.rules.queue
        if queue is None:
            return await self._attempt(request, read, running)
        deadline = request.call.deadline
        seconds = None if deadline is None else max(deadline.remaining(), 0.0)
        queued = time.monotonic()
        sent_at = await queue.take(seconds)
        if self.listener is not None:
            self.listener.waited(time.monotonic() - queued)
        try:
            result = await self._attempt(request, read, running)
        except APIError as error:
            if is_foreign_404(error):
                error.retryable = True  # type: ignore[misc]  # like a 502 of a gateway
            queue.failed(error, sent_at, self.rules.policy)
            raise
        queue.succeeded(sent_at)
        return result

    async def _attempt(
        self, request: Request, read: Read[ResultT], running: RunningCall
    ) -> ResultT:
        call, rules = request.call, self.rules
        timeout = within(call.deadline, call.timeout)
        key = rules.api_key
        if not isinstance(key, Key):
            key = await provided(key, timeout.total)
            self._refuse_once_closed()  # the callable may ignore a cancellation
            timeout = within(call.deadline, call.timeout)  # once more, as the key took time
        running.key = key
        secret = (key.secret, *call.credentials)
        if rules.queue is not None:
            rules.queue.on_sent()
        began = time.monotonic()
        running.sent += 1
        try:
            response = await self.transport.get(
                call.resource.origin,
                request.target,
                {**key.headers, **call.headers},
                timeout=timeout,
                max_bytes=rules.max_bytes,
                fresh=request.fresh,
            )
            if self.listener is not None:
                self.listener.received(len(response.body))
            result = read_or_hang_up(response, read, secret)
        except (APIError, asyncio.CancelledError) as error:
            log_attempt(request.target, error, began=began, attempt=running.sent, secret=secret)
            if self.listener is not None:
                self.listener.attempted(error)
            # A request that waits for a name to be resolved is cancelled before it is sent.
            running.sent -= isinstance(error, asyncio.CancelledError)
            raise
        log_attempt(request.target, response, began=began, attempt=running.sent, secret=secret)
        if self.listener is not None:
            self.listener.attempted(response)
        return result

    async def aclose(self) -> None:
        """End the calls under way, wait up to 5 s for them, and close the transport if owned."""
        if self._closed:
            return
        self._closed = True
        try:
            # If the session is closed while a body is read, its reader waits forever, so the
            # readers end first.
            await self._running.end()
        finally:  # even if closing is cancelled: the readers are ending by then
            if self._parent is None:
                await self.transport.aclose()
