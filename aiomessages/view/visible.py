"""Characters that nobody sees, made visible: those that act on a terminal, a line or its direction.

An id, a name or a model with them would look like another one: a page shows them as symbols (NUL as
␀) or as their number (U+202E). In a text the marks of direction have a meaning, and stay; those
that turn every letter around have none in any language.
"""

import re
from typing import Final

_LONGEST: Final = 512  # characters of a name: the API takes as many of a value of metadata
_PICTURES: Final = 0x2400  # Unicode's symbols for the control characters, in their order
_CONTROL: Final = "\x7f-\x9f\ufff9-\ufffb\ud800-\udfff"
_TAGS: Final = "\U000e0000-\U000e007f"
# Tags spell the flag of a region, as that of Scotland. Elsewhere they hide a text from readers.
_FLAG: Final = "(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f)"
_IN_TEXT: Final = re.compile(f"{_FLAG}|[\x00-\x08\x0b\x0c\x0e-\x1f\u202d\u202e{_TAGS}{_CONTROL}]")
_UNSEEN: Final = "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff" + _TAGS + _CONTROL
_IN_A_NAME: Final = re.compile(f"[\x00-\x1f{_UNSEEN}]")
_IN_CODE: Final = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{_UNSEEN}]")


def visible(name: str) -> str:
    """Return a name on one line, with symbols for all that would not be seen."""
    return _IN_A_NAME.sub(_shown, name)


def short(name: str) -> str:
    """Return the beginning of a name, if it is as long as none is, with the same symbols."""
    return visible(name) if len(name) <= _LONGEST else visible(name[:_LONGEST]) + "…"


def readable(text: str) -> str:
    """Return a text with symbols for what no text has; lines and directions stay."""
    return _IN_TEXT.sub(_shown, text)


def exact(code: str) -> str:
    """Return code or JSON with symbols for all that would not be seen; its lines stay."""
    return _IN_CODE.sub(_shown, code.replace("\r\n", "\n").replace("\r", "\n"))


def _shown(found: re.Match[str]) -> str:
    if found.lastindex:  # a flag
        return found[0]
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    return "␡" if code == 0x7F else f"[U+{code:04X}]"
