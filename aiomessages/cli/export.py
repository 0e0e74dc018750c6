"""`aiomessages export`: conversations to files, in one command that can be killed and run again.

It joins source, client, export and display. What is written, and when it is safe, is told in
`aiomessages.export`.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter
from msgspec import structs

from aiomessages.errors import (
    APIConnectionError,
    APIError,
    ConfigurationError,
    MessagesError,
    NotFoundError,
    SchemaError,
)
from aiomessages.export import CreatedBetween, ExportReport, export, read_status
from aiomessages.export.output import ending_of
from aiomessages.wire.requests import check_completion_id

from . import exits, progress, stderr, summary
from .ids import STANDARD_INPUT, read_ids
from .options import SAMPLE, AtLeastOne, Connection, Positive
from .selection import Metadata, Model, Since, Until, metadata_of, span_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiomessages import AsyncMessagesClient
    from aiomessages.export import Progress
    from aiomessages.export.source import Source

_WHICH = Group("Which completions", sort_key=0)
_WHAT = Group("What is written", sort_key=1)
_HOW = Group("How it is fetched", sort_key=2)
# What the library advises for some errors fits other commands.
_HINTS: "dict[type[APIError], str]" = {
    NotFoundError: "Only completions created with store=true are kept, for 30 days.",
    SchemaError: "",
    APIConnectionError: "Check the network and base_url.",
}
_STOPPING = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
# Seconds within which the same signal is one: `timeout` sends it to the process and to its group,
# and a program that started this one passes on a Ctrl-C that the terminal sent to both.
_TOGETHER = 1.0
Named = Callable[["AsyncMessagesClient"], "Source"]

_EXAMPLES = """\
Examples:
  aiomessages export --all -o conversations.jsonl.gz
  aiomessages export --all --since 30d --model gpt-4o -o month.parquet
  aiomessages export chatcmpl-abc123 chatcmpl-def456 -o two.jsonl
  aiomessages export --ids-file ids.txt --layout finetune -o train.jsonl
  aiomessages completions --since 1d | jq -r .id |
    aiomessages export --ids-file - -o today.duckdb

Stopped by Ctrl-C or killed, the same command continues where it was.
Exit codes: 0 complete, 1 some completions failed or were lost (named),
2 wrong usage, or other options than before, 3 none of the ids exists,
4 key refused, 5 rate limit or quota, 65 a file was changed, 74 disk full,
75 another process is writing, 130 stopped.
"""

app = App(name="export", help_epilogue=_EXAMPLES)


@app.default
def export_conversations(
    *ids: Annotated[
        str,
        Parameter(name="COMPLETION_ID", group=_WHICH, help="The completions with these ids."),
    ],
    destination: Annotated[
        Path,
        Parameter(
            name=["--output", "-o"],
            group=_WHAT,
            metavar="DEST",
            allow_leading_hyphen=True,  # so that a bare - is told what it cannot be
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
            help="The ids in FILE, one per line; standard input if FILE is -.",
        ),
    ] = None,
    every: Annotated[
        bool,
        Parameter(
            name="--all",
            group=_WHICH,
            negative="",
            show_default=False,
            help="All stored completions, or those that the options below select.",
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
            help="Write images, sounds and files to DIR, and their names in place of the base64."
            " Not with --layout finetune, whose lines hold their images.",
        ),
    ] = None,
    limit: Annotated[
        AtLeastOne | None,
        Parameter(
            group=_HOW,
            metavar="N",
            help="Messages per page [100]. Halved automatically where a page is too large.",
        ),
    ] = None,
    concurrency: Annotated[
        AtLeastOne,
        Parameter(group=_HOW, metavar="N", help="Conversations read at the same time, at most."),
    ] = 64,
    max_rps: Annotated[
        Positive | None,
        Parameter(
            group=_HOW,
            metavar="N",
            help="Requests per second, at most. Default: adapts to the server's rate limit.",
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
            help="With --all, list the completions again after a finished run, and add new ones."
            " Default.",
        ),
    ] = True,
    quiet: Annotated[
        bool, Parameter(group=_HOW, negative="", show_default=False, help="Print only errors.")
    ] = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> int:
    """Write conversations to files, each exactly once.

    One of COMPLETION_ID…, --ids-file and --all says which.
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
    with _told_in_words(destination), ExitStack() as held:
        source = (
            _listed(model, metadata_of(metadata), since, until)
            if every
            else _given(ids, ids_file, held)
        )
        return asyncio.run(_run(connection.client(), source, destination, settings, quiet=quiet))


# --- what is asked for ----------------------------------------------------------------------------


def _check_one_source(ids: "Sequence[str]", ids_file: str | None, *, every: bool) -> None:
    given = [bool(ids), ids_file is not None, every]
    if sum(given) != 1:
        said = "choose only one of" if any(given) else "choose"
        raise exits.UsageError(f"{said} COMPLETION_ID…, --ids-file FILE or --all")


def _check_selection(selection: dict[str, Any], *, every: bool, refresh: bool) -> None:
    """Refuse what selects from a list where ids are given: it would be passed over in silence."""
    used = [name for name, value in selection.items() if value] + ["--no-refresh"] * (not refresh)
    if used and not every:
        raise exits.UsageError(f"{used[0]} needs --all: ids are exported as they are given")


def _check_standard_input(ids_file: str | None, connection: Connection) -> None:
    if STANDARD_INPUT == ids_file == connection.api_key_file:
        raise exits.UsageError("standard input is either the ids or the key, not both")


def _check_destination(destination: Path) -> None:
    if str(destination).startswith("-"):
        raise exits.UsageError(f"-o {destination}: name a file or a directory (see --help)")
    ending_of(destination)


def _given(ids: "Sequence[str]", ids_file: str | None, held: ExitStack) -> Named:
    if ids_file is None:
        checked = [_checked(name) for name in ids]
        return lambda _: checked
    named = held.enter_context(read_ids(ids_file))
    return lambda _: named


def _checked(name: str) -> str:
    try:
        return check_completion_id(name)
    except ConfigurationError as error:
        raise exits.UsageError(f"{name}: {error}") from None


def _listed(
    model: str | None, metadata: dict[str, str], since: str | None, until: str | None
) -> Named:
    """Return the list; newest first where that ends it early."""
    span = span_of(since, until)
    order: Literal["asc", "desc"] = "asc" if span.since is None else "desc"

    def listed(client: "AsyncMessagesClient") -> "Source":
        completions = client.completions(model=model, metadata=metadata, order=order)
        # An age is another moment in each run, and the same selection.
        given = {"since": since, "until": until}
        selection = {name: value for name, value in given.items() if value is not None}
        return CreatedBetween(
            completions, since=span.since, until=span.until, order=order, selection=selection
        )

    return listed


def _origin(local: str | None) -> str | None:
    """Return what tells one embedded server from another: their ports change at every run."""
    if local is None:
        return None
    return "the sample" if local == SAMPLE else f"embedded: {Path(local).resolve()}"


# --- how it goes ----------------------------------------------------------------------------------


async def _run(
    opening: "AbstractAsyncContextManager[AsyncMessagesClient]",
    source: Named,
    destination: Path,
    settings: dict[str, Any],
    *,
    quiet: bool,
) -> int:
    gauge = progress.Gauge()

    def noted(now: "Progress") -> None:
        gauge.progress = now

    async with opening as client:
        with progress.shown(gauge, quiet=quiet) as let_go:
            report = await _stoppable(
                export(client, source(client), destination, on_progress=noted, **settings), let_go
            )
    return _told(report, destination, quiet=quiet)


async def _stoppable(
    exporting: Awaitable[ExportReport], let_go: Callable[[], None]
) -> ExportReport | None:
    """Return what an export came to, or None if it was stopped.

    The first Ctrl-C, SIGTERM, or SIGHUP of a terminal that closes, lets it commit what it has; the
    second ends the process.
    """
    task, loop = asyncio.ensure_future(exporting), asyncio.get_running_loop()
    first: tuple[int, float] | None = None

    def stop(number: int) -> None:
        nonlocal first
        if first is None:
            first = number, loop.time()
            stderr.say("committing what was fetched; once more ends at once")
            task.cancel()
        elif first[0] != number or loop.time() - first[1] > _TOGETHER:
            let_go()
            os._exit(exits.INTERRUPTED)

    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if first is not None:
            return None
        raise


def _told(report: ExportReport | None, destination: Path, *, quiet: bool) -> int:
    """Say what an export came to, and return the exit code for it."""
    status = read_status(destination)
    if report is None or status is None:
        stderr.say(summary.of_interruption(status))
        return exits.INTERRUPTED
    if not quiet:
        size = destination.stat().st_size if destination.is_file() else status.bytes
        first, *rest = summary.of_report(report, structs.replace(status, bytes=size))
        stderr.say(first)
        stderr.say_all("\n".join(rest))
    return exits.OK if report.complete else exits.RUNTIME


@contextmanager
def _told_in_words(destination: Path) -> Iterator[None]:
    """Say how to go on after an error of the server's, and name the file in one of the system's."""
    try:
        yield
    except APIError as error:
        if error.hint == type(error).hint:  # the general one, and not one of this very case
            error.hint = _HINTS.get(type(error), error.hint)
        status = read_status(destination)
        if status is not None and status.files:
            stderr.say(summary.of_interruption(status))
        retry_after = getattr(error, "retry_after", None)
        if retry_after is not None:
            stderr.say(summary.of_wait(retry_after, datetime.now().astimezone()))
        raise
    except MessagesError:
        raise
    except OSError as error:
        raise exits.OutputError(f"cannot write {destination}: {error.strerror}") from error
