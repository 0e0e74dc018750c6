"""The part of a text in which a search matched, with the places of its words.

The index has no text, so the words are looked for in the text as it was written. Nothing here
performs I/O.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, takewhile
from typing import Final

import msgspec

from .query import Term
from .text import Token, tokenized

_LENGTH: Final = 150  # characters, with as many of them in front of the first match as:
_BEFORE: Final = 50
_TO_A_SPACE: Final = 20  # characters that an end may move, so that it splits no word

Span = tuple[int, int]


class Snippet(msgspec.Struct, frozen=True):
    """About 150 characters around the first match of a search, as they were written."""

    text: str
    """The characters, without the marks."""
    marks: tuple[tuple[int, int], ...] = ()
    """Places of the matches in `text`: index of the first character, and of the one after the last.
    """
    before: bool = False
    """True if the message has text in front of it."""
    after: bool = False
    """True if the message has text behind it."""

    def __str__(self) -> str:
        return f"{'…' * self.before}{self.text}{'…' * self.after}"

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """Yield the text in pieces, each with whether it is a match: escape and mark each one."""
        end = 0
        for start, after in self.marks:
            if start > end:
                yield self.text[end:start], False
            yield self.text[start:after], True
            end = after
        if end < len(self.text):
            yield self.text[end:], False


def snippet_of(text: str, terms: Sequence[Term]) -> Snippet:
    """Return the snippet of a text around the first match of a term; else its beginning."""
    end = len(text)
    # The end is known once the first match is: the text behind it is not looked at.
    spans = _matches(takewhile(lambda token: token.start < end, tokenized(text)), terms)
    first = next(spans, None)
    start, end = _window(text, first or (0, 0))
    marks: list[Span] = []
    for span in chain(() if first is None else (first,), spans):
        _add(marks, (max(span[0], start) - start, min(span[1], end) - start))
    return Snippet(text[start:end], tuple(marks), start > 0, end < len(text))


def _add(marks: list[Span], span: Span) -> None:
    """Add a span; one that touches others becomes one with them. Spans come by their end."""
    while marks and marks[-1][1] >= span[0]:
        last = marks.pop()
        span = min(last[0], span[0]), max(last[1], span[1])
    marks.append(span)


def _window(text: str, first: Span) -> Span:
    """Return where the snippet begins and ends."""
    start = max(0, first[0] - _BEFORE)
    if start:
        space = next((n for n in range(start, first[0]) if text[n].isspace()), first[0])
        start = space + 1 if space - start <= _TO_A_SPACE and space < first[0] else start
    end = min(len(text), max(start + _LENGTH, min(first[1], first[0] + _LENGTH)))
    if end < len(text):
        nearest = range(end, max(first[1], end - _TO_A_SPACE), -1)
        end = next((n for n in nearest if text[n].isspace()), end)
    return start, end


def _matches(tokens: Iterable[Token], terms: Sequence[Term]) -> Iterator[Span]:
    """Yield where the terms match, in the order of their ends."""
    longest = max((len(term.tokens) for term in terms), default=0)
    exact: dict[str, list[Term]] = {}
    for term in terms:
        if not term.begins:
            exact.setdefault(term.tokens[-1], []).append(term)
    beginnings = [term for term in terms if term.begins]
    window: deque[Token] = deque(maxlen=longest)
    for token in tokens:
        window.append(token)
        ending = [t for t in beginnings if token.text.startswith(t.tokens[-1])]
        for term in (*exact.get(token.text, ()), *ending):
            before = term.tokens[:-1]
            begin = len(window) - len(term.tokens)
            if begin >= 0 and all(
                window[begin + n].text == wanted for n, wanted in enumerate(before)
            ):
                yield window[begin].start, token.end
