"""Keep an archive current: fetch what is new, try again what failed, and see what is gone.

A sync that was killed at any moment, and is run again, gives the archive that an uninterrupted one
gives. `listing.py` says how it finds what is new.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from aiomessages.calls.rate_limit import Pace
from aiomessages.client import AsyncMessagesClient, caller_of
from aiomessages.export.conversation_reader import ConversationReader
from aiomessages.export.created_between import check_range
from aiomessages.export.memory_budget import BUDGET_BYTES, MemoryBudget
from aiomessages.export.report import Progress, ProgressTracker
from aiomessages.export.writer import run_to_end
from aiomessages.settings import check_count

from . import changes
from .database import open_to_read, open_to_write
from .discovery import Discovery
from .guard import archive_errors, locked, unreplaced
from .leftovers import none_left
from .report import SyncReport
from .run import MAX_RETRY_AFTER, Sync
from .sync_selection import Selection


async def sync(
    client: AsyncMessagesClient,
    path: str | os.PathLike[str],
    *,
    # the completions
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
    since: float | None = None,
    since_name: str | None = None,
    recheck: bool = False,
    # the requests
    limit: int | None = None,
    concurrency: int = 64,
    max_rps: float | None = None,
    # the surroundings
    moved: bool = False,
    origin: str | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    clock: Callable[[], float] = time.time,
) -> SyncReport:
    """Bring an archive up to date with the stored completions of a project.

    The first run keeps everything that the server has, oldest first, since that expires first.
    Every later run keeps what is new, and tries again what failed or was not visible. A run that is
    interrupted, even by a kill, costs the conversations that were being read, and nothing else.

    The arguments:

    - `client`: the client that sends the requests.
    - `path`: the SQLite file; created, for this user alone, if it is missing.
    - `model`, `metadata`, `since` (Unix seconds): which completions to keep. Another selection adds
      to the archive.
    - `since_name`: the name of `since` in the archive's record, for a time that moves with the
      clock, such as "30d".
    - `recheck`: list everything again, to update changed metadata and to mark what is gone: what is
      no longer listed, and younger than 30 days, is requested by itself first.
    - `limit`: messages per page (the server's default).
    - `concurrency`: conversations to read at once, at most.
    - `max_rps`: requests per second, at most. The rate adapts to the server's limit without it.
    - `moved`: accept that the project has another address than the archive recorded.
    - `origin`: the identity of the server, for a base_url that differs in each run.
    - `on_progress`: a function to call with the Progress, at most ten times a second.
    - `clock`: the time in Unix seconds of this machine. The Date of the answers and the newest
      completion correct it: if any of them is early, a later sync only lists more.

    Returns a report. It names the completions that are not visible yet (`pending`), could not be
    read (`failed`), changed while they were read (`lost`) or vanished before they were read
    (`gone`).

    Raises ConfigurationError for arguments that cannot be used; LockedError if another sync of the
    archive is running; OtherProjectError if the archive belongs to another project; another
    ArchiveError if it cannot be written; APIError for a refused key, a used-up quota, a wait of
    more than ten minutes, and a list that cannot be read (what it shows besides is kept first).
    """
    check_count("concurrency", concurrency)
    check_range(since)
    selection, path = Selection(model, dict(metadata or {}), since, since_name), Path(path)
    file = path.absolute()  # the directory may change meanwhile
    base = caller_of(client)
    operation = base.operation("sync")
    tracker = ProgressTracker(on_progress, operation)
    address = {"base_url": origin or client.base_url}
    with ExitStack() as held:
        held.enter_context(archive_errors(path))
        created = not file.exists()
        db = held.enter_context(closing(await run_to_end(open_to_write, file)))
        held.enter_context(locked(file))
        reading = held.enter_context(closing(await run_to_end(open_to_read, file)))
        held.enter_context(unreplaced(file))
        held.enter_context(none_left(db, file, created=created))
        changes.check_project(db, address, moved=moved)
        caller = base.paced(
            Pace(max_rps),
            max_retry_after=MAX_RETRY_AFTER,
            on_retry=tracker.retried,
            on_sent=tracker.sent,
        )
        reader = ConversationReader(
            caller, file.resolve().parent, True, None, limit, MemoryBudget(BUDGET_BYTES), operation
        )
        discovery = Discovery(
            client,
            caller.attempts,
            reading,
            selection,
            recheck=recheck,
            on_first_page=lambda headers: changes.record_project(
                db, address | _project(headers), moved=moved
            ),
            clock=clock,
        )
        held.enter_context(operation)
        return await Sync(db, path, reader, discovery, tracker, selection).run(concurrency)


def _project(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what the headers of an answer say about whose completions these are."""
    named = {name: headers.get(f"openai-{name}") for name in ("organization", "project")}
    return {name: value for name, value in named.items() if value}
