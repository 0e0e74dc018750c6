"""What an export is made of: ids, or completions as they are listed, in batches.

A batch is one thing to ask the ledger for, instead of one for each id.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
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

# Of what has its items already. All else is read one by one, as there is need for them: what comes
# out of it may take its time.
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
    if isinstance(source, Iterable) and isinstance(source, Sized):
        for ids in _batched(source):
            yield [_named(completion_id) for completion_id in ids]
        return
    named: Iterable[str | bytes] | AsyncIterable[str | bytes] = (
        CreatedBetween(source) if isinstance(source, CompletionStream) else source
    )
    async for item in each(named):
        yield [_listed(item) if isinstance(item, bytes) else _named(item)]


def _batched(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _listed(completion: bytes) -> Named:
    named_by, _ = despite_lone_surrogates(_ID.decode, completion)
    return Named(named_by.id, one_line(completion))


def _named(completion_id: object) -> Named:
    """Refuse what a ledger cannot hold; whether there is such a completion is not known yet."""
    if not isinstance(completion_id, str):
        raise ConfigurationError(
            f"the ids of an export must be str, and one is of type {type(completion_id).__name__}"
        )
    if not can_be_sent(completion_id):
        raise ConfigurationError(f"an id of an export holds a lone surrogate: {completion_id!r}")
    return Named(completion_id)
