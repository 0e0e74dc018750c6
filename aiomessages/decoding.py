"""From the bytes of a page to its values, and nothing of them lost.

Nothing here performs I/O. A page is decoded strictly first; only one that the models refuse is read
again leniently, item by item, so that the odd message costs the good ones nothing and never fails
them. What the lenient reading does not know it keeps.
"""

import functools
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import DecodeError, Raw, Struct, ValidationError, convert

from .models import (
    Choice,
    CustomToolCall,
    FilePart,
    FunctionToolCall,
    ImagePart,
    InputAudioPart,
    Json,
    Message,
    Nil,
    OddMessage,
    RefusalPart,
    Reply,
    StoredCompletion,
    Tagged,
    TextPart,
    Unknown,
    UnknownAnnotation,
    UnknownPart,
    UnknownToolCall,
    URLCitationAnnotation,
    keep,
)
from .pages import CompletionPage, Envelope, MessagePage, Page, RawPage

ItemT = TypeVar("ItemT")


# --- the lenient reading --------------------------------------------------------------------------

# A field that holds a list of kinds → the kinds known, by their tag, and what keeps any other.
_OPEN_LISTS: Final[dict[str, tuple[dict[str, type[Tagged]], type[Unknown]]]] = {
    "content_parts": (
        {
            "text": TextPart,
            "image_url": ImagePart,
            "input_audio": InputAudioPart,
            "file": FilePart,
            "refusal": RefusalPart,
        },
        UnknownPart,
    ),
    "tool_calls": ({"function": FunctionToolCall, "custom": CustomToolCall}, UnknownToolCall),
    "annotations": ({"url_citation": URLCitationAnnotation}, UnknownAnnotation),
}


def read_message(wire: dict[str, Json]) -> Message:
    """Read one message of any page. Raises msgspec.ValidationError."""
    try:
        return convert(wire, Message)
    except ValidationError:
        return odd_message(wire)


def odd_message(wire: dict[str, Json]) -> OddMessage:
    """Read a message that the strict decoder refused, keeping all that is new in it.

    Raises msgspec.ValidationError where a known field has the wrong type.
    """
    return keep(OddMessage(**_read_fields(Message, wire)), wire)


def read_reply(wire: dict[str, Json]) -> Reply:
    """Read the message of a choice. Raises msgspec.ValidationError."""
    return keep(Reply(**_read_fields(Reply, wire)), wire)


def read_completion(wire: dict[str, Json]) -> StoredCompletion:
    """Read a stored completion. Raises msgspec.ValidationError."""
    sent = wire.get("choices")
    choices = [] if sent is None else _at(".choices", _objects, sent)
    values = _read_fields(StoredCompletion, wire | {"choices": []})
    values["choices"] = [
        _at(f".choices[{n}]", _read_choice, choice) for n, choice in enumerate(choices)
    ]
    return keep(StoredCompletion(**values), wire)


def _read_choice(wire: dict[str, Json]) -> Choice:
    known = {name: value for name, value in wire.items() if name in Choice.__struct_fields__}
    blank = convert(known | {"message": {}}, Choice)
    reply = _at(".message", lambda sent: read_reply(_object(sent)), wire.get("message"))
    return msgspec.structs.replace(blank, message=reply)


def _object(value: Json) -> dict[str, Json]:
    return convert(value, dict[str, Json])


def _objects(value: Json) -> list[dict[str, Json]]:
    return convert(value, list[dict[str, Json]])


def _read_fields(cls: type[Struct], wire: dict[str, Json]) -> dict[str, Json]:
    """Check the fields that a class knows, and return their values by name."""
    known = {name: wire[name] for name in cls.__struct_fields__ if wire.get(name) is not None}
    lists = {name: known.pop(name) for name in _OPEN_LISTS if name in known}
    role = {"role": known["role"]} if isinstance(known.get("role"), str) else {}
    checked = convert(_prune(known | dict.fromkeys(role, "user"), cls), cls)  # it may be any
    values = {name: getattr(checked, name) for name in cls.__struct_fields__}
    return values | role | {name: _open_list(name, items) for name, items in lists.items()}


def _open_list(name: str, items: Json) -> list[Json]:
    listed = enumerate(_at(f".{name}", _objects, items))
    return [_at(f".{name}[{n}]", lambda item: _open(name, item), item) for n, item in listed]


def _open(name: str, item: dict[str, Json]) -> Json:
    kinds, unknown = _OPEN_LISTS[name]
    tag = item.get("type")
    if not isinstance(tag, str):
        raise ValidationError("Expected `str` - at `$.type`")
    if tag not in kinds or item.get(tag) is None:
        return unknown(item)
    return convert(_prune(item, kinds[tag]), kinds[tag])


def _prune(value: Json, cls: type) -> Json:
    """Leave out what a Struct, or one inside it, does not know; its owner keeps the whole."""
    if cls is NoneType:
        return None  # some servers send "" for what is null elsewhere: it says no more than that
    if not isinstance(value, Mapping):
        return value
    inner = _structs_inside(cls)
    return {
        name: _prune(item, struct) if (struct := inner[name]) else item
        for name, item in value.items()
        if name in inner
    }


@functools.cache
def _structs_inside(cls: type[Struct]) -> dict[str, type | None]:
    """Map each key that a Struct knows to what `_prune` needs: a Struct, NoneType, or nothing."""
    inner = {info.encode_name: _struct_in(info.type) for info in msgspec.structs.fields(cls)}
    tag = cls.__struct_config__.tag_field
    return inner | ({tag: None} if tag else {})


def _struct_in(kind: Any) -> type | None:
    if kind == Nil:
        return NoneType
    for option in getattr(kind, "__args__", (kind,)):
        if isinstance(option, type) and issubclass(option, Struct):
            return option
    return None


def _at(path: str, read: Callable[[Json], ItemT], value: Json) -> ItemT:
    """Read a value, and let a complaint about it name its place in the whole."""
    try:
        return read(value)
    except ValidationError as error:
        what, _, inner = str(error).partition(" - at `$")
        raise ValidationError(f"{what} - at `${path}{inner.rstrip('`')}`") from None


# --- codecs ---------------------------------------------------------------------------------------


class _Id(Struct, gc=False):
    id: str


class PageCodec(Generic[ItemT]):
    """Decode the pages of one kind of item, strictly first and leniently where that fails.

    `decode` gives the page and the ids of its items. It raises msgspec.ValidationError for JSON of
    the wrong shape, and for what is not JSON whatever msgspec raises: DecodeError,
    UnicodeDecodeError, RecursionError.
    """

    def __init__(
        self,
        page_class: type[Page[ItemT]],
        lenient: Callable[[dict[str, Json]], ItemT],
        *,
        strict: type | None = None,
    ) -> None:
        self.page_class = page_class
        self._strict = msgspec.json.Decoder(Envelope[strict]) if strict else None  # type: ignore[valid-type]
        self._lenient = lenient

    def decode(self, body: bytes) -> tuple[Envelope[ItemT], list[str]]:
        """Return the page and the ids of its items."""
        page, _ = despite_lone_surrogates(self._decode, body)
        return page, [item.id for item in page.data]  # type: ignore[attr-defined]  # every item has one

    def _decode(self, body: bytes) -> Envelope[ItemT]:
        if self._strict is not None:
            try:
                return self._strict.decode(body)
            except ValidationError:
                pass  # something is new in it
        page = _LOOSE_PAGE.decode(body)
        items = [_at(f".data[{n}]", self._lenient, item) for n, item in enumerate(page.data)]
        return _refill(page, items)


class RawCodec:
    """Decode a page's frame alone: its items are the exact bytes that the server sent.

    `decode` gives and raises what PageCodec's does.
    """

    page_class = RawPage

    def decode(self, body: bytes) -> tuple[Envelope[bytes], list[str]]:
        """Return the page and the ids of its items."""
        if not body.isascii():
            body.decode()  # the frame's decoder does not look into an item, and lets bad UTF-8 pass
        (page, ids), readable = despite_lone_surrogates(self._decode, body)
        items = sent_items(body, readable, page.data)
        return _refill(page, items), ids

    def _decode(self, body: bytes) -> tuple[Envelope[Raw], list[str]]:
        return _RAW_PAGE.decode(body), [item.id for item in _ID_PAGE.decode(body).data]


def _refill(page: Envelope[Any], items: list[ItemT]) -> Envelope[ItemT]:
    return msgspec.structs.replace(page, data=items)


def sent_items(body: bytes, readable: bytes, items: list[Raw]) -> list[bytes]:
    """Copy items out of the body, so that none keeps the page alive, nor is a repaired one."""
    if body is readable:
        # A join copies each in two thirds of the time that bytes() takes, which looks for a method.
        return list(map(b"".join, zip(items, strict=True)))
    sent, end = [], 0
    for item in items:
        start = readable.index(item, end)  # both bodies are of one length, place for place
        end = start + len(memoryview(item))
        sent.append(body[start:end])
    return sent


ReadT = TypeVar("ReadT")
_ESCAPE: Final = (  # compiled by the first body that needs it
    rb"(?s)\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair, as it should be
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def despite_lone_surrogates(read: Callable[[bytes], ReadT], body: bytes) -> tuple[ReadT, bytes]:
    """Read a body; if half an emoji bars it, read it with U+FFFD in that place.

    Returns what was read, and the body that it was read from.
    """
    try:
        return read(body), body
    except ValidationError:
        raise
    except (DecodeError, UnicodeDecodeError):
        repaired = re.sub(_ESCAPE, lambda found: rb"\ufffd" if found[1] else found[0], body)
        if repaired == body:
            raise
        return read(repaired), repaired


def decode_completion(body: bytes) -> StoredCompletion:
    """Read the body that is one stored completion. Raises what PageCodec.decode does."""
    wire, _ = despite_lone_surrogates(_OBJECT.decode, body)
    return read_completion(wire)


def id_of_completion(body: bytes) -> str:
    """Return the id of the body that is one stored completion, whatever else is in it.

    Raises what PageCodec.decode does.
    """
    if not body.isascii():
        body.decode()  # see RawCodec
    frame, _ = despite_lone_surrogates(_FRAME.decode, body)
    return frame.id


class _Frame(Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)]


_FRAME: Final = msgspec.json.Decoder(_Frame)

# A number beyond all floats (1e400) is infinite then, as json.loads has it, and no complaint.
_OBJECT: Final = msgspec.json.Decoder(dict[str, Json], float_hook=float)
_LOOSE_PAGE: Final = msgspec.json.Decoder(Envelope[dict[str, Json]], float_hook=float)
_RAW_PAGE: Final = msgspec.json.Decoder(Envelope[Raw])
_ID_PAGE: Final = msgspec.json.Decoder(Envelope[_Id])

MESSAGES: Final = PageCodec(MessagePage, read_message, strict=Message)
COMPLETIONS: Final = PageCodec(CompletionPage, read_completion)
RAW: Final = RawCodec()
