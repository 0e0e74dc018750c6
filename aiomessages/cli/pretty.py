"""A conversation laid out for reading: headings and wrapped text, or one row per message.

It reads messages in the API's wire shape; `pretty_parts` shows their contents. Nothing here prints:
each function returns the text.
"""

import io
import re
from collections.abc import Callable
from itertools import count
from typing import Any

from rich.cells import set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from .output import Screen
from .pretty_parts import blocks, cut, json_block, size_of, text_block
from .safe_text import one_line

Json = Any
# Longer lines are hard to read. Tables and JSON lines have no such limit.
_READING_WIDTH = 100
_ROLE_STYLES = {
    "user": "bold green",
    "assistant": "bold cyan",
    "system": "bold yellow",
    "developer": "bold yellow",
    "tool": "bold magenta",
    "function": "bold magenta",
}


def message(screen: Screen, *, note: str = "") -> Callable[[Json], str]:
    """Return a function that lays out one message (wire shape) after another for the screen.

    The heading of each ends with the note.
    """
    console = console_for(screen)

    def show(found: Json) -> str:
        with console.capture() as captured:
            console.print(_heading(found, screen, note))
            for block in blocks(found):
                console.print(block)
        return trimmed(captured.get())

    return show


def value(screen: Screen) -> Callable[[Json], str]:
    """Return a function that shows any JSON value: a string as text, the rest as indented JSON."""
    console = console_for(screen)

    def show(found: Json) -> str:
        with console.capture() as captured:
            console.print(text_block(found) if isinstance(found, str) else json_block(found))
        return trimmed(captured.get())

    return show


def row(screen: Screen) -> Callable[[Json], str]:
    """Return a function that shows a message as a row: its number, role, size and beginning."""
    counted = count()

    def show(found: Json) -> str:
        cells = (_number(found, next(counted)), _role(found), size_of(found))
        return _row(screen, *cells, _summary(found))

    return show


def heading_row(screen: Screen) -> str:
    """Return the heading of the rows."""
    return _row(screen, "#", "role", "size", "message")


def _row(screen: Screen, number: str, role: str, size: str, text: str) -> str:
    cells = f"{number:>5}  {set_cell_size(one_line(role), 9)}  {size:>8}  {one_line(text[:2000])}"
    return cut(cells, screen.width) + "\n"


def _number(found: Json, position: int) -> str:
    """Return the number that ends the id, as the API counts; else the position in this list."""
    ending = re.search(r"-(\d+)$", str(found.get("id")))
    return ending[1] if ending else str(position)


def _summary(found: Json) -> str:
    """Return the text of a message on one line: its parts, then its calls."""
    shown = (block.renderable if isinstance(block, Padding) else block for block in blocks(found))
    return " ".join(str(text) for text in shown)


def console_for(screen: Screen) -> Console:
    """Return a console that prints nothing: it lays out what is captured from it."""
    return Console(
        file=io.StringIO(),
        width=min(screen.width, _READING_WIDTH),
        color_system="standard" if screen.color else None,
        force_terminal=screen.color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )


def trimmed(shown: str) -> str:
    """Remove the spaces that pad the lines, which would be copied along with the text."""
    return re.sub(r" +$", "", shown, flags=re.MULTILINE)


def _heading(message: Json, screen: Screen, note: str) -> Rule:
    role = one_line(_role(message))
    details = [message.get("name"), message.get("tool_call_id"), note]
    said = "".join(f" · {one_line(str(detail))}" for detail in details if detail)
    title = Text.assemble((role, _ROLE_STYLES.get(role, "bold")), (said, "dim"))
    return Rule(title, align="left", style="dim", characters="─" if screen.unicode else "-")


def _role(message: Json) -> str:
    role = message.get("role")
    return role if role and isinstance(role, str) else "no role"
