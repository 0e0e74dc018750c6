"""A repr that shows only the fields with a value, so that a message fits on a line of a prompt.

Nothing here performs I/O.
"""

from typing import Any

from msgspec import UNSET


class CompactRepr:
    """Mix into a Struct: leave optional fields that are None or UNSET out of its repr.

    The repr reads like the call that builds the value; rich prints the same fields.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({', '.join(fields)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return shown_fields(self, type(self))


def shown_fields(value: Any, cls: Any) -> list[tuple[str, Any]]:
    """Return the name and value of each field that `cls` requires, or that has a value."""
    names: tuple[str, ...] = cls.__struct_fields__
    required = len(names) - len(cls.__struct_defaults__)
    fields = [(name, getattr(value, name)) for name in names]
    given = [field for field in fields[required:] if field[1] is not None and field[1] is not UNSET]
    return fields[:required] + given
