"""The output formats: a `Format` for each name, for messages, values, completions and hits.

Values are the results of a transform, and hits those of a search.
No format holds more than one item, so a list of any length streams through. Nothing here performs
I/O.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from aiomessages.values.json_lines import on_one_line

from . import pretty, pretty_completions, pretty_hits, yaml
from .exits import UsageError
from .options import options_of, quiet_option
from .output import STANDARD_OUTPUT, Screen, Write
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
        help="Write to FILE, which appears when it is complete. Its ending chooses the format:"
        " .json, .jsonl, .yaml, .txt (pretty).",
    ),
]
Quiet = Annotated[bool, quiet_option(help="Print only errors.", **shown_by.keywords)]

# The format that the ending of a file names.
_OF_ENDINGS: Final[dict[str, Name]] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".txt": "pretty",
}
# No format fits these: their readers would not understand the file.
_COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz", ".zip": "zip"}
_BINARY: Final = (".parquet", ".duckdb", ".db", ".sqlite", ".sqlite3", ".xlsx")
_OF_JQ: Final = {".csv": "@csv", ".tsv": "@tsv"}


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


def for_file(path: Path, name: Any, offered: Any = Name) -> Any:
    """Return the format for a file: the given one, else that of its ending.

    `offered` is the type of the names that the command has. Raises UsageError for an ending whose
    format it cannot write.
    """
    ending = path.suffix.lower()
    if path == STANDARD_OUTPUT or not ending or path.is_char_device():
        return name
    if program := _COMPRESSED.get(ending):
        raise UsageError(
            f"-o {path}: this command compresses nothing",
            f"write it through a pipe, without -o: … | {program} > {path}",
        )
    if separator := _OF_JQ.get(ending):
        raise UsageError(
            f"-o {path}: this command writes no {ending} file",
            f"make it with jq: … --transform '[id, role]' | jq -r {separator} > {path}",
        )
    if ending in _BINARY:
        raise UsageError(
            f"-o {path}: this command writes no {ending} file",
            "`aiomessages export` writes .parquet and .duckdb, `aiomessages sync` a .db",
        )
    if name != "auto":
        return name
    found = _OF_ENDINGS.get(ending)
    if found not in get_args(offered):
        known = ", ".join(key for key, made in _OF_ENDINGS.items() if made in get_args(offered))
        raise UsageError(
            f"-o {path}: this command has no format for {ending}",
            f"choose one by --format, or by an ending: {known}",
        )
    return found


def named(name: Name, screen: Screen, *, transformed: bool = False) -> Format:
    """Return the format of this name for a screen; auto is pretty at a terminal, else jsonl.

    Raises UsageError for a transform with the format `raw`.
    """
    chosen = _chosen(name, screen)
    if not transformed:
        return _of_items(chosen, screen, pretty.message, pretty.row, pretty.heading_row)
    return _of_values(chosen, screen)


def _of_values(chosen: str, screen: Screen) -> Format:
    """Return the format of the results of a transform."""
    if chosen == "raw":
        raise UsageError(
            "--format raw shows the server's bytes, which --transform would change",
            "choose another --format",
        )
    if chosen in ("pretty", "table"):
        return _for_reading(pretty.value(screen), screen)
    return _for_programs(chosen, screen, msgspec.json.encode, reads_raw=False)


def of_completions(name: Name, screen: Screen, *, transformed: bool = False) -> Format:
    """Return the format of this name for completions; auto and errors as in `named`."""
    if transformed:
        return _of_values(_chosen(name, screen), screen)
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


async def write_all(items: AsyncIterator[Any], shown: Format, write: Write) -> int:
    """Write the items as they arrive; write nothing if the first one fails. Return their number."""
    written = 0
    async for item in items:
        write((shown.between if written else shown.head) + shown.item(item))
        written += 1
    write(shown.tail if written else shown.empty)
    return written


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
        return safe(encode(item), screen)

    match chosen:
        case "yaml":  # one list, which stays a document when it is cut or appended to
            return Format(lambda value: yaml.item(value).encode(), empty=b"[]\n")
        case "json":
            return Format(written, reads_raw, b"[\n", b",\n", b"\n]\n", empty=b"[]\n")
    return Format(lambda item: written(item) + b"\n", reads_raw)


def _encoded(text: str, screen: Screen) -> bytes:
    return text.encode(screen.encoding, "backslashreplace")


def safe(document: bytes, screen: Screen) -> bytes:
    """Return the JSON; for a terminal, escape what could act on it."""
    if not screen.terminal:
        return document
    return visible_json(document.decode("utf-8", "backslashreplace")).encode()
