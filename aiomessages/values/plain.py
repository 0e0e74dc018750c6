"""Turn arguments of callers into plain values: str and int themselves, and no subclass."""

import operator
from typing import Final, TypeVar

PlainT = TypeVar("PlainT")
_PLAIN: Final = frozenset({str, int, bool, type(None)})  # the types of most arguments


def as_plain(value: PlainT) -> PlainT:
    """Return a str or int of any subclass as a plain str or int, and any other value unchanged.

    A subclass may format as another text than it holds: a member of `class Model(str, Enum)`
    formats as `Model.MINI`. An integer that is no int, such as numpy's, becomes an int.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value)  # type: ignore[return-value]  # a TypeVar says no more
    # Look at the type: a class such as `int` has `__index__` too, and is no integer. isinstance
    # with the Protocol SupportsIndex would take fifty times as long.
    if hasattr(type(value), "__index__"):
        return operator.index(value)  # type: ignore[arg-type, return-value]  # the same
    return value


def can_be_sent(text: str) -> bool:
    """Return whether a text can be encoded in UTF-8: a lone surrogate (half an emoji) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
