"""`aiomessages status`: show the progress of an export from its ledger, or what an archive holds.

It sends nothing and changes nothing.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from aiomessages.archive import Archive, ArchiveStatus
from aiomessages.export.status import ExportStatus, read_status

from . import output, running
from .exits import NoLedgerError
from .options import Utc
from .progress import counted, megabytes
from .safe_text import one_line, visible_json
from .summary import GO_ON, named, reasons
from .summary_archive import archive_table, waiting

_SQLITE = b"SQLite format 3\0"  # what each database begins with

_EXAMPLES = """\
Examples:
  aiomessages status conversations.jsonl.gz
  aiomessages status archive.db
  aiomessages status conversations.jsonl.gz --format json | jq .finished
"""

app = App(name="status", help_epilogue=_EXAMPLES)


@app.default
def status(
    destination: Annotated[
        Path,
        Parameter(
            metavar="DEST",
            help="Destination of the export, as given to `aiomessages export -o`, or an archive.",
        ),
    ],
    *,
    format: Annotated[  # noqa: A002 - the name of the option
        Literal["pretty", "json"],
        Parameter(help="pretty for people; json for programs, with times in Unix seconds."),
    ] = "pretty",
    utc: Utc = False,
) -> None:
    """Show the progress of an export, or what an archive holds; a running one as well."""
    found = read_status(destination) or _of_archive(destination)
    if found is None:
        raise NoLedgerError(
            f"{destination}: there is neither an export nor an archive",
            "name what `aiomessages export -o` or `aiomessages sync` got",
        )
    with output.opened(output.STANDARD_OUTPUT) as write:
        write(_json(found) if format == "json" else _pretty(found, UTC if utc else None))


def _of_archive(path: Path) -> ArchiveStatus | None:
    """Return the status of an archive; None for a file of another kind, or none.

    No export is an SQLite database. Raises ArchiveError for one that is no archive.
    """
    # To open a pipe would wait for its writer.
    if not path.is_file() or not os.access(path, os.R_OK):
        return None
    with path.open("rb") as file:
        if file.read(len(_SQLITE)) != _SQLITE:
            return None

    async def read() -> ArchiveStatus:
        async with Archive(path) as archive:
            return await archive.status()

    return running.run(read())


def _json(found: ExportStatus | ArchiveStatus) -> bytes:
    # msgspec would refuse the name of a destination that is not UTF-8.
    document = json.dumps(msgspec.to_builtins(found), ensure_ascii=False, indent=2)
    return visible_json(document).encode() + b"\n"


def _pretty(found: ExportStatus | ArchiveStatus, zone: tzinfo | None) -> bytes:
    if isinstance(found, ExportStatus):
        title = f"{found.destination}: {_state(found)}"
        table, rest = _table(found), [*reasons("skipped", found.skipped), *named(found)]
    else:
        running = ", a sync is running" if found.running else ""
        title, rest = f"{found.path}: an archive{running}", waiting(found, zone)
        table = archive_table(found, zone)
    lines = [
        one_line(title),
        *(f"  {name:12} {one_line(value)}" for name, value in table),
        *(f"  {one_line(line)}" for line in rest),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _state(found: ExportStatus) -> str:
    """Return whether an export runs, was resumed, and how far it is; else how to go on."""
    if found.finished and not found.running:
        return "finished"
    resumed = ", resumed" if found.resumed and found.running else ""
    percent = "" if found.percent is None else f", {found.percent:.0f} %"
    if found.running:
        return f"running{resumed}{percent}"
    return f"not finished{percent}; {GO_ON}"


def _table(found: ExportStatus) -> Iterator[tuple[str, str]]:
    yield "server", found.base_url
    yield "layout", found.layout + ("" if found.include_reply else ", without replies")
    if found.media is not None:
        yield "media", found.media
    numbers = (f"{count.completions:,} {state}" for state, count in found.completions.items())
    yield "completions", ", ".join(numbers) or "none yet"
    files = counted(found.files, "file")
    yield "committed", f"{counted(found.rows, 'row')}, {megabytes(found.bytes)} in {files}"
