"""What a search finds: a message or reply, with the part of its text that matches."""

from collections.abc import Sequence
from typing import Any

import msgspec

from aiomessages.models import Message, Reply
from aiomessages.wire.decoding import MESSAGES

from .query import Term
from .snippets import Snippet, snippet_of
from .values import read_items, read_reply


class Hit(msgspec.Struct, frozen=True):
    """A message that matches a search: a Message, or the Reply of a choice.

    `n` is its place among the messages of its completion, counted from 0, replies last. `choice` is
    None for a message that was sent to the model, and the number of the choice for a reply.
    `created` (Unix seconds) and `model` are those of the completion.
    """

    completion_id: str
    n: int
    choice: int | None
    message: Message | Reply
    snippet: Snippet
    created: int | None
    model: str | None


def hits_of(rows: Sequence[tuple[Any, ...]], terms: Sequence[Term]) -> list[Hit]:
    """Return the hits of rows: number, completion id, n, choice, text, created, model and JSON.

    Of a reply the last column has the JSON of its completion.
    """
    sent = iter(read_items(MESSAGES.fresh(), [row[7] for row in rows if row[3] is None]))
    hits = []
    for _, completion_id, n, choice, text, created, model, _, completion in rows:
        message = next(sent) if choice is None else read_reply(completion, choice)
        snippet = snippet_of(text, terms)
        hits.append(Hit(completion_id, n, choice, message, snippet, created, model))
    return hits
