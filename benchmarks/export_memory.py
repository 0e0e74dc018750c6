"""The question: what memory does an export take, and does it depend on how much is exported.

Each export runs in a process of its own, whose peak of resident memory is what is counted, against
a server with pre-rendered pages in another process. Conversations are of one page or of a hundred.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aiomessages import AsyncMessagesClient
from aiomessages.export import export
from benchmarks.server import serving

LENGTHS = (100, 10_000)  # messages in a conversation: those of one page, and of a hundred


def main(arguments: list[str]) -> None:
    """Measure, and print a row for each export."""
    options = parser().parse_args(arguments)
    print(f"{'messages':>9} {'each':>6} {'ending':<10} {'peak MB':>8} {'seconds':>8}")
    for ending in options.endings:
        for length in LENGTHS:
            for messages in options.messages:
                row = asyncio.run(measure(messages, length, options.size, ending))
                print(
                    f"{messages:9} {length:6} {ending:<10} {row['peak']:8.1f} {row['seconds']:8.1f}"
                )


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory")
    parser.add_argument("--messages", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--size", type=int, default=400, help="bytes of one message")
    parser.add_argument("--endings", nargs="+", default=[".jsonl"], metavar="ENDING")
    return parser


async def measure(messages: int, length: int, size: int, ending: str) -> dict[str, float]:
    """Export so many messages in a process of its own, and return what it took."""
    async with serving(length, size) as base_url:
        command = [sys.executable, "-m", "benchmarks.export_memory", base_url, ending]
        command += [str(messages // length), str(messages)]
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
    print(json.dumps({"peak": peak(), "seconds": time.monotonic() - start}))


def peak() -> float:
    """Return this process's peak of resident memory in MB, as Linux knows it.

    getrusage would count what the parent had before this program was loaded as well.
    """
    status = Path("/proc/self/status").read_text("ascii").split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


if __name__ == "__main__":
    base_url, ending, completions, messages = sys.argv[1:]
    asyncio.run(run(base_url, ending, int(completions), int(messages)))
