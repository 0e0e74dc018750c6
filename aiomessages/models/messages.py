"""Messages, as frozen Structs.

Nothing here performs I/O. A message that every field of is known comes as a `Message`; one in which
something is new, or of another type than it should be, as an `OddMessage`, which `lenient` makes.
What they hold stands in `parts`.

The contract is OpenAI's OpenAPI description; where the live API was seen to differ (every absent
value a null, roles other than `assistant`) the API is right. Other servers differ from both, mostly
in which keys they leave out and which they send as a null: a message comes back as it came.
"""

from typing import Final, cast

import msgspec
from msgspec import UNSET, field

from .as_sent import Kept
from .parts import (
    Annotation,
    Audio,
    ContentPart,
    FunctionCall,
    Json,
    Nil,
    Role,
    Sent,
    ToolCall,
    Wire,
)
from .pydantic_schema import SerializableStruct

# --- messages -------------------------------------------------------------------------------------


def _null() -> None:
    """Default to a null that is encoded, as the live API does for these fields."""


class Message(SerializableStruct, Wire, frozen=True):
    """One message of a stored completion.

    `role` is an open set (`user, assistant, system, developer, tool, function`, …): one that is
    not among these comes in an `OddMessage`, and msgspec's own decoders refuse it. When the
    message was given in parts, `content` is their text joined, and null from some servers. The
    model's own reply is not among a completion's messages: it stands in the completion's `choices`.

    Messages are equal if their fields are, whether a None was sent as a null or not at all.
    `to_dict()` and msgspec's encoders tell the two apart in a message that came from a server.
    """

    id: str
    role: Role
    content: str | None = field(default_factory=_null)
    name: str | None = field(default_factory=_null)
    content_parts: list[ContentPart] | None = field(default_factory=_null)
    refusal: Sent[str] = None
    tool_calls: Sent[list[ToolCall]] = None
    function_call: Sent[FunctionCall] = None
    annotations: Sent[list[Annotation]] = None
    audio: Sent[Audio] = None
    tool_call_id: Sent[str] = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message) or isinstance(other, OddMessage):
            return NotImplemented
        return _seen(self) == _seen(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # a Struct's own knows nothing of the above

    def __hash__(self) -> int:
        return hash(self.id)  # equal messages have one id; by its fields, a list of parts has none

    def to_dict(self) -> dict[str, Json]:
        """Return the message as a dict of its own, with every field it came with."""
        plain: dict[str, Json] = msgspec.to_builtins(self)
        return plain


def _seen(message: Message) -> list[Json]:
    return [getattr(message, name) for name in message.__struct_fields__]


class OddMessage(Kept, Message, frozen=True, dict=True, gc=True):
    """A message in which something is new to this version, or of another type than it should be.

    A part, a call or an annotation that does not fit its type is an `UnknownPart`, …; any other
    field that is not of its type is None, and a role that is none is the empty string. A `content`
    that is a list of parts is read as `content_parts` where there are no others. `mismatches` names
    what did not fit, as JSON paths in the message: `$.refusal`,
    `$.tool_calls[0].function.arguments`. It is empty where all that is odd is new.

    `to_dict()` has all of it as it was sent; as a Struct it encodes what this version knows.
    """

    __hash__ = Message.__hash__


# --- messages as they are received ----------------------------------------------------------------
# Servers agree on what a message says and not on what they write down for what it does not say: the
# live API sends three nulls, the contract one, OGX up to nine, and nobody promises to keep to it
# within a page. A field that defaults to UNSET tells "null" from "not sent" at no cost to the
# decoder, so that one class reads all of them in one pass; to its reader both are None.

_ALWAYS_SENT: Final = ("id", "role", "content")


class _Sparse:
    """What a message adds in which fields may be unset: it shows itself as a Message does."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{Message.__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Json]]:
        names: tuple[str, ...] = Message.__struct_fields__
        return [(name, getattr(self, name)) for name in names]


def _received() -> type[Message]:
    """Derive the class of the messages that pages are decoded to."""
    maybe = [known for known in msgspec.structs.fields(Message) if known.name not in _ALWAYS_SENT]
    cls = msgspec.defstruct(
        "ReceivedMessage",
        [("content", str | None), *((known.name, known.type | Nil, UNSET) for known in maybe)],
        bases=(_Sparse, Message),
        module=__name__,
        frozen=True,
    )
    for known in maybe:
        # A Struct is read and written by its slots; what a class shows of them is its own matter.
        setattr(cls, f"_{known.name}", Message.__dict__[known.name])
        setattr(cls, known.name, _none_if_unset(f"_{known.name}"))
    return cast("type[Message]", cls)


def _none_if_unset(slot: str) -> property:
    def get(self: Message) -> Json:
        value = getattr(self, slot)
        return None if value is UNSET else value

    return property(get)


ReceivedMessage: Final = _received()
