"""The replies of a conversation that its list of messages does not have."""

from aiomessages.export.conversation_reader import Outcome
from aiomessages.export.stored import Fetched, inputs_of, read_stored


def unlisted_replies(completion_id: str, outcome: Outcome) -> list[tuple[int, bytes]]:
    """Return the replies to store beside the messages: the number of a choice, and its message.

    Some servers list the replies among the messages, where the archive has them already.
    """
    stored = read_stored(outcome.completion)
    fetched = Fetched(completion_id, outcome.messages.blocks(), outcome.completion)
    inputs = sum(map(len, inputs_of(fetched, stored)))
    all_listed = len(outcome.messages) - inputs == len(stored.replies)
    return [] if all_listed else [(reply.choice, reply.message) for reply in stored.replies]
