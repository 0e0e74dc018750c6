"""The output formats, in a table from a name to a `Format` for each kind of item.

`MESSAGES` is for messages, `VALUES` for the results of a transform, `COMPLETIONS` for completions,
`HITS` for the hits of a search.
No format holds more than one item, so a list of any length streams through. Nothing here performs
I/O.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from aiomessages.values.json_lines import on_one_line

from . import pretty, pretty_completions, pretty_hits, yaml
from .exits import UsageError
from .output import Screen, Write
from .safe_text import visible_json

Name = Literal["auto", "pretty", "table", "json", "jsonl", "yaml", "raw"]
HitName = Literal["auto", "pretty", "table", "json", "jsonl"]


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
    build = (VALUES if transformed else MESSAGES).get(chosen)
    if build is None:
        raise UsageError(
            f"--format {chosen} shows the server's bytes, which --transform would change"
        )
    return build(screen)


def of_completions(name: Name, screen: Screen) -> Format:
    """Return the format of this name for completions; auto as in `named`."""
    return COMPLETIONS[_chosen(name, screen)](screen)


def of_hits(name: HitName, screen: Screen, *, utc: bool = False) -> Format:
    """Return the format of this name for hits in JSON; auto as in `named`.

    The times of pretty and table are local, or in UTC.
    """
    return HITS[_chosen(name, screen)](screen, utc)


def _chosen(name: Name, screen: Screen) -> str:
    return ("pretty" if screen.terminal else "jsonl") if name == "auto" else name


async def write_all(items: AsyncIterator[Any], shown: Format, write: Write) -> None:
    """Write the items as they arrive; write nothing if the first one fails."""
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


def _pretty_hits(screen: Screen, utc: bool) -> Format:
    show = pretty_hits.hit(screen, utc=utc)
    return Format(lambda found: _encoded(show(found), screen), between=b"\n")


def _hits_table(screen: Screen, utc: bool) -> Format:
    heading = _encoded(pretty_hits.heading_row(screen, utc=utc), screen)
    show = pretty_hits.row(screen, utc=utc)
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
    """Return the format of one list, which stays a document when it is cut or appended to."""
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
HITS: dict[str, Callable[[Screen, bool], Format]] = {
    "pretty": _pretty_hits,
    "table": _hits_table,
    "json": lambda screen, _: _json_values(screen),
    "jsonl": lambda screen, _: _jsonl_values(screen),
}


def _encoded(text: str, screen: Screen) -> bytes:
    return text.encode(screen.encoding, "backslashreplace")


def _safe(document: bytes, screen: Screen) -> bytes:
    """Return the JSON; for a terminal, escape what could act on it."""
    if not screen.terminal:
        return document
    return visible_json(document.decode("utf-8", "backslashreplace")).encode()
