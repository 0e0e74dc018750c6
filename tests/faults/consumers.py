"""The ways in which a consumer uses a stream: walk it, or leave it."""

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiomessages import AsyncMessagesClient, MessagesError

from .raw_server import COMPLETION, LIMIT, RawServer


@dataclass
class Outcome:
    """The outcome: the items, and the end."""

    items: list[Any] = field(default_factory=list)
    error: BaseException | None = None


Consumer = Callable[[AsyncMessagesClient, RawServer, dict[str, Any]], Awaitable[Outcome]]


async def walk(client: AsyncMessagesClient, _: RawServer, call: dict[str, Any]) -> Outcome:
    """Iterate to the end, and check that the end stays the same."""
    outcome = Outcome()
    try:
        stream = client.list(**{"completion_id": COMPLETION, "limit": LIMIT, **call})
    except MessagesError as error:
        return Outcome(error=error)
    return await _go_on(stream, outcome)


async def walk_raw(client: AsyncMessagesClient, _: RawServer, call: dict[str, Any]) -> Outcome:
    """Iterate over the exact bytes."""
    return await _go_on(client.list(COMPLETION, limit=LIMIT, **call).raw(), Outcome())


async def _go_on(stream: Any, outcome: Outcome) -> Outcome:
    try:
        async for item in stream:
            outcome.items.append(item)
    except (MessagesError, RuntimeError) as error:
        outcome.error = error
    await _hold_that_the_end_stays(stream, outcome.error)
    return outcome


async def _hold_that_the_end_stays(stream: Any, error: BaseException | None) -> None:
    """Ask twice more: a failed stream raises the same error, and never ends normally."""
    for _ in range(2):
        try:
            item = await anext(stream)
        except StopAsyncIteration:
            assert error is None, "a failed stream looks finished"
        except (MessagesError, RuntimeError) as again:
            assert type(again) is type(error), f"{again!r} after {error!r}"  # noqa: PT017 the claim
            assert str(again) == str(error)  # noqa: PT017 the same
        else:
            raise AssertionError(f"{item!r} after the end")


# --- leaving --------------------------------------------------------------------------------------
# In all of these the answer for page 2 is held back.


async def breaks(client: AsyncMessagesClient, server: RawServer, _: dict[str, Any]) -> Outcome:
    """Leave the loop while the next page is being fetched."""
    outcome = Outcome()
    async with client.list(COMPLETION, limit=LIMIT) as stream:
        async for item in stream:
            outcome.items.append(item)
            if len(outcome.items) == LIMIT:
                break
        await _until_asked(server, 2)
    return outcome


class ConsumerError(Exception):
    """The consumer's own."""


async def raises(client: AsyncMessagesClient, server: RawServer, _: dict[str, Any]) -> Outcome:
    """Fail in the loop: the consumer's own exception passes unchanged."""
    outcome, own = Outcome(), ConsumerError("own")
    try:
        async with client.list(COMPLETION, limit=LIMIT) as stream:
            async for item in stream:
                outcome.items.append(item)
                if len(outcome.items) == LIMIT:
                    await _until_asked(server, 2)
                    raise own
    except ConsumerError as error:
        assert error is own  # noqa: PT017 the claim
        outcome.error = error
    return outcome


async def is_cancelled(
    client: AsyncMessagesClient, server: RawServer, _: dict[str, Any]
) -> Outcome:
    """Be cancelled while waiting for the next page."""
    outcome = Outcome()

    async def consume() -> None:
        async with client.list(COMPLETION, limit=LIMIT) as stream:
            async for item in stream:
                outcome.items.append(item)

    task = asyncio.create_task(consume())
    await _until_asked(server, 2)
    while len(outcome.items) < LIMIT:  # noqa: ASYNC110 the consumer knows of no event
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError as error:
        outcome.error = error
    return outcome


async def times_out_once(
    client: AsyncMessagesClient, server: RawServer, _: dict[str, Any]
) -> Outcome:
    """Time out one `__anext__`, and continue."""
    outcome = Outcome()
    stream = client.list(COMPLETION, limit=LIMIT)
    for _n in range(LIMIT):
        outcome.items.append(await anext(stream))
    for _n in range(3):
        try:
            async with asyncio.timeout(0.01):
                await anext(stream)
        except TimeoutError:
            continue
        raise AssertionError("the answer was held back")
    server.released.set()
    return await _go_on(stream, outcome)


async def hops_between_tasks(
    client: AsyncMessagesClient, server: RawServer, _: dict[str, Any]
) -> Outcome:
    """Take each item in a task of its own."""
    outcome = Outcome()
    stream = client.list(COMPLETION, limit=LIMIT)
    server.released.set()

    async def take() -> bool:
        async for item in stream:
            outcome.items.append(item)
            return True
        return False

    while await asyncio.create_task(take()):
        pass
    return await _go_on(stream, outcome)


async def drops(client: AsyncMessagesClient, server: RawServer, _: dict[str, Any]) -> Outcome:
    """Leave the stream to the garbage collector while it fetches."""
    outcome = Outcome()
    stream = client.list(COMPLETION, limit=LIMIT)
    for _n in range(LIMIT):
        outcome.items.append(await anext(stream))
    await _until_asked(server, 2)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del stream
        gc.collect()
    assert [one.category for one in warned] == [ResourceWarning]
    return outcome


async def is_slow(client: AsyncMessagesClient, server: RawServer, _: dict[str, Any]) -> Outcome:
    """Work on the first item as long as the server likes: one page ahead is fetched, no more."""
    outcome = Outcome()
    stream = client.list(COMPLETION, limit=LIMIT)
    server.released.set()
    outcome.items.append(await anext(stream))
    for _n in range(3):
        await client.list(COMPLETION, after=f"{COMPLETION}-3", limit=LIMIT)  # time goes by
    assert [turn.number for turn in server.asked] == [1, 2, 3, 3, 3]
    return await _go_on(stream, outcome)


async def client_closes(
    client: AsyncMessagesClient, server: RawServer, call: dict[str, Any]
) -> Outcome:
    """Close the client while the next page is being fetched."""
    walking = asyncio.create_task(walk(client, server, call))
    await _until_asked(server, 2)
    async with asyncio.timeout(1):
        await client.aclose()
        return await walking


async def other_loop(client: AsyncMessagesClient, _: RawServer, __: dict[str, Any]) -> Outcome:
    """Use a client in a second event loop."""
    outcome = Outcome(items=list((await client.list(COMPLETION, limit=LIMIT)).data))

    async def take() -> None:
        outcome.error = (await _go_on(client.list(COMPLETION), Outcome())).error

    thread = threading.Thread(target=asyncio.run, args=[take()])
    thread.start()
    while thread.is_alive():  # noqa: ASYNC110 it must not hold up the loop in which the server runs
        await asyncio.sleep(0.01)
    return outcome


async def after_fork(client: AsyncMessagesClient, _: RawServer, __: dict[str, Any]) -> Outcome:
    """Use a client in a forked process, which reports the outcome through a pipe."""
    outcome = Outcome(items=list((await client.list(COMPLETION, limit=LIMIT)).data))
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests may have left a thread
        child = os.fork()
    if child == 0:  # nothing but the bare call: the loop belongs to the parent
        try:
            client.list(COMPLETION).__await__().send(None)
        except RuntimeError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: ASYNC230, PTH123 it is short, and a descriptor
        outcome.error = RuntimeError(pipe.read().decode())
    os.waitpid(child, 0)  # noqa: ASYNC222 it has ended: its pipe has
    return outcome


async def _until_asked(server: RawServer, page: int) -> None:
    async with asyncio.timeout(10):
        while not any(turn.number == page for turn in server.asked):
            server.arrived.clear()
            await server.arrived.wait()


HELD_BACK: Final = "held"  # the play that all of the above expect for page 2
