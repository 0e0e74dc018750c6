"""A worker: it reads the shards it is given, one client a project, and writes their files.

Everything that a worker returns is a plain value; an error is a Problem. Keys are read here, by
their names. Ray makes an actor of the class; nothing here imports Ray.
"""

import asyncio
import contextlib
import tempfile
import traceback
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aiomessages import __version__
from aiomessages.calls.rate_limit import Learnt
from aiomessages.client import AsyncMessagesClient, caller_of
from aiomessages.errors import MessagesError
from aiomessages.export.conversation_reader import ConversationReader
from aiomessages.export.memory_budget import BUDGET_BYTES, MemoryBudget
from aiomessages.export.run import MAX_RETRY_AFTER
from aiomessages.observe.logs import log

from .destination import Destination
from .errors import ClusterError, Problem, check_version
from .plan import RunSettings, Shard, check_part, decode_part
from .planning import Parts, plan_selection
from .projects import Access, Selection
from .records import ShardRecord, encode_record
from .remote_queue import RemoteQueue
from .shard_export import Failures, ShardExport

ResultT = TypeVar("ResultT")


class Job(msgspec.Struct, frozen=True):
    """What a worker has to know of a run. It holds no secret."""

    destination: str
    settings: RunSettings
    accesses: dict[str, Access]
    raises: bool
    concurrency: int
    shard_size: int
    version: str = __version__


class Done(msgspec.Struct, frozen=True):
    """A finished shard: its record, and what was learnt of the pace.

    `requests` were sent to the project, and `refused` answered 429, since the last shard.
    """

    record: ShardRecord
    requests: int
    refused: int
    learnt: Learnt | None


class Worker:
    """Export the shards of a job. `pacers` has the actor of each project's pace."""

    def __init__(self, job: Job, pacers: Mapping[str, Any]) -> None:
        self._job = job
        self._pacers = pacers
        self._destination = Destination(job.destination)
        self._readers: dict[str, _ProjectReader] = {}

    async def ready(self) -> Problem | None:
        """Return once the worker runs: a Problem if its node, which may be new, differs."""
        try:
            check_version(self._job.version)
        except ClusterError as error:
            return Problem.of(error)
        return None

    async def plan(self, project: str, selection: Selection) -> list[Shard] | Problem:
        """List the completions of a project, and write the parts of its plan."""
        job = self._job
        access = job.accesses[project]
        parts = Parts(project, access.base_url, job.settings, self._destination, job.shard_size)
        queue = queue_of(self._pacers[project])
        return await _guarded(project, plan_selection(access, selection, parts, queue))

    async def export(self, project: str, shard: Shard, learnt: Learnt | None) -> Done | Problem:
        """Export a shard: write its record, and then its file."""
        return await _guarded(project, self._export(project, shard, learnt))

    async def _export(self, project: str, shard: Shard, learnt: Learnt | None) -> Done:
        reader = self._reader(project, learnt)
        job, put = self._job, self._destination.put
        part = await asyncio.to_thread(self._destination.read, f"plan/{shard.name}.txt.gz")
        check_part(shard, project, job.accesses[project].base_url, job.settings, part)
        export = ShardExport(
            shard.name, job.settings, reader.reader, reader.failures, job.raises, job.concurrency
        )
        with contextlib.closing(await export.run(decode_part(part))) as made:
            if made.incomplete:
                name = f"incomplete/{shard.name}.jsonl.gz"
                await asyncio.to_thread(put, name, made.incomplete)
            # The record first: a shard whose file is there has one.
            record = made.record
            await asyncio.to_thread(put, f"records/{record.name}", encode_record(record))
            await asyncio.to_thread(put, f"data/{record.file}", made.data)
        requests, refused = reader.counts()
        return Done(record, requests, refused, reader.queue.learnt)

    def _reader(self, project: str, learnt: Learnt | None) -> "_ProjectReader":
        if project not in self._readers:
            queue = queue_of(self._pacers[project], learnt)
            access, include_reply = self._job.accesses[project], self._job.settings.include_reply
            self._readers[project] = _ProjectReader(access, queue, include_reply=include_reply)
        return self._readers[project]

    async def close(self) -> None:
        """Close the connections."""
        for reader in self._readers.values():
            await reader.client.aclose()


class _ProjectReader:
    """The client of one project in this process, and the reader of its conversations."""

    def __init__(self, access: Access, queue: RemoteQueue, *, include_reply: bool) -> None:
        self.queue = queue
        self.client = access.client()
        self.failures = Failures()
        self._counted = (0, 0)
        self.reader = reader_of(self.client, queue, include_reply=include_reply)

    def counts(self) -> tuple[int, int]:
        """Return the requests and the refused ones since the last call."""
        (sent, refused), self._counted = self._counted, (self.queue.sent, self.queue.refused)
        return self.queue.sent - sent, self.queue.refused - refused


def reader_of(
    client: AsyncMessagesClient, queue: RemoteQueue, *, include_reply: bool
) -> ConversationReader:
    """Return a reader of conversations, which sends as a queue allows it."""
    caller = caller_of(client).queued(queue, max_retry_after=MAX_RETRY_AFTER)
    return ConversationReader(
        caller,
        Path(tempfile.gettempdir()),
        include_reply,
        media=None,
        limit=None,
        budget=MemoryBudget(BUDGET_BYTES),
        operation=caller.operation("export"),
    )


def queue_of(pacer: Any, learnt: Learnt | None = None) -> RemoteQueue:
    """Return a queue that asks an actor for its slots."""
    # A report that gets lost with the actor is of no use to the next one.
    report = pacer.report.options(max_task_retries=0)
    return RemoteQueue(pacer.take.remote, report.remote, learnt)


async def _guarded(project: str, work: Awaitable[ResultT]) -> ResultT | Problem:
    """Return the result of work, or the Problem that its error is."""
    try:
        return await work
    except (MessagesError, OSError) as error:
        return Problem.of(error, f"project {project}")
    except Exception as error:  # noqa: BLE001 a bug: the driver names the node, the log the place
        kind, frames = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
        log.error("project %s: unexpected %s\n%s", project, kind, frames)
        return Problem.of(error, f"project {project}")
