"""A call and its attempts, over a transport that gives scripted responses and opens no socket."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomessages import DecodeError, InternalServerError, RateLimitError, RetryPolicy, Timeout
from aiomessages.calls.api_key import Key
from aiomessages.calls.attempts import Attempts
from aiomessages.calls.queue import SendQueue
from aiomessages.calls.rate_limit import Pace
from aiomessages.calls.request import Call, Request, Rules
from aiomessages.calls.retry import RetryQuota
from aiomessages.calls.running import RunningCall
from aiomessages.observe.operation import Operation
from aiomessages.wire.requests import Resource
from aiomessages.wire.responses import Response

AT_ONCE = RetryPolicy(max_retries=2, initial_backoff=0, max_backoff=0)
RESOURCE = Resource("http://127.0.0.1", "/v1/chat/completions", {})
CALL = Call(RESOURCE, {}, Timeout(total=5), None, "chatcmpl-1", 0.0)
REQUEST = Request(CALL, RESOURCE.target())


def rules(**changes: Any) -> Rules:
    """Return rules that retry at once, with some of them changed."""
    given = {"api_key": Key("sk-1"), "policy": AT_ONCE, "max_bytes": 1000, "on_retry": None}
    return Rules(**{**given, **changes})


class Scripted:
    """A transport that gives responses of these statuses, and notes the keys that it gets."""

    def __init__(self, *statuses: int, hang_up: Callable[[], object] | None = None) -> None:
        self.statuses, self.hang_up = list(statuses), hang_up
        self.keys: list[str] = []

    def stay_in_one_process(self) -> None:
        """Check nothing."""

    async def get(
        self, _origin: str, _target: str, headers: Mapping[str, str], **_: object
    ) -> Response:
        """Return the next response."""
        self.keys.append(headers["authorization"])
        status = self.statuses.pop(0)
        return Response(status, CIMultiDict(), b"body", 0.0, hang_up=self.hang_up)


def attempts_over(transport: Any, **changes: Any) -> Attempts:
    """Return attempts over a transport."""
    return Attempts(transport, rules(**changes))


def status_of(response: Response, secret: str) -> int:
    """Return the status, or raise the error of a 429 or a 500."""
    assert secret
    if response.status == 429:
        raise RateLimitError("limited", status=429, retry_after=0.0)
    if response.status == 500:
        raise InternalServerError("broken", status=500)
    return response.status


class Notes:
    """Notes the calls that a listener gets, and the outcome of each attempt."""

    def __init__(self) -> None:
        self.notes: list[object] = []

    def attempted(self, outcome: object) -> None:
        """Note an attempt."""
        self.notes.append(outcome.status if isinstance(outcome, Response) else type(outcome))

    def received(self, size: int) -> None:
        """Note a body."""
        self.notes.append(f"{size} bytes")

    def retried(self, error: Exception) -> None:
        """Note a retry."""
        self.notes.append(f"after {type(error).__name__}")

    def waited(self, seconds: float) -> None:
        """Note a wait in the queue."""
        assert 0 <= seconds < 1
        self.notes.append("waited")


async def test_calls_of_a_listener() -> None:
    """A listener follows each attempt: the wait in the queue, the body, the outcome, the retry."""
    attempts = attempts_over(Scripted(500, 429, 200), queue=SendQueue(Pace()))
    listener: Any = Notes()
    attempts.listener = listener
    operation = Operation()
    request = Request(CALL, RESOURCE.target(), operation=operation)
    assert await attempts.call(request, status_of) == (200, 3)
    turn = ["waited", "4 bytes"]
    assert listener.notes == [
        *(*turn, InternalServerError, "after InternalServerError"),
        *(*turn, RateLimitError, "after RateLimitError"),
        *(*turn, 200),
    ]


async def test_a_child_has_the_listener() -> None:
    """A child reports to the listener of its parent, and ends with it."""
    attempts = attempts_over(Scripted(200))
    listener: Any = Notes()
    attempts.listener = listener
    child = attempts.child(rules())
    await child.call(REQUEST, status_of)
    assert listener.notes == ["4 bytes", 200]


async def test_a_request_ahead_gives_way() -> None:
    """A request that is sent ahead of its need is not repeated where all are asked to wait."""
    transport = Scripted(500, 429, 200)
    ahead = Request(CALL, RESOURCE.target(), ahead=True)
    with pytest.raises(RateLimitError) as caught:
        await attempts_over(transport).call(ahead, status_of)
    assert (caught.value.attempts, transport.statuses) == (2, [200])


async def test_attempts_that_are_paced_like_others() -> None:
    """Paced attempts wait in the queue of the others and retry as those do, with their own key."""
    sent: list[None] = []
    retries: list[object] = []
    transport, queue = Scripted(500, 200), SendQueue(Pace(), lambda: sent.append(None))
    others = attempts_over(transport, queue=queue, on_retry=retries.append)
    paced = Attempts(
        others.transport, rules(api_key=Key("sk-2"), policy=RetryPolicy(max_retries=0))
    )
    assert await paced.paced_like(others).call(REQUEST, status_of) == (200, 2)
    assert transport.keys == ["Bearer sk-2"] * 2
    assert (len(sent), len(retries)) == (2, 1)


def test_paying_for_one_more() -> None:
    """A request beyond the retries costs what a retry does, until the quota is spent."""
    attempts = attempts_over(Scripted())
    paid = sum(attempts.pay_for_one_more() for _ in range(RetryQuota.CAPACITY))
    assert paid == RetryQuota.CAPACITY // RetryQuota.RETRY_COST


@pytest.mark.parametrize("closes", [True, False])
async def test_the_connection_of_a_wrong_response(closes: bool) -> None:
    """A response that cannot be read ends its connection, where the transport lets it."""
    ended: list[bool] = []
    transport = Scripted(200, hang_up=(lambda: ended.append(True)) if closes else None)

    def read(response: Response, secret: str) -> int:
        raise DecodeError(f"{response}, and a key of {len(secret)} characters")

    with pytest.raises(DecodeError):
        await attempts_over(transport, policy=RetryPolicy(max_retries=0)).call(REQUEST, read)
    assert ended == [True] * closes


async def test_interrupting_a_call_twice() -> None:
    """A call that is interrupted twice is cancelled once, and takes that back as it leaves."""
    running = RunningCall(attempts_over(Scripted()))
    task = asyncio.current_task()
    assert task is not None
    running.interrupt()
    running.interrupt()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert task.cancelling() == 1
    assert running.was_only_interrupted()
    running.leave()
    assert task.cancelling() == 0
