"""The question: how much memory does one long conversation take, streamed or held as a list.

Each reader runs in a process of its own, whose peak of resident memory is measured, against a
server in another process. The peak includes the interpreter and the libraries. Their share is
measured with one page, so that the memory of the held messages can be computed.
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
    """Measure, print the table, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    peaks = asyncio.run(measure(options))
    report.print_environment()
    print(f"{options.messages} messages of {options.size} bytes, {options.rounds} rounds\n")
    print(table(peaks, options.messages) + "\n\n" + claims.table(claim(peaks)))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), peak_mb=peaks))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
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
    """Claim a limit for the stream, and a share of openai's memory for held messages."""
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
    """Render the peaks of each reader, and the bytes of a message beyond one page."""
    rows = [["", "peak MB", "(min-max)", "bytes a message"]]
    for reader, figures in peaks.items():
        name, _, way = reader.partition(", ")
        each = 2**20 * (median(figures) - median(peaks[f"{name}, {OPENED}"])) / messages
        shown = "-" if way == OPENED else f"{each:.0f}"
        rows.append([reader, *report.spread(figures, digits=1), shown])
    return report.aligned(rows)
