"""Characters that nobody sees, made visible: those that act on a terminal, a line or its direction.

An id, a name or a model with them would look like another one. A page shows them as symbols (NUL as
␀) or as their number (U+202E); everything else, in every script, stays.
"""

import re
from typing import Final

_PICTURES: Final = 0x2400  # Unicode's symbols for the control characters, in their order
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return a text on one line, with symbols for what would not be seen."""
    return _CONTROL.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    return "␡" if code == 0x7F else f"[U+{code:04X}]"
