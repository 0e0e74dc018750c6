"""The question: how closely does an export on a cluster follow the rate that a server allows.

The cluster is Ray on this machine, with a worker a CPU, all of one project. The server is a process
of its own with a latency and a token bucket of one second's worth; the workers know neither. The
time is that between the first request and the last answer, as the server saw them, as a multiple of
N/R; the share is that of the requests that were answered 429. Both should be those of one process:
at most 1.15 and 3 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from aiomessages.server.middleware import TokenBucket
from benchmarks import claims, report
from benchmarks.cluster import ids, ray_here
from benchmarks.pace import Outcome
from benchmarks.rounds import rotated
from benchmarks.server import HEADERS, PageProtocol, compact, listen, page, started

MESSAGES, SIZE = 10, 400
FACTS = "facts"
REFUSED = (
    "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\nretry-after-ms: {wait}\r\n\r\n"
)


Outcomes = dict[int, dict[int, list[Outcome]]]  # rate → workers → one a round


# --- the server -----------------------------------------------------------------------------------


class Limited:
    """Answer `rate` requests a second, and refuse the others; keep the facts."""

    def __init__(self, rate: float) -> None:
        self._bucket = TokenBucket(rate)
        self._answer = page(MESSAGES, SIZE, 0, 100)
        self._first = self._last = 0.0
        self._counts = {"answered": 0, "refused": 0}

    def respond(self, request: bytes) -> bytes:
        """Return an answer, or a refusal with the time until there is a token."""
        if FACTS.encode() in request:
            body = compact({"seconds": self._last - self._first, **self._counts})
            return HEADERS.format(length=len(body), start=0).encode() + body
        now = time.monotonic()
        self._first = self._first or now
        self._last = now
        if wait := self._bucket.take():
            self._counts["refused"] += 1
            body = compact({"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
            return REFUSED.format(length=len(body), wait=f"{1000 * wait:.3f}").encode() + body
        self._counts["answered"] += 1
        return self._answer


# --- the measurement ------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Measure, and print the environment, the table and the claims."""
    options = parser().parse_args(arguments)
    outcomes = asyncio.run(measure(options))
    report.print_environment()
    print(f"N/R of each export: {options.seconds:g} s, latency {options.latency:g} ms\n")
    print(table(outcomes) + "\n\n" + claims.table(claim(outcomes)))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), outcomes=outcomes))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ray-pace")
    add = parser.add_argument
    add("--rates", type=int, nargs="+", default=[20, 100, 300], metavar="R")
    add("--workers", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    add("--latency", type=float, default=50, help="milliseconds")
    add("--seconds", type=float, default=50, help="N/R of each export")
    add("--rounds", type=int, default=3)
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Outcomes:
    """Return the outcomes."""
    found: Outcomes = {rate: {workers: [] for workers in options.workers} for rate in options.rates}
    with ray_here(max(options.workers)):
        for rate, by_workers in found.items():
            for number in range(options.rounds):
                for workers in rotated(by_workers, number):
                    one = await follow(rate, workers, options.latency / 1000, options.seconds)
                    by_workers[workers].append(one)
    return found


async def follow(rate: int, workers: int, latency: float, seconds: float) -> Outcome:
    """Export rate × seconds conversations of a page each, and return the outcome."""
    async with started("benchmarks.cluster_pace", rate, latency) as base_url:
        number = round(rate * seconds)
        await asyncio.to_thread(export, base_url, number, workers)
        facts = await asyncio.to_thread(facts_of, base_url)
    assert facts["answered"] == number, facts
    return Outcome(facts["seconds"] / seconds, facts["refused"] / (number + facts["refused"]))


def export(base_url: str, completions: int, workers: int) -> None:
    """Export so many completions on the cluster."""
    from aiomessages.ray import Project  # noqa: PLC0415 needs Ray
    from aiomessages.ray import export as export_on_cluster  # noqa: PLC0415

    with TemporaryDirectory() as directory:
        done = export_on_cluster(
            [Project("bench", ids(completions), base_url=base_url)],
            Path(directory, "out"),
            workers=workers,
            include_reply=False,
            shard_size=max(completions // (10 * workers), 1),
        )
    assert done.completions == completions, done


def facts_of(base_url: str) -> dict[str, float]:
    """Return what the server has seen."""
    with urllib.request.urlopen(f"{base_url}/{FACTS}") as answer:  # noqa: S310 on loopback
        found: dict[str, float] = json.load(answer)
    return found


# --- the table ------------------------------------------------------------------------------------


def claim(outcomes: Outcomes) -> list[claims.Claim]:
    """Compare the outcomes with their targets."""
    return [
        claims.at_most(most, 13, f"R {rate}, workers {workers}: {name}", figures, unit)
        for rate, found in outcomes.items()
        for workers, each in found.items()
        for name, most, unit, figures in (
            ("time ÷ (N/R)", 1.15, "×", [one.time for one in each]),
            ("429s", 3, "%", [100 * one.refused for one in each]),
        )
    ]


def table(outcomes: Outcomes) -> str:
    """Return a table of time ÷ (N/R) and the share of 429s, medians of the rounds."""
    counts = next(iter(outcomes.values()))
    rows = [["R", *(f"{workers} worker{'s' * (workers > 1)}" for workers in counts)]]
    for rate, found in outcomes.items():
        cells = (
            f"{median(one.time for one in each):.3f} ({median(one.refused for one in each):.1%})"
            for each in found.values()
        )
        rows.append([str(rate), *cells])
    return report.aligned(rows)


async def serve(rate: float, latency: float) -> None:
    """Serve until standard input ends."""
    limited = Limited(rate)
    await listen(lambda: PageProtocol(limited.respond, latency))


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), float(sys.argv[2])))
