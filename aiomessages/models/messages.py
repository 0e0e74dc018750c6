"""Messages, as frozen Structs.

Nothing here performs I/O. The strict decoder makes a `ReceivedMessage` of a message whose fields
are all known. If something in it is new or has a wrong type, `wire/lenient.py` makes an
`OddMessage`. `parts.py` has the values inside a message.

The contract is OpenAI's OpenAPI description. Where the live API differs from it (a null for every
absent value, roles other than `assistant`), the live API is right. Other servers differ from both,
mostly in the keys that they leave out and those that they send as null. `to_dict()` returns each
message as it was sent.
"""

from typing import Final, cast

import msgspec
from msgspec import UNSET, field

from .as_sent import Kept
from .compact_repr import shown_fields
from .parts import (
    Annotation,
    Audio,
    ContentPart,
    FunctionCall,
    Json,
    Nil,
    Role,
    Sent,
    TextPart,
    ToolCall,
    Wire,
)

# --- messages -------------------------------------------------------------------------------------


def _null() -> None:
    """Default to a null that is encoded, as the live API does for these fields."""


class Message(Wire, frozen=True):
    """One message of a stored completion.

    `role` is an open set (`user, assistant, system, developer, tool, function`, …). A message with
    any other role is an `OddMessage`; msgspec's own decoders refuse it. If the message was given in
    parts, `content` is their text joined, or None from some servers; `text` covers both. The
    model's own reply is not among a completion's messages: it is in the completion's `choices`.

    Messages are equal if their fields are equal; a null equals a key that was not sent.
    `to_dict()`, `to_json()` and msgspec's encoders write a message from a server as it was sent.
    """

    id: str
    """Id of the message: the cursor that `after` takes."""
    role: Role
    """Author of the message: `user`, `assistant`, `system`, `developer`, `tool`, `function`, …"""
    content: str | None = field(default_factory=_null)
    """The text; None if the message has none."""
    name: str | None = field(default_factory=_null)
    """Name of the author, if one was given."""
    content_parts: list[ContentPart] | None = field(default_factory=_null)
    """Texts, images, sounds and files, if the message was given in parts."""
    refusal: Sent[str] = None
    """The model's refusal, in its own words."""
    tool_calls: Sent[list[ToolCall]] = None
    """Calls of tools that the model asked for."""
    function_call: Sent[FunctionCall] = None
    """Call of a function, in the form that `tool_calls` replaced."""
    annotations: Sent[list[Annotation]] = None
    """Web pages that the text cites."""
    audio: Sent[Audio] = None
    """The model's spoken reply."""
    tool_call_id: Sent[str] = None
    """In the result of a call: the id of the call."""

    @property
    def text(self) -> str:
        """`content`, or the joined text of the text parts if there is no content.

        The text is empty if the message has neither. A refusal is not text: see `refusal` and, in
        `content_parts`, `RefusalPart`.
        """
        if self.content is not None:
            return self.content
        parts = self.content_parts or ()
        return "".join(part.text for part in parts if isinstance(part, TextPart))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message) or isinstance(other, OddMessage):
            return NotImplemented
        return _values(self) == _values(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # the operator of Struct compares classes and slots

    def __hash__(self) -> int:
        return hash(self.id)  # equal messages have equal ids; a list of parts has no hash

    def __rich_repr__(self) -> list[tuple[str, Json]]:
        return shown_fields(self, Message)  # a received message requires more, to its decoder

    def _repr_html_(self) -> str:
        from .notebook import message_html  # noqa: PLC0415 only notebooks need it

        return message_html(self)


def _values(message: Message) -> list[Json]:
    return [getattr(message, name) for name in message.__struct_fields__]


class OddMessage(Kept, Message, frozen=True, dict=True, gc=True):
    """A message with something that is new to this version, or that has a wrong type.

    A part, a call or an annotation that does not fit its type is an `UnknownPart`,
    `UnknownToolCall` or `UnknownAnnotation`. Any other field with a wrong type is None; such a role
    is the empty string. A `content` that is a list of parts is read as `content_parts` if the
    message has no others. `mismatches` lists the places that did not fit, as JSON paths in the
    message: `$.refusal`, `$.tool_calls[0].function.arguments`. New values are not listed.

    `to_dict()` and `to_json()` have everything that the server sent; msgspec's encoders write only
    the fields that this version knows.
    """

    __hash__ = Message.__hash__


# --- received messages ----------------------------------------------------------------------------
# Servers agree on the values of a message and not on the keys of absent values: the live API sends
# three nulls, the contract one, OGX up to nine, and no server promises to be consistent in a page.
# A field that defaults to UNSET distinguishes null from "not sent" at no cost to the decoder, so
# that one class reads all of them in one pass. Both are None to the user.

_ALWAYS_SENT: Final = ("id", "role", "content")


def _received() -> type[Message]:
    """Derive from Message the class that pages are decoded to."""
    maybe = [known for known in msgspec.structs.fields(Message) if known.name not in _ALWAYS_SENT]
    cls = msgspec.defstruct(
        "ReceivedMessage",
        [("content", str | None), *((known.name, known.type | Nil, UNSET) for known in maybe)],
        bases=(Message,),
        module=__name__,
        frozen=True,
    )
    cls.__name__ = Message.__name__  # its repr is that of a Message; pickle reads __qualname__
    for known in maybe:
        # msgspec reads and writes a field by its slot, so the attribute may be a property.
        setattr(cls, f"_{known.name}", Message.__dict__[known.name])
        setattr(cls, known.name, _none_if_unset(f"_{known.name}"))
    return cast("type[Message]", cls)


def _none_if_unset(slot: str) -> property:
    def get(self: Message) -> Json:
        value = getattr(self, slot)
        return None if value is UNSET else value

    return property(get)


ReceivedMessage: Final = _received()
