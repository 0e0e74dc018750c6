"""One run of an export: it takes completions from a source, fetches many at once, and writes them.

A run after a kill continues from the record in the ledger.
"""

from collections.abc import AsyncIterator, Sized
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from aiomessages.calls.refusals import Refusals
from aiomessages.conversations import OnError
from aiomessages.errors import APIError, ConfigurationError, NotFoundError, RateLimitError
from aiomessages.paging.caller import Caller
from aiomessages.paging.workers import Results
from aiomessages.wire.requests import check_completion_id

from .conversation_reader import ConversationReader, Item, Outcome
from .layouts import incomplete_lines, lay_out
from .ledger import Ledger
from .ledger_schema import REFUSED, Entry, count_states, describe_missing
from .line_output import PROMPT, LineOutput
from .memory_budget import Reservation
from .output import Output
from .report import ExportReport, ProgressTracker
from .source import ListedSource, Source, batches
from .stored import Fetched, Lines, SkipError
from .writer import BATCH_SECONDS, Writer, run_to_end

# The longest Retry-After, in seconds, to wait for. A longer one ends the run with its error.
MAX_RETRY_AFTER: Final = 600.0


@dataclass
class Run:
    """One run of an export."""

    caller: Caller
    reader: ConversationReader
    ledger: Ledger
    output: Output | LineOutput
    tracker: ProgressTracker
    layout: str
    on_error: OnError

    def __post_init__(self) -> None:
        self._progress = self.tracker.progress
        self._refusals = Refusals(MAX_RETRY_AFTER)
        self._gone: NotFoundError | None = None
        self._removed = 0
        self._was_finished = self.ledger.finished
        seconds = PROMPT if isinstance(self.output, LineOutput) else BATCH_SECONDS
        self._writer = Writer(self.output, self.tracker.committed, seconds=seconds)

    async def run(self, source: Source, concurrency: int, *, refresh: bool) -> None:
        """Fetch and write the completions that are not in the output, and finish it."""
        progress = self._progress
        self.tracker.report(at_once=True)  # a wait before the first answer can be shown
        progress.total = len(source) if isinstance(source, Sized) else None
        progress.listed = (
            refresh or not self.ledger.finished or not isinstance(source, ListedSource)
        )
        if not self._was_finished:  # a run that finds nothing new changes no file
            self.ledger.begin_run(progress.total)
        items = self._items(source if progress.listed else ())
        async with self._writer, Results(items, self._fetch, concurrency=concurrency) as done:
            async for _ in done:
                self.tracker.report()
        if progress.listed:
            self._removed = self.ledger.removed()
        self._refuse_wrong_address(source)
        await self._finish()
        self.tracker.report(at_once=True)

    def _refuse_wrong_address(self, source: Source) -> None:
        """Raise NotFoundError if ids were given and the server knows none of them."""
        if self._gone is None or isinstance(source, ListedSource):
            return
        counts = self.ledger.query(count_states)
        if counts.keys() == {"gone"}:
            error = NotFoundError(
                f"none of the ids exists at {self.caller.base_url} ({counts['gone'][0]:,} tried)",
                status=self._gone.status,
                headers=self._gone.headers,
                code=self._gone.code,
                type=self._gone.type,
                param=self._gone.param,
            )
            error.hint = "Check base_url, and the project of the key."
            raise error

    async def _finish(self) -> None:
        """Give the output its final name, unless a completion is to be tried again."""
        if self.ledger.to_be_tried_again():
            self.ledger.reopen()
        elif not self.ledger.finished:
            self._progress.writing_columns = bool(self.output.format.rows)
            self.tracker.report(at_once=True)
            named = self.ledger.query(describe_missing)
            await run_to_end(self.output.finish, self.layout, named)
            self._progress.writing_columns = False

    # --- fetching ---------------------------------------------------------------------------------

    async def _items(self, source: Source | tuple[()]) -> AsyncIterator[Item]:
        """Yield each completion that is not done, once; then the pending ones of earlier runs."""
        known = bool(self.ledger.query(count_states))  # an empty ledger needs no look-up
        async with aclosing(batches(source, self.caller.attempts)) as listed:
            async for batch in listed:
                new = self.ledger.first_sights([named.completion_id for named in batch])
                entries = self.ledger.entries(new) if known else {}
                for completion_id, completion in batch:
                    if completion_id not in new:
                        continue
                    new.remove(completion_id)  # a batch may hold it twice
                    entry = entries.get(completion_id)
                    if entry is not None and entry.state in ("done", "skipped"):
                        self._progress.already += 1
                        continue
                    yield Item(completion_id, entry, completion)
        for completion_id in self.ledger.unseen("pending"):
            yield Item(completion_id, Entry(completion_id, "pending"))

    async def _fetch(self, item: Item) -> None:
        """Fetch one completion, and write its lines or record its state."""
        try:
            check_completion_id(item.completion_id)
        except ConfigurationError as error:
            if self.on_error == "raise" and not item.listed:
                raise ConfigurationError(f"{item.completion_id[:100]!r}: {error}") from None
            await self._record(item, Entry(item.completion_id, "failed", reason=REFUSED))
            return
        try:
            with (
                Reservation(self.reader.budget) as held,
                closing(await self.reader.read(item, held)) as outcome,
            ):
                self._refusals.succeeded()
                await self._write(item, outcome)
        except APIError as error:
            # After a refusal, or a quota that is used up, no other completion can be read either.
            is_last = self._refusals.ends_run(error) or isinstance(error, RateLimitError)
            if is_last or self.on_error == "raise":
                raise
            reason = type(error).__name__
            await self._record(item, Entry(item.completion_id, "failed", reason=reason))

    # --- writing ----------------------------------------------------------------------------------

    async def _write(self, item: Item, outcome: Outcome) -> None:
        if outcome.state == "done":
            await self._write_whole(item, outcome)
            return
        entry = Entry(item.completion_id, outcome.state, messages=0)
        if isinstance(outcome.error, NotFoundError) and outcome.state == "gone":
            self._gone = outcome.error
        if outcome.state != "lost" or item.was_lost:
            await self._record(item, entry)  # an earlier run has kept a part of a lost one
            return
        blocks, completion = outcome.messages.blocks(), outcome.completion or item.completion
        incomplete = incomplete_lines(item.completion_id, blocks, completion)
        self.tracker.count(entry)
        self.ledger.reopen()
        await self._writer.add_large((), entry, incomplete)

    async def _write_whole(self, item: Item, outcome: Outcome) -> None:
        entry = Entry(item.completion_id, "done", messages=len(outcome.messages))
        try:
            lines = lay_out(
                self.layout,
                Fetched(
                    item.completion_id,
                    outcome.messages.blocks(),
                    outcome.completion,
                    item.completion,
                ),
                columns=bool(self.output.format.rows),
                whole=not outcome.messages.spilled,
            )
        except SkipError as reason:
            await self._record(item, structs.replace(entry, state="skipped", reason=str(reason)))
            return
        self.tracker.count(entry)
        self.ledger.reopen()
        if isinstance(lines, Lines):
            if lines.left_out:
                entry = structs.replace(entry, reason=", ".join(lines.left_out))
            await self._writer.add(lines, entry)
        else:
            await self._writer.add_large(lines, entry)

    async def _record(self, item: Item, entry: Entry) -> None:
        """Record the state of a completion without lines, if it has changed.

        A lost one stays lost until it is read whole: the output has kept a part of it.
        """
        if item.known is not None and item.was_lost and entry.state != "skipped":
            entry = item.known
        self.tracker.count(entry)
        if entry != item.known:
            self.ledger.reopen()
            await self._writer.add(Lines(), entry)

    def report(self) -> ExportReport:
        """Return the report of the export."""
        finished = self.ledger.finished
        files = self.output.manifest() if finished else {}
        return ExportReport(
            destination=self.output.destination,
            layout=self.layout,
            progress=self._progress,
            finished=finished,
            rows=self.output.rows,
            sha256={name: file.sha256 for name, file in files.items()},
            removed=self._removed,
            was_finished=self._was_finished,
            **self.ledger.query(describe_missing),
        )
