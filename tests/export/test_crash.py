"""Whatever stops an export, running it again brings it to its right end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from crashing import (
    FAULTS,
    FEW,
    RECORDS,
    SMALL,
    Run,
    expected_lines,
    survive_faults,
    survive_power_cuts,
)

from aiomessages import AsyncMessagesClient
from aiomessages.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    """Serve the records."""
    async with LocalServer() as running:
        await running.import_records(RECORDS)
        yield running


@pytest.fixture
async def run(
    server: LocalServer, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Run]:
    """Give a run of exports in small batches."""
    for target, value in SMALL.items():
        monkeypatch.setattr(target, value)
    async with AsyncMessagesClient(server.api_key, base_url=server.base_url) as client:
        yield Run(client, tmp_path, name, await expected_lines(client))


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_disk_that_fails(run: Run, fault: str) -> None:
    """Whichever write, fsync or rename fails, the next run ends right."""
    assert await survive_faults(run, fault) > 1


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out"])
async def test_power_that_goes_away(run: Run) -> None:
    """At every step, what is durable is enough for the next run to end right."""
    assert await survive_power_cuts(run) > 30


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
async def test_power_that_goes_away_while_ids_are_added(run: Run) -> None:
    """A finished export that is gone on with survives as well."""
    assert await survive_power_cuts(run, prepare=FEW) > 30
