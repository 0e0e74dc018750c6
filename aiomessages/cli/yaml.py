"""JSON values as YAML 1.1 and 1.2 alike, written and never read.

A string of several lines becomes a literal block, a plain word stays plain, and every other string
is double-quoted, with unsafe characters as escapes: the text is harmless on a terminal and loses
nothing. PyYAML would leave the marks that reverse the reading direction as they are, write emoji as
escapes beside them, and fail for a value that is nested deeper than Python's stack.
"""

import json
import re
from typing import Any

from .safe_text import UNSAFE, visible

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
# YAML 1.1 reads these words as null or truth values, and most readers still are 1.1.
_RESERVED = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def item(value: Any) -> str:
    """Return the value as one item of a YAML list, ending with a newline."""
    try:
        return f"- {_written(value, '  ')}\n"
    except RecursionError:  # deeper than Python's stack: JSON is YAML as well
        return f"- {visible(json.dumps(value, ensure_ascii=False))}\n"


def _written(value: Any, margin: str) -> str:
    """Return the text of a value behind a mark; its further lines begin with the margin."""
    deeper, line = margin + "  ", f"\n{margin}"
    if value and isinstance(value, list):
        return line.join(f"- {_written(held, deeper)}" for held in value)
    if value and isinstance(value, dict):
        return line.join(f"{_string(key)}:{_held(held, margin)}" for key, held in value.items())
    first, *rest = _scalar(value)
    return "\n".join([first, *(line and margin + line for line in rest)])


def _held(value: Any, margin: str) -> str:
    """Return what follows a key: a collection begins on the next line."""
    deeper = margin + "  "
    begin = f"\n{deeper}" if value and isinstance(value, dict | list) else " "
    return begin + _written(value, deeper)


def _scalar(value: Any) -> list[str]:
    """Return the lines of a scalar or an empty collection."""
    if not isinstance(value, str):
        return [_number(json.dumps(value))]
    if not _fits_a_block(value):
        return [_string(value)]
    return ["|" if value.endswith("\n") else "|-", *value.removesuffix("\n").split("\n")]


def _fits_a_block(text: str) -> bool:
    """Return whether a literal block, which cannot quote anything, reads back as this text."""
    lines = "\n" in text and not text[0].isspace() and not text.endswith("\n\n")
    return lines and "\n\t" not in text and not UNSAFE.search(text)


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return visible(json.dumps(text, ensure_ascii=False))


def _number(literal: str) -> str:
    """Return 1e+16 as 1.0e+16, since YAML 1.1 reads the former as text."""
    return literal.replace("e", ".0e") if re.fullmatch(r"-?\d+e[+-]\d+", literal) else literal
