"""A message as Markdown, to be copied: its texts as they were written, the rest as code."""

import re
from collections.abc import Mapping
from typing import Any

from aiomessages.view.visible import visible

from .documents import laid_out
from .media import Medium
from .parts import Call, Citation, Document, File, Left, Part, Refusal, RemoteImage, Text, parts_of


def as_markdown(message: Mapping[str, Any]) -> str:
    """Return a message as Markdown. Images, sounds and files are only named."""
    return "\n\n".join(map(_written, parts_of(message)))


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
        case Left(count):
            return f"and {count} more"


def fenced(text: str) -> str:
    """Return a text as a block of code, which nothing in it ends."""
    document = laid_out(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    language = "" if document is None else "json"
    return f"{fence}{language}\n{text if document is None else document}\n{fence}"


def _name(text: str) -> str:
    """Return a name as code on one line."""
    shown = visible(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    mark = "`" * (longest + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{mark}{space}{shown}{space}{mark}"
