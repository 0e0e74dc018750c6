"""The function `read_conversations`: check the arguments, list the ids, and make a dataset."""

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import ray
import ray.data
from anyio.from_thread import start_blocking_portal

from aiomessages.errors import ConfigurationError, MessagesError
from aiomessages.export.layouts import LAYOUTS
from aiomessages.settings import check_count
from aiomessages.wire.requests import check_completion_id

from .datasource import ConversationSource, OnMissing, ReadOptions
from .errors import Problem
from .nodes import check_nodes
from .pace_actor import start_pacer
from .planning import listed
from .projects import Access, Selection, access_of, check_rate, checked_ids
from .worker import queue_of

if TYPE_CHECKING:
    from ray.data import Dataset

BLOCK_BYTES: Final = 32 * 2**20


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
      while it was read, or cannot be read; `skip` leaves it out and logs its id. An error that all
      others would meet, such as a refused key, ends the read in any case.
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
    check_rate(max_rps)
    access = access_of(key, base_url, client_options or {})
    if isinstance(ids_or_selection, Selection):
        selection, ids = ids_or_selection.checked(), None
    else:
        ids = _unique(ids_or_selection)
    check_nodes({"": access})
    pacer = start_pacer(max_rps)
    if ids is None:
        ids = _ids_of(access, selection, pacer)
    options = ReadOptions(
        access, layout, include_reply, on_missing, block_bytes, conversations_at_once
    )
    source = ConversationSource(ids, options, pacer, task_size)
    # One block a task is what Ray is told, so that it does not split those that arrive.
    tasks = max(-(-len(ids) // task_size), 1)
    if concurrency is not None:
        concurrency = min(concurrency, tasks)  # Ray warns of more
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


def _ids_of(access: Access, selection: Any, pacer: Any) -> list[str]:
    """Return the ids of a selection, which a task lists: the driver may have no key."""
    # A part of a CPU, so that it runs on a node that was checked: the driver's may have no key.
    task = ray.remote(list_ids).options(num_cpus=0.001)
    found = ray.get(task.remote(access, selection, pacer))
    if isinstance(found, Problem):
        raise found.error()
    ids: list[str] = found
    return ids


def list_ids(access: Access, selection: Selection, pacer: Any) -> list[str] | Problem:
    """Return the ids of a selection, each once, or the problem with it."""
    with start_blocking_portal() as portal:
        try:
            ids: list[str] = portal.call(_list_ids, access, selection, pacer)
        except MessagesError as error:
            return Problem.of(error)
        return ids


async def _list_ids(access: Access, selection: Selection, pacer: Any) -> list[str]:
    found: dict[str, None] = {}
    async with aclosing(listed(access, selection, queue_of(pacer))) as batches:
        async for batch in batches:
            found.update((item.completion_id, None) for item in batch)
    return [*found]
