"""The words of a search: their grammar, and that FTS5 accepts whatever becomes of them."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.archive.database import open_to_write
from aiomessages.archive.errors import SearchError
from aiomessages.archive.query import parse
from aiomessages.archive.snippets import snippet_of
from aiomessages.archive.text import searchable, tokens_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

A, B, C, D = '"a"', '"b"', '"c"', '"d"'


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("a", A),
        ("a b", f"{A} AND {B}"),
        ("a AND b", f"{A} AND {B}"),
        ("a and b", f'{A} AND "and" AND {B}'),
        ('"a b"', '"a b"'),
        ("“a b”", '"a b"'),
        ("„a b“", '"a b"'),
        ('"a b"c', f'"a b" AND {C}'),
        ("a*", '"a" *'),
        ('"a b"*', '"a b" *'),
        ("a* b", f'"a" * AND {B}'),
        ("a OR b", f"{A} OR {B}"),
        ("a b OR c", f"({A} AND {B}) OR {C}"),
        ("(a OR b) c", f"({A} OR {B}) AND {C}"),
        ("c(a OR b)", f"{C} AND ({A} OR {B})"),
        ("a NOT b", f"{A} NOT {B}"),
        ("NOT b a", f"{A} NOT {B}"),
        ("a AND NOT b", f"{A} NOT {B}"),
        ("a NOT b NOT c d", f"({A} AND {D}) NOT ({B} OR {C})"),
        ("a NOT (b c)", f"{A} NOT ({B} AND {C})"),
        ("((a))", A),
        ("(" * 10 + "a" + ")" * 10, A),
        ("a() b( )", f"{A} AND {B}"),
        ("a & b", f"{A} AND {B}"),
        ("a ・ ฿ b", f"{A} AND {B}"),
        ("a *", A),
        ("日本", '" 日  本 "'),
    ],
)
def test_queries(words: str, match: str) -> None:
    """Words, phrases, beginnings, operators and groups become a query whose terms are quoted."""
    assert parse(words).match.replace('*"', '"') == match.replace('*"', '"')


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("", "write a word"),
        ("  ", "write a word"),
        ("!? -- *", "write a word"),
        ('""', "write a word"),
        ('"a', 'as in "a phrase"'),
        ('a "b" "', 'as in "a phrase"'),
        ("(a", "without its )"),
        ("a)", "without its ("),
        (")a", "between ( and )"),
        ("a (!)", "between ( and )"),
        ("()", "write a word"),
        ("・", "write a word"),
        ("NOT a", "budget NOT draft"),
        ("a NOT", "budget NOT draft"),
        ("a NOT NOT b", "budget NOT draft"),
        ("a OR NOT b", "budget NOT draft"),
        ("a OR", "before and behind OR"),
        ("OR a", "before and behind OR"),
        ("a OR OR b", "before and behind OR"),
        ("(a OR) b", "before and behind OR"),
        ("AND a", "before and behind AND"),
        ("a AND", "before and behind AND"),
        ("a AND AND b", "before and behind AND"),
        ("a AND OR b", "before and behind AND"),
        ("a " * 101, "at most 100 words"),
        ("a" * 1001, "at most 1000 characters"),
        ("(" * 11 + "a" + ")" * 11, "at most 10 levels"),
    ],
)
def test_what_is_no_query(words: str, advice: str) -> None:
    """What cannot be a query is an error that says what to write."""
    with pytest.raises(SearchError) as raised:
        parse(words)
    assert advice in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("a* b", f"({B})"),
        ("a* b NOT c", f"({B})"),
        ("a* (b OR c)", f"({B}) OR ({C})"),
        ("a* b c", f"({B}) AND ({C})"),
        ("a* OR b", ""),
        ("(a* OR b) c", f"({C})"),
        ("a*", ""),
    ],
)
def test_what_each_hit_has(words: str, needed: str) -> None:
    """As much of a query as has no beginnings is known apart: it is what FTS5 finds fast."""
    assert parse(words).needed.replace("((", "(").replace("))", ")") == needed


def test_terms_that_a_hit_may_show() -> None:
    """Terms behind a NOT are none that a hit shows."""
    query = parse('"Für Élise" NOT (piano OR b) mus*')
    assert [(term.tokens, term.begins) for term in query.terms] == [
        (("fur", "elise"), False),
        (("mus",), True),
    ]
    assert query.has_prefix


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    """Open an archive without messages."""
    with closing(open_to_write(":memory:")) as opened:
        yield opened


pieces = st.one_of(
    st.sampled_from([*'"()*^:-+{}“”', "AND", "OR", "NOT", "NEAR", " ", "a", "日本", "text:", "\0"]),
    st.text(max_size=4),
    st.characters(),
)


@given(st.lists(pieces, max_size=40).map("".join))
def test_hostile_words(database: sqlite3.Connection, words: str) -> None:
    """Whatever is searched for, FTS5 never refuses it: it is a query, or a SearchError."""
    try:
        query = parse(words)
    except SearchError:
        return
    with closing(database.execute("SELECT 1 FROM words WHERE words MATCH ?", (query.match,))) as c:
        assert c.fetchall() == []


@contextmanager
def rolled_back(database: sqlite3.Connection) -> Iterator[None]:
    """Undo what the block writes."""
    database.execute("BEGIN")
    try:
        yield
    finally:
        database.rollback()


SCRIPTS = (
    "aA éß ЁёЙ日本語 ｶﾞが 한국 ᄒ\u1161\u11ab हिन्दी שָׁלוֹם السَّلام ไทย 👍🏽❤️"
    " ½ﬁ①-.'_e\u0301 ά œŁøıÆΆῖᾳأ\u00ad7\u20e3฿・"
)


@given(st.text(st.sampled_from(SCRIPTS), max_size=40))
def test_the_words_of_a_text_are_found(database: sqlite3.Connection, text: str) -> None:
    """The index finds each part of a text that is a word, and a snippet shows where."""
    with rolled_back(database):
        database.execute("INSERT INTO words (rowid, text) VALUES (1, ?)", (searchable(text),))
        for part in filter(tokens_of, text.split()):
            query = parse(f'"{part}"')
            found = database.execute("SELECT 1 FROM words WHERE words MATCH ?", (query.match,))
            assert found.fetchall() == [(1,)], part
            assert snippet_of(text, query.terms).marks, part


@pytest.mark.parametrize(
    "words",
    [
        " ".join(f"w{n}" for n in range(100)),
        " OR ".join(f"w{n}" for n in range(100)),
        " NOT ".join(f"w{n}" for n in range(100)),
        "(a NOT (b OR " * 5 + "c" + "))" * 5,
        "日" * 1000,
        "\U0001f600" * 500,
        "a\x00b",
        "half \ud83d",
        "＂quoted＂",
    ],
)
def test_the_largest_queries(database: sqlite3.Connection, words: str) -> None:
    """What the limits allow is within those of FTS5."""
    query = parse(words)
    database.execute("SELECT 1 FROM words WHERE words MATCH ?", (query.match,)).fetchall()
