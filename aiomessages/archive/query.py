"""The words of a search: their own small grammar, and the query of FTS5 that they become.

    words           all of them, in any order
    "a phrase"      these words in this order
    begin*          words that begin so
    a OR b          one of the two; AND, OR and NOT are written in capital letters
    a NOT b         without b
    (a OR b) c      groups

Every term is quoted for FTS5, so that no text is taken for its syntax. Nothing here performs I/O.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from .errors import SearchError
from .text import searchable, tokens_of

# Far above what a person types, and within the limits of FTS5's parser.
_MAX_CHARACTERS: Final = 1000
_MAX_TERMS: Final = 100
_MAX_DEPTH: Final = 10

# Typewriter quotes, and those that a word processor or a telephone puts in their place.
_QUOTES: Final = '"“”„‟'
_LEXEMES: Final = re.compile(
    # Brackets without anything between them are no group: foo() is a word.
    f"\\(\\s*\\)|[{_QUOTES}](?P<phrase>[^{_QUOTES}]*)[{_QUOTES}](?P<begin>\\*?)"
    f"|(?P<sign>[()])|(?P<open>[{_QUOTES}])|(?P<word>[^\\s(){_QUOTES}]+)"
)
# What FTS5 would end the text at, or Python would not send to SQLite.
_NO_TEXT: Final = re.compile('[\x00"\ud800-\udfff]')


class Term(NamedTuple):
    """The tokens of a word or phrase; with `begins` the last one may go on."""

    tokens: tuple[str, ...]
    begins: bool


class Query(NamedTuple):
    """A query for FTS5, and the terms that a hit may show: those that are not behind a NOT.

    `needed` is a query without beginnings that each hit matches as well; empty if there is none.
    """

    match: str
    terms: tuple[Term, ...]
    needed: str

    @property
    def has_prefix(self) -> bool:
        """Whether FTS5 must look at each word that begins with a term."""
        return '" *' in self.match


class _Part(NamedTuple):
    """A part of the query: the same three as of the whole."""

    match: str
    terms: tuple[Term, ...]
    needed: str

    def grouped(self) -> str:
        return self.match if self.match.count('"') == 2 else f"({self.match})"


class _Lexeme(NamedTuple):
    kind: str  # `term`, or the operator or bracket itself
    term: _Part | None = None


def parse(words: str) -> Query:
    """Return the query that the words are. Raises SearchError, which says what to write."""
    if len(words) > _MAX_CHARACTERS:
        raise _too_long(f"{_MAX_CHARACTERS} characters")
    lexemes = list(_lexemes(words))
    if sum(lexeme.term is not None for lexeme in lexemes) > _MAX_TERMS:
        raise _too_long(f"{_MAX_TERMS} words")
    if not any(lexeme.term for lexeme in lexemes):
        raise SearchError(
            f"nothing to search for in {words!r}", hint="write a word with letters or digits"
        )
    parser = _Parser(lexemes)
    found = parser.alternatives(0)
    if parser.left():
        raise SearchError("a ) without its (", hint="write both, or put the text into quotes")
    return Query(*found)


def _lexemes(words: str) -> "list[_Lexeme]":
    found = []
    for match in _LEXEMES.finditer(words):
        phrase, word = match["phrase"], match["word"]
        if match["open"]:
            raise SearchError('a " without its other', hint='write both, as in "a phrase"')
        if match["sign"] or word in ("AND", "OR", "NOT"):
            found.append(_Lexeme(match["sign"] or word))
        elif term := _term(phrase or word or "", begins=bool(match["begin"])):
            found.append(_Lexeme("term", term))
    return found


def _term(text: str, *, begins: bool) -> _Part | None:
    """Return a word or phrase; None for one without letters or digits, which nothing has."""
    begins = begins or text.endswith("*")
    text = text.rstrip("*")
    prepared = _NO_TEXT.sub(" ", searchable(text))
    tokens = tokens_of(text)
    if not tokens:
        return None
    match = f'"{prepared}"'
    if begins:
        return _Part(f"{match} *", (Term(tokens, begins),), "")
    return _Part(match, (Term(tokens, begins),), match)


class _Parser:
    """Read lexemes by recursive descent: OR binds least, then words side by side, then NOT."""

    def __init__(self, lexemes: Sequence[_Lexeme]) -> None:
        self._lexemes = lexemes
        self._next = 0

    def left(self) -> bool:
        return self._next < len(self._lexemes)

    def _kind(self) -> str:
        return self._lexemes[self._next].kind if self.left() else ""

    def _takes(self, kind: str) -> bool:
        if self._kind() != kind:
            return False
        self._next += 1
        return True

    def alternatives(self, depth: int) -> _Part:
        """Read `a OR b`."""
        parts = [self._all(depth)]
        while self._takes("OR"):
            parts.append(self._all(depth))
        return _joined(parts, " OR ")

    def _all(self, depth: int) -> _Part:
        """Read `a b NOT c`: each of the words but those behind a NOT."""
        wanted: list[_Part] = []
        unwanted: list[_Part] = []
        while True:
            is_joined = self._takes("AND")
            if is_joined and not (wanted or unwanted):
                raise _lonely("AND")
            excluded = self._takes("NOT")
            part = self._one(depth)
            if part is None:
                if excluded or is_joined:
                    raise _lonely("NOT" if excluded else "AND")
                break
            (unwanted if excluded else wanted).append(part)
        if not wanted:
            raise _lonely("NOT" if unwanted else "OR" if self._is_at_or() else "(")
        found = _joined(wanted, " AND ")
        if not unwanted:
            return found
        match = f"{found.grouped()} NOT {_joined(unwanted, ' OR ').grouped()}"
        return _Part(match, found.terms, found.needed)

    def _is_at_or(self) -> bool:
        return self._kind() == "OR" or self._lexemes[self._next - 1].kind == "OR"

    def _one(self, depth: int) -> _Part | None:
        if self._kind() == "term":
            self._next += 1
            return self._lexemes[self._next - 1].term
        if not self._takes("("):
            return None
        if depth == _MAX_DEPTH:
            raise SearchError(f"the groups are nested too deep: at most {_MAX_DEPTH} levels")
        found = self.alternatives(depth + 1)
        if not self._takes(")"):
            raise SearchError("a ( without its )", hint="write both, or put the text into quotes")
        return found


_ADVICE: Final = {
    "AND": "write a word before and behind AND, or and in small letters to search for the word",
    "OR": "write a word before and behind OR, or or in small letters to search for the word",
    "NOT": "write what to search for, and what it must not have behind NOT: budget NOT draft",
    "(": "write words between ( and ), or put the text into quotes",
}


def _too_long(most: str) -> SearchError:
    return SearchError("the search is too long", hint=f"write at most {most}")


def _lonely(operator: str) -> SearchError:
    return SearchError(f"{operator} has nothing to combine", hint=_ADVICE[operator])


def _joined(parts: Sequence[_Part], operator: str) -> _Part:
    if len(parts) == 1:
        return parts[0]
    match = operator.join(part.grouped() for part in parts)
    needed = [f"({part.needed})" for part in parts if part.needed]
    if operator == " OR " and len(needed) < len(parts):
        needed = []
    return _Part(match, tuple(term for part in parts for term in part.terms), operator.join(needed))
