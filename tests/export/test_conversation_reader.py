"""One conversation, read whole: the memory that it takes, and the bytes that it keeps."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from loopback import Answer, Asked, Loopback, error, message, page

from aiomessages import AsyncMessagesClient
from aiomessages.client import caller_of
from aiomessages.export.conversation_reader import ConversationReader, Item
from aiomessages.export.memory_budget import FIRST_PAGE_BYTES, MemoryBudget, Reservation

if TYPE_CHECKING:
    from pathlib import Path

PAGES = 4  # of each conversation, one message a page


def answer(asked: Asked) -> Answer:
    """Answer with the next page."""
    name = asked.path.split("/")[4]
    number = int(asked.query["after"].rpartition("-")[2]) + 1 if "after" in asked.query else 0
    return Answer(page([message(number, completion_id=name)], has_more=number < PAGES - 1))


def reader_of(client: AsyncMessagesClient, path: Path, budget: MemoryBudget) -> ConversationReader:
    """Return a reader of conversations without their replies."""
    caller = caller_of(client)
    return ConversationReader(caller, path, False, None, None, budget, caller.operation("export"))


async def test_no_memory_for_a_page(tmp_path: Path) -> None:
    """A conversation requests no page while another one's take all of the budget."""
    async with (
        Loopback(answer) as server,
        AsyncMessagesClient("key", base_url=server.base_url) as client,
    ):
        budget = MemoryBudget(FIRST_PAGE_BYTES)
        reader = reader_of(client, tmp_path, budget)
        with Reservation(budget) as oldest, Reservation(budget) as other:
            await oldest.reserve_page()
            reading = asyncio.ensure_future(reader.read(Item("chatcmpl-other"), other))
            async for _ in client.list("chatcmpl-1"):
                pass  # its last page comes long after a first one of the other
            assert {asked.path.split("/")[4] for asked in server.asked} == {"chatcmpl-1"}
            oldest.hold_page(0)
            with closing(await reading) as outcome:
                assert len(outcome.messages) == PAGES


async def test_messages_in_a_file(tmp_path: Path) -> None:
    """A conversation whose messages went into a file holds the bytes of its last page alone."""
    async with (
        Loopback(answer) as server,
        AsyncMessagesClient("key", base_url=server.base_url) as client,
    ):
        budget = MemoryBudget(1)  # no page fits
        with Reservation(budget) as reservation:
            outcome = await reader_of(client, tmp_path, budget).read(
                Item("chatcmpl-1"), reservation
            )
            with closing(outcome):
                last = answer(server.asked[-1]).body
                assert reservation.held == len(json.dumps(last))


async def test_messages_that_are_read_again(tmp_path: Path) -> None:
    """The messages of a first reading take no memory during the second one."""

    def changing(asked: Asked) -> Answer:
        return error(404, "not_found") if len(server.asked) == PAGES else answer(asked)

    async with (
        Loopback(changing) as server,
        AsyncMessagesClient("key", base_url=server.base_url) as client,
    ):
        budget = MemoryBudget(2 * FIRST_PAGE_BYTES)
        with Reservation(budget) as reservation:
            outcome = await reader_of(client, tmp_path, budget).read(
                Item("chatcmpl-1"), reservation
            )
            with closing(outcome):
                bodies = [answer(asked).body for asked in server.asked[PAGES:]]
                assert len(bodies) == len(outcome.messages) == PAGES
                assert reservation.held == sum(len(json.dumps(body)) for body in bodies)


async def test_a_reading_that_is_cancelled(tmp_path: Path) -> None:
    """The file with the messages so far is closed: none is left to the garbage collector."""
    stuck = asyncio.Event()

    async def stall() -> None:
        stuck.set()
        await asyncio.Event().wait()

    async with (
        Loopback(lambda asked: stall() if len(server.asked) == PAGES else answer(asked)) as server,
        AsyncMessagesClient("key", base_url=server.base_url) as client,
    ):
        budget = MemoryBudget(1)  # no page fits
        with Reservation(budget) as reservation:
            reader = reader_of(client, tmp_path, budget)
            reading = asyncio.ensure_future(reader.read(Item("chatcmpl-1"), reservation))
            await stuck.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
    del reading
    gc.collect()  # reports a file that is open


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"], ids=repr)
async def test_an_indented_page(tmp_path: Path, line_break: str) -> None:
    """A message of a server that indents its JSON, by any line break, is on one line."""
    indented = json.dumps(page([message(0)]), indent=2).replace("\n", line_break).encode()
    async with (
        Loopback(lambda _: Answer(indented)) as server,
        AsyncMessagesClient("key", base_url=server.base_url) as client,
    ):
        budget = MemoryBudget(FIRST_PAGE_BYTES)
        with Reservation(budget) as reservation:
            outcome = await reader_of(client, tmp_path, budget).read(
                Item("chatcmpl-1"), reservation
            )
            with closing(outcome):
                (line,) = outcome.messages.held
    assert (json.loads(line), line.splitlines()) == (message(0), [line])
