"""`aiomessages status`: show the progress of an export from its ledger.

It sends nothing and changes nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from aiomessages.export.status import ExportStatus, read_status

from . import output
from .exits import NoLedgerError
from .progress import counted, megabytes
from .safe_text import one_line, visible_json
from .summary import named, reasons

_EXAMPLES = """\
Examples:
  aiomessages status conversations.jsonl.gz
  aiomessages status conversations.jsonl.gz --format json | jq .finished
"""

app = App(name="status", help_epilogue=_EXAMPLES)


@app.default
def status(
    destination: Annotated[
        Path,
        Parameter(
            metavar="DEST", help="Destination of the export, as given to `aiomessages export -o`."
        ),
    ],
    *,
    format: Annotated[  # noqa: A002 - the name of the option
        Literal["pretty", "json"], Parameter(help="pretty for people, json for programs.")
    ] = "pretty",
) -> None:
    """Show the progress of an export, running or not."""
    found = read_status(destination)
    if found is None:
        raise NoLedgerError(f"{destination}: no export has been started there")
    with output.opened(output.STANDARD_OUTPUT) as write:
        write(_json(found) if format == "json" else _pretty(found))


def _json(found: ExportStatus) -> bytes:
    # msgspec would refuse the name of a destination that is not UTF-8.
    document = json.dumps(msgspec.to_builtins(found), ensure_ascii=False, indent=2)
    return visible_json(document).encode() + b"\n"


def _pretty(found: ExportStatus) -> bytes:
    lines = [
        one_line(f"{found.destination}: {'finished' if found.finished else 'not finished'}"),
        *(f"  {name:12} {one_line(value)}" for name, value in _table(found)),
        *(f"  {one_line(line)}" for line in (*reasons("skipped", found.skipped), *named(found))),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _table(found: ExportStatus) -> Iterator[tuple[str, str]]:
    yield "server", found.base_url
    yield "layout", found.layout + ("" if found.include_reply else ", without replies")
    if found.media is not None:
        yield "media", found.media
    numbers = (f"{count.completions:,} {state}" for state, count in found.completions.items())
    yield "completions", ", ".join(numbers) or "none yet"
    files = counted(found.files, "file")
    yield "committed", f"{counted(found.rows, 'row')}, {megabytes(found.bytes)} in {files}"
