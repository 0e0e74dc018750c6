"""Values that keep the JSON that they were read from, beside the fields that this version knows.

Nothing here performs I/O.
"""

from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from .compact_repr import CompactRepr

Json = Any
KeptT = TypeVar("KeptT", bound="Kept")


class Kept(CompactRepr):
    """Mix into a Struct with `dict=True`: keep the whole JSON that the server sent."""

    __slots__ = ()

    @property
    def mismatches(self) -> tuple[str, ...]:
        """The JSON paths, from this value, of the known fields with a wrong type: `$.content`."""
        return tuple(self.__dict__.get("_mismatches", ()))

    def to_dict(self) -> dict[str, Json]:
        """Return a new dict with every field that the server sent."""
        # to_builtins copies all the way down, and as deep as the decoder read, where deepcopy gives
        # up. A value that structs.replace() made has no JSON, so its own fields are copied.
        wire: dict[str, Json] = msgspec.to_builtins(self.__dict__.get("_wire", self))
        return wire

    def to_json(self) -> str:
        """Return the JSON of `to_dict()`, on one line."""
        return msgspec.json.encode(self.__dict__.get("_wire", self)).decode()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _whole(self) == _whole(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # the operator of Struct compares only the fields

    def __hash__(self) -> int:
        return Struct.__hash__(self)  # equal values have equal fields

    def __copy__(self) -> Self:
        return self  # the value is frozen; Struct's own copy drops what is not a field

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), _fields(self), self.to_dict(), self.mismatches)


def keep(value: KeptT, wire: dict[str, Json], mismatches: tuple[str, ...] = ()) -> KeptT:
    """Attach to a value the JSON it was read from, and the paths that did not fit; return it."""
    value.__dict__.update(_wire=wire, _mismatches=mismatches)
    return value


def _fields(value: Any) -> tuple[Any, ...]:
    return msgspec.structs.astuple(value)


def _whole(value: Any) -> tuple[Any, ...]:
    return _fields(value), value.to_dict()


def _restore(
    cls: type[KeptT], values: tuple[Any, ...], wire: dict[str, Json], mismatches: tuple[str, ...]
) -> KeptT:
    return keep(cls(*values), wire, mismatches)
