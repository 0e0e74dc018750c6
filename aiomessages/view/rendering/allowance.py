"""How much one page shows, and how much of it is formatted, so that it stays quick and small.

A conversation may have a hundred messages of hundreds of parts on a page. Nothing is lost by a
bound: what is not formatted is shown as it is, what is cut has a link to the whole, and what is
left out is counted.
"""

from dataclasses import dataclass
from typing import Final

MOST: Final = 20_000  # characters of a text that are shown
_LEAST: Final = 200  # characters of a text that are shown on a page that has very much
_A_TOKEN: Final = 8  # characters of plain Markdown take as long


@dataclass
class Allowance:
    """What a page may still take. Texts count by characters.

    `formatted` is for texts that are read as Markdown or laid out as JSON, `coloured` for code,
    `shown` for all texts, and `parts` for the parts of all messages.
    """

    formatted: int = 300_000
    coloured: int = 60_000
    shown: int = 2_000_000
    parts: int = 5000

    def formats(self, text: str) -> bool:
        """Say whether a text may be formatted, and count it."""
        if len(text) > self.formatted:
            return False
        self.formatted -= len(text)
        return True

    def formats_tokens(self, count: int) -> None:
        """Count the tokens of Markdown: a text may have as many of them as characters."""
        self.formatted -= _A_TOKEN * count

    def colours(self, code: str) -> bool:
        """Say whether code may be coloured, and count it."""
        if len(code) > self.coloured:
            return False
        self.coloured -= len(code)
        return True

    def shows(self, text: str) -> str:
        """Return as much of a text as may be shown, and count it."""
        shown = text[: min(MOST, max(self.shown, _LEAST))]
        self.shown -= len(shown)
        return shown

    def takes(self, count: int) -> int:
        """Return how many parts of a message may be shown, of so many, and count them."""
        taken = min(count, max(self.parts, 1))
        self.parts -= taken
        return taken
