"""Text of others never acts on the terminal that shows it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.cli.safe_text import UNSAFE, one_line, visible, visible_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x07", r"\x07"),
        ("a\rb", r"a\x0db"),
        ("\x7f", r"\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2067", r"\u2067"),
        ("\u200f", r"\u200f"),
        ("\u2028", r"\u2028"),
        ("\ufeff", r"\ufeff"),
        ("\ud83d", r"\ud83d"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_unsafe_characters(text: str, shown: str) -> None:
    """Controls, escape sequences, bidi marks and invisible characters become visible escapes."""
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text", ["naïve", "漢字かな", "עברית", "مرحبا", "👩‍👩‍👧‍👦 ❤️", "می‌خواهم", "a\tb\nc"]
)
def test_harmless_text(text: str) -> None:
    """Every script, emoji with their joiners, tabs and newlines pass unchanged."""
    assert visible(text) == text


def test_windows_line_ends() -> None:
    """A Windows line end is a newline, and nothing to escape."""
    assert visible("a\r\nb") == "a\nb"


def test_one_line() -> None:
    """White space of every kind becomes one space, and what is unsafe becomes visible."""
    assert one_line("a\n\n b\x1b\tc ") == r"a b\x1b c"


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_keeps_its_value(value: object) -> None:
    """Escaped for a terminal, a JSON document still means the same."""
    shown = visible_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert not UNSAFE.search(shown)


def test_json_with_windows_line_ends() -> None:
    """Line ends between the tokens of a document are no characters of its strings."""
    assert json.loads(visible_json('{\r\n"a": "\x7f"}')) == {"a": "\x7f"}


def test_json_with_carriage_returns() -> None:
    """A carriage return alone, by which a line would be overwritten, becomes a newline."""
    assert visible_json('{"a": 1,\r"b": 2}') == '{"a": 1,\n"b": 2}'
