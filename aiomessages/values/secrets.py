"""Strings that no repr shows."""

from collections.abc import Mapping
from typing import Any, NoReturn, Self, TypeVar

from .plain import as_plain

ApiKeyT = TypeVar("ApiKeyT")


class Secret:
    """Mix into a type of strings: no repr shows one, and none is pickled.

    A copy is the object itself: recorders and middlewares copy the headers of a request. A part of
    it is a secret as well: rich's tracebacks show the beginning of a long string.
    """

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)  # type: ignore[misc]  # of a str or bytes
        made: Any = type(self)
        return made(part) if isinstance(index, slice) else part

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled: make a client in each process")


class ReprAlone:
    """Mix into a Struct with a repr of its own, which leaves fields out on purpose.

    rich shows what `__rich_repr__` yields in place of the repr, and msgspec's yields every field.
    """

    __slots__ = ()

    def __rich_repr__(self) -> Any:
        """Return nothing, so that rich shows the repr."""


class SecretStr(Secret, str):
    """A str whose repr is hidden, so that no dict, traceback or log shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


def hide_values(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the headers with each value as a SecretStr, unchecked like `hide`."""
    return {name: hide(value) for name, value in (headers or {}).items()}


def hide(key: ApiKeyT) -> ApiKeyT:
    """Return a str as a SecretStr, and any other value unchanged.

    Unchecked: the error about an invalid key must not show that key in its traceback either.
    """
    return SecretStr(as_plain(key)) if isinstance(key, str) else key  # type: ignore[return-value]
