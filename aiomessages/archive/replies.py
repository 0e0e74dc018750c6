"""The replies of a conversation that its list of messages does not have."""

from collections.abc import Sequence

from aiomessages.errors import SchemaError
from aiomessages.wire.replies import Stored, count_listed, is_no_reply, read_stored


def unlisted_replies(
    replies: Sequence[tuple[int, bytes]], end: Sequence[bytes], count: int, completion: bytes
) -> Sequence[tuple[int, bytes]]:
    """Return those of the replies of a completion that its list of messages does not have.

    Some servers list the replies, or one of them, among the messages: the archive has them there,
    and a search would find them twice. A reply is the number of a choice, and its message. `end` is
    the end of the list of `count` messages: as many as there are replies, if it has them.
    """
    if not end or is_no_reply(end[-1], [message for _, message in replies]):
        return replies
    try:
        stored = read_stored(completion)
    except (SchemaError, RecursionError):  # nested too deeply to compare
        return replies
    listed = count_listed(end, count, stored)
    if listed in {0, len(stored.replies)}:
        return replies[listed:]
    return [reply for reply in replies if reply[0] != _choice_of(end[-1], stored)]


def _choice_of(message: bytes, stored: Stored) -> int:
    """Return the choice whose reply a listed message is; the first of several."""
    return next(
        reply.choice
        for reply in stored.replies
        if count_listed([message], 1, Stored(stored.completion, (reply,)))
    )
