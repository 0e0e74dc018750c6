"""Hits for a person: where they stand, what matched, and that they harm no terminal."""

from typing import Any

import pytest
from rich.cells import cell_len

from aiomessages.cli import pretty_hits
from aiomessages.cli.output import Screen

FOUND: dict[str, Any] = {
    "completion_id": "chatcmpl-1",
    "n": 4,
    "choice": None,
    "role": "user",
    "created": 1_761_955_200,
    "model": "gpt-4o",
    "snippet": {"text": "an\nold umbrella", "marks": [[7, 15]], "before": True, "after": True},
}


def test_layout() -> None:
    """The id, then time, model, role and number, then the snippet on one line."""
    first, second, third = pretty_hits.hit(Screen(width=60))(FOUND).splitlines()
    assert first == "chatcmpl-1"
    assert second.split("  ")[1:] == ["gpt-4o", "user 4"]
    assert third == "…an old umbrella…"


def test_a_match_has_a_colour() -> None:
    """At a terminal with colours the match stands out."""
    shown = pretty_hits.hit(Screen(terminal=True, color=True))(FOUND)
    assert "old \x1b[1;31mumbrella\x1b[0m…" in shown
    assert "\x1b[1;31mumbrella\x1b[0m" in pretty_hits.row(Screen(color=True, width=120))(FOUND)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"choice": 0, "role": "assistant"}, "assistant, reply"),
        ({"role": None}, "no role 4"),
        ({"role": "a\x1b[31m"}, "a\\x1b[31m 4"),
    ],
)
def test_the_place(changes: dict[str, Any], place: str) -> None:
    """A reply is called so; a role may be any text, or missing."""
    assert place in pretty_hits.hit(Screen())(FOUND | changes)


def test_nothing_is_known() -> None:
    """Without a time and a model the place stands alone."""
    shown = pretty_hits.hit(Screen())(FOUND | {"created": None, "model": None})
    assert shown.splitlines()[1] == "user 4"


def test_a_late_match() -> None:
    """A row shows the match, wherever it stands in the snippet."""
    snippet = {"text": "many words " * 10 + "match", "marks": [[110, 115]]}
    found = FOUND | {"snippet": snippet | {"before": False, "after": False}}
    assert pretty_hits.row(Screen(width=80))(found).endswith("…y words match\n")


@pytest.mark.parametrize("width", [1, 20, 60, 200])
def test_rows(width: int) -> None:
    """A row is one line that fits the screen, also with wide characters."""
    snippet = {"text": "日本語" * 50, "marks": [[0, 2]], "before": False, "after": False}
    screen = Screen(width=width)
    row = pretty_hits.row(screen)(FOUND | {"snippet": snippet})
    assert row.count("\n") == 1
    assert cell_len(row.rstrip("\n")) <= width
    assert len(pretty_hits.heading_row(screen)) <= width + 1


@pytest.mark.parametrize(
    "changes",
    [{}, {"choice": 0, "role": "assistant"}, {"role": "a role of many letters"}, {"n": 123_456}],
)
def test_columns(changes: dict[str, Any]) -> None:
    """Whatever the role, the text stands below its heading."""
    screen = Screen(width=100)
    shown = pretty_hits.row(screen)(FOUND | changes)
    assert shown.index("…an old") == pretty_hits.heading_row(screen).index("text")
