"""The formats in tables: a name → how a run of items becomes bytes, one at a time.

`MESSAGES` is for messages as they come, `VALUES` for what a transform made of them, `COMPLETIONS`
for completions. No format holds more than one item, so that a list of any length streams through.
Nothing here opens a file or asks a server.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from aiomessages.values.json_lines import on_one_line

from . import pretty, pretty_completions, yaml
from .exits import UsageError
from .output import Screen, Write
from .safe_text import visible_json

Name = Literal["auto", "pretty", "table", "json", "jsonl", "yaml", "raw"]


@dataclass(frozen=True, slots=True)
class Format:
    """How a run of items becomes bytes: head, items with something between them, tail.

    With `reads_raw` an item is the bytes of one message as the server sent them: what is not
    decoded cannot be lost. Otherwise it is a message in wire shape or another JSON value.
    """

    item: Callable[[Any], bytes]
    reads_raw: bool = False
    head: bytes = b""
    between: bytes = b""
    tail: bytes = b""
    empty: bytes = b""


def named(name: Name, screen: Screen, *, transformed: bool = False) -> Format:
    """Return the format of this name for a screen; auto is pretty at a terminal, else jsonl.

    Raises UsageError for a format that a transform leaves without meaning.
    """
    chosen = _chosen(name, screen)
    build = (VALUES if transformed else MESSAGES).get(chosen)
    if build is None:
        raise UsageError(f"--transform has no bytes from the server for --format {chosen}")
    return build(screen)


def of_completions(name: Name, screen: Screen) -> Format:
    """Return the format of this name for completions; auto is as for messages."""
    return COMPLETIONS[_chosen(name, screen)](screen)


def _chosen(name: Name, screen: Screen) -> str:
    return ("pretty" if screen.terminal else "jsonl") if name == "auto" else name


async def write_all(items: AsyncIterator[Any], shown: Format, write: Write) -> None:
    """Write the items as they come; nothing at all if the first one fails to."""
    first = True
    async for item in items:
        write((shown.head if first else shown.between) + shown.item(item))
        first = False
    write(shown.empty if first else shown.tail)


def _pretty(screen: Screen) -> Format:
    show = pretty.message(screen)
    return Format(lambda message: _encoded(show(message), screen), between=b"\n")


def _pretty_values(screen: Screen) -> Format:
    show = pretty.value(screen)
    return Format(lambda value: _encoded(show(value), screen))


def _table(screen: Screen) -> Format:
    heading = _encoded(pretty.heading_row(screen), screen)
    show = pretty.row(screen)
    return Format(lambda message: _encoded(show(message), screen), head=heading, empty=heading)


def _pretty_completions(screen: Screen) -> Format:
    show = pretty_completions.completion(screen)
    return Format(lambda found: _encoded(show(found), screen), between=b"\n")


def _completions_table(screen: Screen) -> Format:
    heading = _encoded(pretty_completions.heading_row(screen), screen)
    show = pretty_completions.row(screen)
    return Format(lambda found: _encoded(show(found), screen), head=heading, empty=heading)


def _json(screen: Screen) -> Format:
    return _array(lambda message: _safe(on_one_line(message), screen), reads_raw=True)


def _json_values(screen: Screen) -> Format:
    return _array(lambda value: _safe(msgspec.json.encode(value), screen), reads_raw=False)


def _array(item: Callable[[Any], bytes], *, reads_raw: bool) -> Format:
    return Format(item, reads_raw, head=b"[\n", between=b",\n", tail=b"\n]\n", empty=b"[]\n")


def _jsonl(screen: Screen) -> Format:
    return Format(lambda message: _safe(on_one_line(message), screen) + b"\n", reads_raw=True)


def _jsonl_values(screen: Screen) -> Format:
    return Format(lambda value: _safe(msgspec.json.encode(value), screen) + b"\n")


def _raw(screen: Screen) -> Format:
    return Format(lambda message: _safe(message, screen) + b"\n", reads_raw=True)


def _yaml(_: Screen) -> Format:
    """One list, an item a message: it can be cut or appended to, and stays one document."""
    return Format(lambda value: yaml.item(value).encode(), empty=b"[]\n")


MESSAGES: dict[str, Callable[[Screen], Format]] = {
    "pretty": _pretty,
    "table": _table,
    "json": _json,
    "jsonl": _jsonl,
    "yaml": _yaml,
    "raw": _raw,
}
VALUES: dict[str, Callable[[Screen], Format]] = {
    "pretty": _pretty_values,
    "table": _pretty_values,
    "json": _json_values,
    "jsonl": _jsonl_values,
    "yaml": _yaml,
}
COMPLETIONS = MESSAGES | {"pretty": _pretty_completions, "table": _completions_table}


def _encoded(text: str, screen: Screen) -> bytes:
    return text.encode(screen.encoding, "backslashreplace")


def _safe(document: bytes, screen: Screen) -> bytes:
    """Return the JSON as it is for a file or a pipe, with nothing that acts for a terminal."""
    if not screen.terminal:
        return document
    return visible_json(document.decode("utf-8", "backslashreplace")).encode()
