"""The values that come over the wire, as frozen Structs.

Nothing here performs I/O. The Structs know every field of the live API and refuse all others, so
that nothing is dropped unseen; `decoding` reads what they refuse, and keeps it in an `UnknownPart`
or around an `OddMessage`.

The contract is OpenAI's OpenAPI description; where the live API was seen to differ (every absent
value a null, roles other than `assistant`) the API is right.
"""

from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

Json = Any
Nil = None | UnsetType


class _Wire(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A value that knows all of its fields, and refuses to drop any other."""


class Tagged(_Wire, frozen=True, tag_field="type"):
    """One of several kinds, told apart on the wire by `type`.

    In each kind the key that holds what it carries has the same name as the kind.
    """

    @property
    def type(self) -> str:
        """The kind, as the wire names it."""
        return str(self.__struct_config__.tag)


class Unknown(dict[str, Json]):
    """JSON of a kind that this version does not know: a dict, so that it encodes as it came."""

    @property
    def type(self) -> str:
        """The kind, as the wire names it."""
        return str(self["type"])

    @property
    def raw(self) -> bytes:
        """The JSON, compact."""
        return msgspec.json.encode(dict(self))


# --- content parts --------------------------------------------------------------------------------
# The live API sends every part with all four payload keys, null where they do not apply; the
# contract sends just the one. Unset stands for "was not sent", so both come back as they came.


class ImageURL(_Wire, frozen=True):
    """An image: a web address, or a data: URI with the image in it."""

    url: str
    detail: str | Nil = UNSET


class InputAudio(_Wire, frozen=True):
    """A recording: base64 `data` of the given `format` (`wav`, `mp3`)."""

    data: str | Nil = UNSET
    format: str | Nil = UNSET


class FileRef(_Wire, frozen=True):
    """A file: by its id, or by its name and data: URI."""

    file_id: str | Nil = UNSET
    filename: str | Nil = UNSET
    file_data: str | Nil = UNSET


class TextPart(Tagged, frozen=True, tag="text"):
    """A piece of text."""

    text: str
    image_url: Nil = UNSET
    input_audio: Nil = UNSET
    file: Nil = UNSET


class ImagePart(Tagged, frozen=True, tag="image_url"):
    """A picture."""

    image_url: ImageURL
    text: Nil = UNSET
    input_audio: Nil = UNSET
    file: Nil = UNSET


class InputAudioPart(Tagged, frozen=True, tag="input_audio"):
    """A recording that was spoken to the model."""

    input_audio: InputAudio
    text: Nil = UNSET
    image_url: Nil = UNSET
    file: Nil = UNSET


class FilePart(Tagged, frozen=True, tag="file"):
    """A document."""

    file: FileRef
    text: Nil = UNSET
    image_url: Nil = UNSET
    input_audio: Nil = UNSET


class RefusalPart(Tagged, frozen=True, tag="refusal"):
    """The model's refusal, as a part of its message."""

    refusal: str
    text: Nil = UNSET
    image_url: Nil = UNSET
    input_audio: Nil = UNSET
    file: Nil = UNSET


class UnknownPart(Unknown):
    """A content part of a type that this version does not know."""


# --- tool calls, annotations, audio ---------------------------------------------------------------


class FunctionCall(_Wire, frozen=True):
    """A function's name and its arguments: JSON as the model wrote it, which may be invalid."""

    name: str
    arguments: str


class FunctionToolCall(Tagged, frozen=True, tag="function"):
    """A call of a function that the caller described by a JSON schema."""

    id: str
    function: FunctionCall


class CustomCall(_Wire, frozen=True):
    """A custom tool's name and its free-form input."""

    name: str
    input: str


class CustomToolCall(Tagged, frozen=True, tag="custom"):
    """A call of a custom tool."""

    id: str
    custom: CustomCall


class UnknownToolCall(Unknown):
    """A tool call of a type that this version does not know."""


class URLCitation(_Wire, frozen=True):
    """A web page that the text from `start_index` to `end_index` (characters) rests on."""

    end_index: int
    start_index: int
    url: str
    title: str


class URLCitationAnnotation(Tagged, frozen=True, tag="url_citation"):
    """An annotation that cites a web page."""

    url_citation: URLCitation


class UnknownAnnotation(Unknown):
    """An annotation of a type that this version does not know."""


class Audio(_Wire, frozen=True):
    """What the model spoke: base64 `data`, its transcript, and when it expires (Unix seconds)."""

    id: str
    expires_at: int | Nil = UNSET
    data: str | Nil = UNSET
    transcript: str | Nil = UNSET


# What a reader may meet, and what the strict decoder accepts, differ in three ways: an unknown kind
# is not a Struct, and a null where the live API sends nothing goes to the lenient reading, which
# remembers it. So does a new role: of one that is known, messages that are read strictly share the
# string, which is a tenth of the memory that each takes.
if TYPE_CHECKING:
    ContentPart = TextPart | ImagePart | InputAudioPart | FilePart | RefusalPart | UnknownPart
    ToolCall = FunctionToolCall | CustomToolCall | UnknownToolCall
    Annotation = URLCitationAnnotation | UnknownAnnotation
    from typing import Optional as Sent

    Role = str
else:
    from typing import Literal

    Role = Literal["user", "assistant", "system", "developer", "tool", "function"]
    ContentPart = TextPart | ImagePart | InputAudioPart | FilePart | RefusalPart
    ToolCall = FunctionToolCall | CustomToolCall
    Annotation = URLCitationAnnotation

    class Sent:
        """`Sent[T]` is a T on the wire, and None in the Struct where it was not sent."""

        def __class_getitem__(cls, item: type) -> type:
            return item


# --- messages and completions ---------------------------------------------------------------------


def _null() -> None:
    """Default to a null that is encoded, as the live API does for these fields."""


class Message(_Wire, frozen=True):
    """One message of a stored completion.

    `role` is an open set (`user, assistant, system, developer, tool, function`, …): one that is
    not among these comes in an `OddMessage`, and msgspec's own decoders refuse it. When the
    message was given in parts, `content` is their text joined, and null from some servers. The
    model's own reply is not among a completion's messages: it stands in the completion's `choices`.
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

    def __hash__(self) -> int:
        return hash(self.id)  # equal messages have one id; by its fields, a list of parts has none

    def to_dict(self) -> dict[str, Json]:
        """Return the message as a dict of its own, with every field it came with."""
        plain: dict[str, Json] = msgspec.to_builtins(self)
        return plain


class OddMessage(Message, frozen=True, dict=True, gc=True):
    """A message in which something is new to this version.

    `to_dict()` has all of it; as a Struct it encodes what this version knows.
    """

    def to_dict(self) -> dict[str, Json]:
        """Return the message as a dict of its own, with every field it came with."""
        return _kept(self)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) is True and _kept(self) == _kept(other)

    __hash__ = Message.__hash__

    def __copy__(self) -> Self:
        return self  # it is frozen; a Struct's own way forgets what is not a field

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), msgspec.structs.astuple(self), _kept(self))


class _Kept(Struct, frozen=True, dict=True):
    """A value that remembers the JSON it was made from."""

    def to_dict(self) -> dict[str, Json]:
        """Return the value as a dict of its own, with every field it came with."""
        return _kept(self)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) is True and _kept(self) == _kept(other)

    def __hash__(self) -> int:
        return super().__hash__()  # by the fields: equal values have equal ones

    def __copy__(self) -> Self:
        return self  # as above

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), msgspec.structs.astuple(self), _kept(self))


class Reply(_Kept, frozen=True):
    """What the model answered: the message of a completion's choice."""

    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: Sent[list[ToolCall]] = None
    function_call: FunctionCall | None = None
    annotations: Sent[list[Annotation]] = None
    audio: Audio | None = None


class Choice(Struct, frozen=True):
    """One of a completion's replies, and why it ended."""

    index: int
    message: Reply
    finish_reason: str | None = None
    logprobs: Json = None


class StoredCompletion(_Kept, frozen=True):
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


# --- what remembers its JSON ----------------------------------------------------------------------

KeptT = TypeVar("KeptT", bound=Struct)


def keep(value: KeptT, wire: dict[str, Json]) -> KeptT:
    """Let a value remember the JSON that it was made from."""
    value.__dict__["wire"] = wire
    return value


def _kept(value: object) -> dict[str, Json]:
    # to_builtins copies all the way down, and as deep as the decoder read, where deepcopy gives up.
    # What was changed by structs.replace() has no JSON behind it and is just what it says.
    wire: dict[str, Json] = msgspec.to_builtins(value.__dict__.get("wire", value))
    return wire


def _restore(cls: type[KeptT], values: tuple[Any, ...], wire: dict[str, Json]) -> KeptT:
    return keep(cls(*values), wire)
