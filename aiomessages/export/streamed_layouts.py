"""The layouts by name, and a streamed form of two for conversations that do not fit in memory.

The streamed form yields the same bytes in pieces, one for each block of messages. The last few
messages are held back, because they may be the replies that some servers list.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Raw

from .finetune import finetune_layout
from .layouts import (
    Fetched,
    Layout,
    Lines,
    Stored,
    conversations_layout,
    last_lines,
    listed_replies,
    messages_layout,
    messages_lines,
    read_stored,
)
from .message_buffer import MessageBuffer

Blocks = Iterable[list[bytes]]


def incomplete_lines(completion_id: str, blocks: Blocks) -> Iterator[bytes]:
    """Yield lines of the layout `messages` for the part of a conversation that was read."""
    seq = 0
    for block in blocks:
        yield bytes(messages_lines(completion_id, seq, block).text)
        seq += len(block)


def _messages(completion_id: str, blocks: Blocks, completion: bytes | None) -> Iterator[Lines]:
    stored = read_stored(completion)
    seq, held = 0, list[bytes]()
    for block in blocks:
        ready = _ready(held, block, len(stored.replies))
        yield messages_lines(completion_id, seq, ready)
        seq += len(ready)
    yield last_lines(completion_id, seq, held, stored)


def _conversation(completion_id: str, blocks: Blocks, completion: bytes | None) -> Iterator[Lines]:
    stored = read_stored(completion)
    head, tail = _frame(completion_id, stored, completion)
    seq, held = 0, list[bytes]()
    yield Lines(head, 1)
    for block in blocks:
        ready = _ready(held, block, len(stored.replies))
        yield _joined(ready, first=seq == 0)
        seq += len(ready)
    asked = held[: len(held) - listed_replies(held, seq, stored)]
    yield _joined(asked, first=seq == 0)
    yield Lines(tail, 0)


def _ready(held: list[bytes], block: list[bytes], count: int) -> list[bytes]:
    """Add a block to the held messages; remove and return all but the last `count` of them."""
    held += block
    ready = held[: max(len(held) - count, 0)]
    del held[: len(ready)]
    return ready


def _frame(completion_id: str, stored: Stored, completion: bytes | None) -> tuple[bytes, bytes]:
    """Return the bytes of a line before its messages, and those after them."""
    head = {
        "completion_id": completion_id,
        "model": stored.model,
        "created": stored.created,
        "metadata": stored.metadata,
    }
    tail = {
        "reply": Raw(stored.replies[0].message) if stored.replies else None,
        "completion": Raw(completion) if completion else None,
    }
    before, behind = msgspec.json.encode(head), msgspec.json.encode(tail)
    return before[:-1] + b',"messages":[', b"]," + behind[1:] + b"\n"


def _joined(messages: list[bytes], *, first: bool) -> Lines:
    comma = b"" if first or not messages else b","
    return Lines(comma + b",".join(messages), 0)


LAYOUTS: Final[dict[str, Layout]] = {
    "messages": messages_layout,
    "conversations": conversations_layout,
    "finetune": finetune_layout,
}
# An example for fine-tuning is checked as a whole, so its layout has no streamed form.
_STREAMED: Final[dict[str, Callable[[str, Blocks, bytes | None], Iterator[Lines]]]] = {
    "messages": _messages,
    "conversations": _conversation,
}


def lay_out(
    layout: str, completion_id: str, messages: MessageBuffer, completion: bytes | None
) -> Lines | Iterator[Lines]:
    """Return the lines of a conversation, in pieces where it does not fit in memory.

    Raises SkipError for a conversation that the layout cannot express.
    """
    if messages.spilled and layout in _STREAMED:
        return _STREAMED[layout](completion_id, messages.blocks(), completion)
    return LAYOUTS[layout](Fetched(completion_id, messages.read(), completion))
