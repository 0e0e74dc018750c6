"""The faults of the network, of servers and of callers: one table of their outcomes.

Each fault is played over a real loopback socket, most of them on the second page of three. For
every fault: earlier items are delivered once and in order; a failed stream never looks finished;
the server saw as many requests as the error says; no task, connection or slot of the pool is left;
and the key, which the servers send back in every possible place, is never shown.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from faults import addresses, consumers
from faults.canary import KEY, shown_by_error, shown_by_log
from faults.consumers import HELD_BACK, Consumer, Outcome
from faults.plays import FAULTS, NONSENSE
from faults.raw_server import COMPLETION, CONVERSATION, LIMIT, RawServer

from aiomessages import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AsyncMessagesClient,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    RateLimitError,
    RedirectError,
    ResponseTooLargeError,
    RetryDetails,
    RetryPolicy,
    SchemaError,
    Timeout,
    TLSError,
    UnprocessableEntityError,
)
from aiomessages.client import caller_of
from aiomessages.http.pool import Pool
from aiomessages.http.shortcut import self_check
from aiomessages.settings import UnusableKeyError

BACKOFF = 0.001
AT_ONCE = RetryPolicy(initial_backoff=BACKOFF, max_backoff=BACKOFF, jitter=0)
ONE_RETRY = RetryPolicy(max_retries=1, initial_backoff=BACKOFF, max_backoff=BACKOFF, jitter=0)
SMALL = 1 << 20  # the limit of a body in bytes, for a case of one that is too large
SHORT = 0.4  # seconds, for an attempt that runs out; long enough for a page on a busy machine

Address = Callable[[], AbstractContextManager[str]]
Session = Callable[[], AbstractAsyncContextManager[aiohttp.ClientSession]]


@dataclass(frozen=True)
class Case:
    """A row of the table: a fault, by its name in FAULTS, and what must come of it."""

    row: str
    fault: str
    error: type[BaseException] | None = None
    attempts: int = 1  # for the affected page
    page: int = 2  # that page; 0 for every page
    facts: Mapping[str, Any] = field(default_factory=dict)  # attributes of the error
    says: str = ""  # a part of its text
    delays: tuple[float, ...] | None = None  # seconds before each retry, as on_retry gets them
    give_or_take: float = 0.0  # seconds, where a delay is by the clock
    messages: int | None = None  # delivered; without it, all up to the fault
    requests: int | None = None  # seen by the server; without it, a page each and the attempts
    check: Callable[[Outcome, RawServer], None] | None = None
    # special settings of the case
    consumer: Consumer = consumers.walk
    client: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    host: str = "127.0.0.1"  # the host name of the server
    address: Address | None = None
    session: Session | None = None
    certificate: str | None = None
    logged: str = ""

    def __str__(self) -> str:
        return f"{self.row}-{self.fault}"

    @property
    def delivered(self) -> int:
        """The number of messages that must arrive."""
        if self.messages is not None:
            return self.messages
        return len(CONVERSATION) if self.error is None else (self.page - 1) * LIMIT

    @property
    def seen(self) -> int:
        """The number of requests that the server must see."""
        if self.requests is not None:
            return self.requests
        pages = self.page - 1 if self.error else len(CONVERSATION) // LIMIT - 1
        return pages + self.attempts


def fails(row: int | str, fault: str, error: type[BaseException], **more: Any) -> Case:
    """Return the outcome of a fault that is not retried."""
    return Case(str(row), fault, error, **more)


def retried(row: int | str, fault: str, error: type[BaseException], **more: Any) -> Case:
    """Return the outcome of a fault that is retried, and its final error."""
    return Case(str(row), fault, error, **{"attempts": 3, **more})


def works(row: int | str, fault: str, **more: Any) -> Case:
    """Return the outcome of a harmless fault: all messages arrive."""
    return Case(str(row), fault, **more)


def lasts(row: int | str, fault: str, says: str, *, in_body: bool = False, **timeout: Any) -> Case:
    """Return the outcome of a fault that times out, before the headers or after them."""
    options = {"timeout": Timeout(**timeout), "retry": ONE_RETRY}
    return retried(
        row,
        fault,
        APITimeoutError,
        attempts=2,
        says=says,
        client=options,
        facts={"in_body": in_body},
    )


def refused(row: int, fault: str, setting: str, value: Any) -> Case:
    """Return the outcome of a call that is refused before anything is sent."""
    where = {"completion_id": "call"}.get(setting, "client")
    fields: dict[str, Any] = {where: {setting: value}}
    error = {"api_key": UnusableKeyError}.get(setting, ConfigurationError)
    return Case(str(row), fault, error, attempts=0, page=1, requests=0, **fields)


def unreachable(row: int | str, fault: str, error: type[BaseException], **more: Any) -> Case:
    """Return the outcome for a server that no request reaches."""
    return retried(row, fault, error, **{"page": 1, "requests": 0, **more})


def leaves(fault: str, consumer: Consumer, **more: Any) -> Case:
    """Return the outcome of a consumer that leaves while page 2 is held back."""
    return Case("40", fault, consumer=consumer, **{"messages": LIMIT, "requests": 2, **more})


def affected_message(outcome: Outcome) -> Any:
    """Return the first message of the affected page."""
    return outcome.items[LIMIT]


def all_of_it(outcome: Outcome, _: RawServer) -> None:
    """Check that every unknown value of a message is delivered."""
    sent = affected_message(outcome).to_dict()
    assert (sent["role"], sent["mood"]) == ("critic", "new")
    assert sent["content_parts"] == [{"type": "hologram", "hologram": {"x": 1}}]


def unknown_role(outcome: Outcome, _: RawServer) -> None:
    """Check that an unknown role is delivered among known fields."""
    assert affected_message(outcome).to_dict()["mood"] == "new"


def what_does_not_fit(outcome: Outcome, _: RawServer) -> None:
    """Check that a message with wrong types is delivered, with its mismatches."""
    message = affected_message(outcome)
    places = ("$.role", "$.content", "$.tool_calls[0].type", "$.refusal")
    assert {*message.mismatches} >= {*places}
    assert (message.role, message.content, message.refusal) == ("", None, None)
    assert message.to_dict()["content"] == ["x"]


def nobody_elsewhere(_: Outcome, server: RawServer) -> None:
    """Check that no request follows a redirect."""
    assert server.strangers == 0


def no_cookies(_: Outcome, server: RawServer) -> None:
    """Check that no cookie is sent back on any connection."""
    assert server.connections == 3
    assert not any("cookie" in exchange.headers for exchange in server.asked)


def new_connections(_: Outcome, server: RawServer) -> None:
    """Check that a broken connection is not used again."""
    assert len({exchange.connection for exchange in server.asked if exchange.number == 2}) == 3


def replacement(outcome: Outcome, _: RawServer) -> None:
    """Check that a lone surrogate is replaced."""
    assert affected_message(outcome).content == "a \ufffd emoji"


def untouched(outcome: Outcome, _: RawServer) -> None:
    """Check that the bytes are those that the server sent."""
    assert rb"a \ud83d emoji" in affected_message(outcome)


WRONG_HTTP: dict[str, Any] = {"says": "rules of HTTP", "facts": {"retryable": False}}
CAP = {"max_response_bytes": SMALL}

TABLE = [
    unreachable(1, "refused", APIConnectionError, address=addresses.nobody_listens),
    unreachable(
        2,
        "no-such-name",
        APIConnectionError,
        session=addresses.knowing_no_names,
        client={"base_url": "https://api.example/v1"},
        says="resolve",
    ),
    unreachable(
        "3a",
        "blackhole",
        APITimeoutError,
        attempts=2,
        address=addresses.blackhole,
        client={"timeout": Timeout(connect=0.1), "retry": ONE_RETRY},
        says="(connect)",
    ),
    unreachable(
        "3b",
        "no-handshake",
        APITimeoutError,
        attempts=2,
        address=addresses.no_handshake,
        client={"timeout": Timeout(total=0.1), "retry": ONE_RETRY},
        says="(total)",
    ),
    *(
        unreachable(
            4,
            f"{certificate}-certificate",
            TLSError,
            attempts=1,
            certificate=certificate,
            session=addresses.trusting,
        )
        for certificate in ("expired", "self-signed", "wrong-host")
    ),
    works("4", "good-certificate", certificate="good", session=addresses.trusting),
    retried("5a", "reset", APIConnectionError, delays=(0, BACKOFF)),
    retried("5b", "close-before-headers", APIConnectionError, delays=(0, BACKOFF)),
    works(6, "stale-keep-alive", page=0, attempts=3, delays=(0, 0)),
    retried(7, "headers-cut", APIConnectionError),
    retried("8a", "body-short", APIConnectionError, says="in the middle"),
    retried("8a", "body-short-reset", APIConnectionError, delays=(BACKOFF, BACKOFF)),
    retried("8b", "chunked-cut", APIConnectionError, says="in the middle"),
    works("9a", "close-delimited"),
    retried("9a", "close-delimited-cut", DecodeError, facts={"status": 200}),
    retried("9b", "gzip-cut", DecodeError, says="cut short"),
    retried("9b", "gzip-trailer-cut", DecodeError, says="cut short"),
    works(10, "gzipped"),
    retried(10, "bad-gzip", DecodeError, facts={"status": 200, "request_id": "req_7"}),
    fails(11, "unknown-encoding", DecodeError, says="compression"),
    *(
        fails(12, fault, APIConnectionError, **WRONG_HTTP)
        for fault in ("length-and-chunked", "two-lengths", "huge-header", "many-headers")
    ),
    retried("13a", "garbage-status", APIConnectionError, says="rules of HTTP"),
    retried("13b", "bad-chunk-size", APIConnectionError, says="rules of HTTP"),
    retried("13b", "bad-chunk-size-later", APIConnectionError),
    works("14a", "continue-first"),
    lasts("14a", "endless-continue", "(total)", total=SHORT),
    lasts("14b", "slow-body", "(total)", in_body=True, total=SHORT, read=SHORT / 2),
    lasts("14b", "slow-body-without-length", "(total)", in_body=True, total=SHORT),
    lasts("14c", "stalled-body", "(read)", in_body=True, read=SHORT),
    lasts("14e", "stalled-body", "(total)", in_body=True, total=SHORT),
    lasts("14c", "silence", "(total)", total=SHORT),
    lasts("14d", "silence", "(read)", read=SHORT),
    retried("15", "upgrade-unasked", DecodeError, facts={"status": 101}),
    retried("15a", "no-content", DecodeError, facts={"status": 204}),
    retried("15a", "empty-body", DecodeError, says="is empty"),
    *(
        retried("15", fault, DecodeError, client={"retry": RetryPolicy(9, BACKOFF, BACKOFF)})
        for fault in ("html", "bad-utf8", "bom", "nan")
    ),
    *(
        fails(16, fault, ResponseTooLargeError, client=CAP, facts={"status": 200})
        for fault in ("bomb", "endless-body", "too-large")
    ),
    works(17, "tiny-chunks"),
    retried(18, "late-response", APIConnectionError, check=new_connections),
    retried(18, "other-response", APIConnectionError, check=new_connections),
    fails(19, "redirect", RedirectError, facts={"status": 302, "location_host": "127.0.0.1"}),
    fails(
        19,
        "redirect-elsewhere",
        RedirectError,
        facts={"status": 307, "location_host": "localhost"},
        check=nobody_elsewhere,
    ),
    fails(20, "bad-request", BadRequestError, facts={"status_code": 400, "param": "x"}),
    fails(20, "unprocessable", UnprocessableEntityError, facts={"status": 422}),
    fails(21, "unauthorized", AuthenticationError, facts={"code": "invalid_api_key"}),
    fails(21, "unauthorized-bad-gzip", AuthenticationError, facts={"status": 401, "body": b""}),
    fails(21, "forbidden", PermissionDeniedError, facts={"status": 403}),
    fails(22, "not-found", NotFoundError, facts={"code": "not_found", "request_id": "req_7"}),
    fails(
        "22-waited",
        "not-found",
        NotFoundError,
        page=1,
        attempts=3,
        call={"wait_until_visible": 0.7},
        delays=(0.25, 0.45),
        give_or_take=0.3,
    ),
    retried("23", "timeout-408", APIStatusError, facts={"status": 408}),
    retried("23", "conflict", ConflictError, facts={"status": 409}),
    retried("23", "too-early", APIStatusError, facts={"status": 425}),
    retried("23", "rate-limited", RateLimitError, facts={"code": "rate_limit_exceeded"}),
    retried("23", "server-error", InternalServerError, facts={"status": 500}),
    retried("23", "bad-gateway-html", InternalServerError, facts={"status": 502, "code": None}),
    retried("23", "unavailable", InternalServerError, facts={"status": 503}),
    retried("23", "unavailable-endless", InternalServerError, client=CAP, facts={"body": b""}),
    fails(24, "quota", InsufficientQuotaError, facts={"code": "insufficient_quota"}),
    retried(25, "retry-after-seconds", RateLimitError, delays=(0.02, 0)),
    retried(
        25,
        "retry-after-date",
        RateLimitError,
        attempts=2,
        client={"retry": ONE_RETRY},
        delays=(1.0,),  # in 1.5 seconds, of which a date in HTTP has the whole ones
        give_or_take=0.6,
    ),
    retried(25, "retry-after-past", RateLimitError, delays=(0, 0)),
    retried(25, "retry-after-ms", RateLimitError, delays=(0.02, 0.02)),
    retried(
        26,
        "retry-after-nonsense",
        RateLimitError,
        attempts=len(NONSENSE) + 1,
        client={"retry": RetryPolicy(len(NONSENSE), BACKOFF, BACKOFF, 0)},
        delays=(BACKOFF,) * len(NONSENSE),
    ),
    retried(
        26,
        "retry-after-ms-nonsense",
        RateLimitError,
        attempts=5,
        client={"retry": RetryPolicy(4, BACKOFF, BACKOFF, 0)},
        delays=(BACKOFF,) * 4,
    ),
    fails(
        27,
        "retry-after-minute",
        RateLimitError,
        client={"deadline": 30},
        facts={"retry_after": 60.0},
    ),
    fails("27-max", "retry-after-day", RateLimitError, facts={"retry_after": 86_400.0}),
    retried(28, "should-retry-true", BadRequestError),
    fails(28, "should-retry-false", InternalServerError),
    retried(29, "error-in-200", RateLimitError, facts={"status": 200}),
    fails(29, "not-found-in-200", NotFoundError, facts={"status": 200}),
    fails(30, "missing-field", SchemaError, facts={"path": "$.data[1]"}, says="`id`"),
    fails(30, "wrong-type", SchemaError, facts={"path": "$.data[0].id"}),
    works("30b", "misfits", check=what_does_not_fit, logged="1 of 2 items"),
    works(31, "unknown-fields", check=all_of_it),
    works(31, "unknown-field", check=unknown_role),
    fails(32, "deep-nesting", DecodeError, says="nested"),
    works("32b", "lone-surrogate", check=replacement),
    works("32b-raw", "lone-surrogate", check=untouched, consumer=consumers.walk_raw),
    fails(33, "more-without-data", PaginationError, facts={"status": 200}),
    works(34, "null-last-id"),
    works(34, "empty-last-id"),
    fails(35, "repeated-cursor", PaginationError, facts={"status": 200}),
    fails(35, "cursor-cycle", PaginationError, page=3, facts={"status": 200}),
    works(36, "overlap", logged="repeats 1 items"),
    fails(37, "wrong-last-id", PaginationError, says="last_id"),
    works(38, "no-has-more", page=0, attempts=2),
    works(39, HELD_BACK, consumer=consumers.is_slow, requests=6),
    leaves("break", consumers.breaks),
    leaves("exception", consumers.raises, error=consumers.ConsumerError),
    leaves("cancellation", consumers.is_cancelled, error=asyncio.CancelledError),
    leaves("timeout", consumers.times_out_once, messages=6, requests=3),
    leaves("task-hop", consumers.hops_between_tasks, messages=6, requests=3),
    leaves("garbage", consumers.drops),
    fails(41, HELD_BACK, ClientClosedError, consumer=consumers.client_closes),
    fails(41, "stalled-body", ClientClosedError, consumer=consumers.client_closes),
    fails(
        "42a",
        "other-loop",
        RuntimeError,
        consumer=consumers.other_loop,
        attempts=0,
        says="event loop",
    ),
    fails("42b", "fork", RuntimeError, consumer=consumers.after_fork, attempts=0, says="fork"),
    *(
        refused(43, f"id-{name}", "completion_id", value)
        for name, value in {
            "empty": "",
            "dot": ".",
            "dots": "..",
            "slash": "a/b",
            "question": "a?b",
            "hash": "a#b",
            "percent": "a%2e",
            "control": "a\nb",
            "del": "a\x7fb",
            "long": "a" * 257,
            "bytes": b"chatcmpl-1",
            "none": None,
        }.items()
    ),
    *(
        refused(44, f"key-{name}", "api_key", value)
        for name, value in {
            "empty": "",
            "newline": f"{KEY}\n",
            "crlf": f"{KEY}\r\nx: y",
            "nul": f"{KEY}\0",
            "space": f" {KEY}",
            "other-script": f"{KEY}é",
        }.items()
    ),
    *(
        refused(44, f"header-{name}", "default_headers", {"x-extra": value})
        for name, value in {
            "empty": "",
            "crlf": f"{KEY}\r\nx: y",
            "nul": f"{KEY}\0",
            "space": f"{KEY} ",
            "other-script": f"{KEY}é",
        }.items()
    ),
    *(
        refused(45, f"base-url-{name}", "base_url", value)
        for name, value in {
            "http": "http://api.example/v1",
            "password": f"https://user:{KEY}@api.example/v1",
            "query": f"https://api.example/v1?key={KEY}",
        }.items()
    ),
    works(46, "set-cookie", page=0, requests=3, check=no_cookies, host="localhost"),
]

PASSING = [
    case
    for case in TABLE
    if case.fault in FAULTS and case.error and 1 < case.attempts <= 3 and case.page == 2
]


@pytest.fixture(params=["fast path", "session"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way of requests on an open connection: both must be equally safe."""
    chosen: str = request.param
    monkeypatch.setattr(self_check, "_RESULTS", {aiohttp.__version__: chosen == "fast path"})
    return chosen


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("case", TABLE, ids=str)
async def test_a_fault_that_lasts(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """A lasting fault gives the error of the table, or none; nothing is lost, leaked or left."""
    caplog.set_level(logging.DEBUG)
    others = asyncio.all_tasks()
    retries: list[RetryDetails] = []
    async with _server(case) as server:
        outcome = await _play(case, server, retries)
        await server.all_gone()
        await _accepted(asyncio.all_tasks() - others)
    assert asyncio.all_tasks() == others
    _check_messages(case, outcome)
    _check_error(case, outcome.error)
    assert len(server.asked) == case.seen
    _check_retries(case, retries)
    if case.check:
        case.check(outcome, server)
    assert case.logged in caplog.text
    shown = [*_shown(outcome.error), *shown_by_log(caplog.records)]
    for details in retries:
        shown += [("on_retry", repr(details)), *_shown(details.error)]
    assert [where for where, what in shown if KEY in what] == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("case", PASSING, ids=str)
async def test_a_fault_that_passes(case: Case) -> None:
    """A fault that passes after one request costs one request more and no message."""
    async with _server(case, times=1) as server:
        outcome = await _play(case, server, [])
    assert outcome.error is None
    assert [item.id for item in outcome.items] == [item["id"] for item in CONVERSATION]
    assert len(server.asked) == len(CONVERSATION) // LIMIT + 1


async def _accepted(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait for the server's own side of connections that ended before they were accepted."""
    if accepting := {task for task in tasks if "_accept_connection" in repr(task)}:
        await asyncio.wait(accepting, timeout=5)


def _server(case: Case, *, times: float = float("inf")) -> RawServer:
    name = HELD_BACK if case.row == "40" else case.fault
    pages = (case.page,) if case.page else (1, 2, 3)
    plays = {page: FAULTS[name] for page in pages if name in FAULTS}
    tls = addresses.CERTIFICATES[case.certificate]() if case.certificate else None
    return RawServer(plays, times=times, tls=tls)


async def _play(case: Case, server: RawServer, retries: list[RetryDetails]) -> Outcome:
    async with contextlib.AsyncExitStack() as stack:
        options: dict[str, Any] = {
            "api_key": KEY,
            "base_url": server.base_url.replace("127.0.0.1", case.host),
            "retry": AT_ONCE,
            "on_retry": retries.append,
            **case.client,
        }
        if case.address:
            options["base_url"] = stack.enter_context(case.address())
        if case.session:
            options["session"] = await stack.enter_async_context(case.session())
        try:
            client = AsyncMessagesClient(**options)
        except ConfigurationError as error:
            return Outcome(error=error)
        async with client:
            outcome = await case.consumer(client, server, dict(case.call))
            await _nothing_in_use(client)
        return outcome


async def _nothing_in_use(client: AsyncMessagesClient) -> None:
    """Check that every connection is back in the pool once a cancelled task has ended."""
    session = caller_of(client).attempts.transport._session  # noqa: SLF001 there is no public way to ask
    connector = getattr(session, "connector", None)
    async with asyncio.timeout(5):
        while getattr(connector, "_acquired", None):
            if isinstance(connector, Pool):
                connector.release_kept()  # connections that are only kept for a time
            await asyncio.sleep(0)


def _check_messages(case: Case, outcome: Outcome) -> None:
    ids = [item["id"] for item in CONVERSATION[: case.delivered]]
    if case.consumer is consumers.walk_raw:
        assert len(outcome.items) == len(ids)
    else:
        assert [item.id for item in outcome.items] == ids


def _check_error(case: Case, error: BaseException | None) -> None:
    assert type(error) is (case.error or type(None)), repr(error)
    assert case.says in str(error)
    if isinstance(error, APIError):
        cursor = CONVERSATION[case.delivered - 1]["id"] if case.delivered else None
        where = (error.completion_id, error.cursor, error.attempts)
        assert where == (COMPLETION, cursor, case.attempts)
        attempts = "1 attempt" if case.attempts == 1 else f"{case.attempts} attempts"
        assert all(fact in str(error) for fact in (COMPLETION, cursor or "", attempts))
    if isinstance(error, APIResponseError):
        assert error.headers["x-echo"] == "[the API key]"
        assert error.request_id == "req_7"
    assert {name: getattr(error, name) for name in case.facts} == case.facts


def _check_retries(case: Case, retries: list[RetryDetails]) -> None:
    assert len(retries) == (max(case.attempts - 1, 0) if case.error else len(case.delays or ()))
    for details in retries if case.error else ():  # only the first uses the shortcut
        assert type(details.error) is case.error, repr(details.error)
        assert case.says in str(details.error)
    if case.delays is not None:
        delays = [details.delay for details in retries]
        assert delays == pytest.approx(case.delays, rel=0, abs=case.give_or_take)


def _shown(error: BaseException | None) -> list[tuple[str, str]]:
    return list(shown_by_error(error)) if error else []
