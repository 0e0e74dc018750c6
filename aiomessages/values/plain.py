"""Plain values of what callers give: strings and ints of no subclass."""

import operator
from typing import Final, TypeVar

PlainT = TypeVar("PlainT")
_PLAIN: Final = frozenset({str, int, bool, type(None)})  # there is nothing to be done with most


def as_plain(value: PlainT) -> PlainT:
    """Return a str or an int of any subclass as one of no subclass, and all else as it is.

    What a subclass says of itself is not what it holds: of `class Model(str, Enum)`, a member
    formats as `Model.MINI`. What holds an int and is none, as numpy's integers, becomes one too.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value)  # type: ignore[return-value]  # as close as can be said
    # Asked of its type: a class, as `int`, is none. A Protocol would tell in fifty times the time.
    if hasattr(type(value), "__index__"):
        return operator.index(value)  # type: ignore[arg-type, return-value]  # the same
    return value


def can_be_sent(text: str) -> bool:
    """Tell whether a text is one in UTF-8 as well: half an emoji is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
