"""The question: what memory does one long conversation take, read along or held as a list.

Each reader runs in a process of its own, whose peak of resident memory is what is counted, against
a server in another. The peak is of all of it, with the interpreter and the libraries; what these
come to, with one page, is measured as well, since what is held comes on top of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks import claims, report
from benchmarks.held import HELD, OPENAI, OPENED, OURS, READERS, STREAMED
from benchmarks.rounds import rotated
from benchmarks.server import serving

Peaks = dict[str, list[float]]  # MB, a figure a round


def main(arguments: list[str]) -> None:
    """Measure, print the table, and write the raw figures where `--json` says."""
    options = parser().parse_args(arguments)
    peaks = asyncio.run(measure(options))
    report.print_environment()
    print(f"{options.messages} messages of {options.size} bytes, {options.rounds} rounds\n")
    print(table(peaks, options.messages) + "\n\n" + claims.table(claim(peaks)))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), peak_mb=peaks))


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks footprint")
    parser.add_argument("--messages", type=int, default=100_000, help="length of the conversation")
    parser.add_argument("--size", type=int, default=400, help="bytes of one message")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Peaks:
    """Return the peaks of memory, by reader, in order of rounds."""
    peaks: Peaks = {reader: [] for reader in READERS}
    async with serving(options.messages, options.size) as base_url:
        for number in range(options.rounds):
            for reader in rotated(READERS, number):
                command = [sys.executable, "-m", "benchmarks.held", base_url, reader]
                answer = json.loads(await asyncio.to_thread(subprocess.check_output, command))
                expected = 1 if reader.endswith(OPENED) else options.messages
                assert answer["seen"] == expected, f"{reader} saw {answer['seen']} messages"
                peaks[reader].append(answer["peak"])
    return peaks


def claim(peaks: Peaks) -> list[claims.Claim]:
    """Hold the stream to a bound, and what is held to what the official client takes for it."""
    held, peers = peaks[f"{OURS}, {HELD}"], peaks[f"{OPENAI}, {HELD}"]
    return [
        claims.at_most(40, 5, "peak of a stream", peaks[f"{OURS}, {STREAMED}"], "MB"),
        claims.at_most(0.45, 5, "peak with all held ÷ openai", claims.ratios(held, peers)),
        claims.at_most(
            0.45,
            5,
            "the same, beyond what each takes with one page",
            claims.ratios(_beyond(peaks, OURS), _beyond(peaks, OPENAI)),
        ),
    ]


def _beyond(peaks: Peaks, name: str) -> list[float]:
    both = zip(peaks[f"{name}, {HELD}"], peaks[f"{name}, {OPENED}"], strict=True)
    return [held - opened for held, opened in both]


def table(peaks: Peaks, messages: int) -> str:
    """Render the peaks of each reader, and what a message takes beyond one page of them."""
    rows = [["", "peak MB", "(min-max)", "bytes a message"]]
    for reader, figures in peaks.items():
        name, _, way = reader.partition(", ")
        each = 2**20 * (median(figures) - median(peaks[f"{name}, {OPENED}"])) / messages
        shown = "-" if way == OPENED else f"{each:.0f}"
        rows.append([reader, *report.spread(figures, digits=1), shown])
    return report.aligned(rows)
