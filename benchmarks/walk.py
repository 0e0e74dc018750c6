"""The question: how much CPU time does a walk through a conversation take, per message and page.

Every client runs in this process against a server in another one. In each round all of them walk
the same conversation, in an order that rotates from round to round, so that a slow moment of the
machine affects all alike. The figure is the CPU time (user and system) of this process: waiting for
the network costs nothing here, and is the same for all.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import report
from benchmarks.contenders import BARE, CONTENDERS, OPENAI
from benchmarks.rounds import opened, rotated
from benchmarks.server import serving

if TYPE_CHECKING:
    from benchmarks.contenders import Walk


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    costs = asyncio.run(measure(options))
    report.print_environment()
    print(f"{options.messages} messages of {options.size} bytes, {options.rounds} rounds")
    for limit in options.limits:
        print("\n" + table(costs, limit, options))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), cpu_seconds=costs))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks walk")
    limits = "page sizes; 0: each client's own"
    parser.add_argument("--limits", type=int, nargs="+", default=[0, 20, 100], help=limits)
    parser.add_argument("--messages", type=int, default=4000, help="length of the conversation")
    parser.add_argument("--size", type=int, default=400, help="bytes of one message")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


def table(costs: report.Costs, limit: int, options: argparse.Namespace) -> str:
    """Render one page size."""
    title = f"{report.limit_name(limit)}, {options.size} bytes"
    return report.table(title, costs, limit, options.messages, reference=OPENAI, floor=BARE)


async def measure(options: argparse.Namespace) -> report.Costs:
    """Return the CPU seconds of each walk, by page size and contender, in order of rounds."""
    async with serving(options.messages, options.size) as base_url, AsyncExitStack() as stack:
        walks = await opened(CONTENDERS, base_url, stack)
        await warm_up(walks, options.limits)
        costs: report.Costs = {limit: {name: [] for name in walks} for limit in options.limits}
        for number in range(options.rounds):
            for limit in options.limits:
                for name in rotated(walks, number):
                    costs[limit][name].append(await cost(walks[name], limit, options.messages))
    return costs


async def warm_up(walks: dict[str, Walk], limits: list[int]) -> None:
    """Walk once with each contender, then hide all live objects from the garbage collector.

    Otherwise each collection in one contender's walk would traverse the objects of all.
    """
    for limit in limits:
        for walk in walks.values():
            await walk(limit)
    gc.collect()
    gc.freeze()


async def cost(walk: Walk, limit: int, messages: int) -> float:
    """Return the CPU seconds of one walk, which must see every message."""
    gc.collect()
    start = time.process_time()
    seen = await walk(limit)
    spent = time.process_time() - start
    assert seen == messages, f"saw {seen} of {messages} messages"
    return spent
