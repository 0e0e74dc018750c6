"""The export itself: a source of completions, many fetched at once, written batch by batch.

Killed at any moment and run again, it goes on behind what the ledger has recorded.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sized
from contextlib import aclosing
from pathlib import Path
from typing import Final

import anyio
from msgspec import structs

from aiomessages.calls.rate_limit import Pace
from aiomessages.calls.refusals import Refusals
from aiomessages.calls.request import RetryDetails
from aiomessages.calls.retry import asks_all_to_wait
from aiomessages.client import AsyncMessagesClient, caller_of
from aiomessages.conversations import OnError, check_options
from aiomessages.errors import APIError, ConfigurationError, NotFoundError, RateLimitError
from aiomessages.observe.operation import Operation
from aiomessages.paging.caller import Caller
from aiomessages.paging.workers import Results
from aiomessages.wire.requests import check_completion_id, check_page_options

from .fetch import ConversationReader, Item, Outcome
from .files import Files
from .finetune import finetune_layout
from .large import LARGE, incomplete_lines
from .layouts import Fetched, Layout, Lines, SkipError, conversations_layout, messages_layout
from .ledger import REFUSED, Entry, Ledger
from .media import MediaStore
from .memory_budget import ROOM_BYTES, Place, Room
from .names import Names
from .output import PART_BYTES, Output, check_can_write
from .report import NAMED, ExportReport, Progress
from .source import Listed, Source, batches, selection_of
from .writer import Writer, to_its_end

LAYOUTS: Final[dict[str, Layout]] = {
    "messages": messages_layout,
    "conversations": conversations_layout,
    "finetune": finetune_layout,
}

# The longest Retry-After that is waited for. Beyond it, the run ends and says when to come back.
MAX_RETRY_AFTER: Final = 600.0

TELL_SECONDS: Final = 0.1


async def export(
    client: AsyncMessagesClient,
    source: Source,
    destination: str | Path,
    *,
    # what is written
    layout: str = "messages",
    include_reply: bool = True,
    media: str | Path | None = None,
    part_bytes: int = PART_BYTES,
    # how it is fetched
    limit: int | None = None,
    concurrency: int = 64,
    max_rps: float | None = None,
    on_error: OnError = "raise",
    refresh: bool = True,
    origin: str | None = None,
    # who is told, and what writes
    on_progress: Callable[[Progress], object] | None = None,
    files: Files | None = None,
) -> ExportReport:
    """Write the conversations of many completions to files, each exactly once.

    `source` is ids, an async iterable of ids, or `client.completions(...)`, which carries the
    replies already, or a CreatedBetween of these. The destination's ending says how: `.jsonl`,
    `.jsonl.gz`, `.jsonl.zst`, `.parquet`, `.duckdb`, or a directory of part files of about
    `part_bytes` each. `layout` is `messages` (a line a message), `conversations` (a line a
    completion) or `finetune`. With `media` the images, sounds and files that messages and replies
    hold become files of that directory, but for `finetune`, whose examples hold them themselves.

    A conversation enters the output whole or not at all. Killed at any moment and run again, the
    export goes on where it was. Run again when it is finished, it fetches what is new; a list of
    completions is listed again, unless `refresh` is false. A list that is narrowed down in another
    way than before is refused.

    `limit` is the size of a page, in messages; it is halved for pages that are too large for the
    server, for a gateway or for `max_response_bytes`. The rate that the server bears is found by
    itself; `max_rps` and `concurrency` bound it.

    A completion that does not exist any more (`gone`), is not visible yet (`pending`) or changed
    while it was read (`lost`) is named in the report and never ends the export. Any other that
    cannot be read ends it; with `on_error="continue"` it is named (`failed`), and the next run asks
    again. A refused key, a used-up quota, and a Retry-After of more than ten minutes end it in
    any case. `origin` is what to know the server by, if its base_url is another one at every run.

    Raises ConfigurationError, ExportError and APIError; NotFoundError where ids are given and none
    of them exists.
    """
    names, files = Names.of(destination), files or Files()
    store = None if media is None else MediaStore(Path(media), files=files)
    _check(layout, include_reply=include_reply, media=media)
    check_options(source, concurrency=concurrency, on_error=on_error)
    limit = check_page_options(after=None, limit=limit, order=None, max_items=None).limit
    check_can_write(names.destination)
    settings = {
        "layout": layout,
        "include_reply": include_reply,
        "media": None if media is None else str(media),
        "base_url": origin or client.base_url,
    }
    files.make_directory(names.destination.parent)
    with files.lock(names.lock), Ledger(names.ledger) as ledger:
        ledger.agree(settings, selection_of(source))
        output = Output(names.destination, ledger, files, part_bytes=part_bytes)
        await to_its_end(output.recover)
        caller = caller_of(client)
        operation = caller.operation("export")
        run = _Run(
            caller,
            operation,
            Pace(max_rps),
            ledger,
            output,
            layout=layout,
            include_reply=include_reply,
            media=store,
            limit=limit,
            on_error=on_error,
            on_progress=on_progress or (lambda _: None),
        )
        with operation:
            await run.run(source, concurrency, refresh=refresh)
        return run.report()


def _check(layout: object, *, include_reply: bool, media: object) -> None:
    if layout not in LAYOUTS:
        raise ConfigurationError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    if layout == "finetune" and not include_reply:
        raise ConfigurationError("a fine-tuning example ends with the reply: leave it included")
    if media is not None and (not str(media) or "\0" in str(media)):
        raise ConfigurationError(f"{str(media)!r} is no name of a directory for the media")
    if layout == "finetune" and media is not None:
        raise ConfigurationError("a fine-tuning example holds its images itself: leave media out")


class _Run:
    """One run of an export."""

    def __init__(
        self,
        caller: Caller,
        operation: Operation,
        pace: Pace,
        ledger: Ledger,
        output: Output,
        *,
        layout: str,
        include_reply: bool,
        media: MediaStore | None,
        limit: int | None,
        on_error: OnError,
        on_progress: Callable[[Progress], object],
    ) -> None:
        self._base_url = caller.base_url
        self._operation = operation
        self._ledger = ledger
        self._output = output
        self._layout = layout
        self._on_error = on_error
        self._on_progress = on_progress
        self._refusals = Refusals(MAX_RETRY_AFTER)
        self._gone: NotFoundError | None = None
        self._began = self._told = time.monotonic()
        self._removed = 0
        self._was_finished = ledger.finished
        self.progress = Progress()
        self._writer = Writer(output, self._committed)
        self._room = Room(ROOM_BYTES)
        # The pace is for this export, and for no other call of the client.
        paced = caller.paced(
            pace, max_retry_after=MAX_RETRY_AFTER, on_retry=self._retried, on_sent=self._sent
        )
        self._attempts = paced.attempts  # in whose queue lists are asked for as well
        self._reader = ConversationReader(
            paced,
            output.destination.parent,
            include_reply=include_reply,
            media=media,
            limit=limit,
            room=self._room,
            operation=operation,
        )

    async def run(self, source: Source, concurrency: int, *, refresh: bool) -> None:
        """Fetch and write what is not there yet, and finish."""
        self._tell(at_once=True)  # so that a wait before the first answer can be shown
        self.progress.total = len(source) if isinstance(source, Sized) else None
        self.progress.listed = (
            refresh or not self._ledger.finished or not isinstance(source, Listed)
        )
        items = self._items(source if self.progress.listed else ())
        try:
            async with Results(items, self._fetch, concurrency=concurrency) as done:
                async for _ in done:
                    self._tell()
        finally:
            with anyio.CancelScope(shield=True):
                await self._writer.flush()
        if self.progress.listed:
            self._removed = self._ledger.removed()
        self._refuse_wrong_address(source)
        await self._finish()
        self._tell(at_once=True)

    def _refuse_wrong_address(self, source: Source) -> None:
        """Raise NotFoundError where ids were given and the server knows none of them."""
        counts = self._ledger.counts()
        if self._gone is not None and counts.keys() == {"gone"} and not isinstance(source, Listed):
            number, _ = counts["gone"]
            raise NotFoundError(
                f"none of these exists at {self._base_url} ({number:,} tried): check base_url, and"
                " the project of the key",
                status=self._gone.status,
                headers=self._gone.headers,
                code=self._gone.code,
                type=self._gone.type,
                param=self._gone.param,
            )

    async def _finish(self) -> None:
        """Give the output its final name, unless something is to be tried again."""
        if self._ledger.to_be_tried_again():
            self._reopen()
        elif not self._ledger.finished:
            self.progress.writing_columns = bool(self._output.format.rows)
            self._tell(at_once=True)
            named: dict[str, list[str]] = {s: self._ledger.ids(s) for s in NAMED.values()}
            await to_its_end(self._output.finish, self._layout, named)
            self.progress.writing_columns = False

    def _reopen(self) -> None:
        if self._ledger.finished:
            self._ledger.reopen()

    # --- what is to be fetched --------------------------------------------------------------------

    async def _items(self, source: Source | tuple[()]) -> AsyncIterator[Item]:
        """Yield each completion that is not done, once; at last those that are still pending."""
        known = bool(self._ledger.counts())  # else there is nothing to look up
        async with aclosing(batches(source, self._attempts)) as listed:
            async for batch in listed:
                new = self._ledger.first_sights([named.completion_id for named in batch])
                entries = self._ledger.entries(new) if known else {}
                for completion_id, completion in batch:
                    if completion_id not in new:
                        continue
                    new.remove(completion_id)  # it may stand in the batch twice
                    entry = entries.get(completion_id)
                    if entry is not None and entry.state in ("done", "skipped"):
                        self.progress.already += 1
                        continue
                    yield Item(completion_id, entry, completion)
        for completion_id in self._ledger.unseen("pending"):
            yield Item(completion_id, Entry(completion_id, "pending"))

    async def _fetch(self, item: Item) -> None:
        """Write one completion, or what there is to say of it."""
        try:
            check_completion_id(item.completion_id)
        except ConfigurationError as error:
            if self._on_error == "raise" and not item.listed:
                raise ConfigurationError(f"{item.completion_id[:100]!r}: {error}") from None
            await self._note(item, Entry(item.completion_id, "failed", reason=REFUSED))
            return
        try:
            with Place(self._room) as place, await self._reader.read(item, place) as outcome:
                self._refusals.succeeded()
                await self._write(item, outcome)
        except APIError as error:
            if self._ends_run(error) or self._on_error == "raise":
                raise
            reason = type(error).__name__
            await self._note(item, Entry(item.completion_id, "failed", reason=reason))

    def _ends_run(self, error: APIError) -> bool:
        """Tell whether no other completion can be read either."""
        return self._refusals.ends_run(error) or isinstance(error, RateLimitError)

    async def _write(self, item: Item, outcome: Outcome) -> None:
        if outcome.state == "done":
            await self._write_whole(item, outcome)
            return
        entry = Entry(item.completion_id, outcome.state, messages=0)
        if isinstance(outcome.error, NotFoundError) and outcome.state == "gone":
            self._gone = outcome.error
        if outcome.state != "lost" or (item.known is not None and item.known.state == "lost"):
            await self._note(item, entry)  # what was read of it is kept already
            return
        self._count(entry)
        self._reopen()
        blocks = outcome.messages.blocks()
        await self._writer.add_large((), entry, incomplete_lines(item.completion_id, blocks))

    async def _write_whole(self, item: Item, outcome: Outcome) -> None:
        entry = Entry(item.completion_id, "done", messages=len(outcome.messages))
        try:
            lines = self._lines(item.completion_id, outcome)
        except SkipError as reason:
            await self._note(item, structs.replace(entry, state="skipped", reason=str(reason)))
            return
        self._count(entry)
        self.progress.messages += entry.messages
        self._reopen()
        if isinstance(lines, Lines):
            if lines.left_out:
                entry = structs.replace(entry, reason=", ".join(lines.left_out))
            await self._writer.add(lines, entry)
        else:
            await self._writer.add_large(lines, entry)

    def _lines(self, completion_id: str, outcome: Outcome) -> Lines | Iterator[Lines]:
        """Lay a conversation out; in pieces where it is large. Raises SkipError."""
        messages = outcome.messages
        if messages.spilled and self._layout in LARGE:
            return LARGE[self._layout](completion_id, messages.blocks(), outcome.completion)
        return LAYOUTS[self._layout](Fetched(completion_id, messages.read(), outcome.completion))

    async def _note(self, item: Item, entry: Entry) -> None:
        """Record what became of a completion that adds no lines; nothing where it is known.

        What was lost stays so until it is read whole: a part of it is kept aside.
        """
        was_lost = item.known is not None and item.known.state == "lost"
        if item.known is not None and was_lost and entry.state != "skipped":
            entry = item.known
        self._count(entry)
        if entry != item.known:
            self._reopen()
            await self._writer.add(Lines(), entry)

    # --- what is told -----------------------------------------------------------------------------

    def _count(self, entry: Entry) -> None:
        name = "completions" if entry.state == "done" else entry.state
        setattr(self.progress, name, getattr(self.progress, name) + 1)

    def _sent(self) -> None:
        self.progress.requests += 1

    def _retried(self, details: RetryDetails) -> None:
        self.progress.retries += 1
        self._operation.retried()
        if asks_all_to_wait(details.error):
            self.progress.paused_until = time.monotonic() + details.delay

    def _committed(self, size: int) -> None:
        self.progress.bytes += size

    def _tell(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._told >= TELL_SECONDS:
            self._told = now
            self.progress.seconds = now - self._began
            self._on_progress(self.progress)

    def report(self) -> ExportReport:
        """Return what the export came to."""
        finished = self._ledger.finished
        return ExportReport(
            destination=self._output.destination,
            layout=self._layout,
            progress=self.progress,
            finished=finished,
            rows=self._output.rows,
            sha256=self._output.manifest() if finished else {},
            skipped=self._ledger.reasons("skipped"),
            failed=self._ledger.reasons("failed"),
            removed=self._removed,
            was_finished=self._was_finished,
            **{name: self._ledger.ids(state) for name, state in NAMED.items()},
        )
