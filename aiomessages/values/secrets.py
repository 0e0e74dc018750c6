"""Strings that never show themselves."""

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from .plain import as_plain

ApiKeyT = TypeVar("ApiKeyT")


class SecretStr(str):
    """A str that never shows itself in a repr, so that no dict, traceback or log does either.

    A copy of it is itself: recorders and middlewares copy the headers of a request.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"

    def __copy__(self) -> "SecretStr":
        return self

    def __deepcopy__(self, memo: object) -> "SecretStr":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: make a client in each process")


def hide_values(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return headers with their values hidden, unchecked, for the same reason as `hide`."""
    return {name: hide(value) for name, value in (headers or {}).items()}


def hide(key: ApiKeyT) -> ApiKeyT:
    """Return a str as a SecretStr, unchecked, so that not even a wrong key shows in a traceback."""
    return SecretStr(as_plain(key)) if isinstance(key, str) else key  # type: ignore[return-value]
