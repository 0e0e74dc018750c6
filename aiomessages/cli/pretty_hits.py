"""The hits of a search laid out for reading: where a message stands, and what matched in it.

It reads hits in the JSON form of `aiomessages search`. All foreign text passes through `safe_text`.
Nothing here prints. Times are local unless the screen wants UTC.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from rich.text import Text

from .output import Screen
from .pretty import console_for, trimmed
from .pretty_completions import created_heading, time_of
from .pretty_parts import cut
from .safe_text import one_line, visible

Json = Any
_MARKED = "bold red"
_ID_CELLS = 24
_PLACE_CELLS = 12
_BEFORE = 8  # characters in front of a match in a row, which is short


def hit(screen: Screen) -> Callable[[Json], str]:
    """Return a function that lays out one hit after another: a heading, and the snippet."""
    console = console_for(screen)

    def show(found: Json) -> str:
        details = [time_of(found, screen), found["model"], _place(found)]
        line = "  ".join(one_line(str(detail)) for detail in details if detail)
        with console.capture() as captured:
            console.print(Text(one_line(found["completion_id"]), "bold", overflow="fold"))
            console.print(Text(line, "dim", overflow="fold"))
            console.print(_snippet(found))
        return trimmed(captured.get())

    return show


def row(screen: Screen) -> Callable[[Json], str]:
    """Return a function that shows a hit as a row. The id is whole, for copying."""
    console = console_for(screen)
    console.width = screen.width

    def show(found: Json) -> str:
        created = time_of(found, screen)[:16]
        # Only the model replies: the word is enough for the column.
        place = _place(found) if found["choice"] is None else "reply"
        cells = _cells(created, one_line(found["completion_id"]), cut(place, _PLACE_CELLS))
        text = Text.assemble(cells, _snippet(found, before=_BEFORE))
        text.truncate(max(screen.width, 1), overflow="ellipsis")
        with console.capture() as captured:
            console.print(text, no_wrap=True)
        return trimmed(captured.get())

    return show


def heading_row(screen: Screen) -> str:
    """Return the heading of the rows."""
    heading = _cells(created_heading(screen), "id", "message") + "text"
    return heading[: screen.width].rstrip() + "\n"


def _cells(created: str, completion_id: str, place: str) -> str:
    return f"{created:16}  {completion_id:{_ID_CELLS}}  {place:{_PLACE_CELLS}}  "


def _place(found: Json) -> str:
    """Return the role and the number of a message; a reply has no number among the messages."""
    role = one_line(str(found["role"] or "no role"))
    return f"{role} {found['n']}" if found["choice"] is None else f"{role}, reply"


def _snippet(found: Json, *, before: int | None = None) -> Text:
    """Return the snippet with its matches marked, and at most `before` characters in front."""
    snippet = found["snippet"]
    marks = snippet["marks"]
    start = max(0, marks[0][0] - before) if marks and before is not None else 0
    text = Text("…" * (snippet["before"] or start > 0), overflow="fold")
    for piece, is_match in _pieces(snippet["text"], marks, start):
        text.append(visible(re.sub(r"\s+", " ", piece)), _MARKED if is_match else None)
    return text.append("…" * snippet["after"])


def _pieces(text: str, marks: list[list[int]], start: int) -> Iterator[tuple[str, bool]]:
    """Yield the text from `start` on in pieces, each with whether it is a match."""
    for begin, end in marks:
        yield text[start:begin], False
        yield text[begin:end], True
        start = end
    yield text[start:], False
