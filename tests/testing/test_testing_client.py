"""Claims about the client of a test: it is closed in the loop that used it, whoever ran that."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

from aiomessages import AsyncMessagesClient, AuthenticationError, ClientClosedError
from aiomessages.testing.client import client_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiomessages.testing import MessagesServer

    Store = Callable[..., str]


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Collect what a test left, so that a session that was not closed fails it and no other."""
    yield
    gc.collect()


async def read(client: AsyncMessagesClient, id: str) -> int:
    """Read a conversation and return its length."""
    return len([item async for item in client.list(id)])


async def is_closed(client: AsyncMessagesClient) -> bool:
    """Tell whether the client takes no more calls."""
    try:
        await client.list("x")
    except ClientClosedError:
        return True
    return False


def test_a_loop_that_ends_before_the_test(
    messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """The client ends with it, as asyncio.run leaves nobody to close it later."""
    assert asyncio.run(read(messages_client, stored_completion(3))) == 3
    assert asyncio.run(is_closed(messages_client))


def test_a_loop_that_stands_still(
    messages_server: MessagesServer, stored_completion: Store
) -> None:
    """A loop that outlives the test, as one of a whole session does, is run once more."""
    with asyncio.Runner() as runner:
        with client_of(messages_server) as client:
            assert runner.run(read(client, stored_completion(3))) == 3
        assert runner.run(is_closed(client))


def test_a_loop_in_another_thread(
    messages_server: MessagesServer, stored_completion: Store
) -> None:
    """A loop of an app that still runs closes the client there."""
    with start_blocking_portal() as portal:
        with client_of(messages_server) as client:
            assert portal.call(read, client, stored_completion(3)) == 3
        assert portal.call(is_closed, client)


def test_a_client_that_is_never_used(messages_client: AsyncMessagesClient) -> None:
    """There is nothing to close, and no loop is needed."""
    assert "127.0.0.1" in repr(messages_client)


async def test_a_client_that_a_test_closes(
    messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """That is no error, neither then nor at the end."""
    async with messages_client:
        assert await read(messages_client, stored_completion(3)) == 3
    assert await is_closed(messages_client)


async def test_only_a_twin_is_used(
    messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """The session that they share is closed all the same."""
    with pytest.raises(AuthenticationError):
        await messages_client.with_options(api_key="sk-wrong").list(stored_completion())


async def test_calls_that_begin_together(
    messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """Several first requests are closed behind as one is."""
    ids = [stored_completion(3) for _ in range(5)]
    assert await asyncio.gather(*(read(messages_client, id) for id in ids)) == [3] * 5


async def test_attempts_without_waits(
    messages_server: MessagesServer, messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """It tries as often as any client, and asks the server for no patience of the test's."""
    waits: list[float] = []
    patient = messages_client.with_options(on_retry=lambda details: waits.append(details.delay))
    messages_server.fail(500, times=2)
    assert await read(patient, stored_completion(3)) == 3
    assert waits == [0.0, 0.0]
