"""Take JSON apart that a strict decoder refuses, without reading the values in it.

A server may send half of an emoji (a lone surrogate), a number of any length or a value that is
nested deeper than a decoder goes. This scan looks for strings, brackets and commas alone. It is
slow: `rows.py` uses it when msgspec has failed.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

# Strings first, so that no bracket within one counts. Possessive (`++`): a text may have 10 MB.
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
_NAME: Final = re.compile(rb'\s*("(?:[^"\\]++|\\.)*+")\s*:\s*', re.DOTALL)
_SPACES: Final = b" \t\r\n"


def members(text: bytes) -> dict[str, bytes]:
    """Return the members of a JSON object, each value as it was sent. {} for any other value."""
    found: dict[str, bytes] = {}
    for piece in _pieces(text, b"{"):
        name = _NAME.match(piece)
        if name is not None:
            found[str(value_of(name[1]))] = piece[name.end() :].rstrip(_SPACES)
    return found


def items(text: bytes) -> list[bytes]:
    """Return the items of a JSON array as they were sent. [] for any other value."""
    return [piece.strip(_SPACES) for piece in _pieces(text, b"[")]


def value_of(text: bytes) -> Any:
    """Return the value that a JSON text has; None for one that Python cannot read."""
    try:
        return json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _pieces(text: bytes, bracket: bytes) -> Iterator[bytes]:
    """Yield what stands between the outermost brackets, cut at the commas there."""
    if not text.lstrip(_SPACES).startswith(bracket):
        return
    depth = start = 0
    for token in _TOKENS.finditer(text):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth == 1:
                start = token.end()
        elif mark in (b"]", b"}"):
            depth -= 1
        if (depth == 1 and mark == b",") or depth == 0:
            if piece := text[start : token.start()]:
                yield piece
            start = token.end()
