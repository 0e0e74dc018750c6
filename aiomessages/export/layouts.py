"""The layouts: the lines of an export that one conversation becomes.

Nothing here performs I/O. Messages keep the bytes that the server sent. Two layouts yield their
lines in pieces, one for each block of messages, so that a conversation need not fit in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw

from .finetune import finetune_layout
from .message_buffer import MessageBuffer
from .stored import Fetched, Lines, inputs_of, read_stored


def messages_layout(fetched: Fetched) -> Iterator[Lines]:
    """Yield a line for each message, then a line with `choice` for each reply."""
    head, seq = _head(fetched.completion_id), 0
    stored = read_stored(fetched.completion)
    for messages in inputs_of(fetched, stored):
        yield Lines(_numbered(head, seq, messages), len(messages))
        seq += len(messages)
    replies = [
        b'%b%d,"choice":%d,"message":%b}\n' % (head, number, *reply)
        for number, reply in enumerate(stored.replies, seq)
    ]
    yield Lines(b"".join(replies), len(replies))


def incomplete_lines(completion_id: str, blocks: Iterable[list[bytes]]) -> Iterator[bytes]:
    """Yield lines of the layout `messages` for the part of a conversation that was read."""
    head, seq = _head(completion_id), 0
    for block in blocks:
        yield _numbered(head, seq, block)
        seq += len(block)


def _head(completion_id: str) -> bytes:
    return b'{"completion_id":%b,"seq":' % msgspec.json.encode(completion_id)


def _numbered(head: bytes, first: int, messages: Sequence[bytes]) -> bytes:
    """Return the lines of messages; one join costs a quarter of a formatting per line."""
    pieces = [head, b"", b"", b"}\n"] * len(messages)
    pieces[1::4] = _numbers(first, len(messages))
    pieces[2::4] = messages
    return b"".join(pieces)


@lru_cache(maxsize=128)  # most conversations begin alike, with pages of one length
def _numbers(first: int, count: int) -> list[bytes]:
    return [b'%d,"message":' % seq for seq in range(first, first + count)]


def conversations_layout(fetched: Fetched) -> Iterator[Lines]:
    """Yield one line: the id, model, time, metadata, messages, first reply and completion."""
    stored = read_stored(fetched.completion)
    head = {"completion_id": fetched.completion_id}
    head |= {name: getattr(stored.completion, name) for name in ("model", "created", "metadata")}
    tail = {
        "reply": Raw(stored.replies[0].message) if stored.replies else None,
        "completion": Raw(fetched.completion) if fetched.completion else None,
    }
    yield Lines(msgspec.json.encode(head)[:-1] + b',"messages":[', 1)
    comma = b""
    for messages in filter(None, inputs_of(fetched, stored)):
        yield Lines(comma + b",".join(messages))
        comma = b","
    yield Lines(b"]," + msgspec.json.encode(tail)[1:] + b"\n")


_IN_PIECES: Final = {"messages": messages_layout, "conversations": conversations_layout}
LAYOUTS: Final = (*_IN_PIECES, "finetune")


def lay_out(
    layout: str, completion_id: str, messages: MessageBuffer, completion: bytes | None
) -> Lines | Iterator[Lines]:
    """Return the lines of a conversation, in pieces if it does not fit in memory.

    Raises SkipError for a conversation that the layout cannot express.
    """
    fetched = Fetched(completion_id, messages.blocks(), completion)
    if layout == "finetune":  # an example is checked as a whole
        return finetune_layout(fetched)
    pieces = _IN_PIECES[layout](fetched)
    return pieces if messages.spilled else joined(pieces)


def joined(pieces: Iterable[Lines]) -> Lines:
    """Return the lines of all pieces."""
    texts, numbers, _ = zip(*pieces, strict=True)
    return Lines(b"".join(texts), sum(numbers))
