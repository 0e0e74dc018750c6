"""What an export is made of: ids, or completions as they are listed, in batches.

A batch is looked up in the ledger at once, which is cheaper than one by one.
"""

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MappingView,
    Sequence,
)
from collections.abc import (
    Set as AbstractSet,
)
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from aiomessages.decoding import despite_lone_surrogates
from aiomessages.errors import ConfigurationError
from aiomessages.listing import CompletionStream
from aiomessages.settings import can_be_sent
from aiomessages.workers import each

from .created import CreatedBetween
from .layouts import one_line
from .ledger import MANY

Listed = CompletionStream | CreatedBetween
Source = Iterable[str] | AsyncIterable[str] | Listed

# What holds its items, and gives many at once. Whatever else has a length may make them as it is
# asked for them, and take its time: it is read one by one, as there is need for them.
HOLDING: Final = (Sequence, AbstractSet, Mapping, MappingView)
BATCH: Final = MANY


class Named(NamedTuple):
    """A completion by its id, with its JSON if it was listed with it."""

    completion_id: str
    completion: bytes | None = None


class _Id(msgspec.Struct):
    id: str


_ID: Final = msgspec.json.Decoder(_Id)


async def batches(source: Source) -> AsyncIterator[list[Named]]:
    """Yield the completions of a source. Raises ConfigurationError for what can be no id."""
    if isinstance(source, Listed):
        async for completion in _completions(source):
            yield [_listed(completion)]
        return
    count = 0
    async for ids in each(_batched(source) if isinstance(source, HOLDING) else _singly(source)):
        yield [_named(completion_id, count + n) for n, completion_id in enumerate(ids, 1)]
        count += len(ids)


def _completions(source: Listed) -> AsyncIterable[bytes]:
    return CreatedBetween(source) if isinstance(source, CompletionStream) else source


def _batched(ids: Collection[str]) -> Iterator[list[str]]:
    rest, read = iter(ids), 0
    for first in rest:  # never read to its end before: a list may have grown by then
        batch = [first, *islice(rest, max(min(BATCH, len(ids) - read) - 1, 0))]
        read += len(batch)
        yield batch


async def _singly(ids: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[list[str]]:
    async for completion_id in each(ids):
        yield [completion_id]


def _listed(completion: bytes) -> Named:
    named_by, _ = despite_lone_surrogates(_ID.decode, completion)
    return Named(named_by.id, one_line(completion))


def _named(completion_id: object, number: int) -> Named:
    """Refuse what a ledger cannot hold; whether there is such a completion is not known yet."""
    if not isinstance(completion_id, str):
        raise ConfigurationError(
            f"ids must be str, and number {number} is of type {type(completion_id).__name__}"
        )
    if not can_be_sent(completion_id):
        raise ConfigurationError(f"id number {number} holds a lone surrogate: {completion_id!r}")
    return Named(str.__str__(completion_id))  # of a subclass too, for which msgspec has no JSON
