"""The source of an export: ids, or listed completions, in batches.

The ledger looks up a whole batch at once, which is cheaper than single look-ups.
"""

import json
from collections import abc
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable, Iterator
from contextlib import aclosing
from hashlib import sha256
from itertools import count, islice
from typing import Final, NamedTuple

from aiomessages.calls.attempts import Attempts
from aiomessages.errors import ConfigurationError, SchemaError
from aiomessages.models import Json
from aiomessages.paging.closable import iterate
from aiomessages.paging.stream import CompletionStream
from aiomessages.values.json_lines import on_one_line
from aiomessages.values.plain import can_be_sent

from .created_between import CreatedBetween, pages_between
from .ledger import MAX_ROWS

ListedSource = CompletionStream | CreatedBetween
Source = Iterable[str] | AsyncIterable[str] | ListedSource

# Containers hold their items, so they are read in batches. Any other iterable may need time for
# each item, so it is read item by item.
CONTAINERS: Final = (abc.Sequence, abc.Set, abc.Mapping, abc.MappingView)
BATCH: Final = MAX_ROWS


class SourceItem(NamedTuple):
    """A completion by its id, with its JSON if it was listed with it."""

    completion_id: str
    completion: bytes | None = None


async def batches(
    source: Source, attempts: Attempts | None = None
) -> AsyncGenerator[list[SourceItem], None]:
    """Yield the completions of a source, at most BATCH of them at a time.

    The requests for a list pass through the queue of `attempts`, if it is given. Raises
    ConfigurationError for an id of another type or one that no request can hold, and SchemaError
    for a listed one.
    """
    if isinstance(source, ListedSource):
        chosen = source if isinstance(source, CreatedBetween) else CreatedBetween(source)
        async with aclosing(pages_between(chosen, attempts)) as pages:
            async for page in pages:
                for start in range(0, len(page), BATCH):  # a server may send larger pages
                    yield [_listed(*item) for item in page[start : start + BATCH]]
        return
    numbers = count(1)
    if isinstance(source, CONTAINERS):
        for ids in _batched(source):
            yield [_named(completion_id, next(numbers)) for completion_id in ids]
    else:
        async for completion_id in iterate(source):
            yield [_named(completion_id, next(numbers))]


def selection_of(source: Source) -> dict[str, Json] | None:
    """Return the selection of a list, for the ledger to compare; None for ids.

    The values of `extra_query` are hashed, since a query may hold a key.
    """
    if not isinstance(source, ListedSource):
        return None
    selection = dict(sorted(source.selection.items()))
    if extra := selection.get("extra_query"):
        selection["extra_query"] = {name: _hashed(value) for name, value in sorted(extra.items())}
    return selection


def _hashed(value: str) -> str:
    return f"sha256:{sha256(value.encode()).hexdigest()[:16]}"


def _batched(ids: Collection[str]) -> Iterator[list[str]]:
    rest, read = iter(ids), 0
    for first in rest:  # not read ahead to its end: a list may grow
        batch = [first, *islice(rest, max(min(BATCH, len(ids) - read) - 1, 0))]
        read += len(batch)
        yield batch


def _listed(completion_id: str, completion: bytes) -> SourceItem:
    # A lone surrogate is read as U+FFFD. Two ids could become equal that way, and one be left out.
    if "\ufffd" in completion_id and json.loads(completion, parse_int=str)["id"] != completion_id:
        raise SchemaError(f"the id of a listed completion holds a lone surrogate: {completion_id}")
    return SourceItem(completion_id, on_one_line(completion))


def _named(completion_id: object, number: int) -> SourceItem:
    """Return an item for an id. Raises ConfigurationError for one that the ledger cannot hold."""
    if not isinstance(completion_id, str):
        raise ConfigurationError(
            f"ids must be str, and number {number} is of type {type(completion_id).__name__}"
        )
    if not can_be_sent(completion_id):
        raise ConfigurationError(f"id number {number} holds a lone surrogate: {completion_id!r}")
    return SourceItem(str.__str__(completion_id))  # msgspec encodes no subclass
