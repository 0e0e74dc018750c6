"""Searches of any form, compared with a search that looks at the words of each message."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest_archive import NOW, stored
from hypothesis import given, settings
from hypothesis import strategies as st

from aiomessages.archive import Archive
from aiomessages.archive.matching import matching
from aiomessages.archive.query import parse
from aiomessages.archive.text import tokens_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Words of a text, from frequent to rare; some begin as others do.
WORDS = ["the", "theme", "Straße", "日本語", "ёлка", "snake_case", "foo", "food", "👍🏽", "naïve"]


class Asked(NamedTuple):
    """A query as a person writes it, and whether the words of a text are a hit."""

    words: str
    holds: Callable[[tuple[str, ...]], bool]


def has(phrase: tuple[str, ...], *, begins: bool) -> Callable[[tuple[str, ...]], bool]:
    """Return whether a text has a phrase, whose last word may go on."""
    *first, last = phrase

    def holds(text: tuple[str, ...]) -> bool:
        for n in range(len(text) - len(first)):
            end = text[n + len(first)]
            if list(text[n : n + len(first)]) == first and (
                end.startswith(last) if begins else end == last
            ):
                return True
        return False

    return holds


def term(words: list[str], *, begins: bool) -> Asked:
    """Return a word, a phrase, or the beginning of one."""
    return Asked(
        f'"{" ".join(words)}"{"*" * begins}', has(tokens_of(" ".join(words)), begins=begins)
    )


def joined(parts: list[Asked], operator: str) -> Asked:
    """Return `(a AND b)` or `(a OR b)`."""
    every = {"AND": all, "OR": any}[operator]
    words = f" {operator} ".join(part.words for part in parts)
    return Asked(f"({words})", lambda text: every(part.holds(text) for part in parts))


def excluded(wanted: Asked, unwanted: Asked) -> Asked:
    """Return `(a NOT b)`."""
    return Asked(
        f"({wanted.words} NOT {unwanted.words})",
        lambda text: wanted.holds(text) and not unwanted.holds(text),
    )


terms = st.builds(
    term,
    st.lists(st.sampled_from([*WORDS, "th", "fo"]), min_size=1, max_size=2),
    begins=st.booleans(),
)
queries = st.recursive(
    terms,
    lambda inner: (
        st.builds(joined, st.lists(inner, min_size=2, max_size=3), st.sampled_from(["AND", "OR"]))
        | st.builds(excluded, inner, inner)
    ),
    max_leaves=5,
)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)


@given(queries, st.lists(texts, min_size=1, max_size=5))
def test_what_matches(asked: Asked, written: list[str]) -> None:
    """A query finds exactly the texts whose words it describes."""
    query = parse(asked.words)
    numbered = list(enumerate(written, start=1))
    expected = {number for number, text in numbered if asked.holds(tokens_of(text))}
    assert set(matching(numbered, query.match)) == expected
    if query.needed:
        assert expected <= set(matching(numbered, query.needed))


class Written:
    """An archive, and the names and texts of its conversations, the newest first."""

    def __init__(self, path: Path) -> None:
        chosen = random.Random(7)  # noqa: S311 - a seeded order
        weights = [1 / n**2 for n in range(1, len(WORDS) + 1)]
        self.path = path
        self.texts = [
            (f"{n:05}", " ".join(chosen.choices(WORDS, weights, k=chosen.randint(1, 6))))
            for n in reversed(range(1300))
        ]
        with stored(path) as insert:
            for name, text in chosen.sample(self.texts, len(self.texts)):
                long = " filler" * 8000 * (int(name) % 300 == 3)  # not all are looked through
                insert(name, text + long, created=NOW + int(name), model=f"m{int(name) % 2}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Make the archive, in which conversations are stored in another order than their times."""
    return Written(tmp_path_factory.mktemp("model") / "archive.db")


@settings(max_examples=25)
@given(queries, st.sampled_from([None, "m0", "m1", "m2"]), st.booleans())
async def test_what_an_archive_finds(
    written: Written, asked: Asked, model: str | None, best: bool
) -> None:
    """A search finds each of the messages that match once, by time or by rank."""
    expected = [
        name
        for name, text in written.texts
        if asked.holds(tokens_of(text)) and model in (None, f"m{int(name) % 2}")
    ]
    async with Archive(written.path) as opened:
        hits = opened.search(asked.words, model=model, best=best)
        found = [hit.completion_id.removeprefix("chatcmpl-") async for hit in hits]
    assert (sorted(found, reverse=True) if best else found) == expected
