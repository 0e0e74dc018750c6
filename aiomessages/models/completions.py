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
    cached_tokens: int | None


class CompletionTokensDetails(TypedDict, total=False):
    """The parts of the reply's token count."""

    accepted_prediction_tokens: int | None
    audio_tokens: int | None
    reasoning_tokens: int | None
    rejected_prediction_tokens: int | None


class CompletionUsage(TypedDict, total=False):
    """The number of tokens that a completion took, as the server counts them.

    The value is the dict that the server sent: any key may be missing, and others may be there.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None
    completion_tokens_details: CompletionTokensDetails | None


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
    content: str | None = None
    refusal: str | None = None
    tool_calls: Sent[list[ToolCall]] = None
    function_call: FunctionCall | None = None
    annotations: Sent[list[Annotation]] = None
    audio: Audio | None = None

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
    message: Reply
    finish_reason: str | None = None
    logprobs: Json = None

    def to_dict(self) -> dict[str, Json]:
        """Return a new dict with the fields; that of the message has every field it was sent."""
        plain: dict[str, Json] = msgspec.to_builtins(self)
        return plain | {"message": self.message.to_dict()}


class StoredCompletion(Kept, SerializableStruct, Struct, frozen=True, dict=True):
    """A stored completion: the parameters of the request, and the model's replies in `choices`.

    `created` is in Unix seconds. `to_dict()` has every field that the server sent.
    """

    id: str
    choices: list[Choice]
    object: str = "chat.completion"
    model: str | None = None
    created: int | None = None
    request_id: str | None = None
    tool_choice: Json = None
    usage: Usage | None = None
    seed: int | None = None
    top_p: float | None = None
    temperature: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    system_fingerprint: str | None = None
    input_user: str | None = None
    service_tier: str | None = None
    tools: Json = None
    metadata: dict[str, str] | None = None
    response_format: Json = None

    def __hash__(self) -> int:
        return hash(self.id)  # equal completions have equal ids; a list of choices has no hash

    def _repr_html_(self) -> str:
        from .notebook import completion_html  # noqa: PLC0415 only notebooks need it

        return completion_html(self)
