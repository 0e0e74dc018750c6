"""The output formats: a `Format` for each name, for messages, values, completions and hits.

Values are the results of a transform, and hits those of a search.
No format holds more than one item, so a list of any length streams through. Nothing here performs
I/O.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from aiomessages.values.json_lines import on_one_line

from . import pretty, pretty_completions, pretty_hits, yaml
from .exits import UsageError
from .options import options_of
from .output import Screen, Write
from .safe_text import visible_json

Name = Literal["auto", "pretty", "table", "json", "jsonl", "yaml", "raw"]
HitName = Literal["auto", "pretty", "table", "json", "jsonl"]
shown_by = options_of("Output", 1)
Option = Annotated[
    Name,
    shown_by(
        help="auto means pretty at a terminal and jsonl elsewhere; yaml is one list; raw is one"
        " item per line, as the server sent it."
    ),
]
HitOption = Annotated[
    HitName,
    shown_by(
        help="auto means pretty at a terminal and jsonl elsewhere. The times of json and jsonl"
        " are Unix seconds."
    ),
]
OutputFile = Annotated[
    Path,
    shown_by(
        name=["--output", "-o"],
        metavar="FILE",
        allow_leading_hyphen=True,
        show_default=False,
        help="Write to FILE, which appears when it is complete.",
    ),
]


@dataclass(frozen=True, slots=True)
class Format:
    """The bytes of a list: head, items with `between` in between, tail; or `empty`.

    With `reads_raw` an item is one message as the bytes that the server sent, which lose nothing.
    Otherwise it is a message in wire shape or another JSON value.
    """

    item: Callable[[Any], bytes]
    reads_raw: bool = False
    head: bytes = b""
    between: bytes = b""
    tail: bytes = b""
    empty: bytes = b""


def named(name: Name, screen: Screen, *, transformed: bool = False) -> Format:
    """Return the format of this name for a screen; auto is pretty at a terminal, else jsonl.

    Raises UsageError for a transform with the format `raw`.
    """
    chosen = _chosen(name, screen)
    if not transformed:
        return _of_items(chosen, screen, pretty.message, pretty.row, pretty.heading_row)
    if chosen == "raw":
        raise UsageError(
            f"--format {chosen} shows the server's bytes, which --transform would change"
        )
    if chosen in ("pretty", "table"):
        return _for_reading(pretty.value(screen), screen)
    return _for_programs(chosen, screen, msgspec.json.encode, reads_raw=False)


def of_completions(name: Name, screen: Screen) -> Format:
    """Return the format of this name for completions; auto as in `named`."""
    view = pretty_completions
    return _of_items(_chosen(name, screen), screen, view.completion, view.row, view.heading_row)


def of_hits(name: HitName, screen: Screen) -> Format:
    """Return the format of this name for hits in JSON; auto as in `named`."""
    chosen, view = _chosen(name, screen), pretty_hits
    if chosen == "pretty":
        return _for_reading(view.hit(screen), screen, between=b"\n")
    if chosen == "table":
        heading = _encoded(view.heading_row(screen), screen)
        return _for_reading(view.row(screen), screen, head=heading)
    return _for_programs(chosen, screen, msgspec.json.encode, reads_raw=False)


def read_at_terminal(name: HitName, screen: Screen) -> bool:
    """Return whether a person reads the format of this name at a terminal."""
    return screen.terminal and _chosen(name, screen) in ("pretty", "table")


def _chosen(name: Name, screen: Screen) -> str:
    return ("pretty" if screen.terminal else "jsonl") if name == "auto" else name


async def write_all(items: AsyncIterator[Any], shown: Format, write: Write) -> None:
    """Write the items as they arrive; write nothing if the first one fails."""
    first = True
    async for item in items:
        write((shown.head if first else shown.between) + shown.item(item))
        first = False
    write(shown.empty if first else shown.tail)


def _of_items(
    chosen: str,
    screen: Screen,
    block: Callable[[Screen], Callable[[Any], str]],
    row: Callable[[Screen], Callable[[Any], str]],
    heading_row: Callable[[Screen], str],
) -> Format:
    """Return the format of items that the server sent; the functions lay them out for reading."""
    if chosen == "pretty":
        return _for_reading(block(screen), screen, between=b"\n")
    if chosen == "table":
        heading = _encoded(heading_row(screen), screen)
        return _for_reading(row(screen), screen, head=heading)
    encode = bytes if chosen == "raw" else on_one_line
    return _for_programs(chosen, screen, encode, reads_raw=True)


def _for_reading(
    show: Callable[[Any], str], screen: Screen, *, head: bytes = b"", between: bytes = b""
) -> Format:
    return Format(lambda item: _encoded(show(item), screen), head=head, between=between, empty=head)


def _for_programs(
    chosen: str, screen: Screen, encode: Callable[[Any], bytes], *, reads_raw: bool
) -> Format:
    def written(item: Any) -> bytes:
        return _safe(encode(item), screen)

    match chosen:
        case "yaml":  # one list, which stays a document when it is cut or appended to
            return Format(lambda value: yaml.item(value).encode(), empty=b"[]\n")
        case "json":
            return Format(written, reads_raw, b"[\n", b",\n", b"\n]\n", empty=b"[]\n")
    return Format(lambda item: written(item) + b"\n", reads_raw)


def _encoded(text: str, screen: Screen) -> bytes:
    return text.encode(screen.encoding, "backslashreplace")


def _safe(document: bytes, screen: Screen) -> bytes:
    """Return the JSON; for a terminal, escape what could act on it."""
    if not screen.terminal:
        return document
    return visible_json(document.decode("utf-8", "backslashreplace")).encode()
