"""Whose program is at the other end of a connection."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from aiomessages.view.peer import owner_of


async def test_the_owner_of_a_connection() -> None:
    """On Linux the user of the other end is known, also while others have connections."""
    owners: list[int | None] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        owners.append(owner_of(writer.transport))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
    assert owners == [os.geteuid() if sys.platform == "linux" else None] * 2


@pytest.mark.parametrize(
    "ends",
    [
        {},
        {"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 1)},
        {"sockname": ("::1", 1, 0, 0), "peername": ("::1", 2, 0, 0)},
    ],
)
def test_a_connection_that_is_not_in_the_table(ends: dict[str, object]) -> None:
    """A client that has gone, and one over IPv6, have no known owner."""
    assert owner_of(asyncio.BaseTransport(ends)) is None
