"""The API key, taken out of whatever a server may have repeated it in.

Nothing here decides what is shown; it says what may be. A key is found in whatever case, since
hosts and header names are lower-cased on their way, and in the encodings that servers use when they
repeat what they were sent: URLs, JSON (also JSON within JSON), HTML, base64. A server that wants to
hide a key from this can; one that only answers carelessly cannot.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, overload

from multidict import CIMultiDict

HIDDEN: Final = "[the API key]"

# Servers without authentication are given "x", "none", "EMPTY" or "placeholder". To take such a
# word out of texts would garble them (`241 [the API key]B`) and hide nothing.
SHORTEST_SECRET: Final = 8
SHORTEST_SECRET_WORD: Final = 16
_WORD: Final = re.compile(r"[A-Za-z]?[a-z]+|[A-Z]+")


def is_secret(key: str) -> bool:
    """Tell whether a key is one that texts must not show, and not a stand-in for none."""
    shortest = SHORTEST_SECRET_WORD if _WORD.fullmatch(key) else SHORTEST_SECRET
    return len(key) >= shortest


def without_key(text: str, key: str, hidden: str = HIDDEN) -> str:
    """Return the text with `hidden` wherever the key stands in it, however it is written."""
    forms = _forms(key)
    return text if forms is None else forms.replaced(text, hidden)


def body_without_key(body: bytes, key: str) -> bytes:
    """Return the body of an answer without the key. Bytes that are no UTF-8 stay as they are."""
    text = body.decode("utf-8", "surrogateescape")
    safe = without_key(text, key)
    return body if safe is text else safe.encode("utf-8", "surrogateescape")


def headers_without_key(headers: Mapping[str, str], key: str) -> Mapping[str, str]:
    """Return the headers without the key in their values and names."""
    forms = _forms(key)
    if forms is None or not forms.may_be_in("\n".join([*headers, *headers.values()])):
        return headers
    return CIMultiDict(
        [(without_key(name, key), without_key(value, key)) for name, value in headers.items()]
    )


def may_hold_key(ids: list[str], key: str) -> bool:
    """Tell quickly whether the key may stand in one of the ids; they are looked at closer then.

    Every page passes here, so case is not folded: no server changes it in an id.
    """
    forms = _forms(key)
    return forms is not None and forms.may_be_as_sent_in("".join(ids))


class Concealed(str):  # noqa: SLOT000 it has an attribute
    """A text that holds the key: sent and compared as it is, and shown without it.

    For an id that a server made: as a cursor it has to be sent back to the letter.
    """

    shown: str

    @classmethod
    def of(cls, text: str, shown_as: str) -> "Concealed":
        """Return the text as one that is shown as another."""
        made = cls(text)
        made.shown = shown_as
        return made

    def __repr__(self) -> str:
        return repr(self.shown)


@overload
def concealed(text: str, key: str) -> str: ...
@overload
def concealed(text: str | None, key: str) -> str | None: ...
def concealed(text: str | None, key: str) -> str | None:
    """Return the text; one in which the key stands is Concealed."""
    if text is None or isinstance(text, Concealed):
        return text
    safe = without_key(text, key)
    return text if safe == text else Concealed.of(text, safe)


def shown(text: str | None) -> str | None:
    """Return what may be shown of a text."""
    return text.shown if isinstance(text, Concealed) else text


class _Forms:
    """The ways in which a key may be written."""

    __slots__ = ("_folded", "_in_base64", "_key", "_spelled")

    def __init__(self, key: str) -> None:
        self._key = key
        self._folded = key.lower()
        self._in_base64 = tuple(_in_base64(key))
        self._spelled: re.Pattern[str] | None = None

    def may_be_in(self, text: str) -> bool:
        """Tell quickly of nearly every text that the key is not in it."""
        return self.may_be_as_sent_in(text) or self._folded in text.lower()

    def may_be_as_sent_in(self, text: str) -> bool:
        """Tell the same of a text in which nobody has changed the case of the key."""
        if self._key in text or "%" in text or "\\" in text or "&" in text:
            return True
        one, two, three = self._in_base64
        return one in text or two in text or three in text

    def replaced(self, text: str, hidden: str) -> str:
        """Return the text with `hidden` in the place of each form; the same one if it has none."""
        if not self.may_be_in(text):
            return text
        if self._spelled is None:  # to compile it takes milliseconds, and few texts need it
            spelled = _first(self._key[0]) + "".join(map(_character, self._key[1:]))
            self._spelled = re.compile(spelled)
        text = self._spelled.sub(lambda _: hidden, text)
        for form in self._in_base64:
            text = text.replace(form, hidden)
        return text


@lru_cache(maxsize=32)  # a callable may give another key for each attempt
def _forms(key: str) -> _Forms | None:
    return _Forms(key) if is_secret(key) else None


# Repetitions are bounded, so that a text of nothing but backslashes costs no more than others.
_ENTITIES: Final = {'"': "|quot", "&": "|amp", "'": "|apos", "<": "|lt", ">": "|gt"}


def _character(char: str) -> str:
    """Return a pattern of all that may be written for one character of a key."""
    itself, in_json, in_url, in_html = _spellings(char)
    return rf"(?:\\{in_json}|%{in_url}|&{in_html}|{itself})"


def _first(char: str) -> str:
    """Return the same for the first one, with a set of characters before everything else.

    `re` looks for such a set ten times faster than it tries alternatives at each place.
    """
    itself, in_json, in_url, in_html = _spellings(char)
    behind = rf"(?<=\\){in_json}|(?<=%){in_url}|(?<=&){in_html}|(?<={itself})"
    return rf"[\\%&{re.escape(char.lower() + char.upper())}](?:{behind})"


def _spellings(char: str) -> tuple[str, str, str, str]:
    """Return what stands for a character: itself, and what follows a backslash, a % and an &."""
    code = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(char):02x}")
    itself = f"[{re.escape(char.lower() + char.upper())}]"
    # JSON within JSON doubles its backslashes. With a `+`, no fewer of them are tried in vain.
    backslashes = r"\\{0,15}" if char == "\\" else r"\\{0,15}+"
    in_json = rf"{backslashes}(?:{itself}|u00{code})"
    in_html = (
        rf"(?:amp;){{0,3}}(?:#0{{0,4}}{ord(char)}|#[xX]0{{0,4}}{code}{_ENTITIES.get(char, '')});"
    )
    return itself, in_json, rf"(?:25){{0,3}}{code}", in_html


def _in_base64(key: str) -> Iterator[str]:
    """Yield what base64 makes of a key at each place where it may begin in a text of bytes.

    The characters that also depend on what stands before or behind it are left out.
    """
    for before in range(3):
        padded = b"\0" * before + key.encode()
        coded = base64.b64encode(padded).decode()
        yield coded[(before * 8 + 5) // 6 : len(padded) * 8 // 6]
