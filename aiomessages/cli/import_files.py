"""`aiomessages import`: put conversations from files into an archive.

`aiomessages.archive.importing` does the work. It sends nothing.
"""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from aiomessages.archive.exported_folder import files_in
from aiomessages.archive.importing import ImportReport, check_file, import_checked

from .archive_names import check_archive
from .exits import UsageError
from .options import quiet_option
from .progress import counted
from .stderr import say

_EXAMPLES = """\
Examples:
  aiomessages import records.jsonl archive.db
  aiomessages import old.jsonl.gz older.jsonl.zst archive.db
  aiomessages export --all --layout conversations -o all.jsonl.gz
  aiomessages import all.jsonl.gz archive.db    such an export is a source as well
"""
# More ids would hide the numbers: the others are in the report that Python gets.
_NAMED = 10

app = App(
    name="import",
    usage="Usage: aiomessages import [OPTIONS] FILE... ARCHIVE",
    help_epilogue=_EXAMPLES,
)


@app.default
def import_files(
    *files: Annotated[
        Path,
        Parameter(
            help="One or more files of JSON Lines (.jsonl, .jsonl.gz or .jsonl.zst): records of the"
            " local server, or exports with --layout conversations; or the folder of a finished"
            " export of many machines. The last name is that of the archive, which is created if it"
            " is missing.",
        ),
    ],
    replace: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Take a conversation of a file where the archive has another form of it.",
        ),
    ] = False,
    quiet: Annotated[bool, quiet_option(help="Print only errors.")] = False,
) -> None:
    """Import conversations from files into an archive: each file whole, or not at all."""
    if len(files) < 2:
        raise UsageError("FILE or ARCHIVE is missing", "name files, and then the archive")
    *named, archive = files
    sources = {one: files_in(one) if one.is_dir() else [one] for one in named}
    for file in chain.from_iterable(sources.values()):
        if not file.is_file():
            raise UsageError(
                f"{file}: no such file", "name files of JSON Lines, and then the archive"
            )
        check_file(file)
    check_archive(archive)
    if not archive.parent.is_dir():
        raise UsageError(f"{archive}: cannot create an archive there", "create its directory first")
    for one, parts in sources.items():
        reports = {file: import_checked(file, archive, replace=replace) for file in parts}
        if not quiet:
            _tell(one, reports)


def _tell(named: Path, reports: Mapping[Path, ImportReport]) -> None:
    """Say what became of the conversations of a file, or of the files of a folder."""
    kept = [(file, *one) for file, report in reports.items() for one in report.kept]
    counts = {
        "new": sum(report.new for report in reports.values()),
        "already there": sum(report.unchanged for report in reports.values()),
        "replaced": sum(report.replaced for report in reports.values()),
        "kept as the archive has them": len(kept),
    }
    parts = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    found = sum(counts.values())
    say(f"{named}: {counted(found, 'conversation')}{': ' if parts else ''}{parts}")
    for file, line, completion_id in kept[:_NAMED]:
        say(f"{file}: line {line}: {completion_id} differs; --replace takes it")
    if len(kept) > _NAMED:
        say(f"{named}: {len(kept) - _NAMED:,} more differ")
