"""Stored completions laid out for reading: time, id, model, metadata and the reply.

It reads completions in the API's wire shape. All foreign text passes through `safe_text`. Nothing
here prints or reads a clock. Times are local unless the screen wants UTC, and name their zone.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from .output import Screen
from .pretty_parts import cut, get, listed, name_of_call
from .safe_text import one_line

Json = Any
_FIRST_WORDS = 300  # characters of the reply, below the heading
_METADATA = 24  # cells of its column


def completion(screen: Screen) -> Callable[[Json], str]:
    """Return a function that lays out one completion after another for the screen."""

    def show(found: Json) -> str:
        tokens = total_tokens(found)
        counted = f"{tokens} tokens" if tokens else ""
        details = filter(None, [time_of(found, screen), _model(found), counted, _metadata(found)])
        said = _wrapped(_reply(found), screen.width)
        lines = [_rule(found, screen), "  ".join(details), *said]
        return "".join(f"{line}\n" for line in lines if line)

    return show


def heading(screen: Screen) -> Callable[[Json], str]:
    """Return a function that lays out what stands above the messages of a completion."""

    def show(found: Json) -> str:
        details = filter(None, [time_of(found, screen), _model(found), _metadata(found)])
        lines = [_rule(found, screen), "  ".join(details), _tokens(found)]
        return "".join(f"{line}\n" for line in lines if line)

    return show


def row(screen: Screen) -> Callable[[Json], str]:
    """Return a function that shows a completion as a row. The id is whole, for copying."""

    def show(found: Json) -> str:
        cells = (_id(found), _model(found), total_tokens(found), _metadata(found), _reply(found))
        return _row(screen, time_of(found, screen)[:16], *cells)

    return show


def heading_row(screen: Screen) -> str:
    """Return the heading of the rows."""
    return _row(screen, created_heading(screen), "id", "model", "tokens", "metadata", "reply")


def created_heading(screen: Screen) -> str:
    """Return the heading of the times of creation, which names their zone."""
    return f"created ({'UTC' if screen.utc else 'local'})"


def _row(
    screen: Screen, created: str, name: str, model: str, tokens: str, metadata: str, reply: str
) -> str:
    if screen.terminal:  # a pipe gets it whole
        metadata = cut(metadata, _METADATA)
    metadata += " " * (_METADATA - cell_len(metadata))
    begin = f"{created:16}  {name:24}  {set_cell_size(cut(model, 14), 14)}"
    cells = f"{begin}  {tokens:>7}  {metadata}  {reply}".rstrip()
    return (cut(cells, screen.width) if screen.terminal else cells) + "\n"


def _rule(found: Json, screen: Screen) -> str:
    line = "─" if screen.unicode else "-"
    return f"{_id(found)} {line * max(2, screen.width - cell_len(_id(found)) - 1)}"


def _wrapped(text: str, width: int) -> list[str]:
    """Return the beginning of a text on at most two lines."""
    lines = [line.plain.rstrip() for line in Text(text).wrap(Console(), max(width, 2))]
    return lines if len(lines) <= 2 else [lines[0], cut(f"{lines[1]} {lines[2]}", width)]


def _id(found: Json) -> str:
    return one_line(str(found.get("id")))


def _model(found: Json) -> str:
    return one_line(str(found.get("model") or ""))


def time_of(found: Json, screen: Screen) -> str:
    """Return the time of creation with its zone; an empty string if it is no valid time."""
    zone = UTC if screen.utc else None
    try:
        return datetime.fromtimestamp(found["created"], UTC).astimezone(zone).strftime("%F %T %Z")
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return ""


def _tokens(found: Json) -> str:
    """Return the tokens of the prompt, the reply and both; an empty string if they are unknown."""
    names = {"prompt_tokens": "prompt", "completion_tokens": "reply", "total_tokens": "total"}
    counts = [(name, get(found, "usage", key)) for key, name in names.items()]
    said = [f"{name} {count:,}" for name, count in counts if isinstance(count, int)]
    return f"tokens: {', '.join(said)}" if said else ""


def total_tokens(found: Json) -> str:
    """Return the number of all tokens; an empty string if it is unknown."""
    total = get(found, "usage", "total_tokens")
    return f"{total:,}" if isinstance(total, int) else ""


def _metadata(found: Json) -> str:
    metadata = found.get("metadata")
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    return one_line(" ".join(f"{key}={value}" for key, value in pairs))


def _reply(found: Json) -> str:
    """Return the first words of the reply, else the names of the tools that it calls."""
    message = get(next(iter(listed(found.get("choices"))), None), "message")
    calls = (f"→ {name_of_call(call)}" for call in listed(get(message, "tool_calls")))
    said = get(message, "content") or get(message, "refusal") or " ".join(calls)
    return one_line(str(said)[:_FIRST_WORDS])
