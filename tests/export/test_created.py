"""A list of completions narrowed by time, as a source of an export and by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from conftest_export import IDS, RECORDS, expected_messages, written

from aiomessages.export import CreatedBetween, export
from aiomessages.export.created import Span, created_of, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomessages import AsyncMessagesClient
    from aiomessages.server import LocalServer

FIRST = 1_700_000_000  # when the first of the records was created; then one a second


async def times(*values: float | None) -> AsyncIterator[float | None]:
    """Yield the values, which must not be read on behind "end"."""
    for value in values:
        assert value != "end"
        yield value


async def kept(span: Span, order: Any, *values: Any) -> list[float | None]:
    """Return what is kept of the values."""
    return [value async for value in within(times(*values), lambda value: value, span, order)]


async def test_bounds() -> None:
    """The beginning is in the span, the end is not; a time that is not known is in none."""
    assert await kept(Span(10, 20), None, 9, 10, 19, None, 20) == [10, 19]
    assert await kept(Span(since=10), None, 9, 10, None) == [10]
    assert await kept(Span(until=10), None, 9, 10, None) == [9]


async def test_no_bounds() -> None:
    """Without bounds everything is kept, whatever its time."""
    assert await kept(Span(), "asc", 1, None, 2) == [1, None, 2]


@pytest.mark.parametrize(
    ("order", "values"), [("asc", [5, 12, 19, 20, "end"]), ("desc", [25, 19, 12, 9, "end"])]
)
async def test_the_end_of_the_span(order: Literal["asc", "desc"], values: list[Any]) -> None:
    """In a known order nothing is read behind the span."""
    assert sorted(map(str, await kept(Span(10, 20), order, *values))) == ["12", "19"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_an_export(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path, order: Literal["asc", "desc"]
) -> None:
    """Those of the span are exported, with the replies that the list carried."""
    source = CreatedBetween(
        client.completions(order=order), since=FIRST + 10, until=FIRST + 15, order=order
    )
    report = await export(client, source, tmp_path / "out.jsonl")
    assert written(tmp_path / "out.jsonl") == expected_messages(RECORDS[10:15])
    assert (report.finished, server.requests) == (True, 1 + 5)
    await export(client, source, tmp_path / "out.jsonl")
    assert server.requests == 1 + 5


async def test_pages_behind_the_span(client: AsyncMessagesClient, server: LocalServer) -> None:
    """Pages behind the span are not asked for, but for the one that was fetched ahead."""
    listed = client.completions(limit=1, order="asc")
    found = [item async for item in CreatedBetween(listed, until=FIRST + 1, order="asc")]
    assert (len(found), server.requests) == (1, 3)


@pytest.mark.parametrize(
    ("completion", "time"),
    [
        (b'{"id":"a","created":12}', 12),
        (b'{"created":1.5}', 1.5),
        (b'{"created":null}', None),
        (b'{"created":"12"}', None),
        (b"{}", None),
    ],
)
def test_created(completion: bytes, time: float | None) -> None:
    """When a completion was created is read from its bytes; what is no number is not known."""
    assert created_of(completion) == time


async def test_another_address(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A server known by its origin may have another address the next time."""
    await export(client, IDS[:2], tmp_path / "out.jsonl", origin="mine")
    moved = client.with_options(base_url="http://127.0.0.1:9/v1")
    report = await export(moved, IDS[:2], tmp_path / "out.jsonl", origin="mine")
    assert report.progress.already == 2
