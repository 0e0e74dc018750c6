"""The values inside a message: content parts, tool calls, annotations, audio.

Nothing here performs I/O. Each Struct knows every key that the live API, the contract or OGX sends
for it and refuses all others, so that no key is dropped silently; `wire/lenient.py` then reads the
value. `UNSET` stands for a key that was not sent, so that each value is encoded as it was sent.
"""

from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from .compact_repr import CompactRepr
from .pydantic_schema import SerializableStruct

Json = Any
Nil = None | UnsetType

if TYPE_CHECKING:
    SentT = TypeVar("SentT")
    Sent: TypeAlias = SentT | None
else:

    class Sent:
        """`Sent[T]` is a T on the wire, and None in the Struct if it was not sent."""

        def __class_getitem__(cls, item: type) -> type:
            return item


class Wire(
    CompactRepr,
    SerializableStruct,
    Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """A value that knows all of its fields and refuses any other."""

    def to_dict(self) -> dict[str, Json]:
        """Return a new dict with every field that the server sent."""
        plain: dict[str, Json] = msgspec.to_builtins(self)
        return plain


class Tagged(Wire, frozen=True, tag_field="type"):
    """One of several kinds, distinguished on the wire by `type`.

    The field with the payload has the name of the kind.
    """

    @property
    def type(self) -> str:
        """The kind, as it is named on the wire."""
        return str(self.__struct_config__.tag)

    @classmethod
    def _accepts(cls, value: object) -> bool:
        return isinstance(value, cls | Unknown)  # a list of parts may hold some that are unknown


class Unknown(dict[str, Json]):
    """JSON of a kind that this version does not know, or that does not fit its kind.

    The value is a dict and is encoded as it was sent. JSON that is not an object makes an empty
    dict; `raw` has the JSON.
    """

    _instead: Json

    @classmethod
    def of(cls, value: Json) -> Self:
        """Return a value that keeps any JSON found in a list of objects."""
        unknown = cls(value if isinstance(value, dict) else {})
        if not isinstance(value, dict):
            unknown._instead = value
        return unknown

    def __repr__(self) -> str:
        if "_instead" in self.__dict__:
            return f"{type(self).__name__}.of({self._instead!r})"
        return f"{type(self).__name__}({super().__repr__()})"

    @property
    def type(self) -> str:
        """The kind, as it is named on the wire; empty if it is not named."""
        kind = self.get("type")
        return kind if isinstance(kind, str) else ""

    @property
    def raw(self) -> bytes:
        """The JSON, compact."""
        return msgspec.json.encode(dict(self) or self.__dict__.get("_instead", {}))

    def to_dict(self) -> dict[str, Json]:
        """Return a new dict with the same keys."""
        plain: dict[str, Json] = msgspec.to_builtins(dict(self))
        return plain

    def to_json(self) -> str:
        """Return the JSON, on one line."""
        return self.raw.decode()


# --- content parts --------------------------------------------------------------------------------
# The live API sends every part with all four payload keys, and a null in those of other kinds. The
# contract sends only the one key, and lets a part of a prompt mark the end of the cached prefix.


class ImageURL(Wire, frozen=True):
    """An image: a web address, or a data: URI that holds the image."""

    url: str
    """A web address, or a `data:` URI with the whole image."""
    detail: str | Nil = UNSET
    """Resolution for the model: `auto`, `low` or `high`."""


class InputAudio(Wire, frozen=True):
    """Audio: base64 `data` in the given `format` (`wav`, `mp3`)."""

    data: str | Nil = UNSET
    """The sound, as base64."""
    format: str | Nil = UNSET
    """`wav` or `mp3`."""


class FileRef(Wire, frozen=True):
    """A file: its id, or its name and a data: URI."""

    file_id: str | Nil = UNSET
    """Id of an uploaded file."""
    filename: str | Nil = UNSET
    """Name of the file."""
    file_data: str | Nil = UNSET
    """Content of the file, as a `data:` URI."""


class Part(Tagged, frozen=True, kw_only=True):
    """A content part; each kind redefines the one key that it needs."""

    text: Nil = UNSET
    image_url: Nil = UNSET
    input_audio: Nil = UNSET
    file: Nil = UNSET


class PromptPart(Part, frozen=True, kw_only=True):
    """A part that a prompt may hold."""

    prompt_cache_breakpoint: Json = UNSET
    """The end of a prefix of the prompt that the server caches."""


class TextPart(PromptPart, frozen=True, tag="text"):
    """A text: `{"type": "text", "text": …}`."""

    text: str  # type: ignore[assignment]  # redefined, as in each kind
    """The text."""


class ImagePart(PromptPart, frozen=True, tag="image_url"):
    """An image, in `image_url`: a web address or a data: URI."""

    image_url: ImageURL  # type: ignore[assignment]
    """Address and resolution of the image."""


class InputAudioPart(PromptPart, frozen=True, tag="input_audio"):
    """Audio that was sent to the model, as base64 in `input_audio`."""

    input_audio: InputAudio  # type: ignore[assignment]
    """The sound and its format."""


class FilePart(PromptPart, frozen=True, tag="file"):
    """A file that was sent to the model: its id, or its name and content, in `file`."""

    file: FileRef  # type: ignore[assignment]
    """The id, or the name and content of the file."""


class RefusalPart(Part, frozen=True, tag="refusal"):
    """The model's refusal as a part of its message: a text, in `refusal`."""

    refusal: str
    """The refusal, in the model's own words."""


class UnknownPart(Unknown):
    """A content part of a type that this version does not know."""


# --- tool calls, annotations, audio ---------------------------------------------------------------


class FunctionCall(Wire, frozen=True):
    """A function's name, and its arguments as the model wrote them: JSON that may be invalid."""

    name: str
    """Name of the function."""
    arguments: str
    """The arguments as the model wrote them: a JSON object as text, which may be invalid."""


class FunctionToolCall(Tagged, frozen=True, tag="function"):
    """A call of a function that the request described by a JSON schema.

    `id` is None from some servers. `index` comes only from OGX, which may send it as null.
    """

    id: str | None
    """Id of the call, which the message with its result names."""
    function: FunctionCall
    """Name and arguments."""
    index: int | Nil = UNSET
    """Number of the call; only OGX sends it."""


class CustomCall(Wire, frozen=True):
    """A custom tool's name and its free-form input."""

    name: str
    """Name of the tool."""
    input: str
    """The input, as the model wrote it: any text."""


class CustomToolCall(Tagged, frozen=True, tag="custom"):
    """A call of a custom tool, in `custom`; `id` and `index` are as in a FunctionToolCall."""

    id: str | None
    """Id of the call, which the message with its result names."""
    custom: CustomCall
    """Name and input."""
    index: int | Nil = UNSET
    """Number of the call; only OGX sends it."""


class UnknownToolCall(Unknown):
    """A tool call of a type that this version does not know."""


class URLCitation(Wire, frozen=True):
    """A web page, cited by the text from `start_index` to `end_index` (in characters)."""

    end_index: int
    """Index of the last character of the citation in the message."""
    start_index: int
    """Index of the first character of the citation in the message."""
    url: str
    """Address of the page."""
    title: str
    """Title of the page."""


class URLCitationAnnotation(Tagged, frozen=True, tag="url_citation"):
    """An annotation that cites a web page: its address, title and place in `url_citation`."""

    url_citation: URLCitation
    """Address, title and place of the citation."""


class UnknownAnnotation(Unknown):
    """An annotation of a type that this version does not know."""


class Audio(Wire, frozen=True):
    """The model's spoken reply: base64 `data`, a transcript, and the expiry in Unix seconds."""

    id: str
    """Id of the sound, by which a later request can refer to it."""
    expires_at: int | Nil = UNSET
    """When the server forgets it, in Unix seconds."""
    data: str | Nil = UNSET
    """The sound, as base64."""
    transcript: str | Nil = UNSET
    """The words that are spoken."""


# --- the types of a message's fields --------------------------------------------------------------
# A type checker sees more than the decoder accepts: an unknown kind is not a Struct, so the strict
# decoder refuses it and the lenient one reads it. The same holds for a new role. The decoder gives
# all messages of a known role the same string, which saves a tenth of the memory of each.
if TYPE_CHECKING:
    ContentPart = TextPart | ImagePart | InputAudioPart | FilePart | RefusalPart | UnknownPart
    ToolCall = FunctionToolCall | CustomToolCall | UnknownToolCall
    Annotation = URLCitationAnnotation | UnknownAnnotation

    Role = str
else:
    from typing import Literal

    Role = Literal["user", "assistant", "system", "developer", "tool", "function"]
    ContentPart = TextPart | ImagePart | InputAudioPart | FilePart | RefusalPart
    ToolCall = FunctionToolCall | CustomToolCall
    Annotation = URLCitationAnnotation
