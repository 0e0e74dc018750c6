"""One reader in a process of its own: `python -m benchmarks.held URL READER` prints its memory.

It loads only the modules of its reader, because they count; `footprint` starts it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.server import COMPLETION_ID, KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OURS, RAW, OPENAI = "aiomessages", "aiomessages raw", "openai"
OPENED, STREAMED, HELD = "opened", "streamed", "held"  # opened: only the first message
READERS = [
    *(f"{OURS}, {way}" for way in (OPENED, STREAMED, HELD)),
    *(f"{name}, {way}" for name in (RAW, OPENAI) for way in (OPENED, HELD)),
]


async def read(base_url: str, reader: str) -> dict[str, float]:
    """Read in one way; return the number of messages, and the peak of memory in MB."""
    name, _, way = reader.partition(", ")
    messages = openai_messages(base_url) if name == OPENAI else our_messages(base_url, name)
    seen = 0
    if way == STREAMED:
        async for _ in messages:
            seen += 1
    elif way == HELD:
        seen = len([message async for message in messages])
    else:
        async for _ in messages:
            seen = 1
            break
    await messages.aclose()  # type: ignore[attr-defined]  # it is an async generator
    return {"seen": seen, "peak": peak()}


async def our_messages(base_url: str, name: str) -> AsyncIterator[object]:
    """Yield this client's messages, typed or raw."""
    from aiomessages import AsyncMessagesClient  # noqa: PLC0415 the others do not have it

    async with AsyncMessagesClient(KEY, base_url=base_url) as client:
        stream = client.list(COMPLETION_ID, limit=100)
        async for message in stream if name == OURS else stream.raw():
            yield message


async def openai_messages(base_url: str) -> AsyncIterator[object]:
    """Yield the official client's messages."""
    import openai  # noqa: PLC0415 the others do not have it

    async with openai.AsyncOpenAI(api_key=KEY, base_url=base_url) as client:
        async for message in client.chat.completions.messages.list(COMPLETION_ID, limit=100):
            yield message


def peak(process: int | str = "self") -> float:
    """Return the peak of resident memory of a process in MB, by default this one's, from Linux.

    getrusage would include the memory of the parent before this program was loaded.
    """
    status = Path(f"/proc/{process}/status").read_text("ascii").split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


if __name__ == "__main__":
    print(json.dumps(asyncio.run(read(*sys.argv[1:]))))
