"""The colours of the pages: each text can be read on what is behind it, in light and in dark."""

from __future__ import annotations

import re
from typing import Final

import pytest

from aiomessages.view.assets import STATIC

VARIABLE: Final = re.compile(r"(--[\w-]+):\s*([^;}]+)")
LEAST: Final = 4.5  # WCAG 2, level AA, for text of a usual size
DARK: Final = "prefers-color-scheme: dark"
CODE: Final = ("word", "text", "number", "note", "name", "special", "in", "out")
# What text of each colour stands on. Code has the background of the page, wherever it is.
BACKGROUNDS: Final = {
    "--ink": ("--paper", "--raised", "--user", "--accent-soft", "--bad-soft", "--mark", "code"),
    "--soft": ("--paper", "--raised", "--user", "--accent-soft", "code"),
    "--accent": ("--paper", "--raised", "--user", "--accent-soft"),
    "--bad": ("--paper", "--raised", "--bad-soft"),
    "--paper": ("--accent",),
    **dict.fromkeys(
        (f"--code-{name}" for name in CODE),
        ("--paper",),
    ),
}


def variables(name: str, *, dark: bool) -> dict[str, str]:
    """Return the variables of a style sheet, as they are in one of the two looks."""
    text = re.sub(r"@media print.*", "", (STATIC / name).read_text(), flags=re.DOTALL)
    light, _, rest = text.partition("@media")
    found = dict(VARIABLE.findall(light))
    if dark:
        assert DARK in rest
        found |= dict(VARIABLE.findall(rest.partition("\n}\n")[0]))
    return found


def rgb(colour: str) -> tuple[float, ...]:
    """Return the parts of a colour that is written as #rgb or #rrggbb, from 0 to 1."""
    digits = colour.strip().removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    return tuple(part / 255 for part in bytes.fromhex(digits))


def luminance(colour: tuple[float, ...]) -> float:
    """Return the relative luminance that WCAG defines."""
    parts = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the contrast of two colours that WCAG defines."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_each_text_can_be_read(dark: bool) -> None:
    """Text, links, marked words and coloured code have the contrast of level AA."""
    page = variables("conversation.css", dark=dark) | variables("colours.css", dark=dark)
    for colour, backgrounds in BACKGROUNDS.items():
        for name in backgrounds:
            for behind in behinds(page, name):
                assert contrast(rgb(page[colour]), behind) >= LEAST, (colour, name)


def behinds(page: dict[str, str], name: str) -> list[tuple[float, ...]]:
    """Return the colours of a background: that of code in a line has one of another beneath."""
    if name != "code":
        return [rgb(page[name])]
    line = rgb(page["--line"])
    below = [rgb(page[beneath]) for beneath in ("--paper", "--raised", "--user", "--accent-soft")]
    return [
        tuple(0.45 * over + 0.55 * under for over, under in zip(line, paper, strict=True))
        for paper in below
    ]


def test_marked_words_have_a_colour_of_their_own() -> None:
    """A marked word has the colour of text, whatever stands around it: a link, or soft text."""
    assert re.search(
        r"^mark \{[^}]*[^-]color: var\(--ink\)", (STATIC / "view.css").read_text(), re.MULTILINE
    )


def test_code_stands_on_the_background_that_its_colours_are_made_for() -> None:
    """A block of code has the background of the page, in each kind of turn."""
    text = (STATIC / "conversation.css").read_text()
    assert re.search(
        r"\.turn pre, [^{]*\{[^}]*background: var\(--paper\); color: var\(--ink\)", text
    )


def test_each_colour_has_a_value() -> None:
    """What messages and pages use is defined by the two files that a page of one's own needs."""
    defined = variables("conversation.css", dark=False) | variables("colours.css", dark=False)
    for name in ("conversation.css", "view.css"):
        used = set(re.findall(r"var\((--[\w-]+)\)", (STATIC / name).read_text()))
        assert used <= set(defined)


def test_the_page_of_another_program_keeps_its_colours() -> None:
    """The colours of code weigh less than those that a page sets."""
    text = (STATIC / "conversation.css").read_text()
    rules = re.findall(r"([^{}]*)\{[^{}]*--[\w-]+:", text)
    assert [rule.split("*/")[-1].strip() for rule in rules] == [":where(:root)"] * 2
