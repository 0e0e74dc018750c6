"""Fixtures: a server, requests to it with plain aiohttp, and records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from conftest_server import Answer, Ask

from aiomessages.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    """An empty server in memory."""
    async with LocalServer() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain session without a key."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def ask_at(http: aiohttp.ClientSession) -> Callable[[LocalServer], Ask]:
    """Return a function that makes a request function for a server; it sends the server's key."""

    def at(server: LocalServer) -> Ask:
        async def ask(
            path: str = "/chat/completions",
            *,
            method: str = "GET",
            headers: dict[str, str] | None = None,
            **query: Any,
        ) -> Answer:
            key = {"Authorization": f"Bearer {server.api_key}"} if headers is None else headers
            url = server.base_url + path
            async with http.request(method, url, headers=key, params=query) as response:
                return Answer(response.status, response.headers, await response.read())

        return ask

    return at


@pytest.fixture
def arrived() -> Callable[[LocalServer], Awaitable[None]]:
    """Return a function that waits until a server has received a request."""

    async def wait(server: LocalServer) -> None:
        while not server.requests:  # noqa: ASYNC110 - the server has a count and no event
            await asyncio.sleep(0)

    return wait


@pytest.fixture
def ask(server: LocalServer, ask_at: Callable[[LocalServer], Ask]) -> Ask:
    """Return the request function of the server of the test."""
    return ask_at(server)
