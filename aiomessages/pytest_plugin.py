"""Fixtures for the tests of whatever uses this package; docs/testing.md is the guide.

All of them are synchronous, so that they serve synchronous tests, pytest-asyncio in either mode
and anyio's plugin alike. pytest loads this file at every start, also for projects that need none
of it: what takes time to import is imported by the fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from . import AsyncMessagesClient
    from .testing import MessagesServer


@pytest.fixture
def messages_server() -> Iterator[MessagesServer]:
    """Serve stored completions, none yet, from a local server in a thread of its own.

    It has `base_url` and `api_key`, `store()` for completions, `requests` with what arrived, and
    faults to switch on: `fail()`, `slow_down()`, `unreachable()`, `recover()`.
    """
    from .testing import MessagesServer  # noqa: PLC0415 aiohttp, 300 ms: only for users

    with MessagesServer() as server:
        yield server


@pytest.fixture
def stored_completion(messages_server: MessagesServer) -> Callable[..., str]:
    """Store a completion in messages_server, and return its id.

    stored_completion(["Hi!", "Hello."], model=…, metadata={…}, reply="…"); of messages also just a
    number. See MessagesServer.store.
    """
    return messages_server.store


@pytest.fixture
def messages_client(messages_server: MessagesServer) -> Iterator[AsyncMessagesClient]:
    """Give an AsyncMessagesClient of messages_server that retries without waiting.

    It belongs to the event loop that uses it first, and is closed with that loop or with the test.
    """
    from .testing.client import client_of  # noqa: PLC0415 as above

    with client_of(messages_server) as client:
        yield client


@pytest.fixture
def messages_environment(messages_server: MessagesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment lead every client that a test makes to messages_server.

    That is by OPENAI_BASE_URL and OPENAI_API_KEY, which processes that it starts inherit, and
    past any proxy.
    """
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in messages_server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # some clients heed proxies for loopback as well
        monkeypatch.setenv(name, "127.0.0.1", prepend=",")
