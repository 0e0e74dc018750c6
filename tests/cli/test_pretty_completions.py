"""Completions laid out for a person, harmless to the terminal."""

from typing import Any

import pytest
from conftest_cli import NASTY
from rich.cells import cell_len

from aiomessages.cli import pretty_completions
from aiomessages.cli.output import Screen

pytestmark = pytest.mark.usefixtures("zone")

FOUND: dict[str, Any] = {
    "id": "chatcmpl-1",
    "created": 1_761_955_200,
    "model": "gpt-4o",
    "metadata": {"team": "search", "run": "7"},
    "usage": {"total_tokens": 1234},
    "choices": [{"message": {"role": "assistant", "content": "Take\nan umbrella."}}],
}
CALL = {"type": "function", "function": {"name": "find", "arguments": "{}"}}


def shown(**changes: Any) -> str:
    """Return how a completion is laid out."""
    return pretty_completions.completion(Screen(width=60))(FOUND | changes)


def test_layout() -> None:
    """Id, local time, model, tokens and metadata, then the reply."""
    heading, *rest = shown().splitlines()
    assert heading == "chatcmpl-1 " + "─" * 49
    assert rest == [
        "2025-11-01 02:00:00 XXX  gpt-4o  1,234 tokens  team=search run=7",
        "Take an umbrella.",
    ]


def test_without_unicode() -> None:
    """If lines cannot be drawn, dashes replace them."""
    text = pretty_completions.completion(Screen(encoding="ascii", width=20))(FOUND)
    assert text.startswith("chatcmpl-1 ---------\n")


def test_a_long_reply() -> None:
    """A long reply becomes two lines, broken between words, the second with an ellipsis."""
    text = shown(choices=[{"message": {"content": "seven words " * 40}}])
    _, _, *rest = text.splitlines()
    assert [len(rest), rest[0].split()[-1], rest[1][-1]] == [2, "words", "…"]
    assert all(cell_len(line) <= 60 for line in rest)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": None, "tool_calls": [CALL, CALL]}, "→ find → find"),
        ({"tool_calls": [{"type": "custom"}]}, "→ None"),
        ({}, ""),
        (None, ""),
    ],
)
def test_replies_without_content(message: Any, words: str) -> None:
    """A refusal, or the names of the called functions, replace missing content."""
    assert words in shown(choices=[{"message": message}])


@pytest.mark.parametrize("created", [None, "now", 1e30, float("nan")])
def test_an_invalid_time(created: Any) -> None:
    """A time that no calendar knows is left out."""
    assert shown(created=created).splitlines()[1] == "gpt-4o  1,234 tokens  team=search run=7"


def test_almost_nothing() -> None:
    """A completion of an id alone is shown."""
    assert pretty_completions.completion(Screen(width=15))({"id": "c"}) == "c ─────────────\n"


def test_rows() -> None:
    """A row has the id whole, and is not wider than the screen."""
    row = pretty_completions.row(Screen(terminal=True, width=78))(FOUND)
    assert row.startswith(
        "2025-11-01 02:00  chatcmpl-1                gpt-4o            1,234  team=sea"
    )
    assert cell_len(row.rstrip()) == 78
    heading = pretty_completions.heading_row(Screen(terminal=True, width=90))
    assert heading.index("model") == row.index("gpt-4o")
    assert heading.index("metadata") == row.index("team=sea")
    assert heading.startswith("created (local)   id")


def test_long_metadata() -> None:
    """Metadata is cut at a terminal, so that the replies stand below each other."""
    row = pretty_completions.row(Screen(terminal=True, width=120))
    shown = row(FOUND | {"metadata": {"reason": "a long story of many words"}})
    assert shown.endswith("reason=a long story of …  Take an umbrella.\n")


def test_rows_in_a_pipe() -> None:
    """A row that a program reads is not cut."""
    metadata = {"reason": "a long story of many words"}
    row = pretty_completions.row(Screen())(FOUND | {"metadata": metadata})
    assert row.endswith("1,234  reason=a long story of many words  Take an umbrella.\n")


def test_utc() -> None:
    """A screen that wants UTC gets it, and every time says so."""
    screen = Screen(width=70, utc=True)
    assert "\n2025-11-01 00:00:00 UTC  " in pretty_completions.completion(screen)(FOUND)
    assert pretty_completions.row(screen)(FOUND).startswith("2025-11-01 00:00  ")
    assert pretty_completions.heading_row(screen).startswith("created (UTC)     id")


def test_harmless() -> None:
    """No text of a completion acts on the terminal."""
    nasty = {
        "id": NASTY,
        "model": NASTY,
        "metadata": {NASTY: NASTY},
        "choices": [{"message": {"content": NASTY}}],
    }
    for show in (pretty_completions.completion, pretty_completions.row):
        text = show(Screen(width=200))(nasty)
        assert not {"\x1b", "\u202e"} & set(text)
