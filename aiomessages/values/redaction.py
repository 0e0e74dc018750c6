"""Remove the API key, and credentials beside it, from texts in which a server may repeat them.

A key is found in any case, since hosts and header names become lower case in transit, and in the
encodings by which servers repeat a request: URLs, JSON (also JSON within JSON), HTML, base64. This
protects against careless servers; a malicious server can hide the key from it.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, overload

from multidict import CIMultiDict

HIDDEN: Final = "[the API key]"

# Servers without authentication get "x", "none", "EMPTY" or "placeholder" as the key. Removing such
# a word would garble texts (`241 [the API key]B`) and hide nothing. So a word of letters has to be
# twice as long as other keys to count as a secret.
SHORTEST_SECRET: Final = 8
SHORTEST_SECRET_WORD: Final = 16
_WORD: Final = re.compile(r"[A-Za-z]?[a-z]+|[A-Z]+")

Secrets = str | tuple[str, ...]
"""A key, or a key and the credentials that are sent beside it."""


def is_secret(key: str) -> bool:
    """Return whether texts must not show this key; a short one is a placeholder."""
    shortest = SHORTEST_SECRET_WORD if _WORD.fullmatch(key) else SHORTEST_SECRET
    return len(key) >= shortest


def without_key(text: str, key: Secrets, hidden: str = HIDDEN) -> str:
    """Return the text with `hidden` in place of the key, in every encoding of it."""
    for forms in _all_forms(key):
        text = forms.replaced(text, hidden)
    return text


def body_without_key(body: bytes, key: Secrets) -> bytes:
    """Return the body of a response without the key. Bytes that are not UTF-8 stay as they are."""
    text = body.decode("utf-8", "surrogateescape")
    safe = without_key(text, key)
    return body if safe is text else safe.encode("utf-8", "surrogateescape")


def headers_without_key(headers: Mapping[str, str], key: Secrets) -> Mapping[str, str]:
    """Return the headers without the key in names and values."""
    text = "\n".join([*headers, *headers.values()])
    if not any(forms.may_be_in(text) for forms in _all_forms(key)):
        return headers
    return CIMultiDict(
        [(without_key(name, key), without_key(value, key)) for name, value in headers.items()]
    )


def may_hold_key(ids: list[str], key: Secrets) -> bool:
    """Return quickly whether one of the ids may contain the key; True may be a false alarm.

    Every page is checked by this, so case is not folded: no server changes the case of an id.
    """
    text = "".join(ids)
    return any(forms.may_be_as_sent_in(text) for forms in _all_forms(key))


class Concealed(str):  # noqa: SLOT000 it has an attribute
    """A text that contains the key: sent and compared unchanged, and shown without the key.

    An id from the server needs this: as a cursor it is sent back unchanged.
    """

    shown: str

    @classmethod
    def of(cls, text: str, shown_as: str) -> "Concealed":
        """Return a Concealed with this text that is shown as `shown_as`."""
        made = cls(text)
        made.shown = shown_as
        return made

    def __repr__(self) -> str:
        return repr(self.shown)


@overload
def concealed(text: str, key: Secrets) -> str: ...
@overload
def concealed(text: str | None, key: Secrets) -> str | None: ...
def concealed(text: str | None, key: Secrets) -> str | None:
    """Return the text, as a Concealed if it contains the key."""
    if text is None or isinstance(text, Concealed):
        return text
    safe = without_key(text, key)
    return text if safe == text else Concealed.of(text, safe)


def shown(text: str | None) -> str | None:
    """Return the text, without the key if it is a Concealed."""
    return text.shown if isinstance(text, Concealed) else text


class _Forms:
    """The forms in which a key may appear in a text."""

    __slots__ = ("_folded", "_in_base64", "_key", "_spelled")

    def __init__(self, key: str) -> None:
        self._key = key
        self._folded = key.lower()
        self._in_base64 = tuple(_in_base64(key))
        self._spelled: re.Pattern[str] | None = None

    def may_be_in(self, text: str) -> bool:
        """Return False, quickly, for nearly every text without the key."""
        return self.may_be_as_sent_in(text) or self._folded in text.lower()

    def may_be_as_sent_in(self, text: str) -> bool:
        """Return the same for a text in which the key would have its own case."""
        if self._key in text or "%" in text or "\\" in text or "&" in text:
            return True
        one, two, three = self._in_base64
        return one in text or two in text or three in text

    def replaced(self, text: str, hidden: str) -> str:
        """Return the text with `hidden` in place of each form; the same object if it has none."""
        if not self.may_be_in(text):
            return text
        if self._spelled is None:  # compiling takes milliseconds, and few texts need the pattern
            spelled = _first(self._key[0]) + "".join(map(_character, self._key[1:]))
            self._spelled = re.compile(spelled)
        text = self._spelled.sub(lambda _: hidden, text)
        for form in self._in_base64:
            text = text.replace(form, hidden)
        return text


@lru_cache(maxsize=32)  # a callable may give another key for each attempt
def _all_forms(secrets: Secrets) -> tuple[_Forms, ...]:
    """Return the forms of all secrets, a long one before one that may be a part of it."""
    each = {secrets} if isinstance(secrets, str) else set(secrets)
    return tuple(map(_forms, sorted(filter(is_secret, each), key=len, reverse=True)))


@lru_cache(maxsize=64)
def _forms(secret: str) -> _Forms:
    return _Forms(secret)


# The entities of HTML by name. Repetitions in the patterns below are bounded, so that a text of
# nothing but backslashes takes no longer than any other.
_ENTITIES: Final = {'"': "|quot", "&": "|amp", "'": "|apos", "<": "|lt", ">": "|gt"}


def _character(char: str) -> str:
    """Return a pattern for all forms of one character of the key."""
    itself, in_json, in_url, in_html = _spellings(char)
    return rf"(?:\\{in_json}|%{in_url}|&{in_html}|{itself})"


def _first(char: str) -> str:
    """Return the same pattern for the first character, with a set of characters in front.

    `re` searches for such a set ten times faster than for alternatives at each position.
    """
    itself, in_json, in_url, in_html = _spellings(char)
    after = rf"(?<=\\){in_json}|(?<=%){in_url}|(?<=&){in_html}|(?<={itself})"
    return rf"[\\%&{re.escape(char.lower() + char.upper())}](?:{after})"


def _spellings(char: str) -> tuple[str, str, str, str]:
    """Return patterns of a character: itself, and what follows a backslash, a % and an &."""
    code = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(char):02x}")
    itself = f"[{re.escape(char.lower() + char.upper())}]"
    # JSON within JSON doubles its backslashes. The possessive `+` keeps `re` from trying fewer.
    backslashes = r"\\{0,15}" if char == "\\" else r"\\{0,15}+"
    in_json = rf"{backslashes}(?:{itself}|u00{code})"
    in_html = (
        rf"(?:amp;){{0,3}}(?:#0{{0,4}}{ord(char)}|#[xX]0{{0,4}}{code}{_ENTITIES.get(char, '')});"
    )
    return itself, in_json, rf"(?:25){{0,3}}{code}", in_html


def _in_base64(key: str) -> Iterator[str]:
    """Yield the key in base64, once for each of the three offsets at which it may begin.

    Characters that also encode bits of the bytes before or after the key are left out.
    """
    for before in range(3):
        padded = b"\0" * before + key.encode()
        coded = base64.b64encode(padded).decode()
        yield coded[(before * 8 + 5) // 6 : len(padded) * 8 // 6]
