r"""JSON that people read: one member a line, and letters of all scripts as letters.

Numbers, repeated names and the order of members stay as they were written.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from aiomessages.archive.scan import members, value_of

MOST: Final = 100_000  # characters of a document that is laid out
_MOST_LEVELS: Final = 60  # that are indented
_MOST_LAID_OUT: Final = 4 * MOST  # characters, most of them indents
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{},:]|[^\s\[\]{},:"]++', re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|.)",
    re.DOTALL,
)


def is_document(text: str) -> bool:
    """Say whether a text may be a JSON object or array that can be laid out."""
    return len(text) <= MOST and text.lstrip()[:1] in ("{", "[")


def laid_out(text: str) -> str | None:
    """Return a JSON object or array with one member a line; None for any other text.

    None as well for one that is too long for it, or would become so.
    """
    if not is_document(text):
        return None
    try:
        json.loads(text, parse_int=float)  # of an integer Python reads no more than 4300 digits
    except (ValueError, RecursionError):
        return None
    pieces, size = list[str](), 0
    for piece in _pieces(text):
        size += len(piece)
        if size > _MOST_LAID_OUT:
            return None
        pieces.append(piece)
    return "".join(pieces)


def _pieces(text: str) -> Iterator[str]:
    """Yield the tokens of a document and the space between them."""
    level, is_first = 0, False
    for found in _TOKEN.finditer(text):
        word = found[0]
        if word in "]}":
            level -= 1
            yield "" if is_first else _line(level)
        elif is_first:
            yield _line(level)
        is_first = word in "[{"
        level += is_first
        match word:
            case ",":
                yield "," + _line(level)
            case ":":
                yield ": "
            case _:
                yield _ESCAPE.sub(_letter, word) if "\\u" in word else word


def _line(level: int) -> str:
    return "\n" + "  " * min(level, _MOST_LEVELS)


def _letter(found: re.Match[str]) -> str:
    """Return the letter that an escape means, if it can be seen."""
    high, low, other = found.groups()
    if high:
        letter = bytes.fromhex(high + low).decode("utf-16-be")
    else:
        letter = chr(int(other, 16)) if other else ""
    return letter if letter > "\x7f" and letter.isprintable() else found[0]


def compact(value: Any) -> str:
    """Return a value as JSON on one line."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:  # it is nested as deep as Python reads
        return "This is nested too deep to be shown. The JSON of the message has it."


def read(body: bytes) -> dict[str, Any]:
    """Return the members of a message as values. What Python cannot read is the text of its JSON.

    A message that is no object counts as one that has nothing but this content.
    """
    found = value_of(body)
    if found is None:
        sent = members(body)
        found = {name: _value(value) for name, value in sent.items()}
    return found if isinstance(found, dict) else {"content": found}


def _value(text: bytes) -> Any:
    value = value_of(text)
    return text.decode("utf-8", "replace") if value is None and text != b"null" else value
