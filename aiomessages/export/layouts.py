"""The layouts: the lines of an export that one conversation becomes.

Nothing here performs I/O. Messages keep the bytes that the server sent. Two layouts yield their
lines in pieces, one for each block of messages, so that a conversation need not fit in memory.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw

from aiomessages.wire.replies import Completion, Stored, read_stored

from .chat import chat_layout
from .finetune import finetune_layout
from .stored import Fetched, Lines, inputs_of


def messages_layout(fetched: Fetched, *, columns: bool = False) -> Iterator[Lines]:
    """Yield a line for each message, then a line with `choice` for each reply.

    For `columns` each line has the metadata of the completion, too.
    """
    stored, seq = read_stored(fetched.completion), 0
    head = _head(fetched.completion_id, _about(fetched, stored), columns=columns)
    for messages in inputs_of(fetched, stored):
        yield Lines(_numbered(head, seq, messages), len(messages))
        seq += len(messages)
    replies = [
        b'%b%d,"choice":%d,"message":%b}\n' % (head, number, *reply)
        for number, reply in enumerate(stored.replies, seq)
    ]
    yield Lines(b"".join(replies), len(replies))


def incomplete_lines(
    completion_id: str, blocks: Iterable[list[bytes]], completion: bytes | None
) -> Iterator[bytes]:
    """Return lines of the layout `messages` for the part of a conversation that was read."""
    head = _head(completion_id, read_stored(completion).completion)
    return _in_order(head, blocks)


def _in_order(head: bytes, blocks: Iterable[list[bytes]]) -> Iterator[bytes]:
    seq = 0
    for block in blocks:
        yield _numbered(head, seq, block)
        seq += len(block)


def _about(fetched: Fetched, stored: Stored) -> Completion:
    """Return the completion that has the model, time and metadata of a conversation."""
    return stored.completion if fetched.completion else read_stored(fetched.listed).completion


def _head(completion_id: str, about: Completion, *, columns: bool = False) -> bytes:
    """Return the beginning of each line of a completion; a value of an odd type is null."""
    created, model, metadata = map(bytes, (about.created, about.model, about.metadata))
    pieces = [
        b'{"completion_id":' + msgspec.json.encode(completion_id),
        b'"created":' + (created if _is_time(created) else b"null"),
        b'"model":' + (model if model.startswith(b'"') else b"null"),
    ]
    if columns:
        pieces.append(b'"metadata":' + metadata)  # its column decides what fits
    return b",".join([*pieces, b'"seq":'])


def _is_time(created: bytes) -> bool:
    """Return whether JSON is an integer of 64 bits."""
    return _INTEGER.fullmatch(created) is not None and -(2**63) <= int(created) < 2**63


_INTEGER: Final = re.compile(rb"-?\d{1,19}")


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
    about = _about(fetched, stored)
    head = {"completion_id": fetched.completion_id}
    head |= {name: getattr(about, name) for name in ("model", "created", "metadata")}
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


# An example of training data is checked as a whole, and holds its images.
EXAMPLES: Final = {"finetune": finetune_layout, "chat": chat_layout}
LAYOUTS: Final = ("messages", "conversations", *EXAMPLES)


def version_of(layout: str, *, columns: bool) -> int:
    """Return the version of a layout's lines, or of its columns.

    The first had no `created` and `model` in the lines of `messages`; in the columns of
    `conversations` it had no `usage`, `finish_reason`, `service_tier` and `tools`, and `created`
    was an integer. An output has the lines of one version only.
    """
    return 2 if layout == "messages" or (layout == "conversations" and columns) else 1


def lay_out(
    layout: str, fetched: Fetched, *, columns: bool, whole: bool
) -> Lines | Iterator[Lines]:
    """Return the lines of a conversation, in pieces unless it is `whole` in memory.

    Raises SkipError for a conversation that the layout cannot express.
    """
    if layout in EXAMPLES:
        return EXAMPLES[layout](fetched)
    pieces = (
        messages_layout(fetched, columns=columns)
        if layout == "messages"
        else conversations_layout(fetched)
    )
    return joined(pieces) if whole else pieces


def joined(pieces: Iterable[Lines]) -> Lines:
    """Return the lines of all pieces."""
    texts, numbers, _ = zip(*pieces, strict=True)
    return Lines(b"".join(texts), sum(numbers))
