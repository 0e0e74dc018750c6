"""The pool of a client's own session: which connections it gives."""

import asyncio
from typing import Any

import aiohttp
import pytest
from loopback import Answer, Loopback, message, page, replies

from aiomessages import AsyncMessagesClient, RetryPolicy, fast_path

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)


@pytest.mark.parametrize("way", ["fast path", "session"])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "on the idle connection"])
async def test_an_answer_that_nobody_had_asked_for(
    monkeypatch: pytest.MonkeyPatch, way: str, *, late: bool
) -> None:
    """A connection on which a second answer came is given up, before it is taken for another's."""
    monkeypatch.setattr(fast_path, "_VERDICTS", {aiohttp.__version__: way == "fast path"})
    first = Answer(page([message(0)])).encode()
    stray = Answer(page([message(0, completion_id="chatcmpl-2")])).encode()
    script = replies(first if late else first + stray, Answer(page([message(0)])))
    async with (
        Loopback(script) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=ONCE) as client,
    ):
        await client.list("chatcmpl-1")
        if late:
            server.send(stray)
            await _arrival_on_idle_connection(client)
        got = await client.list("chatcmpl-1")
    assert got.data[0].id == "chatcmpl-1-0"
    assert [asked.connection for asked in server.asked] == [1, 2]


async def _arrival_on_idle_connection(client: AsyncMessagesClient) -> None:
    connector: Any = client._attempts._transport._session.connector  # type: ignore[union-attr]  # noqa: SLF001 no public way
    async with asyncio.timeout(5):
        while not any(len(idle) for pool in connector._conns.values() for idle, _ in pool):  # noqa: ASYNC110, SLF001 nothing tells
            await asyncio.sleep(0)
