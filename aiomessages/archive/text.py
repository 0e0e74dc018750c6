"""The form of a text in the search index, which a query takes as well.

SQLite's tokenizer splits at spaces and punctuation, and knows the characters of its own Unicode
version. That misses what people look for in some languages, so a text is prepared:

- Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese are written without spaces between words.
  A sentence would be one word there, and a part of it would not be found. Each of their characters
  becomes a word of its own, and a search for several of them looks for a phrase.
- An emoji becomes a word: the tokenizer drops those that it does not know.
- The marks that choose between the coloured and the plain form of an emoji are left out.
- Arabic and Hebrew are written with or without their vowel points, which are left out.
- Compatibility forms (ﬁ, full width letters) become the usual ones, ß becomes ss, œ becomes oe, ł
  becomes l, and ё becomes е, as people write them. The tokenizer removes the accents of Latin
  letters; those of Greek ones, and the hamza of the Arabic alif, are left out here.
- A soft hyphen is no part of its word.

Another form is another index: a change here is another version of the schema.

The characters of a newer Unicode may have another form in a newer Python. Those that an older one
knows never do: Unicode keeps the normal forms and the case folding of what it has.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final, NamedTuple

# The tokenizer's characters of words: letters, numbers and the marks that belong to them, without
# which the vowels of Hindi would split its words.
TOKENIZER: Final = "unicode61 remove_diacritics 2 categories 'L* N* Co M*'"

_ALONE: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3005-\u3007\u3021-\u3029\u3031-\u30ff\u31f0-\u31ff"  # iteration marks, kana
    "\u3105-\u312f\u31a0-\u31bf"  # bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # ideographs
)
_EMOJI: Final = "\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001faff"
_POINTS: Final = (
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew
    "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed"  # Arabic
    "\ufe00-\ufe0f\u20e3"  # variation selectors, and the frame of a key
    "\u00ad\u2060\ufeff"  # a soft hyphen, and joiners
)
_PLAIN: Final = {"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "ё": "е"}
_GREEK: Final = map(chr, (*range(0x386, 0x3CF), *range(0x1F00, 0x1FFF)))
_LETTERS: Final = (
    _PLAIN
    | {"Œ": "oe", "Æ": "ae", "Ø": "o", "Ł": "l", "Đ": "d", "Ħ": "h", "Ё": "е"}
    | dict.fromkeys("آأإٱ", "ا")
    | {c: bare for c in _GREEK if (bare := unicodedata.normalize("NFD", c)[0]) != c}
)
# One class of characters: alternatives would take three times as long.
_SPECIAL: Final = re.compile(f"[{_ALONE}{_EMOJI}{_POINTS}{''.join(_LETTERS)}]")
_IS_ALONE: Final = re.compile(f"[{_ALONE}]")
_IS_EMOJI: Final = re.compile(f"[{_EMOJI}]")


def searchable(text: str) -> str:
    """Return a text as the index holds it. It has words in the same order."""
    if text.isascii():
        return text
    return _SPECIAL.sub(_word, unicodedata.normalize("NFKC", text)).casefold()


def _word(found: "re.Match[str]") -> str:
    return _form(found[0])


@lru_cache(maxsize=8192)
def _form(character: str) -> str:
    if _IS_ALONE.match(character):
        return f" {character} "
    if _IS_EMOJI.match(character):
        return f" u{ord(character):x} "
    return _LETTERS.get(character, "")


class Token(NamedTuple):
    """A word of a text as the index holds it, and where it stands in the text as it was written."""

    text: str
    start: int
    end: int


def tokenized(text: str) -> Iterator[Token]:
    """Yield the words of a text, found as the index finds them."""
    for found in _words().finditer(text):
        for token in _folded(found[0]):
            yield Token(token, found.start(), found.end())


def tokens_of(text: str) -> tuple[str, ...]:
    """Return the words of a text as the index holds them."""
    return tuple(token.text for token in tokenized(text))


@lru_cache(maxsize=4096)
def _folded(word: str) -> tuple[str, ...]:
    """Return a word without its accents; a compatibility form may be several words."""
    if word.isascii():
        return (word.lower(),)
    bare = "".join(c for c in unicodedata.normalize("NFD", searchable(word)) if c not in _ACCENTS)
    return tuple(_words().findall(unicodedata.normalize("NFC", bare)))


_ACCENTS: Final = frozenset(map(chr, range(0x300, 0x370)))


@cache
def _words() -> re.Pattern[str]:
    """Return the pattern of a word in a text as it was written.

    The regular expressions of Python have no class for marks.
    """
    marks = "".join(c for c in map(chr, _WITH_MARKS) if unicodedata.category(c)[0] == "M")
    marks += "\u00ad\u2060\ufeff"  # what `searchable` leaves out of a word
    jamo = "\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff"  # letters that are composed to syllables
    signs = "".join(c for c in map(chr, _WITH_SIGNS) if unicodedata.category(c)[0] in "PS")
    alone = f"[{jamo}]+|(?![{signs}])[{_ALONE}][\u3099\u309a]*|[{_EMOJI}]"
    return re.compile(f"{alone}|(?:(?![{_ALONE}{_EMOJI}_])[\\w\ue000-\uf8ff{marks}])+")


_WITH_SIGNS: Final = range(0xE00, 0x3200)  # those of `_ALONE` with punctuation among them
_WITH_MARKS: Final = (*range(0x300, 0x2100), *range(0xA600, 0xAC00), *range(0xFE00, 0xFE30))
