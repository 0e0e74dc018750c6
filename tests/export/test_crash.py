"""An export that was stopped in any way is completed by the next run.

AIOMESSAGES_KILLS is the number of kills for each kind of destination (the session `crash` sets it),
and AIOMESSAGES_SEED the seed of their moments. That session alone puts in the bugs that kills find.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from bugs import BUGS
from crashing import (
    FAULTS,
    FEW,
    IDS,
    RECORDS,
    SMALL,
    Exporter,
    Run,
    ShortFiles,
    check_end,
    expected_lines,
    refuse_second_writer,
    survive_cancelling,
    survive_each_kill,
    survive_faults,
    survive_kills,
    survive_power_cuts,
    survive_power_cuts_in_a_row,
)

from aiomessages import AsyncMessagesClient
from aiomessages.export import DiskFullError, ExportError
from aiomessages.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.unmeasured

COUNTS = "AIOMESSAGES_KILLS" in os.environ
KILLS = int(os.environ.get("AIOMESSAGES_KILLS", "9"))
MEMORY = "/dev/shm"  # noqa: S108 what is made there has a name of its own
SEED = os.environ.get("AIOMESSAGES_SEED", "1")

needs_duckdb = pytest.mark.skipif(
    importlib.util.find_spec("duckdb") is None, reason="duckdb is not installed"
)
LINES = ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out"]
COLUMNS = [pytest.param(name, marks=needs_duckdb) for name in ("out.parquet", "out.duckdb")]


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    """Serve the records."""
    async with LocalServer() as running:
        await running.import_records(RECORDS)
        yield running


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory in memory if there is one: no claim here needs a real disk."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(dir=MEMORY))
    yield made
    shutil.rmtree(made)


def dice(name: str = "") -> Random:
    """Return the random numbers that choose the moments."""
    return Random(SEED + name)  # noqa: S311 nothing here is secret


@pytest.fixture
def name() -> str:
    """Name the destination for tests that do not."""
    return "out.jsonl"


@pytest.fixture
async def run(
    server: LocalServer, directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Run]:
    """Give a run of exports in small batches."""
    for target, value in SMALL.items():
        monkeypatch.setattr(target, value)
    async with AsyncMessagesClient(server.api_key, base_url=server.base_url) as client:
        columns = name.endswith((".parquet", ".duckdb"))
        yield Run(client, directory, name, await expected_lines(client, columns=columns))


@pytest.fixture
async def exporter(server: LocalServer) -> AsyncIterator[Exporter]:
    """Give a process that exports from the server."""
    async with Exporter(server.base_url, server.api_key) as running:
        yield running


# --- kill -9 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LINES, *COLUMNS])
async def test_a_process_that_is_killed(exporter: Exporter, run: Run, name: str) -> None:
    """Killed again and again, an export ends with every message once, byte for byte."""
    assert await survive_kills(exporter, run, dice(name), kills=KILLS) >= KILLS


async def test_each_step_at_which_to_be_killed(exporter: Exporter, run: Run) -> None:
    """Killed at any single step, an export is completed by the next run."""
    assert await survive_each_kill(exporter, run, every=max(1, 126 // KILLS)) > 5


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out"])
async def test_each_step_of_adding_at_which_to_be_killed(exporter: Exporter, run: Run) -> None:
    """The same holds while a finished export is extended, and its manifest is always true."""
    every = max(1, 126 // KILLS)
    assert await survive_each_kill(exporter, run, every=every, prepare=FEW) > 5


async def test_a_second_process(exporter: Exporter, run: Run) -> None:
    """A second writer ends with exit code 75, and changes no byte."""
    await refuse_second_writer(exporter, run)


# --- a disk that fails ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_disk_that_fails(run: Run, fault: str) -> None:
    """After any failed write, fsync or rename, the next run completes the export."""
    assert await survive_faults(run, fault) > 1


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_disk_that_fails_while_ids_are_added(run: Run, fault: str) -> None:
    """A failing disk costs no finished part either, and leaves no untrue manifest."""
    assert await survive_faults(run, fault, prepare=FEW) > 1


@pytest.mark.parametrize("name", COLUMNS[:1])
@pytest.mark.parametrize("fault", ["fsync", "rename"])
async def test_a_disk_that_fails_columns(run: Run, fault: str) -> None:
    """The same holds for columns, which are made of the lines at the end."""
    assert await survive_faults(run, fault, last=KILLS // 3) > 1


async def test_writes_that_take_little(run: Run) -> None:
    """A write that takes fewer bytes than it was given is continued."""
    destination = run.fresh()
    await run(destination, files=ShortFiles())
    check_end(destination, run.expected)


# --- power that goes away -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
async def test_power_that_goes_away(run: Run) -> None:
    """After a power cut at any step, the durable bytes suffice for the next run."""
    assert await survive_power_cuts(run) > 30


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
async def test_power_that_goes_away_while_ids_are_added(run: Run) -> None:
    """A finished export that is extended survives power cuts as well."""
    assert await survive_power_cuts(run, prepare=FEW) > 25


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
async def test_power_that_goes_away_in_a_row(run: Run, name: str) -> None:
    """A recovery that a power cut interrupted is recovered in turn."""
    await survive_power_cuts_in_a_row(run, dice(name), times=max(3, KILLS // 6))


# --- a user who has enough ------------------------------------------------------------------------


async def test_an_export_that_is_cancelled(run: Run) -> None:
    """Cancelled at any step, an export leaves no running thread, and continues later."""
    assert await survive_cancelling(run, every=5) > 5


async def test_a_cancelled_export_keeps_fetched_completions(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled export commits what it has, reports it as unfinished, and continues there."""
    monkeypatch.setattr("aiomessages.export.writer.BATCH_BYTES", 10**9)
    destination = run.fresh()

    async def ids() -> AsyncIterator[str]:
        for name in IDS[:6]:
            yield name
        task.cancel()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(run(destination, ids=ids(), concurrency=1))
    await asyncio.wait([task])
    assert task.cancelled()
    assert not destination.exists()
    report = await run(destination)
    assert (report.finished, report.progress.already) == (True, 6)
    check_end(destination, run.expected)


# --- a ledger whose disk is full ------------------------------------------------------------------


async def test_a_ledger_without_room(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that has no room for a page is reported as a full disk, and continues later."""
    connect, room = sqlite3.connect, itertools.count(1)

    def connect_with_little_room(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    while pages := next(room):
        destination = run.fresh()
        monkeypatch.setattr(sqlite3, "connect", connect_with_little_room)
        with contextlib.suppress(DiskFullError):
            await run(destination)
            break
        monkeypatch.setattr(sqlite3, "connect", connect)
        await run(destination)
        check_end(destination, run.expected)
    assert pages > 3


# --- that all of this finds something -------------------------------------------------------------


async def stop_by(way: str, exporter: Exporter, run: Run, bug: str) -> None:
    """Stop exports in one of these ways."""
    if way == "second writer":
        await refuse_second_writer(exporter, run, bug=bug)
    elif way == "faults":
        for fault in FAULTS:
            await survive_faults(run, fault)
    elif way == "faults while added":
        for fault in FAULTS:
            await survive_faults(run, fault, prepare=FEW)
    elif way == "kills while added":
        await survive_each_kill(exporter, run, every=3, bug=bug, prepare=FEW)
    elif way == "power":
        await survive_power_cuts(run)
    else:
        await survive_each_kill(exporter, run, bug=bug)


# A bug that only kills find takes ten seconds of a core: the session `crash` puts those in.
SOUGHT = [bug for bug in BUGS if COUNTS or not BUGS[bug].way.startswith("kills")]


@pytest.mark.parametrize(
    ("bug", "name"),
    [(bug, "out.jsonl" if "added" in BUGS[bug].way else "out") for bug in SOUGHT],
    ids=SOUGHT,
)
async def test_the_bug_is_found(
    exporter: Exporter, run: Run, bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that has this bug does not pass."""
    put_in, way, symptom = BUGS[bug]
    put_in(monkeypatch.setattr)
    with pytest.raises((AssertionError, ExportError), match=symptom):
        await stop_often(way, exporter, run, bug)


async def stop_often(way: str, exporter: Exporter, run: Run, bug: str) -> None:
    """Stop exports in one way five times, since the content of a failing batch is random."""
    for _ in range(5):
        await stop_by(way, exporter, run, bug)
