"""Fixtures for the tests of code that uses this package; docs/testing.md is the guide.

All are synchronous, so that they serve synchronous tests, pytest-asyncio in either mode and the
plugin of anyio. pytest imports this file at every start, also in projects that use no fixture of
it, so the fixtures themselves import what is slow to import.
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
    """Start a local server in its own thread, empty at first.

    It has `base_url` and `api_key`, `store()` for completions, `requests` with the requests that
    it received, and faults to switch on: `fail()`, `slow_down()`, `unreachable()`, `recover()`.
    """
    from .testing import MessagesServer  # noqa: PLC0415 - imports aiohttp, 300 ms

    with MessagesServer() as server:
        yield server


@pytest.fixture
def stored_completion(messages_server: MessagesServer) -> Callable[..., str]:
    """Return a function that stores a completion in messages_server and returns its id.

    Call it as stored_completion(["Hi!", "Hello."], model=…, metadata={…}, reply="…"), or with a
    number of messages: stored_completion(250). See MessagesServer.store.
    """
    return messages_server.store


@pytest.fixture
def messages_client(messages_server: MessagesServer) -> Iterator[AsyncMessagesClient]:
    """Open an AsyncMessagesClient of messages_server that retries without waiting.

    It belongs to the event loop of its first request, and closes with that loop or with the test.
    """
    from .testing.client import client_of  # noqa: PLC0415 - as above

    with client_of(messages_server) as client:
        yield client


@pytest.fixture
def messages_environment(messages_server: MessagesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment so that every client of a test connects to messages_server.

    It sets OPENAI_BASE_URL and OPENAI_API_KEY, which subprocesses inherit, and excludes the server
    from any proxy.
    """
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in messages_server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # some clients use proxies for loopback too
        monkeypatch.setenv(name, "127.0.0.1", prepend=",")
