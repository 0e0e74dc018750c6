"""Many conversations at once: the messages of each completion and, on request, its reply.

This module reads one conversation. `paging/workers.py` decides how many are read at the same time,
and `paging/listing.py` fetches the pages.
"""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Literal

import msgspec

from .calls.refusals import Refusals
from .errors import ConfigurationError, MessagesError
from .models import Json, Message, Reply, StoredCompletion
from .models.compact_repr import CompactRepr
from .models.pydantic_schema import SerializableStruct
from .pages import MessagePage
from .paging.plain_walk import PlainWalk
from .paging.workers import Results
from .settings import check_count
from .values.plain import as_plain

OnError = Literal["raise", "continue"]
Ids = (
    Iterable[str]
    | Iterable[StoredCompletion]
    | AsyncIterable[str]
    | AsyncIterable[StoredCompletion]
)


class Conversation(CompactRepr, SerializableStruct, msgspec.Struct, frozen=True):
    """The messages of a completion and, on request, the model's reply.

    An error that every other conversation would meet as well is raised, even with
    `on_error="continue"`.
    """

    completion_id: str
    """Id of the completion."""
    messages: list[Message]
    """The messages that were sent to the model; if there is an `error`, those before it."""
    reply: Reply | None = None
    """The reply of the first choice, with `include_reply=True`; else None."""
    error: MessagesError | None = None
    """The error of a conversation that could not be read, with `on_error="continue"`."""
    completion: StoredCompletion | None = None
    """The completion, if it was fetched for its reply or came from a list; else None."""

    def to_dict(self) -> dict[str, Json]:
        """Return a new dict with the fields; values from the server have every field it sent.

        `error` is None, or a dict with the `type` (the name of its class) and the `message`.
        """
        error = self.error
        return {
            "completion_id": self.completion_id,
            "messages": [message.to_dict() for message in self.messages],
            "reply": None if self.reply is None else self.reply.to_dict(),
            "error": error and {"type": type(error).__name__, "message": str(error)},
            "completion": None if self.completion is None else self.completion.to_dict(),
        }

    def _repr_html_(self) -> str:
        from .models.notebook import box, boxes  # noqa: PLC0415 only notebooks need it

        error = [] if self.error is None else [repr(self.error)]
        items = [self.reply] if self.reply is not None else []
        return box(self.completion_id, error, inner=boxes(self.messages) + boxes(items))


class ConversationStream(Results[Conversation]):
    """Conversations, as they are read or in the order of their ids."""


class Reader:
    """Read one conversation, given the id of a completion or a listed completion."""

    def __init__(
        self,
        pages_of: Callable[[str], PlainWalk[MessagePage]],
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
        """Return the conversation; raise its error, or keep it there with `on_error="continue"`."""
        completion = item if isinstance(item, StoredCompletion) else None
        completion_id = item.id if isinstance(item, StoredCompletion) else as_plain(item)
        messages: list[Message] = []
        try:
            # No page is prefetched here: other conversations are fetched at the same time.
            with self._pages_of(completion_id) as pages:
                async for page in pages:
                    messages += page.data
            if self._include_reply and completion is None:
                completion = await self._get_completion(completion_id)
        except MessagesError as error:
            if self._on_error == "raise" or self._refusals.ends_run(error):
                raise
            return Conversation(completion_id, messages, error=error, completion=completion)
        self._refusals.succeeded()
        choices = completion.choices if self._include_reply and completion else []
        reply = choices[0].message if choices else None
        return Conversation(completion_id, messages, reply, completion=completion)


def check_options(ids: object, *, concurrency: object, on_error: object) -> None:
    """Raise ConfigurationError for options that cannot be used."""
    if isinstance(ids, str | bytes):
        raise ConfigurationError("ids must be an iterable of ids, not one id: put it in a list")
    if not isinstance(ids, Iterable | AsyncIterable):
        raise ConfigurationError(f"ids must be an iterable of ids, not {type(ids).__name__}")
    check_count("concurrency", concurrency)
    if on_error not in ("raise", "continue"):
        raise ConfigurationError(f"on_error must be 'raise' or 'continue', not {on_error!r}")
