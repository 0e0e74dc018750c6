"""Stored completions and their replies, as frozen Structs. Nothing here performs I/O."""

from typing import TYPE_CHECKING, TypedDict

import msgspec
from msgspec import Struct

from .as_sent import Kept
from .compact_repr import CompactRepr
from .parts import Annotation, Audio, FunctionCall, Json, Sent, ToolCall
from .pydantic_schema import SerializableStruct, open_dict_schema


class PromptTokensDetails(TypedDict, total=False):
    """The parts of the prompt's token count."""

    audio_tokens: int | None
    """Tokens of sounds."""
    cached_tokens: int | None
    """Tokens that were in the server's cache."""


class CompletionTokensDetails(TypedDict, total=False):
    """The parts of the reply's token count."""

    accepted_prediction_tokens: int | None
    """Tokens of a predicted output that occur in the reply."""
    audio_tokens: int | None
    """Tokens of sounds."""
    reasoning_tokens: int | None
    """Tokens of reasoning, which no message shows."""
    rejected_prediction_tokens: int | None
    """Tokens of a predicted output that do not occur in the reply."""


class CompletionUsage(TypedDict, total=False):
    """The number of tokens that a completion took, as the server counts them.

    The value is the dict that the server sent: any key may be missing, and others may be there.
    """

    prompt_tokens: int
    """Tokens of the messages that were sent to the model."""
    completion_tokens: int
    """Tokens of the replies."""
    total_tokens: int
    """Tokens of both."""
    prompt_tokens_details: PromptTokensDetails | None
    """The parts of `prompt_tokens`."""
    completion_tokens_details: CompletionTokensDetails | None
    """The parts of `completion_tokens`."""


# The decoder would drop keys that a TypedDict does not name, and refuse values of other types.
if TYPE_CHECKING:
    Usage = CompletionUsage
else:
    Usage = dict[str, Json]
    # Nor would Pydantic keep them; it refuses typing.TypedDict before Python 3.12 altogether.
    CompletionUsage.__get_pydantic_core_schema__ = open_dict_schema


class Reply(Kept, SerializableStruct, Struct, frozen=True, dict=True):
    """The model's reply: the message of one choice of a completion."""

    role: str = "assistant"
    """`assistant`."""
    content: str | None = None
    """The text; None if the reply has none."""
    refusal: str | None = None
    """The refusal, in the model's own words."""
    tool_calls: Sent[list[ToolCall]] = None
    """Calls of tools that the model asked for."""
    function_call: FunctionCall | None = None
    """Call of a function, in the form that `tool_calls` replaced."""
    annotations: Sent[list[Annotation]] = None
    """Web pages that the text cites."""
    audio: Audio | None = None
    """The spoken reply."""

    @property
    def text(self) -> str:
        """`content`, or the empty string without one; a refusal is not part of it."""
        return self.content or ""

    def _repr_html_(self) -> str:
        from .notebook import message_html  # noqa: PLC0415 only notebooks need it

        return message_html(self)


class Choice(CompactRepr, SerializableStruct, Struct, frozen=True):
    """One reply of a completion and the reason why it ended; `index` is None if it was not sent."""

    index: int | None
    """Number of the choice, counted from 0; None if it was not sent."""
    message: Reply
    """The reply."""
    finish_reason: str | None = None
    """Why the reply ended: `stop`, `length`, `tool_calls`, `content_filter`, …"""
    logprobs: Json = None
    """Logarithms of the probabilities of its tokens, as the server sent them."""

    def to_dict(self) -> dict[str, Json]:
        """Return a new dict with the fields; that of the message has every field it was sent."""
        plain: dict[str, Json] = msgspec.to_builtins(self)
        return plain | {"message": self.message.to_dict()}


class StoredCompletion(Kept, SerializableStruct, Struct, frozen=True, dict=True):
    """A stored completion: the parameters of the request, and the model's replies in `choices`.

    `created` is in Unix seconds. `to_dict()` has every field that the server sent.
    """

    id: str
    """Id of the completion, `chatcmpl-…`."""
    choices: list[Choice]
    """The replies, one for each choice."""
    object: str = "chat.completion"
    """The API's name for the value: `chat.completion`."""
    model: str | None = None
    """Full name of the model that replied."""
    created: int | None = None
    """When it was created, in Unix seconds."""
    request_id: str | None = None
    """Id of the request that created it."""
    tool_choice: Json = None
    """Which tools the model could call, as it was sent."""
    usage: Usage | None = None
    """Tokens that it took."""
    seed: int | None = None
    """Seed of the request."""
    top_p: float | None = None
    """Share of the probability that tokens were chosen from."""
    temperature: float | None = None
    """Temperature of the request."""
    presence_penalty: float | None = None
    """Penalty of the request for tokens that occurred."""
    frequency_penalty: float | None = None
    """Penalty of the request for tokens, by how often they occurred."""
    system_fingerprint: str | None = None
    """The server's name for the configuration that it ran."""
    input_user: str | None = None
    """The `user` of the request."""
    service_tier: str | None = None
    """Service tier that processed the request."""
    tools: Json = None
    """Descriptions of the tools, as they were sent."""
    metadata: dict[str, str] | None = None
    """Up to 16 pairs that the request stored with it."""
    response_format: Json = None
    """Form that the request asked for, as it was sent."""

    def __hash__(self) -> int:
        return hash(self.id)  # equal completions have equal ids; a list of choices has no hash

    def _repr_html_(self) -> str:
        from .notebook import completion_html  # noqa: PLC0415 only notebooks need it

        return completion_html(self)
