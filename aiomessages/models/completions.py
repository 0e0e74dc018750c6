"""Stored completions and their replies, as frozen Structs. Nothing here performs I/O."""

from msgspec import Struct

from .as_sent import Kept
from .parts import Annotation, Audio, FunctionCall, Json, Sent, ToolCall
from .pydantic_schema import SerializableStruct


class Reply(Kept, SerializableStruct, Struct, frozen=True, dict=True):
    """What the model answered: the message of a completion's choice."""

    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: Sent[list[ToolCall]] = None
    function_call: FunctionCall | None = None
    annotations: Sent[list[Annotation]] = None
    audio: Audio | None = None


class Choice(Struct, frozen=True):
    """One of a completion's replies, and why it ended; `index` is None where none was sent."""

    index: int | None
    message: Reply
    finish_reason: str | None = None
    logprobs: Json = None


class StoredCompletion(Kept, SerializableStruct, Struct, frozen=True, dict=True):
    """A stored completion: how it was asked for, and in `choices` what the model replied.

    `created` is in Unix seconds. `to_dict()` has every field that the server sent.
    """

    id: str
    choices: list[Choice]
    object: str = "chat.completion"
    model: str | None = None
    created: int | None = None
    request_id: str | None = None
    tool_choice: Json = None
    usage: dict[str, Json] | None = None
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
