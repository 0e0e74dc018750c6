"""Escapes for text that could act on a terminal.

Text of a model, a user or a server may hold escape sequences, which can change the terminal, and
marks that reverse the reading direction, which make a line show other words than it has. They
become visible escapes. Harmless text stays unchanged: emoji, joiners and every script.
"""

import re

_C0_BUT_WHITE_SPACE = "\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f"
_DELETE_AND_C1 = "\\x7f-\\x9f"
# Trojan Source (CVE-2021-42574): the marks that reorder what is shown.
_BIDI = "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u206f"
_INVISIBLE = "\\u2028\\u2029\\u2060-\\u2065\\ufeff\\ufff9-\\ufffb\\U000e0000-\\U000e007f"
_NOT_TEXT = "\\ud800-\\udfff\\ufffe\\uffff"

_EVERYWHERE = f"{_C0_BUT_WHITE_SPACE}{_DELETE_AND_C1}{_BIDI}{_INVISIBLE}{_NOT_TEXT}"
_UNSAFE_IN_JSON = re.compile(f"[{_EVERYWHERE}]")
# A lone carriage return lets the rest of a line overwrite its beginning.
UNSAFE = re.compile(f"[\\r{_EVERYWHERE}]")
# The escapes that `visible` writes, for a screen that highlights them.
ESCAPED = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def visible(text: str) -> str:
    r"""Return text with every unsafe character as ``\x1b``, ``\u202e`` or ``\U000e0041``.

    Newlines and tabs stay, and a Windows line end counts as a newline.
    """
    return UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return the text on one line, with single spaces as white space and visible escapes."""
    return UNSAFE.sub(_escape, " ".join(text.split()))


def visible_json(document: str) -> str:
    r"""Return the JSON document with every unsafe character as ``\uXXXX``, of equal value.

    Unsafe characters occur only within the strings of valid JSON, where an escape means the same
    character. The exception is a carriage return between values: it would overwrite a line of the
    terminal, and becomes a newline.
    """
    lines = document.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSAFE_IN_JSON.sub(_utf16, lines)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _utf16(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
