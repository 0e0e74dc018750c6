"""Text that cannot act on the terminal that shows it.

What the model, a user or a server wrote may hold escape sequences that retitle a window, and
marks that turn the reading direction so that a line shows other words than it has. Here they
become visible escapes. Nothing here knows a format, writes output or changes harmless text:
emoji, joiners and every script pass through.
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
# What `visible` writes for them, so that a screen can mark it as not being part of the text.
ESCAPED = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def visible(text: str) -> str:
    r"""Return text with every unsafe character as ``\x1b``, ``\u202e`` or ``\U000e0041``.

    Newlines and tabs stay, and a Windows line end counts as a newline.
    """
    return UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return the text on one line, its white space reduced to single spaces, made visible."""
    return UNSAFE.sub(_escape, " ".join(text.split()))


def visible_json(document: str) -> str:
    r"""Return the JSON document with every unsafe character as ``\uXXXX``, of equal value.

    Outside its strings a valid document has only white space, so that the escapes always land
    inside a string, where they mean the same character. A carriage return is outside of one: it
    becomes a newline, since alone it would let a line be overwritten.
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
