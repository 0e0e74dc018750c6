"""Sources: how many ids are read at a time, and of what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiomessages.export.source import BATCH, batches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MANY = [f"chatcmpl-{n}" for n in range(2 * BATCH + 1)]


class Lazy:
    """Knows how many ids it has, and makes them as it is asked for them."""

    def __len__(self) -> int:
        return len(MANY)

    def __iter__(self) -> Iterator[str]:
        return iter(MANY)


class Both(Lazy):
    """Can be iterated in both ways, of which one would block."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("it blocks")

    async def __aiter__(self) -> AsyncIterator[str]:
        for name in MANY:
            yield name


@pytest.mark.parametrize(
    "source",
    [MANY, tuple(MANY), dict.fromkeys(MANY), dict.fromkeys(MANY).keys()],
    ids=["list", "tuple", "dict", "keys"],
)
async def test_what_is_there_is_read_in_batches(source: Any) -> None:
    """Of what holds its ids, many are read at a time."""
    read = [[named.completion_id for named in batch] async for batch in batches(source)]
    assert [len(batch) for batch in read] == [BATCH, BATCH, 1]
    assert [name for batch in read for name in batch] == MANY


@pytest.mark.parametrize("source", [iter(MANY), Lazy(), Both()], ids=["iterator", "lazy", "both"])
async def test_what_is_still_to_be_made_is_read_one_by_one(source: Any) -> None:
    """Of what makes its ids as it goes, none is read ahead, whether its length is known or not."""
    read = [[named.completion_id for named in batch] async for batch in batches(source)]
    assert read == [[name] for name in MANY]


async def test_a_list_that_grows_meanwhile() -> None:
    """What is added to a list before its end is read, is read as well."""
    ids = MANY[:3]
    read = []
    async for batch in batches(ids):
        read += [named.completion_id for named in batch]
        ids += MANY[len(read) : len(read) + 4]
    assert read == MANY
