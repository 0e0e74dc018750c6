"""The replies of a conversation that its list of messages does not have."""

from collections.abc import Sequence

from aiomessages.errors import SchemaError
from aiomessages.export.stored import Fetched, inputs_of, read_stored

from .rows import replies_of


def unlisted_replies(conversation: Fetched, count: int) -> Sequence[tuple[int, bytes]]:
    """Return the replies to store beside the messages: the number of a choice, and its message.

    Some servers list the replies among the messages, of which there are `count`: the archive has
    them there, and a search would find them twice.
    """
    try:
        stored = read_stored(conversation.completion)
    except (SchemaError, RecursionError):  # no object, or one that is nested too deeply to compare
        return replies_of(conversation.completion or b"")
    inputs = sum(map(len, inputs_of(conversation, stored)))
    return [] if count - inputs == len(stored.replies) else stored.replies
