"""The question: how much faster is one long conversation read, and with how many requests.

The client walks one conversation plainly and with `lookahead=True`, in an order that rotates from
round to round, from a server in another process that delays each response. The figure is wall time,
from the first request to the last message: nearly all of it is waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from math import ceil
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from aiomessages import AsyncMessagesClient
from benchmarks import report
from benchmarks.rounds import rotated
from benchmarks.server import COMPLETION_ID, serving

if TYPE_CHECKING:
    from aiomessages.client import LookAheadMode

KEY = "sk-benchmark"
MODES: dict[str, LookAheadMode | None] = {"plain": None, "lookahead": True}


class Reading(NamedTuple):
    """One walk: its seconds, and its requests."""

    seconds: float
    requests: int


Readings = dict[str, list[Reading]]


def main(arguments: list[str]) -> None:
    """Measure, print the table, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    readings = asyncio.run(measure(options))
    for name, fact in report.environment().items():
        print(f"{name}: {fact}")
    print(f"{options.pages} pages of {options.limit}, {options.latency * 1000:g} ms each\n")
    print(table(readings))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), readings=readings))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks lookahead")
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--limit", type=int, default=100, help="messages of a page")
    parser.add_argument("--size", type=int, default=400, help="bytes of one message")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds of one response")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Readings:
    """Read the conversation in each way, in each round."""
    readings: Readings = defaultdict(list)
    count = options.pages * options.limit
    requests = Requests()
    async with (
        serving(count, options.size, options.latency) as base_url,
        AsyncMessagesClient(KEY, base_url=base_url, trace_configs=[requests.trace()]) as client,
    ):
        for number in range(-1, options.rounds):  # the first round only opens the connections
            for name in rotated(list(MODES), number):
                reading = await read(client, MODES[name], options.limit, count, requests)
                readings[name] += [reading] if number >= 0 else []
    return {name: readings[name] for name in MODES}


class Requests:
    """Counts the requests that are sent."""

    def __init__(self) -> None:
        self.sent = 0

    def trace(self) -> aiohttp.TraceConfig:
        """Return a trace config that counts each request."""
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._count)
        return trace

    async def _count(self, *_: object) -> None:
        self.sent += 1


async def read(
    client: AsyncMessagesClient,
    mode: LookAheadMode | None,
    limit: int,
    count: int,
    requests: Requests,
) -> Reading:
    """Read the conversation, and check that it is complete and in order."""
    before, began = requests.sent, time.perf_counter()
    got = [item.id async for item in client.list(COMPLETION_ID, limit=limit, lookahead=mode)]
    spent = time.perf_counter() - began
    assert got == [f"{COMPLETION_ID}-{number}" for number in range(count)]
    return Reading(spent, requests.sent - before)


def table(readings: Readings) -> str:
    """Render medians, spread, and the factor by which each is faster than the plain walk."""
    rows = [["", "ms", "(min-max)", "plain ÷ it", "requests"]]
    plain = [each.seconds for each in readings["plain"]]
    for name, walks in readings.items():
        seconds = [each.seconds for each in walks]
        middle, between = report.spread([1000 * each for each in seconds], digits=0)
        requests = f"{ceil(median(each.requests for each in walks))}"
        rows.append([name, middle, between, report.ratio(plain, seconds), requests])
    return report.aligned(rows)
