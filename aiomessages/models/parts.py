"""What a message is made of: content parts, tool calls, annotations, recordings.

Nothing here performs I/O. Each Struct knows every key that the live API, the contract or OGX sends
for it and refuses all others, so that nothing is dropped unseen. `UNSET` stands for a key that was
not sent, so that each value comes back as it came; `lenient` reads what does not fit.
"""

from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

Json = Any
Nil = None | UnsetType

if TYPE_CHECKING:
    SentT = TypeVar("SentT")
    Sent: TypeAlias = SentT | None
else:

    class Sent:
        """`Sent[T]` is a T on the wire, and None in the Struct where it was not sent."""

        def __class_getitem__(cls, item: type) -> type:
            return item


class Wire(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A value that knows all of its fields, and refuses to drop any other."""


class Tagged(Wire, frozen=True, tag_field="type"):
    """One of several kinds, told apart on the wire by `type`.

    In each kind the key that holds what it carries has the same name as the kind.
    """

    @property
    def type(self) -> str:
        """The kind, as the wire names it."""
        return str(self.__struct_config__.tag)


class Unknown(dict[str, Json]):
    """JSON that is of no kind that this version knows, or does not fit the one that it names.

    It is a dict, so that it encodes as it came. What is no JSON object makes an empty one, whose
    `raw` has it.
    """

    _instead: Json

    @classmethod
    def of(cls, value: Json) -> Self:
        """Keep any JSON, as it stood in a list of objects."""
        unknown = cls(value if isinstance(value, dict) else {})
        if not isinstance(value, dict):
            unknown._instead = value
        return unknown

    @property
    def type(self) -> str:
        """The kind, as the wire names it; empty where it names none."""
        kind = self.get("type")
        return kind if isinstance(kind, str) else ""

    @property
    def raw(self) -> bytes:
        """The JSON, compact."""
        return msgspec.json.encode(dict(self) or self.__dict__.get("_instead", {}))


# --- content parts --------------------------------------------------------------------------------
# The live API sends every part with all four payload keys, null where they do not apply; the
# contract sends just the one, and lets a part that a prompt holds mark the end of what is cached.


class ImageURL(Wire, frozen=True):
    """An image: a web address, or a data: URI with the image in it."""

    url: str
    detail: str | Nil = UNSET


class InputAudio(Wire, frozen=True):
    """A recording: base64 `data` of the given `format` (`wav`, `mp3`)."""

    data: str | Nil = UNSET
    format: str | Nil = UNSET


class FileRef(Wire, frozen=True):
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
    prompt_cache_breakpoint: Json = UNSET


class ImagePart(Tagged, frozen=True, tag="image_url"):
    """A picture."""

    image_url: ImageURL
    text: Nil = UNSET
    input_audio: Nil = UNSET
    file: Nil = UNSET
    prompt_cache_breakpoint: Json = UNSET


class InputAudioPart(Tagged, frozen=True, tag="input_audio"):
    """A recording that was spoken to the model."""

    input_audio: InputAudio
    text: Nil = UNSET
    image_url: Nil = UNSET
    file: Nil = UNSET
    prompt_cache_breakpoint: Json = UNSET


class FilePart(Tagged, frozen=True, tag="file"):
    """A document."""

    file: FileRef
    text: Nil = UNSET
    image_url: Nil = UNSET
    input_audio: Nil = UNSET
    prompt_cache_breakpoint: Json = UNSET


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


class FunctionCall(Wire, frozen=True):
    """A function's name and its arguments: JSON as the model wrote it, which may be invalid."""

    name: str
    arguments: str


class FunctionToolCall(Tagged, frozen=True, tag="function"):
    """A call of a function that the caller described by a JSON schema.

    Some servers send a null for `id`; OGX sends one for `index`, too, which others do not send.
    """

    id: str | None
    function: FunctionCall
    index: int | Nil = UNSET


class CustomCall(Wire, frozen=True):
    """A custom tool's name and its free-form input."""

    name: str
    input: str


class CustomToolCall(Tagged, frozen=True, tag="custom"):
    """A call of a custom tool; `id` and `index` are those of a FunctionToolCall."""

    id: str | None
    custom: CustomCall
    index: int | Nil = UNSET


class UnknownToolCall(Unknown):
    """A tool call of a type that this version does not know."""


class URLCitation(Wire, frozen=True):
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


class Audio(Wire, frozen=True):
    """What the model spoke: base64 `data`, its transcript, and when it expires (Unix seconds)."""

    id: str
    expires_at: int | Nil = UNSET
    data: str | Nil = UNSET
    transcript: str | Nil = UNSET


# --- what a message may hold ----------------------------------------------------------------------
# A reader may meet more than a decoder accepts: an unknown kind is no Struct, so that it goes to
# the lenient reading. So does a new role: of one that is known, messages share the string, which is
# a tenth of the memory that each takes.
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
