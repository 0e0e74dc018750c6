"""`aiomessages export`: conversations to files, in one command that can be killed and run again.

It reads the options; `export_run` runs the export. `aiomessages.export` describes the files, and
when they are safe.
"""

from contextlib import ExitStack
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from aiomessages.errors import ConfigurationError
from aiomessages.export import CreatedBetween, export
from aiomessages.export.exporting import export_lines
from aiomessages.export.output import ending_of
from aiomessages.export.preview import preview
from aiomessages.wire.requests import check_completion_id

from . import exits, running, summary
from .exits import UsageError
from .export_run import explained, run, run_to_stdout
from .ids import STANDARD_INPUT, check_no_archive, read_ids
from .options import (
    Concurrency,
    Connection,
    MaxRps,
    PageSize,
    Quiet,
    Utc,
    options_of,
    requested,
)
from .output import STANDARD_OUTPUT, opened
from .selection import (
    COMPLETIONS,
    Metadata,
    Model,
    Since,
    Until,
    metadata_of,
    recorded,
    span_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import tzinfo

    from aiomessages import AsyncMessagesClient
    from aiomessages.export.created_between import TimeRange
    from aiomessages.export.preview import Preview

_written = options_of("Output", 1)
_EXAMPLES = """\
Examples:
  aiomessages export --all -o conversations.jsonl.gz
  aiomessages export --all --since 30d --model gpt-4o -o month.parquet
  aiomessages export chatcmpl-abc123 chatcmpl-def456 -o two.jsonl
  aiomessages export --all --since 30d --dry-run
  aiomessages export --ids-file ids.txt --layout finetune -o train.jsonl
  aiomessages completions --since 1d | jq -r .id |
    aiomessages export --ids-file - -o today.duckdb
  aiomessages export --all --since 1d -o - | jq -r .message.content

After Ctrl-C or a kill, run the same command again to continue.
Exit codes: 0 complete, 1 some completions failed or were lost (named),
2 wrong usage, or options that differ, 3 none of the ids exists,
4 key refused, 5 rate limit or quota, 65 a file was changed, 74 disk full,
75 another process is writing, 130 stopped.
"""

app = App(
    name="export",
    group_parameters=COMPLETIONS,
    usage="Usage: aiomessages export -o DEST [OPTIONS] [COMPLETION_ID...]",
    help_epilogue=_EXAMPLES,
)


@app.default
def export_conversations(
    *ids: Annotated[
        str,
        Parameter(
            name="COMPLETION_ID", group=COMPLETIONS, help="Ids of the completions to export."
        ),
    ],
    destination: Annotated[
        Path | None,
        _written(
            name=["--output", "-o"],
            metavar="DEST",
            allow_leading_hyphen=True,
            help="A file that ends in .jsonl, .jsonl.gz, .jsonl.zst, .parquet or .duckdb, or a"
            " directory, which gets files part-00001.jsonl and so on. With - JSON lines go to"
            " standard output; then there is no ledger, and each run begins at the start.",
        ),
    ] = None,
    ids_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,
            help="Read the ids from FILE, one per line, or from standard input if FILE is -.",
        ),
    ] = None,
    every: Annotated[
        bool,
        Parameter(
            name="--all",
            negative="",
            show_default=False,
            help="Export all stored completions, or those that the options below select.",
        ),
    ] = False,
    model: Model = None,
    metadata: Metadata = None,
    since: Since = None,
    until: Until = None,
    utc: Utc = False,
    layout: Annotated[
        Literal["messages", "conversations", "finetune", "chat"],
        _written(
            help="One row per message, one per completion, or one training example per reply:"
            " finetune is OpenAI's own format, chat that of TRL, Axolotl and Hugging Face."
        ),
    ] = "messages",
    include_reply: Annotated[
        bool,
        _written(
            negative="--no-include-reply",
            show_default=False,
            help="Include the model's replies. Default.",
        ),
    ] = True,
    media: Annotated[
        Path | None,
        _written(
            metavar="DIR",
            help="Write images, sounds and files to DIR, and put file names in place of the base64."
            " Not with --layout finetune or chat, whose lines hold their images.",
        ),
    ] = None,
    limit: PageSize = None,
    concurrency: Concurrency = 64,
    max_rps: MaxRps = None,
    on_error: Annotated[
        Literal["raise", "continue"],
        requested(
            help="Stop at the first completion that cannot be read, or record it and continue."
        ),
    ] = "raise",
    refresh: Annotated[
        bool,
        requested(
            negative="--no-refresh",
            show_default=False,
            help="With --all, list the completions again after a finished run and add new ones."
            " Default.",
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        requested(
            show_default=False,
            help="Say how many completions an export would fetch, of what time, and with how many"
            " requests. Sends only the requests for the list, and writes nothing.",
        ),
    ] = False,
    quiet: Quiet = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> int:
    """Write conversations to files, each exactly once.

    Choose them by COMPLETION_ID…, --ids-file or --all.
    """
    selection = {"--model": model, "--metadata": metadata, "--since": since, "--until": until}
    used = [name for name, value in selection.items() if value] + ["--no-refresh"] * (not refresh)
    _check_source(ids, ids_file, used, every=every)
    if STANDARD_INPUT == ids_file == connection.api_key_file:
        raise UsageError(
            "standard input is either the ids or the key, not both", "put one of them into a file"
        )
    if destination is None and not dry_run:
        raise UsageError("--output DEST is missing", "write -o FILE; see aiomessages export --help")
    if str(destination).startswith("-") and destination != STANDARD_OUTPUT:
        raise UsageError(f"-o {destination}: it looks like an option", "name a file or a directory")
    to_stdout = destination == STANDARD_OUTPUT
    if to_stdout and not refresh:
        raise UsageError("-o - keeps no ledger", "leave --no-refresh out")
    if destination is not None and not to_stdout:
        ending_of(destination)
    span, pairs = span_of(since, until, utc=utc), metadata_of(metadata)
    zone = UTC if utc else None
    with explained(destination or STANDARD_OUTPUT, zone), ExitStack() as held:
        named = _given(ids, ids_file, held)
        opening = connection.client()

        async def exported() -> int:
            async with opening as client:
                # The text, as an age is the same selection in each run and another moment.
                texts = {"since": recorded(since, utc=utc), "until": recorded(until, utc=utc)}
                source = _listed(client, model, pairs, span, texts) if every else named
                chosen: dict[str, Any] = {
                    "layout": layout,
                    "include_reply": include_reply,
                    "media": media,
                    "limit": limit,
                    "concurrency": concurrency,
                    "max_rps": max_rps,
                    "on_error": on_error,
                }
                if dry_run or destination is None:
                    looking = preview(
                        client,
                        source,
                        None if to_stdout else destination,
                        layout=layout,
                        include_reply=include_reply,
                        media=media,
                        origin=connection.origin(),
                        max_rps=max_rps,
                    )
                    return _show(await looking, zone)
                if to_stdout:
                    writing = partial(export_lines, client, source, **chosen)
                    return await run_to_stdout(writing, quiet=quiet)
                files: dict[str, Any] = {"refresh": refresh, "origin": connection.origin()}
                start = partial(export, client, source, destination, **chosen, **files)
                return await run(start, destination, quiet=quiet, zone=zone)

        return running.run(exported())


def _show(found: "Preview", zone: "tzinfo | None") -> int:
    with opened(STANDARD_OUTPUT) as write:
        write("".join(f"{line}\n" for line in summary.of_preview(found, zone)).encode())
    return exits.OK


# --- the selection ----------------------------------------------------------------------------


def _check_source(
    ids: "Sequence[str]", ids_file: str | None, used: list[str], *, every: bool
) -> None:
    """Require one source; refuse options that select from the list if ids are given."""
    given = [bool(ids), ids_file is not None, every]
    if sum(given) != 1:
        said = "more than one source" if any(given) else "nothing to export"
        raise UsageError(said, "choose one of COMPLETION_ID…, --ids-file FILE and --all")
    if used and not every:
        raise UsageError(f"{used[0]} selects from a list", "write --all as well, or leave it out")


def _given(ids: "Sequence[str]", ids_file: str | None, held: ExitStack) -> "Iterable[str]":
    if ids_file is not None:
        return held.enter_context(read_ids(ids_file))
    check_no_archive(*ids)
    return [_checked(name) for name in ids]


def _checked(name: str) -> str:
    try:
        return check_completion_id(name)
    except ConfigurationError as error:
        raise UsageError(f"{name}: {error}", "`aiomessages completions` lists the ids") from None


def _listed(
    client: "AsyncMessagesClient",
    model: str | None,
    metadata: dict[str, str],
    span: "TimeRange",
    texts: dict[str, str | None],
) -> CreatedBetween:
    """Return the listed completions as a source, newest first if --since can end the list."""
    order: Literal["asc", "desc"] = "asc" if span.since is None else "desc"
    return CreatedBetween(
        client.completions(model=model, metadata=metadata, order=order),
        since=span.since,
        until=span.until,
        order=order,
        selection={name: text for name, text in texts.items() if text},
    )
