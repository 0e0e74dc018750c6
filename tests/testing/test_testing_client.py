"""Claims about the client of a test: it closes in the loop that used it."""

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
    """Collect garbage, so that an open session fails the test that left it."""
    yield
    gc.collect()


async def read(client: AsyncMessagesClient, id: str) -> int:
    """Read a conversation and return its length."""
    return len([item async for item in client.list(id)])


async def is_closed(client: AsyncMessagesClient) -> bool:
    """Return whether the client is closed."""
    try:
        await client.list("x")
    except ClientClosedError:
        return True
    return False


def test_a_loop_that_ends_before_the_test(
    messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """The client closes with the loop of asyncio.run."""
    assert asyncio.run(read(messages_client, stored_completion(3))) == 3
    assert asyncio.run(is_closed(messages_client))


def test_a_stopped_loop(messages_server: MessagesServer, stored_completion: Store) -> None:
    """A stopped loop that outlives the test runs once more to close the client."""
    with asyncio.Runner() as runner:
        with client_of(messages_server) as client:
            assert runner.run(read(client, stored_completion(3))) == 3
        assert runner.run(is_closed(client))


def test_a_loop_in_another_thread(
    messages_server: MessagesServer, stored_completion: Store
) -> None:
    """A loop that runs in another thread closes the client there."""
    with start_blocking_portal() as portal:
        with client_of(messages_server) as client:
            assert portal.call(read, client, stored_completion(3)) == 3
        assert portal.call(is_closed, client)


def test_a_client_that_is_never_used(messages_client: AsyncMessagesClient) -> None:
    """A client without a request needs no loop and no closing."""
    assert "127.0.0.1" in repr(messages_client)


async def test_a_client_that_a_test_closes(
    messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """A test may close the client itself."""
    async with messages_client:
        assert await read(messages_client, stored_completion(3)) == 3
    assert await is_closed(messages_client)


async def test_only_a_derived_client_is_used(
    messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """The session closes too if only a client from `with_options` used it."""
    with pytest.raises(AuthenticationError):
        await messages_client.with_options(api_key="sk-wrong").list(stored_completion())


async def test_calls_that_begin_together(
    messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """The client closes once after several concurrent first requests."""
    ids = [stored_completion(3) for _ in range(5)]
    assert await asyncio.gather(*(read(messages_client, id) for id in ids)) == [3] * 5


async def test_attempts_without_waits(
    messages_server: MessagesServer, messages_client: AsyncMessagesClient, stored_completion: Store
) -> None:
    """The client retries as often as any other, and waits 0 s."""
    waits: list[float] = []
    patient = messages_client.with_options(on_retry=lambda details: waits.append(details.delay))
    messages_server.fail(500, times=2)
    assert await read(patient, stored_completion(3)) == 3
    assert waits == [0.0, 0.0]
