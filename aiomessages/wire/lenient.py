"""The lenient reader: it reads, field by field, what the strict decoder refuses.

Nothing here performs I/O. A field with a wrong type becomes None; a part or a call that does not
fit its kind becomes an unknown one. `mismatches` lists the paths of both, and the value keeps the
JSON that it was read from, so that nothing is lost. Only JSON without an id cannot be read.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final, TypeVar, get_args

from msgspec import Struct, ValidationError, convert, structs

from aiomessages.models import (
    Annotation,
    Choice,
    ContentPart,
    Json,
    Message,
    OddMessage,
    Reply,
    StoredCompletion,
    ToolCall,
    UnknownAnnotation,
    UnknownPart,
    UnknownToolCall,
)
from aiomessages.models.as_sent import keep
from aiomessages.models.parts import Nil, Tagged, Unknown

KeptT = TypeVar("KeptT", StoredCompletion, Reply)
Sent = dict[str, Json]
Paths = list[str]  # the JSON paths of what does not fit; each reader appends to it
Reader = Callable[[Json, str, Paths], Json]  # from a value and its path to the typed value


# --- messages and completions ---------------------------------------------------------------------


class Id(Struct, gc=False):
    """An object of which only the id is read."""

    id: str


def read_message(wire: Sent) -> OddMessage:
    """Read a message of any shape; raise msgspec.ValidationError if it has no id."""
    convert(wire, Id)
    paths: Paths = []
    values = _read_fields(Message, wire, paths)
    if isinstance(wire.get("content"), list) and values.get("content_parts") is None:
        # vfront returns the parts as `content`, the key for them in a request.
        values["content_parts"] = _read_parts(wire["content"], "$.content", paths)
    return keep(OddMessage(**values), wire, tuple(paths))


def read_completion(wire: Sent) -> StoredCompletion:
    """Read a stored completion of any shape; raise msgspec.ValidationError if it has no id."""
    convert(wire, Id)
    return _read_kept(StoredCompletion, wire)


def _read_kept(cls: type[KeptT], wire: Sent) -> KeptT:
    paths: Paths = []
    return keep(cls(**_read_fields(cls, wire, paths)), wire, tuple(paths))


def _read_fields(cls: type[Struct], wire: Sent, paths: Paths, parent: str = "$") -> dict[str, Json]:
    """Return the values of the fields that were sent, and defaults of the required ones."""
    values = {}
    for name, required, read in _readers(cls):
        if (value := wire.get(name)) is not None:
            values[name] = read(value, f"{parent}.{name}", paths)
        elif required:
            values[name] = _default_of(name)
            paths.append(f"{parent}.{name}")
    return values


@functools.cache
def _readers(cls: type[Struct]) -> list[tuple[str, bool, Reader]]:
    """Return the name of each field, whether it is required, and its reader."""
    fields = structs.fields(cls)
    return [(field.name, field.required, _reader(field.name, field.type)) for field in fields]


def _reader(name: str, kind: Any) -> Reader:
    if own := _OWN_READERS.get(name):
        return own
    return functools.partial(_read_value, kind, _struct_in(kind), _default_of(name))


def _default_of(name: str) -> Json:
    """Return the value of a field that was not sent: None if its type allows it."""
    match name:
        case "role" | "object":
            return ""
        case "choices":
            return []
        case "message":
            return _read_kept(Reply, {})
    return None


# --- fields ---------------------------------------------------------------------------------------


def _read_value(
    kind: Any, struct: type | None, default: Json, value: Json, path: str, paths: Paths
) -> Json:
    """Convert a value to its type; if it does not fit, note its path and return `default`.

    `struct` is the Struct in that type, or None.
    """
    try:
        return convert(_prune(value, struct) if struct else value, kind)
    except ValidationError as error:
        paths.append(path + _path_in(error))
        return default


def _read_list(read: Reader, value: Json, path: str, paths: Paths) -> list[Json] | None:
    if not isinstance(value, list):
        paths.append(path)
        return None
    return [read(item, f"{path}[{n}]", paths) for n, item in enumerate(value)]


def _read_kind(
    kinds: Mapping[str, type[Tagged]], unknown: type[Unknown], item: Json, path: str, paths: Paths
) -> Json:
    """Read one of several kinds; return `unknown` for an unknown type or a wrong shape."""
    if not isinstance(item, dict):
        paths.append(path)
    elif not isinstance(tag := item.get("type"), str):
        paths.append(f"{path}.type")
    elif kind := kinds.get(tag):
        value = _read_value(kind, kind, None, item, path, paths)
        if value is not None:
            return value
    return unknown.of(item)


def _read_choices(value: Json, path: str, paths: Paths) -> list[Json]:
    return _read_list(_read_choice, value, path, paths) or []


def _read_choice(item: Json, path: str, paths: Paths) -> Choice:
    if not isinstance(item, dict):
        paths.append(path)
        return _read_choice({}, path, [])
    return Choice(**_read_fields(Choice, item, paths, path))


def _read_choice_message(value: Json, path: str, paths: Paths) -> Reply:
    if not isinstance(value, dict):
        paths.append(path)
        return _read_kept(Reply, {})
    reply = _read_kept(Reply, value)
    paths += [path + inner[1:] for inner in reply.mismatches]
    return reply


def _read_strings(value: Json, path: str, paths: Paths) -> dict[str, str] | None:
    """Read the values that are strings, and leave out the others."""
    if not isinstance(value, dict):
        paths.append(path)
        return None
    paths += [f"{path}{_step(key)}" for key, item in value.items() if not isinstance(item, str)]
    return {key: item for key, item in value.items() if isinstance(item, str)}


def _list_of(kinds: Any, unknown: type[Unknown]) -> Reader:
    """Return the reader of a list of several kinds, which are a union of Structs."""
    by_tag = {str(kind.__struct_config__.tag): kind for kind in get_args(kinds) or (kinds,)}
    return functools.partial(_read_list, functools.partial(_read_kind, by_tag, unknown))


_read_parts: Final = _list_of(ContentPart, UnknownPart)
_OWN_READERS: Final[dict[str, Reader]] = {
    "role": functools.partial(_read_value, str, None, ""),  # a role may be any string
    "content_parts": _read_parts,
    "tool_calls": _list_of(ToolCall, UnknownToolCall),
    "annotations": _list_of(Annotation, UnknownAnnotation),
    "choices": _read_choices,
    "message": _read_choice_message,
    "metadata": _read_strings,
}


# --- unknown keys ---------------------------------------------------------------------------------


def _prune(value: Json, cls: type) -> Json:
    """Remove the keys that a Struct, or a Struct inside it, does not know."""
    if cls is NoneType:
        return None  # some servers send "" in place of null
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
    """Map each key of a Struct to the Struct in its type, to NoneType for a null, or to None."""
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


# --- paths ----------------------------------------------------------------------------------------

_MISSING: Final = re.compile("missing required field `([^`]+)`")


def _path_in(error: ValidationError) -> str:
    """Return the path in msgspec's message, relative to the value that was converted."""
    said = str(error)
    missing = _MISSING.search(said)
    inner = said.partition(" - at `$")[2].rstrip("`")
    return f"{inner}.{missing[1]}" if missing else inner


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
