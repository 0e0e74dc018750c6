"""Many conversations at once: each completion's messages, and its reply where that is wanted.

This module knows what a conversation is made of; how many are read at a time is `workers`' matter,
and what a page is `listing`'s.
"""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Literal

import msgspec

from .calls.refusals import Refusals
from .errors import ConfigurationError, MessagesError
from .models import Message, Reply, StoredCompletion
from .models.pydantic_schema import SerializableStruct
from .pages import MessagePage
from .paging.plain_walk import OneByOne
from .paging.workers import Results
from .values.plain import as_plain

OnError = Literal["raise", "continue"]
Ids = Iterable[str] | AsyncIterable[str] | AsyncIterable[StoredCompletion]


class Conversation(SerializableStruct, msgspec.Struct, frozen=True):
    """A completion's messages and, where asked for, the model's reply.

    With `on_error="continue"`, `error` says why this one could not be read; `messages` then holds
    what came before it. An error that would be every other one's too is raised instead.
    """

    completion_id: str
    messages: list[Message]
    reply: Reply | None = None
    error: MessagesError | None = None


class ConversationStream(Results[Conversation]):
    """Conversations, as they are read or in the order of their ids."""


class Reader:
    """Read one conversation, of an id or of a completion that was listed with its reply."""

    def __init__(
        self,
        pages_of: Callable[[str], OneByOne[MessagePage]],
        get_completion: Callable[[str], Awaitable[StoredCompletion]],
        *,
        include_reply: bool,
        on_error: OnError,
        longest_wait: float,
    ) -> None:
        self._pages_of = pages_of
        self._get_completion = get_completion
        self._include_reply = include_reply
        self._on_error = on_error
        self._refusals = Refusals(longest_wait)

    async def __call__(self, item: str | StoredCompletion) -> Conversation:
        """Return the conversation; raise what went wrong, unless that is to be kept in it."""
        completion_id = item.id if isinstance(item, StoredCompletion) else as_plain(item)
        messages: list[Message] = []
        try:
            # Nothing ahead of its need: others are fetched meanwhile.
            with self._pages_of(completion_id) as pages:
                async for page in pages:
                    messages += page.data
            conversation = Conversation(completion_id, messages, await self._reply(item))
        except MessagesError as error:
            if self._on_error == "raise" or self._refusals.ends_run(error):
                raise
            return Conversation(completion_id, messages, error=error)
        self._refusals.succeeded()
        return conversation

    async def _reply(self, item: str | StoredCompletion) -> Reply | None:
        if not self._include_reply:
            return None
        completion = await self._get_completion(item) if isinstance(item, str) else item
        return completion.choices[0].message if completion.choices else None


def check_options(ids: object, *, concurrency: object, on_error: object) -> None:
    """Raise ConfigurationError for what cannot be worked with."""
    if isinstance(ids, str | bytes):
        raise ConfigurationError("ids must be an iterable of ids, not one id: put it in a list")
    if not isinstance(ids, Iterable | AsyncIterable):
        raise ConfigurationError(f"ids must be an iterable of ids, not {type(ids).__name__}")
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ConfigurationError(f"concurrency must be an int of 1 or more, not {concurrency!r}")
    if on_error not in ("raise", "continue"):
        raise ConfigurationError(f"on_error must be 'raise' or 'continue', not {on_error!r}")
