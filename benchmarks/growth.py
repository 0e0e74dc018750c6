"""The question: does the cost of a message or of a page grow with their number.

First with the length of a conversation: a short one is a part of the long one, and walked often.
Then with the number of conversations that are read at a time, each of one page. All runs are in
this process, against a server in another one, and take turns in rounds. The cost is CPU time (user
and system) of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from aiomessages import AsyncMessagesClient
from benchmarks import claims, report
from benchmarks.rounds import rotated
from benchmarks.server import COMPLETION_ID, KEY, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable

Costs = dict[int, list[float]]
"""Microseconds of CPU: length or concurrency → one figure a round."""

PAGE = 100
CLIFF = 1.5  # the largest factor of a page's cost at ten times the concurrency


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    lengths, concurrencies = asyncio.run(measure(options))
    report.print_environment()
    print(f"{options.rounds} rounds\n")
    print("\n\n".join(tables(lengths, concurrencies)) + "\n")
    print(claims.table(claim(lengths, concurrencies)))
    if options.json:
        figures = as_figures(lengths, concurrencies)
        options.json.write_bytes(report.as_json(vars(options), **figures))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth")
    add = parser.add_argument
    add("--lengths", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="N")
    add("--concurrency", type=int, nargs="+", default=[1, 10, 100, 1000], metavar="N")
    add("--size", type=int, default=400, help="bytes of one message")
    add("--pages", type=int, default=2000, help="at least so many in a run of many conversations")
    add("--rounds", type=int, default=3)
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> tuple[Costs, Costs]:
    """Return the costs of a message by length, and of a page by concurrency."""
    _allow_files(3 * max(options.concurrency) + 100)
    return await by_length(options), await by_concurrency(options)


async def by_length(options: argparse.Namespace) -> Costs:
    """Walk conversations of each length."""
    costs: Costs = {length: [] for length in options.lengths}
    longest = max(options.lengths)
    async with (
        serving(longest, options.size) as base_url,
        AsyncMessagesClient(KEY, base_url=base_url) as client,
    ):
        await walk(client, range(0, longest, longest), min(options.lengths))
        for number in range(options.rounds):
            for length in rotated(costs, number):
                # Each begins at another message, so that no page is cheaper because the server
                # cached it.
                starts = range(0, longest, max(length, longest // 10))
                work = walk(client, starts, length)
                costs[length].append(await cost(work, length * len(starts)))
    return costs


async def walk(client: AsyncMessagesClient, starts: range, length: int) -> None:
    """Walk `length` messages from each start."""
    seen = 0
    for start in starts:
        after = f"{COMPLETION_ID}-{start - 1}" if start else None
        async for _ in client.list(COMPLETION_ID, after=after, max_items=length):
            seen += 1
    assert seen == length * len(starts), f"saw {seen} of {length * len(starts)} messages"


async def by_concurrency(options: argparse.Namespace) -> Costs:
    """Read conversations of one page each, at each concurrency."""
    costs: Costs = {concurrency: [] for concurrency in options.concurrency}
    async with (
        serving(PAGE, options.size) as base_url,
        AsyncMessagesClient(KEY, base_url=base_url) as client,
    ):
        await read(client, 2 * max(costs), max(costs))  # opens every connection
        for number in range(options.rounds):
            for concurrency in rotated(costs, number):
                pages = max(options.pages, 2 * concurrency)
                costs[concurrency].append(await cost(read(client, pages, concurrency), pages))
    return costs


async def read(client: AsyncMessagesClient, pages: int, concurrency: int) -> None:
    """Read a number of conversations of one page."""
    seen = 0
    ids = (f"conversation-{number}" for number in range(pages))
    async for conversation in client.conversations(ids, concurrency=concurrency):
        seen += len(conversation.messages)
    assert seen == pages * PAGE, f"saw {seen} of {pages * PAGE} messages"


async def cost(work: Awaitable[None], units: int) -> float:
    """Return the microseconds of CPU time for each unit of some work."""
    gc.collect()
    start = time.process_time()
    await work
    return 1e6 * (time.process_time() - start) / units


def _allow_files(number: int) -> None:
    """Raise the limit of open files as far as allowed; the server inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        most = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def claim(lengths: Costs, concurrencies: Costs) -> list[claims.Claim]:
    """Compare the longest with the shortest, and each concurrency with the one before it."""
    shortest, longest = min(lengths), max(lengths)
    grown = f"CPU a message of {longest:,} ÷ of {shortest:,}"
    steps = sorted(concurrencies)
    return [
        claims.at_most(1.1, 7, grown, claims.ratios(lengths[longest], lengths[shortest])),
        *(
            claims.at_most(
                CLIFF,
                7,
                f"CPU a page, {more} at a time ÷ {fewer}",
                claims.ratios(concurrencies[more], concurrencies[fewer]),
            )
            for fewer, more in pairwise(steps)
        ),
    ]


def tables(lengths: Costs, concurrencies: Costs) -> list[str]:
    """Render the costs by length, and by concurrency."""
    return [
        table("messages", "CPU µs/message", lengths),
        table("at a time", "CPU µs/page", concurrencies),
    ]


def as_figures(lengths: Costs, concurrencies: Costs) -> dict[str, Costs]:
    """Return every figure."""
    return {"microseconds_a_message": lengths, "microseconds_a_page": concurrencies}


def table(head: str, unit: str, costs: Costs) -> str:
    """Render medians, spread, and the ratio to the first."""
    rows = [[head, unit, "(min-max)", "÷ the first"]]
    first = median(next(iter(costs.values())))
    for number, figures in costs.items():
        ratio = f"{median(figures) / first:.2f}"
        rows.append([f"{number:,}", *report.spread(figures, digits=2), ratio])
    return report.aligned(rows)
