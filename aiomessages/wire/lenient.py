"""The reading of what the strict decoder refuses: field by field, and nothing of it is lost.

Nothing here performs I/O. A field that has another type than it should is None, a part or a call
that does not fit its kind becomes the unknown one, and both are named in `mismatches`; the value
remembers the JSON that it was made from. Only what has no id cannot be read.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final

from msgspec import Struct, ValidationError, convert, structs

from aiomessages.models import (
    Choice,
    CustomToolCall,
    FilePart,
    FunctionToolCall,
    ImagePart,
    InputAudioPart,
    Json,
    Message,
    OddMessage,
    RefusalPart,
    Reply,
    StoredCompletion,
    TextPart,
    UnknownAnnotation,
    UnknownPart,
    UnknownToolCall,
    URLCitationAnnotation,
)
from aiomessages.models.as_sent import keep
from aiomessages.models.parts import Nil, Tagged, Unknown

Sent = dict[str, Json]
Odd = list[str]  # the paths of what does not fit; each reader adds to it
Reader = Callable[[Json, str, Odd], Json]  # from a value and its path


# --- messages and completions ---------------------------------------------------------------------


class _Id(Struct, gc=False):
    id: str


def read_message(wire: Sent) -> OddMessage:
    """Read any message that has an id; without one, raise msgspec.ValidationError."""
    convert(wire, _Id)
    odd: Odd = []
    values = _read_fields(Message, wire, odd)
    if isinstance(wire.get("content"), list) and values.get("content_parts") is None:
        # vfront keeps the parts where the API takes them, and not where it shows them.
        values["content_parts"] = _read_parts(wire["content"], "$.content", odd)
    return keep(OddMessage(**values), wire, tuple(odd))


def read_completion(wire: Sent) -> StoredCompletion:
    """Read any stored completion that has an id; without one, raise msgspec.ValidationError."""
    convert(wire, _Id)
    odd: Odd = []
    return keep(StoredCompletion(**_read_fields(StoredCompletion, wire, odd)), wire, tuple(odd))


def _read_fields(cls: type[Struct], wire: Sent, odd: Odd) -> dict[str, Json]:
    """Return the values of the fields that were sent, and of those that should have been."""
    values = {}
    for name, required, read in _readers(cls):
        if (value := wire.get(name)) is not None:
            values[name] = read(value, f"$.{name}", odd)
        elif required:
            values[name] = _without(name)
            odd.append(f"$.{name}")
    return values


@functools.cache
def _readers(cls: type[Struct]) -> list[tuple[str, bool, Reader]]:
    """Return the name of each field, whether it must be sent, and what reads it."""
    fields = structs.fields(cls)
    return [(field.name, field.required, _reader(field.name, field.type)) for field in fields]


def _reader(name: str, kind: Any) -> Reader:
    if own := _OWN_READERS.get(name):
        return own
    return functools.partial(_read_value, kind, _struct_in(kind), _without(name))


def _without(name: str) -> Json:
    """Return what a field holds that cannot be without a value, and None for any other."""
    match name:
        case "role" | "object":
            return ""
        case "choices":
            return []
        case "message":
            return _read_reply({})
    return None


# --- fields ---------------------------------------------------------------------------------------


def _read_value(
    kind: Any, struct: type | None, instead: Json, value: Json, path: str, odd: Odd
) -> Json:
    """Read a value as its type, in which there is a Struct or none; or return what is instead."""
    try:
        return convert(_prune(value, struct) if struct else value, kind)
    except ValidationError as error:
        odd.append(path + _place_in(error))
        return instead


def _read_list(read: Reader, value: Json, path: str, odd: Odd) -> list[Json] | None:
    if not isinstance(value, list):
        odd.append(path)
        return None
    return [read(item, f"{path}[{n}]", odd) for n, item in enumerate(value)]


def _read_kind(
    kinds: Mapping[str, type[Tagged]], unknown: type[Unknown], item: Json, path: str, odd: Odd
) -> Json:
    """Read one of several kinds; it is unknown if its type is, or if it does not fit its type."""
    if not isinstance(item, dict):
        odd.append(path)
    elif not isinstance(tag := item.get("type"), str):
        odd.append(f"{path}.type")
    elif kind := kinds.get(tag):
        value = _read_value(kind, kind, None, item, path, odd)
        if value is not None:
            return value
    return unknown.of(item)


def _read_choices(value: Json, path: str, odd: Odd) -> list[Json]:
    return _read_list(_read_choice, value, path, odd) or []


def _read_choice(item: Json, path: str, odd: Odd) -> Choice:
    inside: Odd = []
    if not isinstance(item, dict):
        odd.append(path)
        return Choice(**_read_fields(Choice, {}, inside))
    choice = Choice(**_read_fields(Choice, item, inside))
    odd += [path + place[1:] for place in inside]
    return choice


def _read_reply(wire: Sent) -> Reply:
    odd: Odd = []
    return keep(Reply(**_read_fields(Reply, wire, odd)), wire, tuple(odd))


def _read_answer(value: Json, path: str, odd: Odd) -> Reply:
    if not isinstance(value, dict):
        odd.append(path)
        return _read_reply({})
    reply = _read_reply(value)
    odd += [path + place[1:] for place in reply.mismatches]
    return reply


def _read_texts(value: Json, path: str, odd: Odd) -> dict[str, str] | None:
    """Read the values that are texts; one that is none costs the others nothing."""
    if not isinstance(value, dict):
        odd.append(path)
        return None
    odd += [f"{path}{_step(key)}" for key, item in value.items() if not isinstance(item, str)]
    return {key: item for key, item in value.items() if isinstance(item, str)}


_read_parts: Final = functools.partial(
    _read_list,
    functools.partial(
        _read_kind,
        {
            "text": TextPart,
            "image_url": ImagePart,
            "input_audio": InputAudioPart,
            "file": FilePart,
            "refusal": RefusalPart,
        },
        UnknownPart,
    ),
)
_read_calls: Final = functools.partial(
    _read_list,
    functools.partial(
        _read_kind, {"function": FunctionToolCall, "custom": CustomToolCall}, UnknownToolCall
    ),
)
_read_annotations: Final = functools.partial(
    _read_list,
    functools.partial(_read_kind, {"url_citation": URLCitationAnnotation}, UnknownAnnotation),
)
_OWN_READERS: Final[dict[str, Reader]] = {
    "role": functools.partial(_read_value, str, None, ""),  # an open set
    "content_parts": _read_parts,
    "tool_calls": _read_calls,
    "annotations": _read_annotations,
    "choices": _read_choices,
    "message": _read_answer,
    "metadata": _read_texts,
}


# --- what a Struct does not know ------------------------------------------------------------------


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
    inner = {info.encode_name: _struct_in(info.type) for info in structs.fields(cls)}
    tag = cls.__struct_config__.tag_field
    return inner | ({tag: None} if tag else {})


def _struct_in(kind: Any) -> type | None:
    if kind == Nil:
        return NoneType
    for option in getattr(kind, "__args__", (kind,)):
        if isinstance(option, type) and issubclass(option, Struct):
            return option
    return None


# --- where it is ----------------------------------------------------------------------------------

_MISSING: Final = re.compile("missing required field `([^`]+)`")


def _place_in(error: ValidationError) -> str:
    """Return the path below a value at which msgspec complains, as it says it in its message."""
    said = str(error)
    missing = _MISSING.search(said)
    inner = said.partition(" - at `$")[2].rstrip("`")
    return f"{inner}.{missing[1]}" if missing else inner


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
