"""The repr of a stream shows its list and how far it was read; collect() reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from loopback import Answer, Asked, Loopback, error, message, page

from aiomessages import (
    AsyncMessagesClient,
    ClientClosedError,
    ConfigurationError,
    InternalServerError,
    MessageStream,
    RetryPolicy,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "sk-canary-0123456789"


def service(asked: Asked) -> Answer:
    """Serve five messages in pages of two; fail after the third of the completion `broken`."""
    after = asked.query.get("after")
    first = int(after.rpartition("-")[2]) + 1 if after else 0
    if "broken" in asked.path and first >= 2:
        return error(500, "broken")
    numbers = range(first, min(first + 2, 5))
    return Answer(page([message(n) for n in numbers], has_more=first + 2 < 5))


@pytest.fixture
async def client() -> AsyncIterator[AsyncMessagesClient]:
    """Yield a client of that service, which sends a secret query."""
    async with (
        Loopback(service) as server,
        AsyncMessagesClient(
            KEY,
            base_url=server.base_url,
            default_query={"code": "secret"},
            retry=RetryPolicy(max_retries=0),
        ) as made,
    ):
        yield made


def ids(*numbers: int) -> list[str]:
    """Return the ids of messages."""
    return [message(n)["id"] for n in numbers]


# --- the repr -------------------------------------------------------------------------------------


def test_a_list_of_messages() -> None:
    """The repr has the arguments that were given, and no others."""
    client = AsyncMessagesClient(KEY)
    assert repr(client.list("c-1")) == "<MessageStream completion_id='c-1': not started>"
    stream = client.list("c-1", limit=20, order="desc", after="m", max_items=50)
    assert repr(stream) == (
        "<MessageStream completion_id='c-1' order='desc' after='m' limit=20 max_items=50"
        " cursor='m': not started>"
    )


def test_a_list_of_completions() -> None:
    """The repr has the selection and the order that is sent, and no credentials in a query."""
    client = AsyncMessagesClient(KEY, default_query={"code": "secret"})
    stream = client.completions(model="gpt", metadata={"topic": "sea"}, extra_query={"x": "secret"})
    assert repr(stream) == (
        "<CompletionStream order='asc' model='gpt' metadata[topic]='sea': not started>"
    )


async def test_how_far_a_stream_was_read(client: AsyncMessagesClient) -> None:
    """The repr has the cursor, and says whether there is more to read."""
    stream = client.list("c-1")
    for n in range(5):
        await anext(stream)
        assert repr(stream).endswith(f" cursor={ids(n)[0]!r}: {'ended' if n == 4 else 'reading'}>")
    assert await stream.collect() == []
    assert repr(stream).endswith(": ended>")


async def test_a_stream_whose_last_page_is_half_read(client: AsyncMessagesClient) -> None:
    """A stream has not ended while an item of its last page is left."""
    stream = client.list("c-1", after=ids(2)[0])
    await anext(stream)
    assert repr(stream).endswith(": reading>")
    await anext(stream)
    assert repr(stream).endswith(": ended>")


async def test_a_stream_that_was_closed(client: AsyncMessagesClient) -> None:
    """A stream that was left before its end is closed, at its end it has ended."""
    unread, left, read = client.list("c-1"), client.list("c-1"), client.list("c-1")
    await unread.aclose()
    await anext(left)
    await left.aclose()
    await read.collect()
    await read.aclose()
    states = [repr(stream).rpartition(": ")[2] for stream in (unread, left, read)]
    assert states == ["closed>", "closed>", "ended>"]


async def test_a_stream_that_was_closed_with_the_last_page_unread(
    client: AsyncMessagesClient,
) -> None:
    """A stream whose last items were not delivered is closed, and has not ended."""
    stream = client.list("c-1", after=ids(2)[0])
    await anext(stream)
    await stream.aclose()
    assert repr(stream).endswith(": closed>")


async def test_a_stream_that_failed(client: AsyncMessagesClient) -> None:
    """A stream has failed once the items before the error were delivered."""
    stream = client.list("broken")
    await anext(stream)
    assert repr(stream).endswith(": reading>")
    with pytest.raises(InternalServerError):
        [_ async for _ in stream]
    assert repr(stream).endswith(f" cursor={ids(1)[0]!r}: failed>")


async def test_a_stream_read_as_pages(client: AsyncMessagesClient) -> None:
    """A stream that is read through pages() or raw() says how far that was read."""
    async with client.list("c-1") as paged, client.list("c-1") as raw:
        await anext(paged.pages())
        await anext(raw.raw())
        assert repr(paged).endswith(f" cursor={ids(1)[0]!r}: reading>")
        assert repr(raw).endswith(f" cursor={ids(0)[0]!r}: reading>")


# --- collect() ------------------------------------------------------------------------------------


async def test_all_items_as_a_list(client: AsyncMessagesClient) -> None:
    """collect() returns the items that are left."""
    stream = client.list("c-1")
    await anext(stream)
    assert [m.id for m in await stream.collect()] == ids(1, 2, 3, 4)
    assert [m.id for m in await client.list("c-1", max_items=3).collect()] == ids(0, 1, 2)


async def test_a_bounded_list(client: AsyncMessagesClient) -> None:
    """collect(max_items=…) returns no more than that, and the stream continues after them."""
    stream: MessageStream = client.list("c-1")
    collected = [[m.id for m in await stream.collect(max_items=n)] for n in (0, 1, 2, 9)]
    assert collected == [[], ids(0), ids(1, 2), ids(3, 4)]


async def test_collecting_from_a_closed_stream(client: AsyncMessagesClient) -> None:
    """collect() raises what iterating raises."""
    stream = client.list("c-1")
    await stream.aclose()
    with pytest.raises(ClientClosedError):
        await stream.collect()


async def test_what_was_collected_before_an_error(client: AsyncMessagesClient) -> None:
    """The stream keeps it: the cursor is in front of it, and who reads on gets it and the error."""
    stream = client.list("broken")
    await anext(stream)
    for _ in range(2):
        with pytest.raises(InternalServerError):
            await stream.collect()
        assert repr(stream).endswith(f" cursor={ids(0)[0]!r}: reading>")
    assert [m.id for m in await stream.collect(1)] == ids(1)
    with pytest.raises(InternalServerError):
        await stream.collect()
    assert repr(stream).endswith(f" cursor={ids(1)[0]!r}: failed>")


@pytest.mark.parametrize("count", [-1, 2.5, True, "3"])
async def test_a_bound_that_is_none(client: AsyncMessagesClient, count: Any) -> None:
    """collect() refuses what is no number of items."""
    with pytest.raises(ConfigurationError, match="max_items must be an int of 0 or more"):
        await client.list("c-1").collect(count)
