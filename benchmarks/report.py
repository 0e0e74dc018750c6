"""Measured figures as a table for people and as JSON for machines. Nothing is measured here."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec
from aiohttp import http_parser

import aiomessages

if TYPE_CHECKING:
    from collections.abc import Iterator

Walks = dict[str, list[float]]
"""CPU seconds of each walk: contender → one figure per round."""

Costs = dict[int, Walks]
"""The same by page size; 0 is each contender's own."""

LIBRARIES = ("aiohttp", "msgspec", "openai", "httpx2", "httpx", "pydantic", "pyreqwest")


def table(
    title: str, costs: Costs, limit: int, messages: int, *, reference: str, floor: str
) -> str:
    """Render one page size: medians, spread, and ratios.

    A ratio is the median of the ratios within each round, where both ran close to each other.
    """
    walks = costs[limit]
    head = ["µs/message", "(min-max)", "µs/page", f"{reference} ÷ it", "it ÷ bare"]
    rows = [[title, *head]]
    for name, seconds in walks.items():
        each = [1e6 * spent / messages for spent in seconds]
        per_page = f"{1e6 * median(seconds) / ceil(messages / limit):.0f}" if limit else "-"
        figures = [*spread(each, digits=2), per_page]
        rows.append(
            [name, *figures, ratio(walks[reference], seconds), ratio(seconds, walks[floor])]
        )
    return aligned(rows)


def limit_name(limit: int) -> str:
    """Return the name of a page size."""
    return f"limit {limit}" if limit else "own defaults"


def spread(figures: list[float], *, digits: int) -> tuple[str, str]:
    """Return the median, and the lowest and highest figure."""
    least, middle, most = (f"{f(figures):.{digits}f}" for f in (min, median, max))
    return middle, f"({least}-{most})"


def ratio(above: list[float], below: list[float]) -> str:
    """Return the median over the rounds of the ratio of two contenders' costs."""
    return f"{median(a / b for a, b in zip(above, below, strict=True)):.2f}"


def aligned(rows: list[list[str]]) -> str:
    """Lay out rows as columns: names to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(line) for line in lines)


def as_json(options: dict[str, object], **figures: object) -> bytes:
    """Encode every figure with its environment and settings."""
    settings = {name: value for name, value in options.items() if name != "json"}
    document = {"environment": environment(), "settings": settings, **figures}
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def print_environment() -> None:
    """Print the environment of the figures, before they are shown."""
    for name, fact in environment().items():
        print(f"{name}: {fact}")


def environment() -> dict[str, str]:
    """Return the machine, the Python and the libraries of the figures."""
    pure = http_parser.HttpResponseParser is http_parser.HttpResponseParserPy
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "load": f"{os.getloadavg()[0]:.2f} (one minute, at the end)",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "aiomessages": aiomessages.__version__,
        **dict(installed(LIBRARIES)),
        "aiohttp's parser": "Python" if pure else "C",
    }


def processor() -> str:
    """Return the processor's model, if the system names it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    models = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def installed(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield name and version of each distribution that is installed."""
    for name in names:
        with suppress(PackageNotFoundError):
            yield name, version(name)
