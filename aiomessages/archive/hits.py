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
    """A message that matches a search: a Message, or the Reply of a choice."""

    completion_id: str
    """Id of the completion."""
    n: int
    """Place of the message among those of its completion, counted from 0; replies come last."""
    choice: int | None
    """None for a message that was sent to the model; for a reply the number of its choice."""
    message: Message | Reply
    """The message, or the reply."""
    snippet: Snippet
    """The part of its text that matches."""
    created: int | None
    """When the completion was created, in Unix seconds."""
    model: str | None
    """Model of the completion."""


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
