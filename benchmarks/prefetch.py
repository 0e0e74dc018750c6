"""The question: how much fetching time is left when each page is worked on.

A walk fetches one page ahead. So it should take as long as the longer of two parts: all fetches,
one after the other, or all of the work, which waits as for a database. Both are measured and not
computed: the fetches by a walk without prefetching and work, in the same round, and the work within
each walk. Seconds are wall time.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from aiomessages import AsyncMessagesClient
from benchmarks import claims, report
from benchmarks.rounds import rotated
from benchmarks.server import COMPLETION_ID, KEY, serving

LIMIT = 10


class Run(NamedTuple):
    """One walk, in seconds: in all, of its work, and of the fetches by themselves."""

    wall: float
    work: float
    fetches: float


Runs = dict[float, list[Run]]  # work on a page, in latencies → a run a round


def main(arguments: list[str]) -> None:
    """Measure, print the table, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    runs = asyncio.run(measure(options))
    report.print_environment()
    print(f"{options.pages} pages at {options.latency:g} ms, {options.rounds} rounds\n")
    print(table(runs) + "\n\n" + claims.table(claim(runs)))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), runs=as_rows(runs)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks prefetch")
    add = parser.add_argument
    add("--pages", type=int, default=40)
    add("--latency", type=float, default=50, metavar="MS")
    work = "on a page, in terms of the latency"
    add("--work", type=float, nargs="+", default=[0, 0.5, 1, 1.5, 2], metavar="N", help=work)
    add("--rounds", type=int, default=3)
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Runs:
    """Return all runs, by the amount of work, in order of rounds."""
    latency = options.latency / 1000
    runs: Runs = {factor: [] for factor in options.work}
    async with (
        serving(options.pages * LIMIT, 400, latency) as base_url,
        AsyncMessagesClient(KEY, base_url=base_url) as client,
    ):
        for number in range(options.rounds):
            fetches, _ = await walk(client, options.pages, 0, prefetch=False)
            for factor in rotated(runs, number):
                wall, work = await walk(client, options.pages, factor * latency, prefetch=True)
                runs[factor].append(Run(wall, work, fetches))
    return runs


async def walk(
    client: AsyncMessagesClient, pages: int, work: float, *, prefetch: bool
) -> tuple[float, float]:
    """Work on each page; return the seconds in all, and those of the work."""
    seen, worked = 0, 0.0
    began = time.perf_counter()
    async for _ in client.list(COMPLETION_ID, limit=LIMIT, prefetch=prefetch).pages():
        seen += 1
        if work:
            before = time.perf_counter()
            await asyncio.sleep(work)
            worked += time.perf_counter() - before
    assert seen == pages, f"saw {seen} of {pages} pages"
    return time.perf_counter() - began, worked


def claim(runs: Runs) -> list[claims.Claim]:
    """Compare each walk with the longer of its fetches and its work."""
    return [
        claims.at_most(
            1.05,
            4,
            f"walk with prefetch ÷ max(fetches, work), work {factor:g} × latency",
            [run.wall / max(run.fetches, run.work) for run in measured],
        )
        for factor, measured in runs.items()
    ]


def table(runs: Runs) -> str:
    """Render the seconds of each amount of work, as medians."""
    rows = [["work", "seconds", "of work", "of fetches", "one after the other"]]
    for factor, measured in runs.items():
        wall, work, fetches = (median(each) for each in zip(*measured, strict=True))
        figures = (f"{seconds:.3f}" for seconds in (wall, work, fetches, work + fetches))
        rows.append([f"{factor:g} × latency", *figures])
    return report.aligned(rows)


def as_rows(runs: Runs) -> list[dict[str, object]]:
    """Return every run with its amount of work."""
    return [
        {"factor": factor, **run._asdict()} for factor, measured in runs.items() for run in measured
    ]
