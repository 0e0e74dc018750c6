"""JSON values as YAML 1.1 and 1.2 alike, written and never read.

A string that spans lines becomes a literal block, a plain word stays plain, and every other
string is in double quotes, where unsafe characters are escaped: so the text is harmless on a
terminal and loses nothing. No YAML library does the last part.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .safe_text import UNSAFE, visible

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
# YAML 1.1 reads these words as something else than text; most readers still are 1.1.
_RESERVED = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def item(value: Any) -> str:
    """Return the value as one item of a YAML list, ending with a newline."""
    return "\n".join(_item(value)) + "\n"


def _item(value: Any) -> Iterator[str]:
    first, *rest = _lines(value)
    yield f"- {first}"
    yield from _indented(rest)


def _lines(value: Any) -> Iterable[str]:
    if isinstance(value, dict) and value:
        return (line for key, held in value.items() for line in _entry(_string(key), held))
    if isinstance(value, list) and value:
        return (line for held in value for line in _item(held))
    return _text(value) if isinstance(value, str) else [_number(json.dumps(value))]


def _entry(key: str, value: Any) -> Iterator[str]:
    first, *rest = _lines(value)
    if isinstance(value, dict | list) and value:
        yield f"{key}:"
        yield from _indented([first, *rest])
    else:
        yield f"{key}: {first}"
        yield from _indented(rest)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (line and f"  {line}" for line in lines)


def _text(text: str) -> list[str]:
    if not _fits_a_block(text):
        return [_string(text)]
    return ["|" if text.endswith("\n") else "|-", *text.removesuffix("\n").split("\n")]


def _fits_a_block(text: str) -> bool:
    """Tell whether a literal block gives this text back: it has no way to quote anything."""
    lines = "\n" in text and not text[0].isspace() and not text.endswith("\n\n")
    return lines and "\n\t" not in text and not UNSAFE.search(text)


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return visible(json.dumps(text, ensure_ascii=False))


def _number(literal: str) -> str:
    """Return 1e+16 as 1.0e+16: YAML 1.1 takes the former for text."""
    return literal.replace("e", ".0e") if re.fullmatch(r"-?\d+e[+-]\d+", literal) else literal
