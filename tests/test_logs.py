"""The log: what a line says, and when it is written."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Answer, Asked, Loopback, error, page, replies

from aiomessages import APITimeoutError, AsyncMessagesClient, RetryPolicy
from aiomessages.logs import log, show_log

KEY = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def _as_new(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"handlers": [], "level": logging.NOTSET, "propagate": True}.items():
        monkeypatch.setattr(log, name, value)
    yield
    log.setLevel(logging.NOTSET)  # which also forgets what it remembers of levels


async def test_one_line_an_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """Each attempt is one line: method, path, status, time, number and request id, no more."""
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
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "aiomessages"]
    path = "GET /v1/chat/completions/chatcmpl-1/messages"
    assert [level for level, _ in lines] == ["INFO", "INFO", "DEBUG"]
    assert lines[0][1].startswith(f"{path} 500 in ")
    assert lines[0][1].endswith(" ms, attempt 1, request req_[the API key]")
    assert lines[1][1] == "retry in 0.00 s: InternalServerError"
    assert lines[2][1].endswith(" ms, attempt 2, request req_2")


async def test_attempts_without_a_status(caplog: pytest.LogCaptureFixture) -> None:
    """An attempt that got no answer is named by its error, one that was cancelled as such."""
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
    cancelled, failed = caplog.messages
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
    log.info("heard")
    log.debug("heard too")
    heard = capsys.readouterr().err.splitlines()
    assert len(heard) == (2 if word == "debug" else 1)
    assert heard[0].endswith("INFO aiomessages: heard")


@pytest.mark.parametrize("word", [None, "", "loud"])
def test_no_level(word: str | None) -> None:
    """Without a level, or with one that is none, the log is the application's own matter."""
    show_log(word)
    assert log.handlers == []
