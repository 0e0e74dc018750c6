"""Code in colours: a few classes of words, for languages that are known by name.

A language is never guessed, and only a lexer of the list runs. Those of other languages (C, Java,
Julia, Make, R) take a time that grows with the square of the length, or its cube, where code is
made to be slow. `static/conversation.css` has the colours of the classes.

Those of the list do so in a long run of space or of other characters, which each rule reads again
from each place. No program has such runs; code that has them is not coloured.
"""

import re
from functools import cache
from typing import Any, Final

from markupsafe import Markup, escape
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Literal, Name, Number, Operator, String

from aiomessages.view.visible import exact

from .allowance import Allowance

MOST: Final = 4000  # characters of a piece of code that is coloured
_LINEAR: Final = frozenset({"json"})  # its lexer reads each character once
_RUN: Final = re.compile(r"\S{150}|\s{150}")
LANGUAGES: Final = frozenset(
    """bash css docker dockerfile go golang graphql haskell html http ini javascript js json jsx
    lua php py pycon python python3 rb rs ruby rust sh shell sql swift toml ts typescript
    xml yaml yml zsh""".split()  # noqa: SIM905 - a list of words
)
# The first that a token belongs to counts.
_CLASSES: Final[tuple[tuple[Any, str], ...]] = (
    (Comment.Preproc, "hp"),
    (Comment, "hc"),
    (Keyword, "hk"),
    (Operator.Word, "hk"),
    (Number, "hm"),
    (String, "hs"),
    (Literal, "hs"),
    (Name.Function, "hf"),
    (Name.Class, "hf"),
    (Name.Decorator, "hp"),
    (Name.Tag, "hk"),
    (Name.Attribute, "hf"),
    (Name.Builtin, "hp"),
    (Name.Exception, "hf"),
    (Generic.Inserted, "hi"),
    (Generic.Deleted, "hd"),
    (Generic.Heading, "hc"),
    (Generic.Subheading, "hc"),
    (Generic.Prompt, "hc"),
    (Generic.Output, "hc"),
)


def highlighted(code: str, language: str, allowance: Allowance) -> Markup:
    """Return code as HTML; in colours, if its language is known and there is not too much."""
    shown = exact(code)
    name = language.lower()
    if name not in LANGUAGES or not _is_quick(shown, name) or not allowance.colours(shown):
        return escape(shown)
    return Markup("").join(
        escape(text) if kind is None else Markup('<span class="{}">{}</span>').format(kind, text)
        for kind, text in _joined(shown, name)
    )


def _is_quick(code: str, name: str) -> bool:
    return len(code) <= MOST and (name in _LINEAR or not _RUN.search(code))


def _joined(code: str, language: str) -> list[tuple[str | None, str]]:
    """Return the pieces of code, each with its class; neighbours of one class are one piece."""
    pieces: list[tuple[str | None, str]] = []
    for _, token, text in _lexer(language).get_tokens_unprocessed(code):
        kind = _class_of(token)
        if pieces and pieces[-1][0] == kind:
            text = pieces.pop()[1] + text  # noqa: PLW2901 the same piece, longer
        pieces.append((kind, text))
    return pieces


@cache
def _class_of(token: Any) -> str | None:
    return next((name for kind, name in _CLASSES if token in kind), None)


@cache
def _lexer(language: str) -> Lexer:
    return get_lexer_by_name(language)
