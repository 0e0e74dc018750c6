"""`aiomessages sync`: keep an archive current, in one command for cron.

`aiomessages.archive.sync` says what is kept, and when it is safe.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from aiomessages.archive.syncing import sync

from . import exits, progress, running, stderr
from .archive_names import check_archive
from .export_run import stoppable
from .options import (
    Concurrency,
    Connection,
    MaxRps,
    PageSize,
    Quiet,
    Utc,
    requested,
)
from .selection import (
    COMPLETIONS,
    Metadata,
    Model,
    Since,
    age_of,
    metadata_of,
    span_of,
)
from .summary import GO_ON, SHOWN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from aiomessages.archive.report import SyncReport
    from aiomessages.export import Progress

_EXAMPLES = """\
Examples:
  aiomessages sync archive.db
  aiomessages sync archive.db --recheck       also mark what is gone
  aiomessages sync archive.db --model gpt-4o --since 30d
  7 3 * * * ~/.local/bin/aiomessages sync ~/archive.db --quiet     for cron,
                                              which needs the full path

After Ctrl-C or a kill, run the same command again to continue.
Exit codes: 0 everything visible is in the archive, 1 some completions could
not be read (named), 2 wrong usage or the archive of another project,
4 key refused, 5 rate limit or quota, 65 the file is damaged, 74 disk full,
75 another sync is running, 130 stopped.
"""

app = App(name="sync", group_parameters=COMPLETIONS, help_epilogue=_EXAMPLES)


@app.default
def sync_archive(
    archive: Annotated[
        Path,
        Parameter(metavar="ARCHIVE", help="SQLite file; created, for you alone, if it is missing."),
    ],
    /,
    *,
    model: Model = None,
    metadata: Metadata = None,
    since: Since = None,
    utc: Utc = False,
    recheck: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="List everything again: update changed metadata, and mark what is gone.",
        ),
    ] = False,
    limit: PageSize = None,
    concurrency: Concurrency = 64,
    max_rps: MaxRps = None,
    moved: Annotated[
        bool,
        requested(
            show_default=False,
            help="Accept that the project has another address than the archive recorded.",
        ),
    ] = False,
    quiet: Quiet = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> int:
    """Keep every stored completion in one SQLite file that stays current.

    The first run keeps all that the server has; later runs keep what is new, and retry what failed.
    """
    check_archive(archive)
    span, pairs, opening = span_of(since, None, utc=utc), metadata_of(metadata), connection.client()
    gauge = progress.Gauge()

    def update(now: "Progress") -> None:
        gauge.progress = now

    async def synced() -> int:
        async with opening as client:
            with progress.shown(gauge, quiet=quiet) as close_display:
                working = sync(
                    client,
                    archive,
                    model=model,
                    metadata=pairs,
                    since=span.since,
                    since_name=age_of(since),  # a date is another time in another zone
                    recheck=recheck,
                    limit=limit,
                    concurrency=concurrency,
                    max_rps=max_rps,
                    moved=moved,
                    origin=connection.origin(),
                    on_progress=update,
                )
                report = await stoppable(working, close_display)
        selective = bool(model or pairs or since)
        return _print(report, archive, quiet=quiet, selective=selective)

    return running.run(synced())


def _print(report: "SyncReport | None", archive: Path, *, quiet: bool, selective: bool) -> int:
    """Print the result of a sync, and return its exit code."""
    if report is None:
        stderr.say(f"stopped; what was committed to {archive} is safe; {GO_ON}")
        return exits.INTERRUPTED
    if not quiet or not report.complete:
        first, *rest = lines_of(report, selective=selective)
        stderr.say(first)
        for line in rest:
            stderr.say_all(f"  {line}")
    return exits.OK if report.complete else exits.RUNTIME


def lines_of(report: "SyncReport", *, selective: bool = False) -> "Iterator[str]":
    """Yield the lines of a sync that ended by itself."""
    new = progress.counted(report.new, "new completion") if report.new else "nothing new"
    messages = f", {progress.counted(report.messages, 'message')} added" if report.messages else ""
    requests = progress.counted(report.requests, "request")
    # Of the new ones some may have waited since an earlier list, and are not listed again.
    effort = f"{report.listed:,} listed, {requests}, {progress.elapsed(report.seconds)}"
    yield f"{report.path}: {new}{messages} ({effort})"
    if not report.listed and selective:
        yield "the server lists no stored completion that the options select"
    elif not report.listed:
        yield (
            "the server lists no stored completion: only those created with store=true are kept,"
            " for 30 days"
        )
    if report.changed:
        yield f"updated: {report.changed:,}"
    yield from _named("not visible yet; the next sync retries", report.pending)
    yield from _named("could not be read; the next sync retries", report.failed)
    yield from _named("changed while they were read; kept in part, and retried", report.lost)
    yield from _named("vanished before they could be read", report.gone)
    yield from _named("no longer on the server; kept here", report.missing)


def _named(meaning: str, ids: "Collection[str]") -> "Iterator[str]":
    if ids:
        shown = ", ".join(sorted(ids)[:SHOWN])
        more = (
            f" and {len(ids) - SHOWN:,} more (see: aiomessages status)" if len(ids) > SHOWN else ""
        )
        yield f"{meaning}: {len(ids):,}: {shown}{more}"
