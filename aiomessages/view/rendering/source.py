"""A conversation as Markdown, to be copied or saved: texts as written, the rest as code."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiomessages.view.visible import visible

from .documents import laid_out
from .media import Medium
from .parts import Call, Citation, Document, File, Part, Refusal, RemoteImage, Text, parts_of


def title(completion_id: str) -> str:
    """Return the beginning of a conversation as Markdown."""
    return f"# {visible(completion_id)}\n"


def section(message: Mapping[str, Any], role: str | None, *, is_reply: bool) -> str:
    """Return a message of a conversation as Markdown, with its role as a heading."""
    name = visible(role or "unknown role")
    return f"\n## {name}{', reply' if is_reply else ''}\n\n{as_markdown(parts_of(message))}\n"


def as_markdown(parts: Iterable[Part]) -> str:
    """Return the parts of a message as Markdown. Images, sounds and files are only named."""
    return "\n\n".join(map(_written, parts))


def size_of(parts: Iterable[Part]) -> int:
    """Return about how many characters the parts of a message have as Markdown."""
    texts = (part for part in parts if not isinstance(part, Medium))
    return sum(len(text) for part in texts for text in part if isinstance(text, str))


def _written(part: Part) -> str:  # noqa: PLR0911 - one for each kind
    match part:
        case Text(text) | Refusal(text):
            return text
        case Document(title, text):
            return f"{_name(title)}:\n\n{fenced(text)}"
        case Call(name, _, given):
            return f"Call of {_name(name)}:\n\n{fenced(given)}"
        case RemoteImage(url):
            return f"Image: {_name(url)}"
        case Citation(url, title):
            return f"Source: {_name(title)}, {_name(url)}"
        case File(name):
            return f"File: {_name(name)}"
        case Medium(_, _, name):
            return f"File of type {part.type or 'unknown'} {_name(name) if name else ''}".rstrip()
    return f"and {part.number} more"


def fenced(text: str) -> str:
    """Return a text as a block of code, which nothing in it ends."""
    document = laid_out(text)
    fence = "`" * max(3, _longest(text) + 1)
    language = "" if document is None else "json"
    return f"{fence}{language}\n{text if document is None else document}\n{fence}"


def _name(text: str) -> str:
    """Return a name as code on one line."""
    shown = visible(text)
    mark = "`" * (_longest(shown) + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{mark}{space}{shown}{space}{mark}"


def _longest(text: str) -> int:
    """Return the length of the longest run of backticks."""
    return max((len(run[0]) for run in re.finditer("`+", text)), default=0)
