"""The question: what memory does an export take, and does it depend on how much is exported.

Each export runs in a process of its own, whose peak of resident memory is what is counted, against
a server with pre-rendered pages in another process. By default the table has conversations of one
page and of a hundred, each with few messages and with many; large messages, of which fewer pages
are then fetched at once; and columns, which another process makes at the end, whose peak is counted
apart: importing and opening duckdb takes 50 MB by itself. While it is at work there are both.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from aiomessages import AsyncMessagesClient
from aiomessages.export import export
from benchmarks.server import serving


class Row(NamedTuple):
    """An export: so many messages in conversations of a `length`, each of `size` bytes."""

    messages: int
    length: int
    size: int
    ending: str


# Few messages and many, which must not differ.
FEW, MANY = 100_000, 1_000_000
TABLE = [
    *(Row(count, length, 400, ".jsonl") for length in (100, 10_000) for count in (FEW, MANY)),
    *(Row(count, 100, 4_000, ".jsonl") for count in (FEW // 10, MANY // 10)),
    *(Row(count, 100, 40_000, ".jsonl") for count in (FEW // 100, MANY // 100)),
    *(Row(count, 100, 400, end) for end in (".parquet", ".duckdb") for count in (FEW, MANY)),
]


def main(arguments: list[str]) -> None:
    """Measure, and print a row for each export."""
    options = parser().parse_args(arguments)
    head = f"{'messages':>9} {'each':>6} {'bytes':>6} {'ending':<10}"
    print(f"{head} {'peak MB':>8} {'columns MB':>11} {'seconds':>8}")
    for row in chosen(options):
        taken = asyncio.run(measure(row))
        columns = f"{taken['columns']:.1f}" if taken["columns"] else "-"
        print(
            f"{row.messages:9} {row.length:6} {row.size:6} {row.ending:<10}"
            f" {taken['peak']:8.1f} {columns:>11} {taken['seconds']:8.1f}",
            flush=True,
        )


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory")
    add = parser.add_argument
    add("--messages", type=int, nargs="+", help="other exports than the table's: of so many")
    add("--each", type=int, nargs="+", default=[100], help="messages of a conversation, then")
    add("--size", type=int, nargs="+", default=[400], help="bytes of a message, then")
    add("--endings", nargs="+", default=[".jsonl"], metavar="ENDING", help="of the files, then")
    return parser


def chosen(options: argparse.Namespace) -> list[Row]:
    """Return the rows that are asked for."""
    if not options.messages:
        return TABLE
    choices = (options.endings, options.size, options.each, options.messages)
    return [
        Row(count, length, size, end) for end, size, length, count in itertools.product(*choices)
    ]


async def measure(row: Row) -> dict[str, float]:
    """Export so many messages in a process of its own, and return what it took."""
    async with serving(row.length, row.size) as base_url:
        command = [sys.executable, "-m", "benchmarks.export_memory", base_url, row.ending]
        command += [str(row.messages // row.length), str(row.messages)]
        answer = await asyncio.to_thread(subprocess.check_output, command)
    taken: dict[str, float] = json.loads(answer)
    return taken


async def run(base_url: str, ending: str, completions: int, messages: int) -> None:
    """Export to a directory that is removed afterwards, and print what it took."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        async with AsyncMessagesClient("key", base_url=base_url) as client:
            # The server has one conversation; ids in the live API's manner would tell.
            ids = (f"conversation-{number}" for number in range(completions))
            target = Path(directory) / f"out{ending}"
            report = await export(client, ids, target, include_reply=False)
        assert report.rows == messages, f"{report.rows} rows of {messages} messages"
    taken = {"peak": peak(), "columns": columns_peak(), "seconds": time.monotonic() - start}
    print(json.dumps(taken))


def peak() -> float:
    """Return this process's peak of resident memory in MB, as Linux knows it.

    getrusage would count what the parent had before this program was loaded as well.
    """
    status = Path("/proc/self/status").read_text("ascii").split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def columns_peak() -> float:
    """Return that of the process that made columns, and 0 where there was none.

    Here getrusage is the one to ask, for that process has ended. What it counts in addition is what
    this process had when it started that one, so it may say more than there was, and never less.
    """
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    base_url, ending, completions, messages = sys.argv[1:]
    asyncio.run(run(base_url, ending, int(completions), int(messages)))
