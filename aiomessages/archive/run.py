"""One run of a sync: what it reads, what it keeps, and what it records about the rest.

Longer than 300 lines, so that the whole way of a completion through a run is in one class.
"""

import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from aiomessages.calls.refusals import Refusals
from aiomessages.errors import APIError, ConfigurationError, NotFoundError, RateLimitError
from aiomessages.export.conversation_reader import ConversationReader, Item, Outcome
from aiomessages.export.created_between import MARGIN, created_of
from aiomessages.export.ledger_schema import REFUSED, Entry, State
from aiomessages.export.memory_budget import Reservation
from aiomessages.export.report import ProgressTracker
from aiomessages.export.writer import run_to_end
from aiomessages.paging.workers import Results
from aiomessages.values.json_lines import on_one_line
from aiomessages.wire.requests import check_completion_id

from . import changes
from .discovery import Discovery, Pages
from .errors import ArchiveError, sqlite_errors
from .listing import Listed, Place
from .report import SyncReport
from .sync_selection import Selection
from .writer import Change, Writer

# The longest Retry-After, in seconds, to wait for. A longer one ends the run with its error.
MAX_RETRY_AFTER: Final = 600.0


Missing = tuple[str, float | None]  # a completion that was not listed, and when it was created


class Work(NamedTuple):
    """A completion to read, and its place in the list, if it was listed."""

    item: Item
    place: Place | None = None


class Sync:
    """One run of a sync."""

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        reader: ConversationReader,
        discovery: Discovery,
        tracker: ProgressTracker,
        selection: Selection,
    ) -> None:
        self._db = db
        self._reader = reader
        self._discovery = discovery
        self._tracker = tracker
        self._selection = selection
        self._refusals = Refusals(MAX_RETRY_AFTER)
        self._report = SyncReport(path)
        self._writer = Writer(db, str(path), self._move_anchor)
        self._waiting = changes.waiting(db)
        self._since = dict(self._waiting)
        self._reading = set[str]()  # listed, and neither kept nor recorded yet
        self._list_error: APIError | None = None
        self._began, self._started = discovery.now(), time.monotonic()
        self._run = changes.begin_run(db, selection, self._began, recheck=discovery.recheck)

    async def run(self, concurrency: int) -> SyncReport:
        """Bring the archive up to date, and return the report."""
        result = "interrupted"
        self._tracker.report(at_once=True)
        try:
            async with Results(self._work(), self._read, concurrency=concurrency) as done:
                async for _ in done:
                    self._tracker.report()
            self._raise_list_error()
            if self._discovery.recheck:
                await self._judge_missing(concurrency)
            result = "complete"
        except Exception as error:
            result = type(error).__name__
            raise
        finally:
            try:
                await self._writer.close()
            finally:
                self._record_end(result)
        self._tracker.report(at_once=True)
        return self._report

    def _record_end(self, result: str) -> None:
        try:
            with sqlite_errors(self._report.path):
                self._end(result)
        except ArchiveError:
            if result == "complete":
                raise  # else the first error is the one to report

    def _end(self, result: str) -> None:
        progress, report = self._tracker.progress, self._report
        report.requests, report.seconds = progress.requests, time.monotonic() - self._started
        report.pending = [*changes.errors_of_waiting(self._db, "pending")]
        report.failed = changes.errors_of_waiting(self._db, "failed")
        changes.end_run(
            self._db,
            number=self._run,
            now=self._began + report.seconds,  # the clock of the server stands still
            result=result,
            report=report,
            refused=self._tracker.refused,
            anchor=self._discovery.final_anchor() if result == "complete" else None,
        )

    def _move_anchor(self) -> Change | None:
        anchor = self._discovery.moved_anchor()
        if anchor is None:
            return None
        return partial(changes.set_anchor, number=self._run, anchor=anchor)

    # --- what to read -----------------------------------------------------------------------------

    async def _work(self) -> AsyncIterator[Work]:
        """Yield each completion to read: those listed, and then those that wait from before.

        A page that cannot be read ends the list, and no reading: else a list that always fails at
        the same page would keep all others out of the archive. Those behind it are read from the
        head, newest first.
        """
        async with aclosing(self._listed(self._discovery.pages())) as listed:
            async for work in listed:
                yield work
        if self._list_error is not None and not self._discovery.recheck:
            async with aclosing(self._listed(self._discovery.pages_from_the_head())) as listed:
                async for work in listed:
                    yield work
        if not self._report.listed:
            self._raise_list_error()
        for completion_id in self._waiting:
            yield Work(Item(completion_id))

    async def _listed(self, pages: Pages) -> AsyncGenerator[Work, None]:
        """Yield each completion of a list to read; keep the error of a page that cannot be read."""
        try:
            async with aclosing(pages):
                async for page in pages:
                    for work in await self._unknown(page):
                        yield work
        except APIError as error:
            self._raise_if_of_all(error)
            self._list_error = self._list_error or error

    async def _unknown(self, page: list[tuple[Listed, Place]]) -> list[Work]:
        """Record the completions of a page that the archive has; return the others."""
        known = await run_to_end(changes.look_up, self._discovery.db, [item for item, _ in page])
        self._report.listed += len(page)
        same, changed, read, unknown = list[str](), list[bytes](), list[str](), list[Work]()
        for item, place in page:
            completion_id, verdict = item.completion_id, known.get(item.completion_id)
            if not self._selection.includes(item):
                place.finish()
                continue
            waited = self._waiting.pop(completion_id, None) is not None
            if verdict is None and completion_id not in self._reading:
                self._reading.add(completion_id)
                unknown.append(Work(Item(completion_id, completion=item.body), place))
                continue
            place.finish()  # one that is being read has an earlier place, which is not finished
            if verdict is None:
                continue
            self._tracker.progress.already += 1
            if waited:
                read.append(completion_id)
            if verdict == "same":
                same.append(completion_id)
            else:
                changed.append(item.body)
        if same or changed:
            now = self._discovery.now()
            see = partial(changes.see, ids=same, bodies=changed, read=read, now=now)
            await self._writer.write(see)
            self._report.changed += len(changed)
        return unknown

    def _raise_list_error(self) -> None:
        if self._list_error is not None:
            raise self._list_error

    # --- reading ----------------------------------------------------------------------------------

    async def _read(self, work: Work) -> None:
        """Read one conversation and keep it, or record it as waiting."""
        item = work.item
        try:
            check_completion_id(item.completion_id)
        except ConfigurationError:  # a listed id that no request can hold
            await self._refuse(work)
            self._reading.discard(item.completion_id)
            return
        try:
            with (
                Reservation(self._reader.budget) as held,
                closing(await self._reader.read(item, held)) as outcome,
            ):
                self._refusals.succeeded()
                await self._keep(work, outcome)
        except APIError as error:
            self._raise_if_of_all(error)
            await self._wait(work, "failed", f"{type(error).__name__}: {error}")
        finally:
            self._reading.discard(item.completion_id)

    def _raise_if_of_all(self, error: APIError) -> None:
        """Raise the error of one completion if all others would meet it as well."""
        if self._refusals.ends_run(error) or isinstance(error, RateLimitError):
            raise error

    async def _refuse(self, work: Work) -> None:
        """Let a completion wait that cannot be requested, until the server must have deleted it."""
        since = self._since.get(work.item.completion_id)
        if work.place is None and changes.is_expired(since, self._discovery.now()):
            await self._forget(work)
        else:
            await self._wait(work, "failed", REFUSED)

    async def _keep(self, work: Work, outcome: Outcome) -> None:
        if outcome.state == "pending" or self._is_invisible(outcome):
            await self._wait_until_visible(work, outcome)
        elif outcome.state == "gone":
            await self._forget(work)
        else:
            await self._store(work, outcome)

    def _is_invisible(self, outcome: Outcome) -> bool:
        """Return whether the server has the completion, and not its messages."""
        if outcome.state == "gone":
            return outcome.completion is not None
        return outcome.state == "done" and not len(outcome.messages)

    async def _wait_until_visible(self, work: Work, outcome: Outcome) -> None:
        """Let a completion wait that is young: its messages become visible after it.

        Later, a list without messages is what the server has, and "not found" is a failure.
        """
        now, waits = self._discovery.now(), self._since.get(work.item.completion_id)
        created = created_of(outcome.completion or b"")  # which may be in the future
        known = [time for time in (created, waits) if time is not None]
        error = "no message is listed" if outcome.error is None else str(outcome.error)
        if min(known, default=now) > now - MARGIN:
            self._tracker.count(Entry(work.item.completion_id, "pending"))
            await self._wait(work, "pending", error)
        elif outcome.error is None:
            await self._store(work, outcome)
        else:
            await self._wait(work, "failed", f"{type(outcome.error).__name__}: {error}")

    async def _forget(self, work: Work) -> None:
        completion_id = work.item.completion_id
        self._tracker.count(Entry(completion_id, "gone"))
        self._report.gone.append(completion_id)
        await self._commit(work, partial(changes.stop_waiting, completion_id=completion_id))

    async def _store(self, work: Work, outcome: Outcome) -> None:
        completion_id, messages = work.item.completion_id, len(outcome.messages)
        kept = list[State]()

        def keep(db: sqlite3.Connection) -> None:
            now = self._discovery.now()
            kept.append(changes.keep(db, completion_id=completion_id, outcome=outcome, now=now))

        await self._commit(work, keep)
        self._tracker.count(Entry(completion_id, kept[0], messages=messages))
        if kept == ["lost"]:
            self._report.lost.append(completion_id)
        elif kept == ["done"]:
            self._report.new += 1
            self._report.messages += messages

    async def _wait(self, work: Work, state: str, error: str) -> None:
        if state == "failed":
            self._tracker.count(Entry(work.item.completion_id, "failed"))
        now = self._discovery.now()
        wait = partial(
            changes.wait, completion_id=work.item.completion_id, state=state, error=error, now=now
        )
        await self._commit(work, wait)

    async def _commit(self, work: Work, change: Change) -> None:
        await self._writer.write(change, None if work.place is None else work.place.finish)

    # --- what is missing --------------------------------------------------------------------------

    async def _judge_missing(self, concurrency: int) -> None:
        """Mark what the server has no more, after it listed the whole selection.

        A list may leave out a completion: it changed while it was read, or the server ended it too
        early. So the server is asked for each one, except for those that it deletes by itself.
        """
        found = await run_to_end(self._selection.unlisted, self._discovery.db)
        now, missing, asked = self._discovery.now(), list[Missing](), list[Missing]()
        for one in found:
            is_expired = changes.is_expired(one[1], now) and not self._discovery.keeps_longer()
            (missing if is_expired else asked).append(one)
        async with Results(asked, self._ask, concurrency=concurrency) as answers:
            async for one, body in answers:
                if body is None:
                    missing.append(one)
                elif body:  # else the next recheck judges it
                    await self._see(Listed(one[0], body, created_of(body)))
        if missing:
            await self._writer.write(partial(changes.mark_gone, missing=missing, now=now))
            self._report.missing += [completion_id for completion_id, _ in missing]

    async def _ask(self, one: Missing) -> tuple[Missing, bytes | None]:
        """Return the JSON of a completion; None if it is gone, nothing if it cannot be read."""
        try:
            return one, on_one_line(await self._reader.caller.raw_completion(one[0]))
        except APIError as error:
            if isinstance(error, NotFoundError) and error.is_of_api:
                return one, None
            self._raise_if_of_all(error)
            return one, b""

    async def _see(self, item: Listed) -> None:
        """Record that the server has a completion, and read it if it has changed."""
        for work in await self._unknown([(item, Place(item, 0.0))]):
            await self._read(work)
