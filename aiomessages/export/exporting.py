"""The function `export`, and its twin without files: check arguments, and open one run."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiomessages.calls.rate_limit import Pace
from aiomessages.client import AsyncMessagesClient, caller_of
from aiomessages.conversations import OnError, check_options
from aiomessages.errors import ConfigurationError
from aiomessages.wire.requests import check_page_options

from .conversation_reader import ConversationReader
from .files import Files
from .formats import FORMATS
from .layouts import EXAMPLES, LAYOUTS, version_of
from .ledger import Ledger
from .leftovers import none_left
from .line_output import LineOutput
from .media import MediaStore
from .memory_budget import BUDGET_BYTES, MemoryBudget
from .names import Names
from .output import PART_BYTES, Output, check_can_write, ending_of
from .report import ExportReport, Progress, ProgressTracker
from .run import MAX_RETRY_AFTER, Run
from .source import Source, selection_of
from .writer import run_to_end


async def export(
    client: AsyncMessagesClient,
    source: Source,
    destination: str | Path,
    *,
    # the output
    layout: str = "messages",
    include_reply: bool = True,
    media: str | Path | None = None,
    part_bytes: int = PART_BYTES,
    # the requests
    limit: int | None = None,
    concurrency: int = 64,
    max_rps: float | None = None,
    on_error: OnError = "raise",
    refresh: bool = True,
    origin: str | None = None,
    # the surroundings
    on_progress: Callable[[Progress], object] | None = None,
    files: Files | None = None,
) -> ExportReport:
    """Write the conversations of many completions to files, each exactly once.

    An interrupted export continues when the same call is made again. After a finished one, the same
    call adds new completions. A conversation enters the output whole or not at all.

    The arguments:

    - `client`: the client that sends the requests.
    - `source`: ids, as an iterable or an async iterable; `client.completions(...)`, which carries
      the replies; or a CreatedBetween. A selection other than in earlier runs is refused.
    - `destination`: a path that ends with `.jsonl`, `.jsonl.gz`, `.jsonl.zst`, `.parquet` or
      `.duckdb`, or a directory for part files.
    - `layout`: `messages` (one line per message), `conversations` (one line per completion),
      `finetune` (one line per reply, in OpenAI's own format for fine-tuning) or `chat` (one line
      per reply, as TRL, Axolotl and the chat templates of Hugging Face read it).
    - `include_reply`: whether to export the replies. Ids cost one more request each; without it
      their lines have no model and no time.
    - `media`: a directory for the images, sounds and files that messages and replies hold as
      base64; not for `finetune` and `chat`, whose lines hold their images.
    - `part_bytes`: the bytes after which a part file of a directory is complete (256 MiB).
    - `limit`: messages per page (the server's default). Pages that are too large for the server, a
      gateway or `max_response_bytes` are requested again with half of it.
    - `concurrency`: the largest number of conversations to fetch at once.
    - `max_rps`: the largest number of requests per second. Without it the rate adapts to the
      server's limit.
    - `on_error`: `raise` ends the run with the first completion that cannot be read; `continue`
      records it as `failed`, and the next run tries it again. A refused key, a used-up quota and a
      Retry-After of more than ten minutes end the run in any case.
    - `refresh`: whether to list a finished list again.
    - `origin`: the identity of the server in the ledger, for a base_url that differs in each run.
    - `on_progress`: a function to call with the Progress, at most ten times a second.
    - `files`: the file operations to use.

    Returns an ExportReport. It names the completions that do not exist any more (`gone`), are not
    visible yet (`pending`), changed while they were read (`lost`) or could not be read (`failed`).

    Raises ConfigurationError for arguments that cannot be used; ExportError if the output cannot be
    written or belongs to another export; APIError if a completion could not be read; NotFoundError
    if ids are given and the server knows none of them.
    """
    names, files = Names.of(destination), files or Files()
    store = None if media is None else MediaStore(Path(media), files=files)
    check_layout(layout, include_reply=include_reply, media=media)
    check_options(source, concurrency=concurrency, on_error=on_error)
    limit = check_page_options(after=None, limit=limit, order=None, max_items=None).limit
    check_can_write(names.destination)
    settings = settings_of(client, names, layout, media, origin, include_reply=include_reply)
    files.make_directory(names.destination.parent)
    with files.lock(names.lock), none_left(names), Ledger(names.ledger) as ledger:
        ledger.agree(settings, selection_of(source))
        output = Output(names.destination, ledger, files, part_bytes=part_bytes)
        await run_to_end(output.recover)
        return await _run(
            client,
            source,
            output,
            ledger,
            store=store,
            folder=output.destination.parent,
            layout=layout,
            include_reply=include_reply,
            limit=limit,
            concurrency=concurrency,
            max_rps=max_rps,
            on_error=on_error,
            refresh=refresh,
            on_progress=on_progress,
        )


async def export_lines(
    client: AsyncMessagesClient,
    source: Source,
    write: Callable[[bytes], object],
    *,
    layout: str = "messages",
    include_reply: bool = True,
    media: str | Path | None = None,
    limit: int | None = None,
    concurrency: int = 64,
    max_rps: float | None = None,
    on_error: OnError = "raise",
) -> ExportReport:
    """Hand the lines of an export to a function, which a thread calls; keep no record of them.

    The arguments and errors are those of `export`. There is no destination that another run could
    continue: each run begins at the start.
    """
    store = None if media is None else MediaStore(Path(media), files=Files())
    check_layout(layout, include_reply=include_reply, media=media)
    check_options(source, concurrency=concurrency, on_error=on_error)
    limit = check_page_options(after=None, limit=limit, order=None, max_items=None).limit
    with (
        tempfile.TemporaryDirectory(prefix="aiomessages-") as folder,
        Ledger(Path(folder, "ledger")) as ledger,
    ):
        return await _run(
            client,
            source,
            LineOutput(write, ledger),
            ledger,
            store=store,
            folder=Path(folder),
            layout=layout,
            include_reply=include_reply,
            limit=limit,
            concurrency=concurrency,
            max_rps=max_rps,
            on_error=on_error,
            refresh=True,
            on_progress=None,
        )


async def _run(
    client: AsyncMessagesClient,
    source: Source,
    output: Output | LineOutput,
    ledger: Ledger,
    *,
    store: MediaStore | None,
    folder: Path,
    layout: str,
    include_reply: bool,
    limit: int | None,
    concurrency: int,
    max_rps: float | None,
    on_error: OnError,
    refresh: bool,
    on_progress: Callable[[Progress], object] | None,
) -> ExportReport:
    caller = caller_of(client)
    operation = caller.operation("export")
    tracker = ProgressTracker(on_progress, operation)
    # The pace is for this export, and for no other call of the client.
    paced = caller.paced(
        Pace(max_rps),
        max_retry_after=MAX_RETRY_AFTER,
        on_retry=tracker.retried,
        on_sent=tracker.sent,
    )
    budget = MemoryBudget(BUDGET_BYTES)
    reader = ConversationReader(paced, folder, include_reply, store, limit, budget, operation)
    run = Run(paced, reader, ledger, output, tracker, layout, on_error)
    with operation:
        await run.run(source, concurrency, refresh=refresh)
    return run.report()


def settings_of(
    client: AsyncMessagesClient,
    names: Names,
    layout: str,
    media: str | Path | None,
    origin: str | None,
    *,
    include_reply: bool,
) -> dict[str, Any]:
    """Return the options that stay the same in all runs of one destination."""
    columns = bool(FORMATS[ending_of(names.destination) or ".jsonl"].rows)
    return {
        "layout": layout,
        "layout_version": version_of(layout, columns=columns),
        "include_reply": include_reply,
        "media": None if media is None else str(media),
        "base_url": origin or client.base_url,
    }


def check_layout(layout: object, *, include_reply: bool, media: object) -> None:
    """Raise ConfigurationError for a layout that does not exist, or without what it needs."""
    if layout not in LAYOUTS:
        raise ConfigurationError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    if layout in EXAMPLES and not include_reply:
        raise ConfigurationError(
            f"a line of {layout!r} ends with the reply", hint="include replies"
        )
    if media is not None and (not str(media) or "\0" in str(media)):
        raise ConfigurationError(f"{str(media)!r} cannot name a directory for the media")
    if layout in EXAMPLES and media is not None:
        raise ConfigurationError(f"a line of {layout!r} holds its images", hint="omit media")
