"""The table: every claim about speed, its target, and whether the measured median meets it.

Each question is measured as in its own file, with all clients interleaved; this module compares the
results with their targets. It takes some minutes. Rows:

1. a walk through one conversation, against the official client
2. a page of it, against the leanest loop with the same limits that one can write on aiohttp
3. many conversations at once, and exports of them
4. prefetching under work
5. memory
6. starting
7. growth
8. lookahead in one long conversation
9. the shapes in which servers send a message
10. an archive, its sync and a search in it; once, whatever the number of rounds
11. the pages of an archive; once as well
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import (
    archive,
    claims,
    export,
    footprint,
    growth,
    lookahead,
    prefetch,
    report,
    shapes,
    start,
    view,
    walk,
)
from benchmarks.contenders import BARE, OPENAI, OURS, RAW

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType


class Result(NamedTuple):
    """The result of a question: claims, tables for people, and every figure."""

    claims: list[claims.Claim]
    tables: list[str]
    figures: object


def main(arguments: list[str]) -> None:
    """Measure, print every table and then all claims, and write the raw figures to `--json`."""
    options = parser().parse_args(arguments)
    results: dict[str, Result] = {}
    for name in options.only:
        print(f"measuring: {name}", file=sys.stderr)
        results[name] = asyncio.run(_answer(name, options))
    claimed = sorted((each for result in results.values() for each in result.claims), key=_row)
    report.print_environment()
    print(f"{options.rounds} rounds; figures are medians (least-most)\n")
    print("\n\n".join(table for result in results.values() for table in result.tables))
    print(f"\n{claims.table(claimed)}")
    if options.json:
        figures = {name: result.figures for name, result in results.items()}
        document = report.as_json(vars(options), claims=claims.as_rows(claimed), figures=figures)
        options.json.write_bytes(document)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks all")
    add = parser.add_argument
    add("--rounds", type=int, default=9)
    add("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS), metavar="QUESTION")
    add("--scale", type=float, default=1, help="factor of all sizes; below 1 for a trial")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def _answer(name: str, options: argparse.Namespace) -> Result:
    return await QUESTIONS[name](options)


def _row(claim: claims.Claim) -> int:
    return claim.row


# --- the questions --------------------------------------------------------------------------------


async def walks(options: argparse.Namespace) -> Result:
    """Measure a walk, with messages of 400 bytes and of 4 KB."""
    length = _scaled(8000, options)
    small = _options(walk, options, "--messages", length, "--limits", 0, 20, 100)
    fewer = max(length // 4, 100)
    large = _options(walk, options, "--messages", fewer, "--limits", 100, "--size", 4096)
    costs, large_costs = await walk.measure(small), await walk.measure(large)
    tables = [
        *(walk.table(costs, limit, small) for limit in small.limits),
        walk.table(large_costs, 100, large),
    ]
    figures = {
        **{_title(limit, small.size): _each(costs[limit], length) for limit in costs},
        _title(100, large.size): _each(large_costs[100], fewer),
    }
    return Result(_of_walks(costs, large_costs[100]), tables, figures)


def _of_walks(costs: report.Costs, large: report.Walks) -> list[claims.Claim]:
    def faster(target: float, subject: str, measured: report.Walks, contender: str) -> claims.Claim:
        ratios = claims.ratios(measured[OPENAI], measured[contender])
        return claims.at_least(target, 1, f"openai ÷ {subject}", ratios)

    return [
        faster(30, "aiomessages, both at their defaults", costs[0], OURS),
        faster(12, "aiomessages, limit 20", costs[20], OURS),
        faster(18, "aiomessages, limit 100", costs[100], OURS),
        faster(22, "aiomessages raw, limit 100", costs[100], RAW),
        faster(7, "aiomessages, limit 100, messages of 4 KB", large, OURS),
        *(
            claims.at_most(
                1.1,
                2,
                f"aiomessages ÷ {BARE}, limit {limit}",
                claims.ratios(costs[limit][OURS], costs[limit][BARE]),
            )
            for limit in (20, 100)
        ),
    ]


def _title(limit: int, size: int) -> str:
    return f"{report.limit_name(limit)}, {size} bytes"


def _each(walks: report.Walks, messages: int) -> dict[str, list[float]]:
    """Return microseconds a message."""
    return {name: [1e6 * spent / messages for spent in each] for name, each in walks.items()}


async def bulk(options: argparse.Namespace) -> Result:
    """Measure the pages a second of many conversations, 64 at a time, without latency."""
    setting = (0.0, 64)
    seconds = ("--seconds", 0.4 * options.scale, "--ramp-seconds", options.scale)
    where = ("--latencies", setting[0], "--concurrency", setting[1])
    runs = await export.measure(_options(export, options, *where, *seconds))
    table = export.table("0 ms, 64 at a time", runs[setting])
    return Result(_of_bulk(runs[setting]), [table], export.as_rows(runs))


def _of_bulk(runs: dict[str, list[export.Run]]) -> list[claims.Claim]:
    def rates(contender: str) -> list[float]:
        return [run.pages / run.wall for run in runs[contender]]

    def costs(contender: str) -> list[float]:
        return [run.cpu / run.pages for run in runs[contender]]

    claimed = []
    for name in (export.CONVERSATIONS, export.FULL_RATE, export.FROM_START):
        ratios = claims.ratios(rates(name), rates(export.OPENAI)[: len(runs[name])])
        claimed.append(claims.at_least(17, 3, f"{name} ÷ {export.OPENAI}, pages/s", ratios))
    if export.RUST in runs:
        for name in (export.CONVERSATIONS, export.FULL_RATE):
            ratios = claims.ratios(costs(name), costs(export.RUST))
            claimed.append(claims.at_most(1, 3, f"{name} ÷ {export.RUST}, CPU a page", ratios))
    return claimed


async def prefetching(options: argparse.Namespace) -> Result:
    """Measure how much of the fetching time is left beside work."""
    runs = await prefetch.measure(_options(prefetch, options, "--pages", _scaled(40, options)))
    return Result(prefetch.claim(runs), [prefetch.table(runs)], prefetch.as_rows(runs))


async def memory(options: argparse.Namespace) -> Result:
    """Measure the memory of a long conversation, streamed and held."""
    length = _scaled(100_000, options)
    peaks = await footprint.measure(_options(footprint, options, "--messages", length))
    return Result(footprint.claim(peaks), [footprint.table(peaks, length)], peaks)


async def starting(options: argparse.Namespace) -> Result:
    """Measure the cost of a start."""
    runs = await start.measure(_options(start, options))
    return Result(start.claim(runs), [start.table(runs)], start.as_rows(runs))


async def growing(options: argparse.Namespace) -> Result:
    """Measure whether costs grow with the length, or with the concurrency."""
    lengths = [_scaled(length, options) for length in (10_000, 1_000_000)]
    pages = ("--pages", _scaled(2000, options), "--concurrency")
    concurrencies = [_scaled(number, options) for number in (1, 10, 100, 1000)]
    measured = await growth.measure(
        _options(growth, options, *pages, *concurrencies, "--lengths", *lengths)
    )
    return Result(growth.claim(*measured), growth.tables(*measured), growth.as_figures(*measured))


async def looking_ahead(options: argparse.Namespace) -> Result:
    """Measure how much faster a long conversation is read with `lookahead=True`."""
    small = _options(lookahead, options, "--pages", max(_scaled(20, options), 3))
    readings = await lookahead.measure(small)
    seconds = {name: [each.seconds for each in walks] for name, walks in readings.items()}
    claim = claims.at_least(
        8,
        8,
        f"plain walk ÷ lookahead, {small.pages} pages at {1000 * small.latency:g} ms, wall",
        claims.ratios(seconds["plain"], seconds["lookahead"]),
    )
    return Result([claim], [lookahead.table(readings)], readings)


async def shaped(options: argparse.Namespace) -> Result:
    """Measure the cost of other shapes of messages than the live API's."""
    length = max(_scaled(4000, options), 100)
    measured = await shapes.measure(_options(shapes, options, "--messages", length))
    return Result(shapes.claim(measured), [shapes.table(measured, length)], measured._asdict())


async def archived(options: argparse.Namespace) -> Result:
    """Measure a sync, a sync with nothing new, and searches."""
    words = ["--messages", str(max(_scaled(1_000_000, options), 1000))]
    measured = await archive.measure(archive.parser().parse_args(words))
    return Result(archive.claim(measured), archive.tables(measured), measured._asdict())


async def viewed(options: argparse.Namespace) -> Result:
    """Measure the pages that show an archive."""
    words = ["--messages", str(max(_scaled(1_000_000, options), 2000))]
    measured = await view.measure(view.parser().parse_args(words))
    return Result(view.claim(measured), view.tables(measured), measured._asdict())


QUESTIONS: dict[str, Callable[[argparse.Namespace], Awaitable[Result]]] = {
    "walk": walks,
    "export": bulk,
    "prefetch": prefetching,
    "footprint": memory,
    "start": starting,
    "growth": growing,
    "lookahead": looking_ahead,
    "shapes": shaped,
    "archive": archived,
    "view": viewed,
}


def _options(question: ModuleType, options: argparse.Namespace, *words: object) -> Any:
    """Return the options of a question, as its own command line would give them."""
    return question.parser().parse_args(["--rounds", str(options.rounds), *map(str, words)])


def _scaled(size: int, options: argparse.Namespace) -> int:
    scale: float = options.scale
    return max(round(size * scale), 1)
