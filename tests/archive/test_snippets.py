"""Snippets: the part of a text in which a search matched, and the places of its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.archive.query import parse
from aiomessages.archive.snippets import Snippet, snippet_of

WORDS = " ".join(f"word{n}" for n in range(100))


def marked(text: str, words: str) -> str:
    """Return the snippet of a text, with brackets around what matched."""
    snippet = snippet_of(text, parse(words).terms)
    return "".join(f"[{piece}]" if is_match else piece for piece, is_match in snippet.pieces())


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Hello world", "hello", "[Hello] world"),
        ("Hello world", "WORLD", "Hello [world]"),
        ("a résumé here", "resume", "a [résumé] here"),
        ("a re\u0301sume\u0301 here", "résumé", "a [re\u0301sume\u0301] here"),
        ("die Straße", "strasse", "die [Straße]"),
        ("Идёт снег, идет", "идет", "[Идёт] снег, [идет]"),
        ("日本語と日本", "日本", "[日本]語と[日本]"),
        ("日本、本日", "本", "日[本]、[本]日"),
        ("one two three", '"two three"', "one [two three]"),
        ("one three two", '"two three" OR one', "[one] three two"),
        ("umbrella, umbra", "umb*", "[umbrella], [umbra]"),
        ("open umbrellas", '"open umb"*', "[open umbrellas]"),
        ("a b a b a", '"a b a"', "[a b a b a]"),
        ("a b", "a NOT c", "[a] b"),
        ("great 👍🏽!", "👍", "great [👍]🏽!"),
        ("ﬁne ½", '"fine 1 2"', "[ﬁne ½]"),
        ("ᄒ\u1161\u11abᄀ\u116e\u11a8", "한국", "[ᄒ\u1161\u11abᄀ\u116e\u11a8]"),
        ("no match", "other", "no match"),
    ],
)
def test_the_places_of_matches(text: str, words: str, expected: str) -> None:
    """The words are marked in the text as it was written, found as the index finds them."""
    assert marked(text, words) == expected


def test_a_short_text() -> None:
    """A short text is shown whole."""
    assert snippet_of("Hello world", parse("world").terms) == Snippet("Hello world", ((6, 11),))


def test_a_match_in_the_middle() -> None:
    """A snippet has some words in front of the first match, more behind it, and whole words."""
    snippet = snippet_of(WORDS, parse("word50").terms)
    assert (snippet.before, snippet.after) == (True, True)
    assert 120 < len(snippet.text) <= 150
    words = snippet.text.split()
    assert words == [f"word{n}" for n in range(int(words[0][4:]), int(words[-1][4:]) + 1)]
    assert words.index("word50") > 3
    assert str(snippet) == f"…{snippet.text}…"


def test_a_match_at_the_end() -> None:
    """The end of the text is the end of the snippet."""
    snippet = snippet_of(WORDS, parse("word99").terms)
    assert (snippet.before, snippet.after) == (True, False)
    assert snippet.text.endswith("word99")


def test_a_long_word() -> None:
    """A word longer than a snippet is cut, and so is its mark."""
    snippet = snippet_of(f"{'a' * 90} {'b' * 500} c", parse("b*").terms)
    assert len(snippet.text) <= 200
    (mark,) = snippet.marks
    assert set(snippet.text[slice(*mark)]) == {"b"}


def test_a_text_without_spaces() -> None:
    """A text without spaces is cut between characters."""
    snippet = snippet_of("中" * 200 + "日本" + "中" * 200, parse("日本").terms)
    assert snippet.marks == ((50, 52),)
    assert len(snippet.text) == 150


@given(
    st.text(st.sampled_from("ab日本 \n.é\u0301ß👍"), max_size=400),
    st.sampled_from(["a", "b*", '"a b"', "日本", "ß", "é a", "👍"]),
)
def test_any_text(text: str, words: str) -> None:
    """The pieces of a snippet are a part of the text, and its marks are in order."""
    snippet = snippet_of(text, parse(words).terms)
    assert "".join(piece for piece, _ in snippet.pieces()) == snippet.text
    assert snippet.text in text
    ends = [end for mark in snippet.marks for end in mark]
    assert ends == sorted(set(ends))
    assert snippet.before == (not text.startswith(snippet.text)) or snippet.text == ""
