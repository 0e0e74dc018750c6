"""Lines of conversations that are too large to be held: the same bytes, made piece by piece.

Nothing here writes. Pieces come from blocks of messages, of which the last few are held back, for
they may be the replies that some servers list.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Raw

from .layouts import Lines, Stored, last_lines, listed_replies, messages_lines, read_stored

Blocks = Iterable[list[bytes]]


def incomplete_lines(completion_id: str, blocks: Blocks) -> Iterator[bytes]:
    """Yield lines of the layout `messages` for what was read of a conversation, without a reply."""
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
    """Add a block to the messages that are held, and take all but the last `count` out of them."""
    held += block
    ready = held[: max(len(held) - count, 0)]
    del held[: len(ready)]
    return ready


def _frame(completion_id: str, stored: Stored, completion: bytes | None) -> tuple[bytes, bytes]:
    """Return what stands before the messages of a line, and what stands behind them."""
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


# An example for fine-tuning is looked at as a whole, so that its layout is not among these.
LARGE: Final[dict[str, Callable[[str, Blocks, bytes | None], Iterator[Lines]]]] = {
    "messages": _messages,
    "conversations": _conversation,
}
