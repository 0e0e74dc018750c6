"""JSON values as YAML 1.1 and 1.2 alike, written and never read.

A string of several lines becomes a literal block, a plain word stays plain, and every other string
is double-quoted, with unsafe characters as escapes: the text is harmless on a terminal and loses
nothing. PyYAML would leave the marks that reverse the reading direction as they are, and recurse
into each level of a value.
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
    lines: list[str] = []
    # Values to write, the next one last: the text in front, the indentation of further lines, and
    # the value. It is a stack, as a message may be nested deeper than Python recurses.
    waiting: list[tuple[str, int, Any]] = [("- ", 2, value)]
    while waiting:
        lead, indent, found = waiting.pop()
        margin = " " * indent
        children = _children(found)
        if lead.endswith(":"):  # a key: a collection begins on the next line
            if children:
                lines.append(lead)
            lead = margin if children else f"{lead} "
        if not children:
            first, *rest = _scalar(found)
            lines += [lead + first, *(line and margin + line for line in rest)]
        leads = [lead] + [margin] * (len(children) - 1)
        nested = [
            (start + mark, indent + 2, held)
            for start, (mark, held) in zip(leads, children, strict=False)
        ]
        waiting += reversed(nested)
    return "\n".join(lines) + "\n"


def _children(value: Any) -> list[tuple[str, Any]]:
    """Return what a collection holds, each with the mark in front of it; nothing for a scalar."""
    if isinstance(value, dict):
        return [(f"{_string(key)}:", held) for key, held in value.items()]
    return [("- ", held) for held in value] if isinstance(value, list) else []


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
