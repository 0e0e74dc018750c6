"""The question: how much does a walk cost if a server sends messages in another shape.

Servers differ in the keys that they send for absent values. The same conversation is served in each
shape, and all clients walk all of them in each round, so that a slow moment of the machine affects
all alike. The figures are the CPU time of this process, and the memory of this client's messages.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from aiomessages import AsyncMessagesClient
from benchmarks import claims, report
from benchmarks.contenders import BARE, CONTENDERS, OPENAI, OURS
from benchmarks.rounds import opened, rotated
from benchmarks.server import COMPLETION_ID, KEY, LIVE, ODD, SHAPES, serving
from benchmarks.walk import cost, warm_up

LIMIT = 100
COMPARED = {name: CONTENDERS[name] for name in (OURS, OPENAI, BARE)}


class Measured(NamedTuple):
    """CPU seconds of each walk, by shape and client, and bytes of a held message."""

    costs: dict[str, report.Walks]
    held: dict[str, float]


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    measured = asyncio.run(measure(options))
    report.print_environment()
    print(f"{options.messages} messages, {options.rounds} rounds\n")
    print(f"{table(measured, options.messages)}\n\n{claims.table(claim(measured))}")
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), **measured._asdict()))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks shapes")
    parser.add_argument("--messages", type=int, default=4000, help="length of the conversation")
    size = "bytes of one message in the live API's shape; others have the same text"
    parser.add_argument("--size", type=int, default=400, help=size)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Measured:
    """Return the costs in order of rounds, and the memory."""
    logging.getLogger("aiomessages").setLevel(logging.ERROR)  # odd pages are logged
    async with AsyncExitStack() as stack:
        urls, walks = {}, {}
        for shape in SHAPES:
            server = serving(options.messages, options.size, shape=shape)
            urls[shape] = await stack.enter_async_context(server)
            walks[shape] = await opened(COMPARED, urls[shape], stack)
            await warm_up(walks[shape], [LIMIT])
        held = {shape: await bytes_held(url, options.messages) for shape, url in urls.items()}
        costs: dict[str, report.Walks] = {
            shape: {name: [] for name in COMPARED} for shape in SHAPES
        }
        for number in range(options.rounds):
            for name in rotated(COMPARED, number):
                for shape in rotated(SHAPES, number):  # compared, so in sequence
                    spent = await cost(walks[shape][name], LIMIT, options.messages)
                    costs[shape][name].append(spent)
    return Measured(costs, held)


async def bytes_held(base_url: str, messages: int) -> float:
    """Return the bytes of each message of a list, as tracemalloc counts them."""
    async with AsyncMessagesClient(KEY, base_url=base_url) as client:
        stream = client.list(COMPLETION_ID, limit=LIMIT)
        await anext(stream)
        gc.collect()
        tracemalloc.start()
        held = [message async for message in client.list(COMPLETION_ID, limit=LIMIT)]
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await stream.aclose()
    assert len(held) == messages
    return taken / messages


def claim(measured: Measured) -> list[claims.Claim]:
    """Compare the cost of each shape with the live API's."""
    costs, held = measured
    claimed = []
    for shape in costs:
        if shape != LIVE:
            most = 1.5 if shape == ODD else 1.2
            ratios = claims.ratios(costs[shape][OURS], costs[LIVE][OURS])
            claimed.append(claims.at_most(most, 9, f"{shape} ÷ {LIVE}, CPU", ratios))
            taken = [held[shape] / held[LIVE]]
            claimed.append(claims.at_most(1.25, 9, f"{shape} ÷ {LIVE}, memory held", taken))
    return claimed


def table(measured: Measured, messages: int) -> str:
    """Render a line for each shape and client."""
    costs, held = measured
    head = ["µs/message", "(min-max)", f"{OPENAI} ÷ it", "it ÷ bare", f"it ÷ {LIVE}", "bytes held"]
    rows = [["", *head]]
    for shape, walks in costs.items():
        for name, seconds in walks.items():
            figures = report.spread([1e6 * spent / messages for spent in seconds], digits=2)
            others = (walks[OPENAI], seconds), (seconds, walks[BARE]), (seconds, costs[LIVE][name])
            ratios = [report.ratio(*pair) for pair in others]
            taken = f"{held[shape]:.0f}" if name == OURS else "-"
            rows.append([f"{shape}: {name}", *figures, *ratios, taken])
    return report.aligned(rows)
