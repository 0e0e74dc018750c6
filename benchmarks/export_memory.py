"""The question: how much memory does an export take, and does it depend on the number of messages.

Each export runs in a process of its own, whose peak of resident memory is measured, against a
server with pre-rendered pages in another process. By default the table has conversations of one
page and of a hundred, each with few messages and with many; large messages, of which fewer pages
are fetched at once; and columns. Another process makes the columns at the end. Its peak is shown in
a column of its own: importing and opening duckdb takes 50 MB by itself. While it works there are
both processes.
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
    """One export: its messages, in conversations of a `length`, each of `size` bytes."""

    messages: int
    length: int
    size: int
    ending: str


# Few messages and many: the peaks must not differ.
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
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory")
    add = parser.add_argument
    add("--messages", type=int, nargs="+", help="measure exports of so many messages instead")
    add("--each", type=int, nargs="+", default=[100], help="messages of a conversation")
    add("--size", type=int, nargs="+", default=[400], help="bytes of a message")
    add("--endings", nargs="+", default=[".jsonl"], metavar="ENDING", help="file formats")
    return parser


def chosen(options: argparse.Namespace) -> list[Row]:
    """Return the requested rows."""
    if not options.messages:
        return TABLE
    choices = (options.endings, options.size, options.each, options.messages)
    return [
        Row(count, length, size, end) for end, size, length, count in itertools.product(*choices)
    ]


async def measure(row: Row) -> dict[str, float]:
    """Export a row in a process of its own, and return its memory and its seconds."""
    async with serving(row.length, row.size) as base_url:
        command = [sys.executable, "-m", "benchmarks.export_memory", base_url, row.ending]
        command += [str(row.messages // row.length), str(row.messages)]
        answer = await asyncio.to_thread(subprocess.check_output, command)
    taken: dict[str, float] = json.loads(answer)
    return taken


async def run(base_url: str, ending: str, completions: int, messages: int) -> None:
    """Export to a temporary directory, and print the memory and the seconds."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        async with AsyncMessagesClient("key", base_url=base_url) as client:
            # The server has one conversation; ids in the live API's form would not match it.
            ids = (f"conversation-{number}" for number in range(completions))
            target = Path(directory) / f"out{ending}"
            report = await export(client, ids, target, include_reply=False)
        assert report.rows == messages, f"{report.rows} rows of {messages} messages"
    taken = {"peak": peak(), "columns": columns_peak(), "seconds": time.monotonic() - start}
    print(json.dumps(taken))


def peak() -> float:
    """Return this process's peak of resident memory in MB, from Linux.

    getrusage would include the memory of the parent before this program was loaded.
    """
    status = Path("/proc/self/status").read_text("ascii").split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def columns_peak() -> float:
    """Return the peak of the columns process in MB, and 0 without one.

    That process has ended, so getrusage knows its peak. It includes the memory of this process at
    the start of the other one, so the figure may be too high, and never too low.
    """
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    base_url, ending, completions, messages = sys.argv[1:]
    asyncio.run(run(base_url, ending, int(completions), int(messages)))
