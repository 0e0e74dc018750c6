"""The log: the content of a line, and the moment when it is written."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Answer, Asked, Loopback, error, message, page, replies

from aiomessages import (
    APITimeoutError,
    AsyncMessagesClient,
    InternalServerError,
    NotFoundError,
    RetryPolicy,
)
from aiomessages.observe.logs import log, log_kept_key, show_log

KEY = "sk-canary-0123456789"
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """Return the attributes that a record has beside its line."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


def records_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the records of this package only."""
    return [record for record in caplog.records if record.name == "aiomessages"]


@pytest.fixture(autouse=True)
def _as_new(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"handlers": [], "level": logging.NOTSET, "propagate": True}.items():
        monkeypatch.setattr(log, name, value)
    yield
    log.setLevel(logging.NOTSET)  # which also clears the cache of levels


async def test_one_line_an_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """Each attempt is one line with method, path, status, time, number and request id."""
    caplog.set_level("DEBUG", "aiomessages")
    script = replies(
        error(500, x_request_id=f"req_{KEY}"), Answer(page([]), headers={"x-request-id": "req_2"})
    )
    options: dict[str, Any] = {
        "retry": RetryPolicy(initial_backoff=0),
        "default_query": {"secret": KEY},
    }
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, **options) as client,
    ):
        await client.list("chatcmpl-1")
    lines = [
        (r.levelname, r.getMessage()) for r in records_of(caplog) if facts(r)["event"] != "end"
    ]
    path = "GET /v1/chat/completions/chatcmpl-1/messages"
    assert [level for level, _ in lines] == ["INFO", "INFO", "DEBUG"]
    assert lines[0][1].startswith(f"{path} 500 in ")
    assert lines[0][1].endswith(" ms, attempt 1, request req_[the API key]")
    assert lines[1][1] == "retry in 0.00 s: InternalServerError"
    assert lines[2][1].endswith(" ms, attempt 2, request req_2")


HOSTILE = "r\x1b[2J\u202e\x85\u2028"
ESCAPED = r"r\x1b[2J\u202e\x85\u2028"


async def test_ids_that_could_act_on_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    """An id of the server is escaped in the line and in the attributes, so no line is forged."""
    caplog.set_level("DEBUG", "aiomessages")
    first = Answer(page([message(0, id=f"{HOSTILE}\n")], has_more=True))
    script = replies(first, Answer(b"", 500, headers={"x-request-id": HOSTILE}))
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=RetryPolicy(1, 0, 0)) as client,
    ):
        with pytest.raises(InternalServerError):
            [_ async for _ in client.list("c\u202e")]
    records = [facts(record) for record in records_of(caplog)]
    shown = [record.getMessage() + repr(facts(record)) for record in records_of(caplog)]
    assert all(text.isprintable() and KEY not in text for text in shown)
    (retry,) = [found for found in records if found["event"] == "retry"]
    assert retry["cursor"] == ESCAPED + r"\n"
    assert retry["completion_id"] == r"c\u202e"
    failed = [found for found in records if found["event"] == "attempt" and found["status"] == 500]
    assert {found["request_id"] for found in failed} == {ESCAPED}


async def test_attempts_without_a_status(caplog: pytest.LogCaptureFixture) -> None:
    """An attempt without a response is logged with its error, a cancelled one as such."""
    caplog.set_level("INFO", "aiomessages")
    arrived = asyncio.Event()

    async def never(_: Asked) -> None:
        arrived.set()
        await asyncio.Event().wait()

    none = RetryPolicy(max_retries=0)
    async with (
        Loopback(never) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=none) as client,
    ):
        call = asyncio.ensure_future(client.list("x"))
        await arrived.wait()
        call.cancel()
        await asyncio.wait({call})
        with pytest.raises(APITimeoutError):
            await client.list("x", timeout=0.01)
    cancelled, failed = (
        r.getMessage() for r in records_of(caplog) if facts(r)["event"] == "attempt"
    )
    assert " CancelledError in " in cancelled
    assert " APITimeoutError in " in failed


@pytest.mark.parametrize("word", ["debug", "INFO"])
def test_aiomessages_log(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """AIOMESSAGES_LOG sets the log up once, for standard error, at that level."""
    monkeypatch.setenv("AIOMESSAGES_LOG", word)
    AsyncMessagesClient(KEY)
    AsyncMessagesClient(KEY)
    log.info("info record")
    log.debug("debug record")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (2 if word == "debug" else 1)
    assert lines[0].endswith("INFO aiomessages: info record")


@pytest.mark.parametrize("word", [None, "", "loud"])
def test_no_level(word: str | None) -> None:
    """Without a level, or with an unknown one, the log is left to the application."""
    show_log(word)
    assert log.handlers == []


# --- what a formatter of JSON finds ---------------------------------------------------------------


async def test_the_end_of_a_list(caplog: pytest.LogCaptureFixture) -> None:
    """A list's end is one record, with pages, items, retries and seconds; so is a retry."""
    caplog.set_level("DEBUG", "aiomessages")
    script = replies(
        error(503),
        Answer(page([message(0), message(1)], has_more=True)),
        Answer(page([message(2)])),
    )
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(
            KEY, base_url=server.base_url, retry=RetryPolicy(initial_backoff=0)
        ) as client,
    ):
        assert len([item async for item in client.list("chatcmpl-1")]) == 3
    records = [facts(record) for record in records_of(caplog)]
    attempts = [fact for fact in records if fact["event"] == "attempt"]
    assert [(a["status"], a["error_type"], a["attempt"]) for a in attempts] == [
        (503, "InternalServerError", 1),
        (200, None, 2),
        (200, None, 1),
    ]
    assert {a["path"] for a in attempts} == {"/v1/chat/completions/chatcmpl-1/messages"}
    (retry,) = (fact for fact in records if fact["event"] == "retry")
    assert retry == {
        "event": "retry",
        "completion_id": "chatcmpl-1",
        "cursor": None,
        "attempt": 1,
        "delay": 0.0,
        "error_type": "InternalServerError",
        "status": 503,
    }
    end = records[-1]
    assert end.pop("seconds") > 0
    assert end == {
        "event": "end",
        "operation": "list messages",
        "outcome": "complete",
        "completion_id": "chatcmpl-1",
        "pages": 2,
        "items": 3,
        "retries": 1,
        "error_type": None,
    }
    assert caplog.messages[-1].startswith("list messages: complete, 2 pages, 3 items, 1 retries in")


async def test_only_a_failed_end_is_news(caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, a list that ended well writes nothing, and one that failed has its error."""
    caplog.set_level("INFO", "aiomessages")
    script = replies(Answer(page([])), error(404))
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        await client.list("chatcmpl-1")
        with pytest.raises(NotFoundError):
            await client.list("chatcmpl-1")
    _, end = records_of(caplog)
    assert (end.levelname, facts(end)["outcome"]) == ("INFO", "error")
    assert caplog.messages[-1].startswith("list messages: NotFoundError, 0 pages")


async def test_a_silent_log_costs_no_record(caplog: pytest.LogCaptureFixture) -> None:
    """Above INFO, retries and ends write nothing."""
    caplog.set_level("WARNING", "aiomessages")
    script = replies(error(503), Answer(page([])))
    none = RetryPolicy(initial_backoff=0)
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=none) as client,
    ):
        await client.list("chatcmpl-1")
    assert records_of(caplog) == []


def test_a_key_that_stays_in_use(caplog: pytest.LogCaptureFixture) -> None:
    """A key that could not be replaced is a warning with the reason, on one line."""
    log_kept_key("the key file\ncannot be read")
    (record,) = caplog.records
    assert (record.levelname, record.event) == ("WARNING", "key")
    assert record.getMessage() == r"the last key stays in use: the key file\ncannot be read"
