"""Values that remember the JSON they were made from, beside the fields that are known of it.

Nothing here performs I/O.
"""

from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

Json = Any
KeptT = TypeVar("KeptT", bound="Kept")


class Kept:
    """What a Struct with a dict of its own adds to its fields: the whole JSON that was sent."""

    __slots__ = ()

    @property
    def mismatches(self) -> tuple[str, ...]:
        """Where a known field did not have its type, as JSON paths from this value: `$.content`."""
        return tuple(self.__dict__.get("mismatches", ()))

    def to_dict(self) -> dict[str, Json]:
        """Return the value as a dict of its own, with every field it came with."""
        # to_builtins copies all the way down, and as deep as the decoder read, where deepcopy gives
        # up. What structs.replace() made has no JSON behind it and is just what its fields say.
        wire: dict[str, Json] = msgspec.to_builtins(self.__dict__.get("wire", self))
        return wire

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _whole(self) == _whole(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # a Struct's own looks at the fields alone

    def __hash__(self) -> int:
        return Struct.__hash__(self)  # equal values have equal fields

    def __copy__(self) -> Self:
        return self  # it is frozen; a Struct's own way forgets what is not a field

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), _fields(self), self.to_dict(), self.mismatches)


def keep(value: KeptT, wire: dict[str, Json], mismatches: tuple[str, ...] = ()) -> KeptT:
    """Let a value remember the JSON that it was made from, and what in it was of another type."""
    value.__dict__.update(wire=wire, mismatches=mismatches)
    return value


def _fields(value: Any) -> tuple[Any, ...]:
    return msgspec.structs.astuple(value)


def _whole(value: Any) -> tuple[Any, ...]:
    return _fields(value), value.to_dict()


def _restore(
    cls: type[KeptT], values: tuple[Any, ...], wire: dict[str, Json], mismatches: tuple[str, ...]
) -> KeptT:
    return keep(cls(*values), wire, mismatches)
