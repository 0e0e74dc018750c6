"""The question: what do an archive, its daily sync and a search in it cost.

A project of many conversations, of ten messages each, is read by `conversations`, exported to a
JSONL file and synced to an archive; then it is synced again with nothing new, and the archive is
searched. Each is a process of its own, against a server in another one. CPU time is user and system
time of that process, from the call to its end; its peak of memory includes the interpreter and the
libraries. A search is one of a fixed mix and ends at its first 20 hits.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from aiomessages import AsyncMessagesClient
from aiomessages.archive import Archive, sync
from aiomessages.export import export
from benchmarks import claims, report
from benchmarks.held import peak
from benchmarks.project_server import EACH
from benchmarks.server import KEY, started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONVERSATIONS, EXPORT, SYNC = "conversations", "export to .jsonl", "sync"
NOTHING_NEW, SEARCH = "sync, nothing new", "search"
NO_HIT = "no hit"
MIX = {
    "a word in a tenth of all": "invoice",
    "a rare word": "quokka",
    "a phrase": '"purchase order"',
    "a prefix": "purch*",
    "two Chinese characters": "日本",
    NO_HIT: "xyzzyx",
}
HITS = 20


class Measured(NamedTuple):
    """All figures of a run, which is of so many messages."""

    messages: int
    works: dict[str, dict[str, float]]
    searches: dict[str, list[float]]  # milliseconds
    sizes: dict[str, int]  # bytes


# --- the works, each in a process of its own ------------------------------------------------------


async def conversations(client: AsyncMessagesClient, _: Path) -> dict[str, float]:
    """Read every conversation, typed."""
    seen = 0
    async for conversation in client.conversations(client.completions(), concurrency=64):
        seen += len(conversation.messages)
    return {"seen": seen}


async def exported(client: AsyncMessagesClient, directory: Path) -> dict[str, float]:
    """Export every conversation; the replies are rows as well."""
    done = await export(client, client.completions(), directory / "out.jsonl")
    return {"seen": done.rows}


async def synced(client: AsyncMessagesClient, directory: Path) -> dict[str, float]:
    """Sync the archive."""
    done = await sync(client, directory / "archive.db")
    return {"seen": done.messages, "requests": done.requests}


WORKS: dict[str, Callable[[AsyncMessagesClient, Path], Awaitable[dict[str, float]]]] = {
    CONVERSATIONS: conversations,
    EXPORT: exported,
    SYNC: synced,
    NOTHING_NEW: synced,
}


async def run(base_url: str, work: str, directory: Path) -> dict[str, float]:
    """Do one of the works, and return what it took."""
    async with AsyncMessagesClient(KEY, base_url=base_url) as client:
        wall, cpu = time.perf_counter(), time.process_time()
        seen = await WORKS[work](client, directory)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {**seen, "seconds": wall, "cpu": cpu, "peak": peak()}


async def search(directory: Path, times: int) -> dict[str, list[float]]:
    """Search for each of the mix so many times; return the milliseconds of each."""
    taken: dict[str, list[float]] = {name: [] for name in MIX}
    async with Archive(directory / "archive.db") as archive:
        for _ in range(times):
            for name, words in MIX.items():
                start = time.perf_counter()
                hits = [hit async for hit in archive.search(words, limit=HITS)]
                taken[name].append(1000 * (time.perf_counter() - start))
                assert bool(hits) is (name != NO_HIT), f"{name}: {len(hits)} hits"
    return taken


# --- the measurement ------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    measured = asyncio.run(measure(options))
    report.print_environment()
    print(f"{measured.messages:,} messages in conversations of {EACH}\n")
    print("\n\n".join(tables(measured)) + "\n\n" + claims.table(claim(measured)))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), **measured._asdict()))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks archive")
    add = parser.add_argument
    add("--messages", type=int, default=1_000_000, help="of the project, ten a conversation")
    add("--searches", type=int, default=40, help="for each of the mix, at least 2")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Measured:
    """Return the figures of one project, which is removed at the end."""
    messages = options.messages // EACH * EACH
    works: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as directory:
        async with started("benchmarks.project_server", messages) as base_url:
            for work in WORKS:
                works[work] = await _apart(work, base_url, directory)
        searches = await _apart(SEARCH, options.searches, directory)
        sizes = _sizes(Path(directory))
    expected = [messages, messages + messages // EACH, messages, 0]
    assert [each["seen"] for each in works.values()] == expected, works
    return Measured(messages, works, searches, sizes)


async def _apart(*words: object) -> Any:
    """Return what this program answers to these words, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.archive", *map(str, words)]
    return json.loads(await asyncio.to_thread(subprocess.check_output, command))


def _sizes(directory: Path) -> dict[str, int]:
    """Return the sizes of the archive, the export, and the export when packed."""
    lines, packed = directory / "out.jsonl", directory / "out.jsonl.gz"
    with lines.open("rb") as source, gzip.open(packed, "wb", 6) as target:
        shutil.copyfileobj(source, target, 2**20)
    archive = sum(file.stat().st_size for file in directory.glob("archive.db*"))
    return {
        "archive": archive,
        ".jsonl": lines.stat().st_size,
        ".jsonl.gz": packed.stat().st_size,
    }


# --- the tables -----------------------------------------------------------------------------------


def claim(measured: Measured) -> list[claims.Claim]:
    """Claim limits for the memory and the time of a sync, and for the time of a search."""
    works = measured.works
    again = works[NOTHING_NEW]
    above = 1e6 * (works[SYNC]["cpu"] - works[CONVERSATIONS]["cpu"]) / measured.messages
    slowest = percentile(_all(measured.searches))
    return [
        claims.at_most(120, 10, "peak of a sync", [works[SYNC]["peak"]], "MB"),
        claims.at_most(60, 10, f"{SYNC} above {CONVERSATIONS}, CPU a message", [above], "µs"),
        claims.at_most(1, 10, f"{NOTHING_NEW}: requests", [again["requests"]], ""),
        claims.at_most(1, 10, f"{NOTHING_NEW}: time", [again["seconds"]], "s"),
        claims.at_most(100, 10, "95th percentile of a search", [slowest], "ms"),
    ]


def percentile(figures: list[float]) -> float:
    """Return the 95th percentile."""
    return quantiles(figures, n=20, method="inclusive")[-1]


def _all(searches: dict[str, list[float]]) -> list[float]:
    return [each for taken in searches.values() for each in taken]


def tables(measured: Measured) -> list[str]:
    """Render what each work took, the times of the searches, and the sizes."""
    count = measured.messages
    works = [["", "seconds", "CPU µs/message", "peak MB"]]
    for name, taken in measured.works.items():
        each = "-" if name == NOTHING_NEW else f"{1e6 * taken['cpu'] / count:.1f}"
        works.append([name, f"{taken['seconds']:.2f}", each, f"{taken['peak']:.1f}"])
    searches = [[f"search, first {HITS} hits", "median ms", "95th percentile"]]
    for name, times in {**measured.searches, "all": _all(measured.searches)}.items():
        searches.append([name, f"{median(times):.1f}", f"{percentile(times):.1f}"])
    sizes = [["on disk", "MB", "bytes a message"]]
    for name, size in measured.sizes.items():
        sizes.append([name, f"{size / 1e6:.1f}", f"{size / count:.0f}"])
    return list(map(report.aligned, (works, searches, sizes)))


if __name__ == "__main__":
    work, given, place = sys.argv[1:]
    if work == SEARCH:
        print(json.dumps(asyncio.run(search(Path(place), int(given)))))
    else:
        print(json.dumps(asyncio.run(run(given, work, Path(place)))))
