"""The export itself: a source of completions, many fetched at once, written batch by batch.

Killed at any moment and run again, it goes on behind what the ledger has recorded.
"""

import time
from collections.abc import AsyncIterator, Callable, Sized
from pathlib import Path
from typing import Final

import anyio
import msgspec
from msgspec import structs

from aiomessages.attempts import RetryDetails
from aiomessages.client import AsyncMessagesClient
from aiomessages.conversations import OnError, check_options
from aiomessages.decoding import RAW
from aiomessages.errors import APIError, ConfigurationError, NotFoundError
from aiomessages.pace import Pace
from aiomessages.pages import RawPage
from aiomessages.telemetry import Watch
from aiomessages.trail import OneByOne
from aiomessages.workers import Results

from .files import Files
from .finetune import finetune_layout
from .layouts import (
    Fetched,
    Layout,
    Lines,
    SkipError,
    conversations_layout,
    messages_layout,
    one_line,
)
from .ledger import Entry, Ledger
from .media import MediaStore
from .names import Names
from .output import PART_BYTES, Output, check_can_write
from .report import ExportReport, Progress
from .room import ROOM_BYTES, Place, Room
from .source import Listed, Source, batches
from .writer import Writer, to_its_end

LAYOUTS: Final[dict[str, Layout]] = {
    "messages": messages_layout,
    "conversations": conversations_layout,
    "finetune": finetune_layout,
}
# Layouts in which a conversation is committed page by page, so that it need not be held whole, nor
# be begun anew.
STRETCHING: Final = frozenset({"messages"})

TELL_SECONDS: Final = 0.1


class _Item(msgspec.Struct):
    """A completion to fetch: where to go on, and its JSON if it was listed with it."""

    completion_id: str
    entry: Entry
    completion: bytes | None = None


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
    concurrency: int = 64,
    max_rps: float | None = None,
    on_error: OnError = "raise",
    refresh: bool = False,
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

    Killed at any moment and run again, it goes on where it was. Run again when it is finished, it
    fetches ids that are new; a list of completions is only asked for again with `refresh`. The rate
    that the server bears is found by itself; `max_rps` and `concurrency` bound it. With
    `on_error="continue"` a completion that cannot be read is tried again by the next run. `origin`
    is what to know the server by, if its base_url is another one at every run.

    Raises ConfigurationError, ExportError and, with on_error="raise", APIError.
    """
    names, files = Names.of(destination), files or Files()
    target = names.destination
    _check(layout, include_reply=include_reply, media=media)
    check_options(source, concurrency=concurrency, on_error=on_error)
    check_can_write(target)
    settings = {
        "layout": layout,
        "include_reply": include_reply,
        "media": None if media is None else str(media),
        "base_url": origin or client.base_url,
    }
    files.make_directory(target.parent)
    with (
        files.lock(names.lock),
        Ledger(names.ledger) as ledger,
    ):
        ledger.agree(settings)
        output = Output(target, ledger, files, part_bytes=part_bytes)
        await to_its_end(output.recover)
        watch = client._watch("export")  # noqa: SLF001 as the pace
        run = _Run(
            client,
            watch,
            Pace(max_rps),
            ledger,
            output,
            layout=layout,
            include_reply=include_reply,
            media=None if media is None else MediaStore(Path(media), files=files),
            on_error=on_error,
            on_progress=on_progress or (lambda _: None),
        )
        if not ledger.finished or refresh or not isinstance(source, Listed):
            with watch.whole():
                await run.run(source, concurrency)
        return run.report()


def _check(layout: object, *, include_reply: bool, media: object) -> None:
    if layout not in LAYOUTS:
        raise ConfigurationError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    if layout == "finetune" and not include_reply:
        raise ConfigurationError("a fine-tuning example ends with the reply: leave it included")
    if layout == "finetune" and media is not None:
        raise ConfigurationError("a fine-tuning example holds its images itself: leave media out")


class _Run:
    """One run of an export."""

    def __init__(
        self,
        client: AsyncMessagesClient,
        watch: Watch,
        pace: Pace,
        ledger: Ledger,
        output: Output,
        *,
        layout: str,
        include_reply: bool,
        media: MediaStore | None,
        on_error: OnError,
        on_progress: Callable[[Progress], object],
    ) -> None:
        # The pace is the client's to keep, for this export and for no other call.
        self._client = client.with_options(on_retry=self._retried)._paced(pace)  # noqa: SLF001
        self._watch = watch
        self._ledger = ledger
        self._output = output
        self._layout_name = layout
        self._layout = LAYOUTS[layout]
        self._include_reply = include_reply
        self._media = media
        self._on_error = on_error
        self._on_progress = on_progress
        self._began = self._told = time.monotonic()
        self._removed = 0
        self.progress = Progress()
        self._writer = Writer(output, self._committed)
        self._room = Room(ROOM_BYTES)

    async def run(self, source: Source, concurrency: int) -> None:
        """Fetch and write what is not there yet, and finish."""
        self.progress.total = len(source) if isinstance(source, Sized) else None
        try:
            async with Results(self._items(source), self._fetch, concurrency=concurrency) as done:
                async for _ in done:
                    self._tell()
        finally:
            with anyio.CancelScope(shield=True):
                await self._writer.flush()
        self._removed = self._ledger.removed()
        if not self._ledger.finished and not self._to_be_tried_again():
            await self._finish()
        self._tell(at_once=True)

    async def _finish(self) -> None:
        self.progress.writing_columns = bool(self._output.format.rows)
        self._tell(at_once=True)
        await to_its_end(self._output.finish, self._layout_name)
        self.progress.writing_columns = False

    # --- what is to be fetched --------------------------------------------------------------------

    async def _items(self, source: Source) -> AsyncIterator[_Item]:
        """Yield each completion that is not done, once."""
        known = bool(self._ledger.counts())  # else there is nothing to look up
        async for batch in batches(source):
            new = self._ledger.first_sights([named.completion_id for named in batch])
            entries = self._ledger.entries(new) if known else {}
            for completion_id, completion in batch:
                if completion_id not in new:
                    continue
                new.remove(completion_id)  # it may stand in the batch twice
                entry = entries.get(completion_id) or Entry(completion_id, "partial")
                if entry.state in ("done", "skipped"):
                    self.progress.already += 1
                    continue
                if self._ledger.finished:
                    self._ledger.reopen()
                yield _Item(completion_id, entry, completion)

    async def _fetch(self, item: _Item) -> None:
        """Write one completion, or what there is to say of it."""
        try:
            await self._write(item)
            self.progress.completions += 1
        except SkipError as reason:
            self.progress.skipped += 1
            skipped = Entry(item.completion_id, "skipped", reason=str(reason))
            await self._writer.add(Lines(), skipped)
        except (APIError, ConfigurationError) as error:
            if self._on_error == "raise":
                raise
            self.progress.failed += 1
            failed = structs.replace(item.entry, state="failed", reason=type(error).__name__)
            await self._writer.add(Lines(), failed)

    async def _write(self, item: _Item) -> None:
        completion = await self._completion(item)
        if completion is not None and self._media is not None:
            (completion,) = await _without_blobs([completion], self._media)
        messages: list[bytes] = []
        with Place(self._room) as place:
            with self._pages(item) as pages:
                while cursor := await self._read(pages, place, messages):
                    if self._layout_name in STRETCHING:
                        await self._add(item, messages, cursor=cursor)
                        messages.clear()
                        place.empty()
            await self._add(item, messages, completion=completion, cursor=None)

    async def _read(
        self, pages: OneByOne[RawPage], place: Place, messages: list[bytes]
    ) -> str | None:
        """Add the next page's messages, and return the cursor of the page behind it."""
        await place.expect()
        page = await anext(pages)
        self.progress.requests += 1
        self._watch.page(len(page.ids))
        place.fill(len(page.body))
        messages += await self._messages(page)
        return page.next_cursor

    def _pages(self, item: _Item) -> OneByOne[RawPage]:
        # Nothing ahead of its need: others are fetched meanwhile, and a page takes its room.
        return self._client._one_by_one(  # noqa: SLF001 as above
            item.completion_id, RAW, after=item.entry.cursor
        )

    async def _completion(self, item: _Item) -> bytes | None:
        if not self._include_reply or item.completion is not None:
            return item.completion if self._include_reply else None
        body = await self._client.raw_completion(item.completion_id)
        self.progress.requests += 1
        return one_line(body)

    async def _messages(self, page: RawPage) -> list[bytes]:
        lines = page.data if b"\n" not in page.body else [one_line(item) for item in page.data]
        return lines if self._media is None else await _without_blobs(lines, self._media)

    async def _add(
        self,
        item: _Item,
        messages: list[bytes],
        *,
        cursor: str | None,
        completion: bytes | None = None,
    ) -> None:
        """Hand over the next lines of a completion; without a cursor, its last ones."""
        first = item.entry.messages
        fetched = Fetched(
            item.completion_id, messages, completion, first=first, whole=cursor is None
        )
        item.entry = Entry(
            item.completion_id,
            "partial" if cursor else "done",
            messages=first + len(messages),
            cursor=cursor,
        )
        await self._writer.add(self._layout(fetched), item.entry)
        self.progress.messages += len(messages)

    # --- what is told -----------------------------------------------------------------------------

    def _retried(self, _: RetryDetails) -> None:
        self.progress.requests += 1
        self.progress.retries += 1
        self._watch.retried()

    def _committed(self, size: int) -> None:
        self.progress.bytes += size

    def _tell(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._told >= TELL_SECONDS:
            self._told = now
            self.progress.seconds = now - self._began
            self._on_progress(self.progress)

    def _to_be_tried_again(self) -> bool:
        """Tell whether something failed that might not the next time: what is gone stays gone."""
        return bool(self._ledger.reasons("failed").keys() - {NotFoundError.__name__})

    def report(self) -> ExportReport:
        """Return what the export came to."""
        finished = self._ledger.finished
        return ExportReport(
            destination=self._output.destination,
            layout=self._layout_name,
            progress=self.progress,
            finished=finished,
            rows=self._output.rows,
            sha256=self._output.manifest() if finished else {},
            skipped=self._ledger.reasons("skipped"),
            failed=self._ledger.reasons("failed"),
            removed=self._removed,
        )


async def _without_blobs(items: list[bytes], media: MediaStore) -> list[bytes]:
    return await to_its_end(lambda: [*map(media.extract, items)])
