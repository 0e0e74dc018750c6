"""A source of Ray Data: read tasks that stream the rows of conversations in blocks.

The rows are those of the Parquet export, with its schema. A task reads its ids in their order, many
at once, and hands out a block when it has enough bytes, so that blocks are the same each time.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from typing import Any, Final, Literal, NamedTuple

import msgspec
import pyarrow as pa
from anyio.from_thread import start_blocking_portal
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import UserCodeException

from aiomessages.errors import APIError, ConfigurationError, MessagesError
from aiomessages.export.conversation_reader import Item, Outcome
from aiomessages.export.layouts import lay_out
from aiomessages.export.memory_budget import Reservation
from aiomessages.export.stored import Fetched, Lines, SkipError
from aiomessages.observe.logs import log
from aiomessages.paging.workers import Results
from aiomessages.values.json_lines import split_lines
from aiomessages.wire.requests import check_completion_id

from .columns import schema_of, table_of
from .errors import ClusterError, Problem, node_name
from .projects import Access
from .shard_export import Failures
from .worker import queue_of, reader_of

OnMissing = Literal["raise", "skip"]

_WHY: Final = {
    "gone": "it does not exist",
    "lost": "it changed while it was read",
    "pending": "it is not visible yet",
}


class ReadError(ClusterError, UserCodeException):  # type: ignore[misc]  # Ray's has no types
    """A task cannot read on. Ray shows others than its UserCodeException as a bug of its own."""

    @classmethod
    def of(cls, problem: Problem) -> "ReadError":
        """Return the error with all that is known in its message, to which Ray appends more."""
        error = problem.error()
        return cls(str(error), node=error.node)


class ReadOptions(msgspec.Struct, frozen=True):
    """The options of all read tasks."""

    access: Access
    layout: str
    include_reply: bool
    on_missing: OnMissing
    block_bytes: int
    at_once: int


class ConversationSource(Datasource):  # type: ignore[misc]  # Ray's class has no types
    """The conversations of ids, in read tasks of `task_size` ids."""

    def __init__(self, ids: list[str], options: ReadOptions, pacer: Any, task_size: int) -> None:
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
        self,
        parallelism: int,  # noqa: ARG002 the names are Ray's
        per_task_row_limit: int | None = None,
        data_context: Any = None,  # noqa: ARG002
    ) -> list[ReadTask]:
        """Return the tasks. Their number follows from the ids alone, and so do the blocks."""
        metadata = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        schema, size, tasks = schema_of(self._options.layout), self._task_size, []
        for start in range(0, max(len(self._ids), 1), size):  # one for no ids: it has the schema
            read = ReadIds(self._ids[start : start + size], self._options, self._pacer)
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

    def __init__(self, ids: list[str], options: ReadOptions, pacer: Any) -> None:
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
            except ReadError as error:
                raise error.with_traceback(None) from None  # Ray prints each frame
            except MessagesError as error:  # such as a key that this node does not have
                raise ReadError.of(Problem.of(error)) from None
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
            queue = queue_of(self._pacer)
            reader = reader_of(client, queue, include_reply=options.include_reply)
            failures = Failures()

            async def read(completion_id: str) -> _Read | None:
                try:
                    check_completion_id(completion_id)  # a listed one was not checked
                except ConfigurationError as error:
                    self._miss(completion_id, str(error))
                    return None
                held = Reservation(reader.budget)
                held.__enter__()  # until its lines are taken: all that waits is in the budget
                try:
                    outcome = await reader.read(Item(completion_id), held)
                except APIError as error:
                    held.__exit__()
                    if failures.ends_run(error):
                        problem = Problem.of(error, f"{completion_id} cannot be read")
                        raise ReadError.of(problem) from None
                    self._miss(completion_id, str(error), type(error).__name__)
                    return None
                except BaseException:
                    held.__exit__()
                    raise
                failures.succeeded()
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
            self._miss(read.completion_id, _WHY.get(outcome.state, outcome.state))
            return
        fetched = Fetched(read.completion_id, outcome.messages.blocks(), outcome.completion)
        whole = not outcome.messages.spilled
        try:
            lines = lay_out(self._options.layout, fetched, columns=True, whole=whole)
        except SkipError as error:
            self._miss(read.completion_id, str(error))
            return
        pieces = [lines] if isinstance(lines, Lines) else lines
        yield from split_lines(piece.text for piece in pieces)

    def _miss(self, completion_id: str, why: str, reason: str = "") -> None:
        """Leave a completion out, or raise. The log has the `reason`, and no text of a server."""
        if self._options.on_missing == "raise":
            said = f"{completion_id} cannot be read: {why}"
            problem = Problem(said, "on_missing='skip' leaves it out", node_name())
            raise ReadError.of(problem) from None
        log.warning("left out %r: %s", completion_id, reason or why)


# In quotes, for the site is built without pyarrow.
async def _next(blocks: AsyncGenerator[pa.Table, None]) -> "pa.Table | None":
    return await anext(blocks, None)
