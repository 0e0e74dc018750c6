"""Measure how closely an export follows the rate that a server allows, and how much is refused.

The server is the local one, in a process of its own, with a latency and a token bucket of one
second's worth; the client knows neither. All rates are measured at the same time, one latency after
the other. The time is a multiple of N/R: no export is faster than 1.00 by more than the first
burst. The share in parentheses is that of the requests that were answered 429.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from aiomessages import AsyncMessagesClient
from aiomessages.calls.rate_limit import Pace
from aiomessages.client import caller_of
from aiomessages.server import LocalServer
from benchmarks import report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiomessages.paging.caller import Caller

KEY = "sk-benchmark"


class Outcome(NamedTuple):
    """The time of one export as a multiple of N/R, and the share of requests answered 429."""

    time: float
    refused: float


def main(arguments: list[str]) -> None:
    """Measure, and print the environment and the table."""
    options = parser().parse_args(arguments)
    outcomes = asyncio.run(measure(options))
    for name, fact in report.environment().items():
        print(f"{name}: {fact}")
    print(f"N/R of each export: {options.seconds} s, concurrency {options.concurrency}\n")
    print(table(outcomes, options.rates, options.latencies))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pace")
    parser.add_argument("--rates", type=int, nargs="+", default=[20, 100, 300], metavar="R")
    parser.add_argument("--latencies", type=float, nargs="+", default=[0.05, 0.2], metavar="S")
    parser.add_argument("--seconds", type=float, default=30, help="N/R of each export")
    parser.add_argument("--concurrency", type=int, default=128)
    return parser


async def measure(options: argparse.Namespace) -> dict[tuple[int, float], Outcome]:
    """Return the outcome of an export for each rate and latency."""
    outcomes = {}
    for latency in options.latencies:
        exports = (
            export(rate, latency, options.seconds, options.concurrency) for rate in options.rates
        )
        for rate, outcome in zip(options.rates, await asyncio.gather(*exports), strict=True):
            outcomes[rate, latency] = outcome
    return outcomes


async def export(rate: int, latency: float, seconds: float, concurrency: int) -> Outcome:
    """Fetch rate × seconds pages, `concurrency` at a time."""
    refused = 0

    def count(_: object) -> None:
        nonlocal refused
        refused += 1

    number = round(rate * seconds)
    tickets = iter(range(number))
    async with (
        serving(rate, latency) as base_url,
        AsyncMessagesClient(KEY, base_url=base_url, on_retry=count) as client,
    ):
        completion_id = (await client.completions(limit=1)).data[0].id
        paced = caller_of(client).paced(Pace())
        began = time.monotonic()
        await asyncio.gather(*(work(paced, completion_id, tickets) for _ in range(concurrency)))
        spent = time.monotonic() - began
    return Outcome(spent / seconds, refused / (number + refused))


async def work(caller: Caller, completion_id: str, tickets: Iterator[int]) -> None:
    """Fetch a page for each ticket."""
    for _ in tickets:
        with caller.plain_walk(completion_id) as pages:
            await anext(pages)


def table(
    outcomes: dict[tuple[int, float], Outcome], rates: list[int], latencies: list[float]
) -> str:
    """Return a table of time ÷ (N/R) and the share of 429s: one row per rate."""
    rows = [["R", *(f"{latency * 1000:.0f} ms" for latency in latencies)]]
    for rate in rates:
        cells = (outcomes[rate, latency] for latency in latencies)
        rows.append([str(rate), *(f"{cell.time:.3f} ({cell.refused:.1%})" for cell in cells)])
    return report.aligned(rows)


@asynccontextmanager
async def serving(rate: float, latency: float) -> AsyncIterator[str]:
    """Start a local server in a process of its own, and yield its base URL."""
    command = [sys.executable, "-m", "benchmarks.pace", str(rate), str(latency)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert process.stdin
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()  # this ends the server, even if this process is killed
        await process.wait()


async def serve(rate: float, latency: float) -> None:
    """Serve the sample, print the base URL, and stop when standard input ends."""
    async with LocalServer(sample=True, api_key=KEY, rate=rate, latency=latency) as server:
        print(server.base_url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), float(sys.argv[2])))
