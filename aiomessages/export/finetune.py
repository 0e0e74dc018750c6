"""Examples for OpenAI's fine-tuning, or the reason why a conversation cannot be one.

Nothing here performs I/O. The format is OpenAI's own: its JSONL for supervised fine-tuning of chat
models. The fields of a line and of its messages are those of FineTuneChatRequestInput and of the
request messages in OpenAI's OpenAPI description (github.com/openai/openai-openapi, which had it
until June 2025); the rules for images are from
developers.openai.com/api/docs/guides/vision-fine-tuning. The limits on the examples of a file and
the images of an example differ between models, and are not checked. A stored completion lacks
`parallel_tool_calls`, the deprecated `functions` and each `weight`; their defaults apply, so that a
model is trained on everything that an assistant said.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import DecodeError, Meta, Raw, Struct, ValidationError

from aiomessages.wire.decoding import despite_lone_surrogates
from aiomessages.wire.replies import read_stored

from .stored import Fetched, Lines, SkipError, inputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = Any
JsonObject = dict[str, Json]
RawObject = dict[str, Raw]  # only the fields of an example are read; the rest may be anything
NULL: Final = Raw(b"null")
ReadT = TypeVar("ReadT")


class Reason(StrEnum):
    """All reasons for which a conversation cannot be an example."""

    NO_REPLY = "no reply"
    NOT_A_MESSAGE = "not a message"
    NO_CONTENT = "message without content"
    ROLE = "unknown role"
    PART = "unknown content part"
    IMAGE = "image that the format does not take"
    AUDIO = "audio"
    FILE = "file"
    CALL = "tool call that calls no function"
    TOOL = "tool that is no function"
    UNANSWERED = "tool call without its answer"
    UNASKED = "answer without its tool call"
    ARGUMENTS = "tool call whose arguments are no JSON object"  # of the layout `chat` alone


def finetune_layout(fetched: Fetched) -> Lines:
    """Return a line for each reply: the messages, that reply, and the tools of the model.

    `left_out` has the reason for each reply that cannot be an example. Raises SkipError, with a
    Reason, if no reply is left.
    """
    return examples_of(fetched, _line)


def examples_of(fetched: Fetched, line: Callable[[list[JsonObject], list[Tool]], bytes]) -> Lines:
    """Return a line for each reply, made by `line` of the messages with that reply and the tools.

    Each choice of a completion is a reply to the same messages. Raises as `finetune_layout` does.
    """
    stored = read_stored(fetched.completion)
    if fetched.completion is None or not stored.replies:
        raise SkipError(Reason.NO_REPLY)
    said = [_message(sent) for block in inputs_of(fetched, stored) for sent in block]
    tools = _tools(fetched.completion)
    lines, errors = [], []
    for reply in stored.replies:
        try:
            lines.append(line(_with_reply(said, reply.message), tools))
        except SkipError as error:
            errors.append(error)
    if not lines:
        raise errors[0]
    return Lines(b"".join(lines), len(lines), tuple(map(str, errors)))


def _with_reply(said: list[JsonObject], reply: bytes) -> list[JsonObject]:
    answer = _message(reply)
    if answer["role"] != "assistant":
        raise SkipError(Reason.NO_REPLY)
    messages = [*said, answer]
    _check_answers(messages)
    return messages


def _line(messages: list[JsonObject], tools: list[Tool]) -> bytes:
    return msgspec.json.encode({"messages": messages} | ({"tools": tools} if tools else {})) + b"\n"


# --- one message ----------------------------------------------------------------------------------


class Function(Struct):
    """A function that the model calls."""

    name: str
    arguments: str


class _Call(Struct):
    id: str
    type: Literal["function"]  # the guides train on no other kind
    function: Function


class _Sent(Struct):
    """The fields of a message that an example has, and those that no example can have."""

    role: str
    content: str | list[RawObject] | None = None
    name: str | None = None
    content_parts: list[RawObject] | None = None
    refusal: str | None = None
    tool_calls: list[RawObject] | None = None
    function_call: Function | None = None
    audio: Raw = NULL
    tool_call_id: str | None = None


_SENT: Final = msgspec.json.Decoder(_Sent)
_CALL: Final = msgspec.json.Decoder(_Call)


def _message(sent: bytes) -> JsonObject:
    wire = _read(_SENT, sent, Reason.NOT_A_MESSAGE)
    if wire.role not in _ROLES:
        raise SkipError(Reason.ROLE)
    if bytes(wire.audio) != b"null":
        raise SkipError(Reason.AUDIO)
    message = {key: value for key, value in _fields(wire).items() if value is not None}
    if not message.keys() & {"content", "tool_calls", "function_call"}:
        raise SkipError(Reason.NO_CONTENT)
    return message


def _read(decoder: msgspec.json.Decoder[ReadT], sent: bytes, reason: Reason) -> ReadT:
    """Read JSON. Raises SkipError with the reason if it does not fit."""
    try:
        return despite_lone_surrogates(decoder.decode, sent)[0]
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise SkipError(reason) from None


def _fields(wire: _Sent) -> JsonObject:
    """Return the fields of a message of its role, with None for those that are absent."""
    fields: JsonObject = {"role": _ROLES[wire.role], "content": _content(wire)}
    match wire.role:
        case "tool":  # it has no name; the call that it answers has one
            return fields | {"tool_call_id": wire.tool_call_id}
        case "assistant":
            return fields | {
                "name": wire.name,
                "tool_calls": [_call(call) for call in wire.tool_calls or ()] or None,
                "function_call": wire.function_call,
            }
    return fields | {"name": wire.name}


def _call(wire: RawObject) -> _Call:
    return _read(_CALL, msgspec.json.encode(wire), Reason.CALL)


# FineTuneChatRequestInput has no developer message, only a system message.
_ROLES: Final = {
    **{role: role for role in ("system", "user", "assistant", "tool", "function")},
    "developer": "system",
}


# --- content --------------------------------------------------------------------------------------


def _content(wire: _Sent) -> str | list[JsonObject] | None:
    """Return the text, or the parts if the message has parts; a refusal becomes a part."""
    listed, text = (wire.content, None) if isinstance(wire.content, list) else ([], wire.content)
    parts = wire.content_parts or listed
    if not parts and not text and wire.refusal:
        refusal = msgspec.json.encode(wire.refusal)
        parts = [{"type": Raw(b'"refusal"'), "refusal": Raw(refusal)}]
    return [_part(part, _ROLES[wire.role]) for part in parts] or text


def _part(part: RawObject, role: str) -> JsonObject:
    """Return a part with its type and its content alone."""
    kind = _kind(part.get("type", NULL))
    if kind not in _PARTS[role]:
        raise SkipError(_FOREIGN.get(kind, Reason.PART))
    try:
        held = msgspec.json.decode(part.get(kind, NULL), type=_PARTS[role][kind])
    except ValidationError:
        raise SkipError(_FOREIGN.get(kind, Reason.NOT_A_MESSAGE)) from None
    return {"type": kind, kind: held}


def _kind(sent: Raw) -> str:
    try:
        return msgspec.json.decode(sent, type=str)
    except ValidationError:
        return ""  # no part is of this kind


# "HTTP URLs or data URLs", and "JPEG, PNG, or WEBP" (the guide to vision fine-tuning). The format
# of an image at an HTTP URL cannot be known here.
_PICTURE: Final = r"(?i)^(https?://|data:image/(jpeg|jpg|png|webp);base64,)"


class _Image(Struct, omit_defaults=True):
    url: Annotated[str, Meta(pattern=_PICTURE)]
    detail: str | None = None


# "You cannot include images as output from messages with the assistant role" (the same guide).
_PARTS: Final[dict[str, dict[str, Any]]] = {
    "system": {"text": str},
    "user": {"text": str, "image_url": _Image},
    "assistant": {"text": str, "refusal": str},
    "tool": {"text": str},
    "function": {},
}
_FOREIGN: Final = {"image_url": Reason.IMAGE, "input_audio": Reason.AUDIO, "file": Reason.FILE}


# --- tools and their calls ------------------------------------------------------------------------


class _Described(Struct, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: RawObject | None = None  # a JSON Schema
    strict: bool | None = None


class Tool(Struct):
    """A function that the model may call."""

    type: Literal["function"]  # as of a call
    function: _Described


class _Equipped(Struct):
    tools: list[Tool] | None = None


_EQUIPPED: Final = msgspec.json.Decoder(_Equipped)


def _tools(completion: bytes) -> list[Tool]:
    """Return the tools of a completion, if they are stored."""
    return _read(_EQUIPPED, completion, Reason.TOOL).tools or []


def _check_answers(said: list[JsonObject]) -> None:
    """Raise SkipError unless each call is answered once, directly after it, and nothing else is.

    The calls of the last message have no answer yet: the model is to learn to make them.
    """
    pending: set[tuple[str, str | None]] = set()
    for message in said:
        if message["role"] in ("tool", "function"):
            answer = message["role"], message.get(_ASKED_BY[message["role"]])
            if answer not in pending:
                raise SkipError(Reason.UNASKED)
            pending.remove(answer)
        elif pending:
            raise SkipError(Reason.UNANSWERED)
        else:
            pending = set(_calls(message))


def _calls(message: JsonObject) -> Iterator[tuple[str, str | None]]:
    yield from (("tool", call.id) for call in message.get("tool_calls", ()))
    if "function_call" in message:
        yield "function", message["function_call"].name


_ASKED_BY: Final = {"tool": "tool_call_id", "function": "name"}
