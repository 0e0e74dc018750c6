"""Conversations as a server sent them, and lines as an export writes them.

Nothing here performs I/O. Some servers list the replies among the messages; `inputs_of` leaves
those out, so that each reply is written once, as a reply.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from aiomessages.wire.replies import Stored, count_listed


class Fetched(msgspec.Struct):
    """A whole conversation as the server's JSON, each item on one line.

    `blocks` yields its messages in lists of any length. `completion` is the stored completion, or
    None if replies are not wanted. `listed` is the completion in a list, if there is one: without
    `completion`, its model, time and metadata are used, and nothing else.
    """

    completion_id: str
    blocks: Iterable[list[bytes]]
    completion: bytes | None = None
    listed: bytes | None = None


class SkipError(Exception):
    """A layout cannot express a conversation; the text is the reason, which is counted."""


class Lines(NamedTuple):
    """Lines of an export, each with its line break, and their number.

    `left_out` has a reason for each reply of a conversation that is not among its lines.
    """

    text: bytes | bytearray = b""
    number: int = 0
    left_out: tuple[str, ...] = ()


def inputs_of(fetched: Fetched, stored: Stored) -> Iterator[list[bytes]]:
    """Yield the input messages in blocks: the listed messages that are not replies.

    The last `len(stored.replies)` messages so far are held back, because they may be replies.
    """
    count, held = 0, list[bytes]()
    for block in fetched.blocks:
        held += block
        ready = held[: max(len(held) - len(stored.replies), 0)]
        del held[: len(ready)]
        count += len(ready)
        yield ready
    yield held[: len(held) - count_listed(held, count + len(held), stored)]
