"""Written YAML reads back as the same value, for an independent parser."""

from typing import Any

import pytest
import yaml as reader
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.cli import yaml
from aiomessages.cli.safe_text import UNSAFE

# Text that YAML readers often misread is drawn more often than by chance.
_TRICKY = st.sampled_from(list("ab \n\t\r:#-|>'\"\\{}[],&*!%@`?~=<\x1b\u202e\x85\u2028é漢😀"))
_TEXT = st.text(st.one_of(_TRICKY, st.characters(exclude_categories=["Cs"])), max_size=30)
_SCALAR = st.none() | st.booleans() | st.integers() | _TEXT
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    _SCALAR | _FLOAT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(_JSON)
def test_any_json(value: Any) -> None:
    """Every JSON value comes back equal, and no unsafe character is written."""
    written = yaml.item(value)
    assert reader.safe_load(written) == [value]
    assert not UNSAFE.search(written)


@pytest.mark.parametrize("word", ["yes", "No", "null", "~", "1e5", "", "2024-01-01", "0x1f", "on"])
def test_words_that_look_like_other_types(word: str) -> None:
    """A string that YAML would take for a number, a date or a truth value stays a string."""
    assert reader.safe_load(yaml.item({word: word})) == [{word: word}]


def test_text_of_several_lines() -> None:
    """Lines of text stand as lines, as a person expects of YAML."""
    assert yaml.item({"content": "Hi\n  there\n"}) == "- content: |\n    Hi\n      there\n"


def test_items_joined() -> None:
    """Items written one after another are one list."""
    assert reader.safe_load(yaml.item("a\nb") + yaml.item({"c": [1]})) == ["a\nb", {"c": [1]}]
