"""`aiomessages export`: conversations to files, in one command that can be killed and run again.

It reads the options; `export_run` runs the export. `aiomessages.export` describes the files, and
when they are safe.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from aiomessages.errors import ConfigurationError
from aiomessages.export import CreatedBetween
from aiomessages.export.output import ending_of
from aiomessages.wire.requests import check_completion_id

from . import running
from .exits import UsageError
from .export_run import SourceOf, explained, run
from .ids import STANDARD_INPUT, read_ids
from .options import SAMPLE, AtLeastOne, Connection, Positive
from .selection import Metadata, Model, Since, Until, metadata_of, span_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiomessages import AsyncMessagesClient
    from aiomessages.export.source import Source

_WHICH = Group("Selection", sort_key=0)
_WHAT = Group("Output", sort_key=1)
_HOW = Group("Requests", sort_key=2)
_EXAMPLES = """\
Examples:
  aiomessages export --all -o conversations.jsonl.gz
  aiomessages export --all --since 30d --model gpt-4o -o month.parquet
  aiomessages export chatcmpl-abc123 chatcmpl-def456 -o two.jsonl
  aiomessages export --ids-file ids.txt --layout finetune -o train.jsonl
  aiomessages completions --since 1d | jq -r .id |
    aiomessages export --ids-file - -o today.duckdb

After Ctrl-C or a kill, run the same command again to continue.
Exit codes: 0 complete, 1 some completions failed or were lost (named),
2 wrong usage, or options that differ, 3 none of the ids exists,
4 key refused, 5 rate limit or quota, 65 a file was changed, 74 disk full,
75 another process is writing, 130 stopped.
"""

app = App(name="export", help_epilogue=_EXAMPLES)


@app.default
def export_conversations(
    *ids: Annotated[
        str,
        Parameter(name="COMPLETION_ID", group=_WHICH, help="Ids of the completions to export."),
    ],
    destination: Annotated[
        Path,
        Parameter(
            name=["--output", "-o"],
            group=_WHAT,
            metavar="DEST",
            allow_leading_hyphen=True,  # so that _check_destination explains a bare -
            help="A file that ends in .jsonl, .jsonl.gz, .jsonl.zst, .parquet or .duckdb, or a"
            " directory, which gets files part-00001.jsonl and so on.",
        ),
    ],
    ids_file: Annotated[
        str | None,
        Parameter(
            group=_WHICH,
            metavar="FILE",
            allow_leading_hyphen=True,
            help="Read the ids from FILE, one per line, or from standard input if FILE is -.",
        ),
    ] = None,
    every: Annotated[
        bool,
        Parameter(
            name="--all",
            group=_WHICH,
            negative="",
            show_default=False,
            help="Export all stored completions, or those that the options below select.",
        ),
    ] = False,
    model: Model = None,
    metadata: Metadata = None,
    since: Since = None,
    until: Until = None,
    layout: Annotated[
        Literal["messages", "conversations", "finetune"],
        Parameter(
            group=_WHAT, help="One row per message, one per completion, or fine-tuning examples."
        ),
    ] = "messages",
    include_reply: Annotated[
        bool,
        Parameter(
            group=_WHAT,
            show_default=False,
            help="Include the model's replies. Default.",
        ),
    ] = True,
    media: Annotated[
        Path | None,
        Parameter(
            group=_WHAT,
            metavar="DIR",
            help="Write images, sounds and files to DIR, and put file names in place of the base64."
            " Not with --layout finetune, whose lines hold their images.",
        ),
    ] = None,
    limit: Annotated[
        AtLeastOne | None,
        Parameter(
            group=_HOW,
            metavar="N",
            help="Messages per page [100]. Halved automatically if a page is too large.",
        ),
    ] = None,
    concurrency: Annotated[
        AtLeastOne,
        Parameter(group=_HOW, metavar="N", help="Maximum conversations read at the same time."),
    ] = 64,
    max_rps: Annotated[
        Positive | None,
        Parameter(
            group=_HOW,
            metavar="N",
            help="Maximum requests per second. Default: adapts to the server's rate limit.",
        ),
    ] = None,
    on_error: Annotated[
        Literal["raise", "continue"],
        Parameter(
            group=_HOW,
            help="Stop at the first completion that cannot be read, or record it and continue.",
        ),
    ] = "raise",
    refresh: Annotated[
        bool,
        Parameter(
            group=_HOW,
            negative="--no-refresh",
            show_default=False,
            help="With --all, list the completions again after a finished run and add new ones."
            " Default.",
        ),
    ] = True,
    quiet: Annotated[
        bool, Parameter(group=_HOW, negative="", show_default=False, help="Print only errors.")
    ] = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> int:
    """Write conversations to files, each exactly once.

    Choose them by COMPLETION_ID…, --ids-file or --all.
    """
    _check_one_source(ids, ids_file, every=every)
    selection = {"--model": model, "--metadata": metadata, "--since": since, "--until": until}
    _check_selection(selection, every=every, refresh=refresh)
    _check_standard_input(ids_file, connection)
    _check_destination(destination)
    settings = {
        "layout": layout,
        "include_reply": include_reply,
        "media": media,
        "limit": limit,
        "concurrency": concurrency,
        "max_rps": max_rps,
        "on_error": on_error,
        "refresh": refresh,
        "origin": _origin(connection.local),
    }
    with explained(destination), ExitStack() as held:
        source = (
            _listed(model, metadata_of(metadata), since, until)
            if every
            else _given(ids, ids_file, held)
        )
        return running.run(run(connection.client(), source, destination, settings, quiet=quiet))


# --- the selection ----------------------------------------------------------------------------


def _check_one_source(ids: "Sequence[str]", ids_file: str | None, *, every: bool) -> None:
    given = [bool(ids), ids_file is not None, every]
    if sum(given) != 1:
        said = "choose only one of" if any(given) else "choose"
        raise UsageError(f"{said} COMPLETION_ID…, --ids-file FILE or --all")


def _check_selection(selection: dict[str, Any], *, every: bool, refresh: bool) -> None:
    """Refuse options that select from the list if ids are given: they would have no effect."""
    used = [name for name, value in selection.items() if value] + ["--no-refresh"] * (not refresh)
    if used and not every:
        raise UsageError(f"{used[0]} selects from a list, and works only with --all")


def _check_standard_input(ids_file: str | None, connection: Connection) -> None:
    if STANDARD_INPUT == ids_file == connection.api_key_file:
        raise UsageError("standard input can hold the ids or the key, not both")


def _check_destination(destination: Path) -> None:
    if str(destination).startswith("-"):
        raise UsageError(f"-o {destination}: name a file or a directory (see --help)")
    ending_of(destination)


def _given(ids: "Sequence[str]", ids_file: str | None, held: ExitStack) -> SourceOf:
    if ids_file is None:
        checked = [_checked(name) for name in ids]
        return lambda _: checked
    named = held.enter_context(read_ids(ids_file))
    return lambda _: named


def _checked(name: str) -> str:
    try:
        return check_completion_id(name)
    except ConfigurationError as error:
        raise UsageError(f"{name}: {error}") from None


def _listed(
    model: str | None, metadata: dict[str, str], since: str | None, until: str | None
) -> SourceOf:
    """Return the listed completions as a source, newest first if --since can end the list."""
    span = span_of(since, until)
    order: Literal["asc", "desc"] = "asc" if span.since is None else "desc"

    def listed(client: "AsyncMessagesClient") -> "Source":
        completions = client.completions(model=model, metadata=metadata, order=order)
        # The text, as an age is the same selection in each run and another moment.
        given = {"since": since, "until": until}
        selection = {name: value for name, value in given.items() if value is not None}
        return CreatedBetween(
            completions, since=span.since, until=span.until, order=order, selection=selection
        )

    return listed


def _origin(local: str | None) -> str | None:
    """Return the identity of an embedded server, whose port changes with each run."""
    if local is None:
        return None
    return "the sample" if local == SAMPLE else f"embedded: {Path(local).resolve()}"
