"""The replies of a conversation that its list of messages does not have."""

from collections.abc import Iterable, Iterator, Sequence

from aiomessages.errors import SchemaError
from aiomessages.export.stored import Fetched, Stored, inputs_of, read_stored

from .rows import replies_of


def unlisted_replies(conversation: Fetched, count: int) -> Sequence[tuple[int, bytes]]:
    """Return the replies to store beside the messages: the number of a choice, and its message.

    Some servers list the replies, or one of them, among the messages, of which there are `count`:
    the archive has them there, and a search would find them twice.
    """
    try:
        stored = read_stored(conversation.completion)
    except (SchemaError, RecursionError):  # no object, or one that is nested too deeply to compare
        return replies_of(conversation.completion or b"")
    last = _Last(conversation.blocks)
    inputs = sum(map(len, inputs_of(Fetched("", last, conversation.completion), stored)))
    if count - inputs == len(stored.replies):
        return []
    listed = None if count == inputs else _choice_of(last.message, stored)
    return [reply for reply in stored.replies if reply.choice != listed]


def unlisted_beside(
    messages: Iterable[bytes], count: int, completion: bytes
) -> Sequence[tuple[int, bytes]]:
    """Return the same of `count` messages and their completion."""
    blocks = ([message] for message in messages)
    return unlisted_replies(Fetched("", blocks, completion), count)


class _Last:
    """Blocks of messages; `message` is the last of those that were read."""

    def __init__(self, blocks: Iterable[list[bytes]]) -> None:
        self._blocks = blocks
        self.message = b""

    def __iter__(self) -> Iterator[list[bytes]]:
        for block in self._blocks:
            self.message = block[-1] if block else self.message
            yield block


def _choice_of(message: bytes, stored: Stored) -> int:
    """Return the choice whose reply a listed message is; the first of several."""
    return next(
        reply.choice
        for reply in stored.replies
        if not any(inputs_of(Fetched("", [[message]]), Stored(stored.completion, (reply,))))
    )
