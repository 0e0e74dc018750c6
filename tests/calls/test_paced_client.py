"""A client that sends at a pace, over a real loopback socket: what a 429 does to its calls."""

import asyncio
from functools import partial
from typing import Any

import pytest
from loopback import Answer, Asked, Loopback, error, message, page, replies

from aiomessages import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncMessagesClient,
    ClientClosedError,
    InsufficientQuotaError,
    InternalServerError,
    MessageStream,
    NotFoundError,
    RateLimitError,
    RetryDetails,
    RetryPolicy,
)
from aiomessages.calls.rate_limit import FIRST_RATE, Pace
from aiomessages.calls.retry import MAX_STARVED, asks_all_to_wait, is_only_early
from aiomessages.client import caller_of
from aiomessages.paging.caller import CallOptions
from aiomessages.server import LocalServer
from aiomessages.wire.decoding import MESSAGES
from aiomessages.wire.requests import PageOptions

KEY = "sk-canary-0123456789"
NO_PAGE_OPTIONS = PageOptions(None, None, None, None)
NEVER = RetryPolicy(max_retries=0)
GOOD = Answer(page([message(0)]))
SOON = RetryPolicy(max_retries=2, initial_backoff=0, max_backoff=0)
TRYING = RetryPolicy(max_retries=5, initial_backoff=0, max_backoff=0)
LONG_429 = error(429, "rate_limit_exceeded", retry_after="86400")
LONG_503 = error(503, retry_after="86400")
LIMITED = error(429, "rate_limit_exceeded", retry_after_ms="1")


def client_of(server: Loopback, **options: Any) -> AsyncMessagesClient:
    """Return a client of a scripted server."""
    return AsyncMessagesClient(KEY, base_url=server.base_url, **options)


class Paced:
    """The calls of a client at a pace, as an export makes them."""

    def __init__(self, client: AsyncMessagesClient, pace: Pace, **options: Any) -> None:
        self.caller = caller_of(client).paced(pace, **options)

    def list(self, completion_id: str, **options: Any) -> MessageStream:
        """List the messages of a completion."""
        listing = self.caller.messages(completion_id, NO_PAGE_OPTIONS, CallOptions(**options))
        return listing.stream(MessageStream, MESSAGES.fresh(), prefetch=True)

    async def raw_completion(self, completion_id: str) -> bytes:
        """Fetch a completion."""
        return await self.caller.raw_completion(completion_id)


def now() -> float:
    """Return the loop's time, which a pace counts in."""
    return asyncio.get_running_loop().time()


def resting_pace() -> Pace:
    """Return a pace that pauses for longer than any test."""
    pace = Pace()
    pace.limited(now(), 1000.0, sent=now())
    return pace


# --- what is retried ------------------------------------------------------------------------------


async def test_more_refusals_than_retries() -> None:
    """A 429 delays a call, and takes neither a retry nor a token of the quota."""
    retries: list[RetryDetails] = []
    script = replies(*[LIMITED] * 4, GOOD)
    async with Loopback(script) as server:
        client = client_of(server, retry=NEVER, on_retry=retries.append)
        async with client:
            calls = Paced(client, Pace())
            calls.caller.attempts.quota.tokens = 0  # an outage takes longer
            got = await calls.list("x")
    assert got.attempts == len(server.asked) == 5
    assert [details.attempt for details in retries] == list(range(1, 5))
    assert all(isinstance(details.error, RateLimitError) for details in retries)


async def test_other_errors_between_refusals() -> None:
    """Retries of other errors are counted separately, and follow the policy."""
    policy = RetryPolicy(max_retries=1, initial_backoff=0, max_backoff=0)
    script = replies(*[LIMITED] * 3, error(500), LIMITED, error(500), GOOD)
    async with Loopback(script) as server, client_of(server, retry=policy) as client:
        with pytest.raises(InternalServerError) as raised:
            await Paced(client, Pace()).list("x")
    assert raised.value.attempts == len(server.asked) == 6


@pytest.mark.parametrize(
    "answer",
    [error(429, "insufficient_quota"), error(429, "rate_limit_exceeded", x_should_retry="false")],
    ids=["quota", "x-should-retry"],
)
async def test_refusals_that_no_waiting_helps(answer: Answer) -> None:
    """A used-up quota, and a server that refuses retries, end the call."""
    async with Loopback(replies(answer)) as server, client_of(server) as client:
        with pytest.raises(RateLimitError):
            await Paced(client, Pace()).list("x")
    assert len(server.asked) == 1


async def test_nothing_but_refusals_for_ten_minutes() -> None:
    """After ten minutes of nothing but 429s, a 429 is an error like any other."""
    pace = Pace()
    began = now() - MAX_STARVED
    pace.limited(began, 0.0, sent=began)
    async with Loopback(replies(LIMITED)) as server, client_of(server, retry=NEVER) as client:
        with pytest.raises(RateLimitError):
            await Paced(client, pace).list("x")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("problem", "all_wait", "early"),
    [
        (RateLimitError("", status=429), True, True),
        (RateLimitError("a minute", status=429, retry_after=60.0), True, True),
        (RateLimitError("longer", status=429, retry_after=60.1), True, False),
        (RateLimitError("final", status=429, headers={"x-should-retry": "false"}), True, False),
        (InsufficientQuotaError("", status=429), False, False),
        (InternalServerError("", status=503, retry_after=1.0), True, False),
        (InternalServerError("", status=503), False, False),
        (InternalServerError("", status=500, retry_after=1.0), False, False),
        (NotFoundError("", status=404), False, False),
        (APIConnectionError(""), False, False),
    ],
    ids=lambda value: repr(value) if isinstance(value, APIError) else None,
)
def test_a_wait_of_all_requests(problem: APIError, all_wait: bool, early: bool) -> None:
    """A 429 and a 503 with Retry-After pause all calls; only the 429 costs no retry."""
    assert asks_all_to_wait(problem) is all_wait
    assert is_only_early(RetryPolicy(), problem, starved=0.0) is early
    assert not is_only_early(RetryPolicy(), problem, starved=MAX_STARVED)


# --- what is reported to the pace -----------------------------------------------------------------


async def test_a_pause_for_all() -> None:
    """A 503 with Retry-After pauses all calls, though its own call may end."""
    pace = Pace()
    script = replies(error(503, retry_after="900"))
    never = RetryPolicy(max_retries=0, max_retry_after=900)
    async with Loopback(script) as server, client_of(server, retry=never) as client:
        with pytest.raises(InternalServerError):
            await Paced(client, pace).list("x")
    assert pace.paused(now()) > 800


@pytest.mark.parametrize("answer", [LONG_429, LONG_503], ids=["429", "503"])
async def test_a_wait_that_is_too_long(answer: Answer) -> None:
    """A Retry-After beyond max_retry_after ends its call at once, and holds up no other."""
    pace = Pace()
    async with Loopback(replies(answer, GOOD)) as server, client_of(server) as client:
        calls = Paced(client, pace)
        with pytest.raises(APIStatusError) as raised:
            await calls.list("x")
        assert pace.paused(now()) < 1
        await calls.list("x")
    assert (raised.value.retry_after, len(server.asked)) == (86_400.0, 2)


async def test_a_wait_for_all_is_not_paid_for() -> None:
    """A retry after a 503 with Retry-After takes nothing from the quota, as all calls paused."""
    script = replies(error(503, retry_after_ms="1"), GOOD)
    async with Loopback(script) as server, client_of(server) as client:
        calls = Paced(client, Pace())
        calls.caller.attempts.quota.tokens = 0  # an outage takes longer
        await calls.list("x")
    assert len(server.asked) == 2


# --- whose 404 it is ------------------------------------------------------------------------------

FOREIGN = [Answer(b"<html>", 404), Answer({"detail": "Not Found"}, 404), Answer(b"", 404)]


@pytest.mark.parametrize("answer", FOREIGN, ids=["html", "detail", "empty"])
async def test_a_404_of_a_gateway(answer: Answer) -> None:
    """At a pace, a 404 that is not the API's own is tried again like a 502; elsewhere it is not."""
    async with Loopback(replies(answer, GOOD)) as server, client_of(server, retry=SOON) as client:
        assert (await Paced(client, Pace()).list("x")).attempts == 2
    async with Loopback(replies(answer)) as server, client_of(server, retry=SOON) as client:
        with pytest.raises(NotFoundError) as raised:
            await Paced(client, Pace()).list("x")
        assert raised.value.attempts == len(server.asked) == 3
        with pytest.raises(NotFoundError):
            await client.list("x")
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    "answer",
    [
        error(404, "not_found"),
        Answer({"error": {"message": "Completion x not found"}}, 400),
        Answer({"error": {"message": "no", "param": "after"}}, 404),
    ],
    ids=["code", "400", "after"],
)
async def test_a_404_of_the_api(answer: Answer) -> None:
    """The API's own "not found" is an answer, and not tried again at a pace either."""
    async with Loopback(replies(answer)) as server, client_of(server, retry=SOON) as client:
        with pytest.raises(NotFoundError):
            await Paced(client, Pace()).list("x")
    assert len(server.asked) == 1


# --- how many requests were sent ------------------------------------------------------------------


async def test_counting_requests() -> None:
    """Each attempt is counted as it goes out: retried, failed in the end, cancelled on its way."""
    sent: list[None] = []
    hung = asyncio.Event()
    answers = [error(500), LIMITED, None, GOOD, error(401), error(400)]

    async def script(_: Asked) -> Answer | None:
        if answers:
            return answers.pop(0)
        hung.set()
        await asyncio.Event().wait()
        return None

    async with Loopback(script) as server, client_of(server, retry=TRYING) as client:
        count = partial(sent.append, None)
        calls = Paced(client, Pace(), on_sent=count)
        await calls.list("x")
        for _ in range(2):
            with pytest.raises(APIStatusError):
                await calls.raw_completion("x")
        call = asyncio.create_task(first_page(calls))
        await hung.wait()
        call.cancel()
        await asyncio.wait({call})
        assert len(sent) == len(server.asked) == 7
        answers.append(GOOD)
        await client.list("x")  # not at its pace
    assert len(sent) == 7


async def test_a_request_in_the_queue_is_not_sent() -> None:
    """A request that is cancelled in the queue is not sent and not counted."""
    sent: list[None] = []
    async with Loopback(replies(GOOD)) as server, client_of(server, retry=NEVER) as client:
        calls = Paced(client, resting_pace(), on_sent=partial(sent.append, None))
        with pytest.raises(APITimeoutError):
            await calls.list("x", deadline=0.01)
    assert sent == server.asked == []


@pytest.mark.parametrize(
    ("answer", "starving"),
    [
        (GOOD, False),
        (error(404, "not_found"), False),
        (error(404), True),
        (error(500), True),
        (None, True),
    ],
    ids=["200", "404", "404-foreign", "500", "none"],
)
async def test_answers_that_count_as_success(answer: Answer | None, starving: bool) -> None:
    """Any answer but a failure shows that the server allows the rate."""
    pace = Pace()
    pace.limited(now(), 0.0, sent=now())
    async with Loopback(replies(answer)) as server, client_of(server, retry=NEVER) as client:
        await asyncio.gather(first_page(Paced(client, pace)), return_exceptions=True)
    assert (pace.starved(now()) > 0) is starving


async def first_page(client: Paced) -> None:
    """Await one page, as a coroutine."""
    await client.list("x")


# --- waiting for a turn ---------------------------------------------------------------------------


async def test_a_pause_longer_than_the_deadline() -> None:
    """A pause that ends after the deadline fails the call at once."""
    script = replies(error(429, "rate_limit_exceeded", retry_after="50"))
    async with Loopback(script) as server, client_of(server, deadline=30) as client:
        with pytest.raises(RateLimitError):
            await Paced(client, Pace()).list("x")
    assert len(server.asked) == 1


async def test_a_deadline_that_ends_in_the_queue() -> None:
    """The deadline covers the wait for a turn, and nothing was sent when it ends there."""
    async with Loopback(replies(GOOD)) as server, client_of(server, retry=NEVER) as client:
        with pytest.raises(APITimeoutError, match="deadline") as caught:
            await Paced(client, resting_pace()).list("x", deadline=0.01)
    assert (caught.value.attempts, server.asked) == (0, [])


async def test_a_timeout_is_for_the_attempt_alone() -> None:
    """Waiting for a turn takes nothing from the attempt's timeout."""
    pace = Pace()
    pace.limited(now(), 0.2, sent=now())
    async with Loopback(replies(GOOD)) as server, client_of(server, retry=NEVER) as client:
        await Paced(client, pace).list("x", timeout=0.19)
    assert len(server.asked) == 1


async def test_cancelling_a_waiting_call() -> None:
    """A call that is cancelled leaves the queue, and those behind it go on waiting."""
    async with Loopback(replies(GOOD)) as server, client_of(server) as client:
        pace = resting_pace()
        calls = Paced(client, pace)
        first, second = (asyncio.create_task(first_page(calls)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled()
        assert not second.done()
        second.cancel()
        await asyncio.wait({second})
    assert server.asked == []


async def test_a_pause_that_begins_during_a_wait() -> None:
    """A call that has its slot already waits for the end of the pause as well."""
    async with Loopback(replies(GOOD)) as server, client_of(server) as client:
        pace = Pace(max_rps=5)
        pace.wait(now())
        call = asyncio.create_task(first_page(Paced(client, pace)))
        await asyncio.sleep(0)
        ends = now() + 0.3
        pace.limited(now(), 0.3, sent=now())
        await call
        assert now() >= ends
    assert len(server.asked) == 1


async def test_closing_during_a_wait() -> None:
    """A call in the queue ends with the client whose session it shares."""
    async with Loopback(replies(GOOD)) as server:
        client = client_of(server)
        call = asyncio.create_task(first_page(Paced(client, resting_pace())))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await call
    assert server.asked == []


async def test_against_the_local_server() -> None:
    """No call fails and few requests are refused if more is wanted than is allowed.

    Finding the rate costs 429s for a part of one second's requests, however many there are.
    """
    rate, refused = 50, 0

    def count(_: RetryDetails) -> None:
        nonlocal refused
        refused += 1

    async with (
        LocalServer(sample=True, rate=rate, latency=0.02) as server,
        AsyncMessagesClient(
            server.api_key, base_url=server.base_url, retry=NEVER, on_retry=count
        ) as client,
    ):
        ids = [completion.id async for completion in client.completions()]
        pace = Pace()
        calls = Paced(client, pace)
        pages = await asyncio.gather(*(walk(calls, ids[n % len(ids)]) for n in range(120)))
        assert len(pages) == 120
        assert 0 < refused < rate  # about half of it, and more where the machine is busy
        assert pace.rate != FIRST_RATE


async def walk(client: Paced, completion_id: str) -> int:
    """Read a whole conversation and return its length."""
    return len([item async for item in client.list(completion_id)])
