"""Conversations as a dataset of Ray Data: read tasks that stream blocks of rows.

The rows are those of the Parquet export, with its schema. A task reads its ids in their order, many
at once, and hands out a block when it has enough bytes, so that blocks are the same each time.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing, closing
from itertools import islice
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import pyarrow as pa
import ray
import ray.data
from anyio.from_thread import start_blocking_portal
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from aiomessages.client import caller_of
from aiomessages.errors import APIError, ConfigurationError, MessagesError
from aiomessages.export.conversation_reader import ConversationReader, Item, Outcome
from aiomessages.export.layouts import LAYOUTS, lay_out
from aiomessages.export.memory_budget import BUDGET_BYTES, MemoryBudget, Reservation
from aiomessages.export.run import MAX_RETRY_AFTER
from aiomessages.export.source import batches
from aiomessages.export.stored import Fetched, Lines, SkipError
from aiomessages.observe.logs import log
from aiomessages.paging.workers import Results
from aiomessages.settings import check_count
from aiomessages.wire.requests import check_completion_id

from .columns import schema_of, table_of
from .errors import ClusterError, Problem, node_name
from .nodes import check_nodes
from .pacer import Pacer
from .projects import Access, Selection, access_of, checked_ids
from .remote_queue import RemoteQueue

if TYPE_CHECKING:
    from ray.data import Dataset

BLOCK_BYTES: Final = 32 * 2**20

OnMissing = Literal["raise", "skip"]


def read_conversations(
    ids_or_selection: Selection | Iterable[str],
    *,
    key: str = "env:OPENAI_API_KEY",
    base_url: str | None = None,
    client_options: Mapping[str, Any] | None = None,
    # the rows
    layout: str = "conversations",
    include_reply: bool = True,
    on_missing: OnMissing = "raise",
    block_bytes: int = BLOCK_BYTES,
    # the requests
    concurrency: int | None = None,
    task_size: int = 1000,
    conversations_at_once: int = 64,
    max_rps: float | None = None,
) -> "Dataset":
    """Return a dataset of conversations, with the columns of the Parquet export.

    Nothing is read until the dataset is consumed, apart from the list of a Selection. Its rows are
    in the order of the ids, and so are its blocks. A task that Ray repeats, for instance because
    its node died, reads its conversations again.

    The arguments:

    - `ids_or_selection`: ids of completions, or a Selection of those that are stored.
    - `key`, `base_url`, `client_options`: as `key`, `base_url` and `options` of a Project.
    - `layout`, `include_reply`: as for `aiomessages.export.export`; here the default is a row for
      each conversation.
    - `on_missing`: `raise` ends the read with the first completion that does not exist, changed
      while it was read, or cannot be read; `skip` leaves it out and logs its id.
    - `block_bytes`: the bytes of JSON after which a block is complete.
    - `concurrency`: the largest number of read tasks at once. Default: as many as Ray has CPUs for.
    - `task_size`: the number of completions of a task.
    - `conversations_at_once`: the largest number of conversations that a task fetches at once.
    - `max_rps`: the largest number of requests per second of all tasks. Without it, the rate adapts
      to the server's limit.

    Raises ConfigurationError for arguments that cannot be used, and ClusterError if a node has no
    key, or the list cannot be read.
    """
    if layout not in LAYOUTS:
        raise ConfigurationError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    if on_missing not in ("raise", "skip"):
        raise ConfigurationError(f"on_missing must be 'raise' or 'skip', not {on_missing!r}")
    for name, value in (
        ("block_bytes", block_bytes),
        ("task_size", task_size),
        ("conversations_at_once", conversations_at_once),
        *(() if concurrency is None else (("concurrency", concurrency),)),
    ):
        check_count(name, value)
    access = access_of(key, base_url, client_options or {})
    if isinstance(ids_or_selection, Selection):
        ids_or_selection.check()
        ids = None
    else:
        ids = _unique(ids_or_selection)
    check_nodes({"": access})
    pacer = ray.remote(Pacer).options(  # type: ignore[attr-defined]
        num_cpus=0, max_restarts=-1, max_task_retries=-1
    ).remote(max_rps)
    if ids is None:
        ids = _listed(access, ids_or_selection, pacer)
    options = _Options(
        access, layout, include_reply, on_missing, block_bytes, conversations_at_once
    )
    source = ConversationSource(ids, options, pacer, task_size)
    # One block a task is what Ray is told, so that it does not split those that arrive.
    tasks = max(-(-len(ids) // task_size), 1)
    dataset = ray.data.read_datasource(source, concurrency=concurrency, override_num_blocks=tasks)
    dataset.context.execution_options.preserve_order = True
    return dataset


def _unique(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise ConfigurationError("ids must be an iterable of ids, or a Selection")
    found = list(dict.fromkeys(checked_ids(ids)))
    for completion_id in found:
        check_completion_id(completion_id)
    return found


# --- the list of a selection ----------------------------------------------------------------------


def _listed(access: Access, selection: Any, pacer: Any) -> list[str]:
    """Return the ids of a selection, which a task lists: the driver may have no key."""
    task = ray.remote(list_ids).options(num_cpus=0)  # type: ignore[attr-defined]
    found = ray.get(task.remote(access, selection, pacer))
    if isinstance(found, Problem):
        raise found.error()
    ids: list[str] = found
    return ids


def list_ids(access: Access, selection: Selection, pacer: Any) -> list[str] | Problem:
    """Return the ids of a selection, each once, or the problem with it."""
    with start_blocking_portal() as portal:
        try:
            return portal.call(_list_ids, access, selection, pacer)
        except MessagesError as error:
            return Problem.of(error)


async def _list_ids(access: Access, selection: Selection, pacer: Any) -> list[str]:
    found: dict[str, None] = {}
    async with access.client() as client:
        queue = RemoteQueue(pacer.take.remote, pacer.report.remote)
        caller = caller_of(client).queued(queue, max_retry_after=MAX_RETRY_AFTER)
        async with aclosing(batches(selection.source(client), caller.attempts)) as listed:
            async for batch in listed:
                found.update((item.completion_id, None) for item in batch)
    return [*found]


# --- the source -----------------------------------------------------------------------------------


class _Options(msgspec.Struct, frozen=True):
    """The options of all read tasks."""

    access: Access
    layout: str
    include_reply: bool
    on_missing: OnMissing
    block_bytes: int
    at_once: int


class ConversationSource(Datasource):  # type: ignore[misc]  # Ray's class has no types
    """The conversations of ids, in read tasks of `task_size` ids."""

    def __init__(self, ids: list[str], options: _Options, pacer: Any, task_size: int) -> None:
        super().__init__()
        self._ids = ids
        self._options = options
        self._pacer = pacer
        self._task_size = task_size

    def get_name(self) -> str:
        """Return the name that Ray shows."""
        return "Conversations"

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: nobody knows before it is read."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """Return the tasks. Their number follows from the ids alone, and so do the blocks."""
        metadata = BlockMetadata(
            num_rows=None, size_bytes=None, exec_stats=None, input_files=None
        )
        schema, rest, tasks = schema_of(self._options.layout), iter(self._ids), []
        while ids := list(islice(rest, self._task_size)):
            read = ReadIds(ids, self._options, self._pacer)
            tasks.append(
                ReadTask(read, metadata, schema=schema, per_task_row_limit=per_task_row_limit)
            )
        return tasks


class _Read(NamedTuple):
    """A conversation that was read, and the memory that it holds."""

    completion_id: str
    outcome: Outcome
    held: Reservation


class ReadIds:
    """Read some ids, and yield blocks of rows in their order."""

    def __init__(self, ids: list[str], options: _Options, pacer: Any) -> None:
        self._ids = ids
        self._options = options
        self._pacer = pacer

    def __call__(self) -> Iterator[pa.Table]:
        """Yield the blocks. While nobody takes the next one, at most its requests go on."""
        with start_blocking_portal() as portal:
            blocks = self._blocks()
            try:
                while (block := portal.call(_next, blocks)) is not None:
                    yield block
            finally:
                portal.call(blocks.aclose)

    async def _blocks(self) -> AsyncGenerator[pa.Table, None]:
        layout, lines, size, count = self._options.layout, [], 0, 0
        async with aclosing(self._lines()) as found:
            async for line in found:
                lines.append(line)
                size += len(line)
                if size >= self._options.block_bytes:
                    yield table_of(lines, layout)
                    lines, size, count = [], 0, count + 1
        if lines or not count:  # an empty task has a block as well, for its schema
            yield table_of(lines, layout)

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        """Yield the lines of all conversations, in the order of the ids."""
        options = self._options
        async with options.access.client() as client:
            queue = RemoteQueue(self._pacer.take.remote, self._pacer.report.remote)
            caller = caller_of(client).queued(queue, max_retry_after=MAX_RETRY_AFTER)
            budget, folder = MemoryBudget(BUDGET_BYTES), Path(gettempdir())
            reader = ConversationReader(
                caller,
                folder,
                options.include_reply,
                media=None,
                limit=None,
                budget=budget,
                operation=caller.operation("export"),
            )

            async def read(completion_id: str) -> _Read | None:
                held = Reservation(budget)
                held.__enter__()  # until its lines are taken: all that waits is in the budget
                try:
                    outcome = await reader.read(Item(completion_id), held)
                except APIError as error:
                    held.__exit__()
                    self._miss(completion_id, str(error))
                    return None
                except BaseException:
                    held.__exit__()
                    raise
                return _Read(completion_id, outcome, held)

            results = Results(self._ids, read, concurrency=options.at_once, ordered=True)
            async with results:
                async for one in results:
                    if one is None:
                        continue
                    with one.held, closing(one.outcome):
                        for line in self._lines_of(one):
                            yield line

    def _lines_of(self, read: _Read) -> Iterator[bytes]:
        outcome = read.outcome
        if outcome.state != "done":
            self._miss(read.completion_id, f"its state is {outcome.state!r}")
            return
        fetched = Fetched(read.completion_id, outcome.messages.blocks(), outcome.completion)
        whole = not outcome.messages.spilled
        try:
            lines = lay_out(self._options.layout, fetched, columns=True, whole=whole)
        except SkipError as error:
            self._miss(read.completion_id, str(error))
            return
        rest = b""
        for piece in [lines] if isinstance(lines, Lines) else lines:
            *found, rest = (rest + piece.text).split(b"\n")
            yield from found

    def _miss(self, completion_id: str, why: str) -> None:
        if self._options.on_missing == "raise":
            raise ClusterError(
                f"{completion_id} cannot be read: {why}",
                hint="on_missing='skip' leaves such completions out",
                node=node_name(),
            )
        log.warning("left out %s: %s", completion_id, why)


async def _next(blocks: AsyncGenerator[pa.Table, None]) -> pa.Table | None:
    return await anext(blocks, None)
