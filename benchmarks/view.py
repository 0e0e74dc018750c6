"""The question: how fast are the pages of a large archive, and how much memory do they take.

The real program serves an archive in a process of its own, and each page is loaded over its socket,
as a browser does: with the results of a search come its facets. The start is that of a new process,
from its call to the end of the first page. The pages take turns, so that each is measured while
others have been read before it. CPU time is that of the server, user and system, of all its
threads; its peak of memory includes the interpreter and the libraries. Searches and facets are
measured once more by themselves, in a process that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import aiohttp
import msgspec
from multidict import MultiDict

from aiomessages.archive.browsing import find
from aiomessages.archive.connection import ReadConnection, Work
from aiomessages.archive.facets import facets
from aiomessages.view.url_state import state_of
from benchmarks import claims, library, report
from benchmarks.archive import percentile
from benchmarks.held import peak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OFTEN = library.MOST_FREQUENT[0]
START = "start to the first page"
# What is searched for: the parameters of an address, and whether anything is found.
SEARCHES: dict[str, tuple[dict[str, str], bool]] = {
    "a word in most messages": ({"q": OFTEN}, True),
    "a word in a tenth of all": ({"q": "invoice"}, True),
    "two words in most": ({"q": " ".join(library.MOST_FREQUENT)}, True),
    "a rare word": ({"q": "quokka"}, True),
    "a phrase": ({"q": '"purchase order"'}, True),
    "a prefix": ({"q": "purch*"}, True),
    "a prefix of two letters": ({"q": "pu*"}, True),
    "two Chinese characters": ({"q": "日本"}, True),
    "best first": ({"q": "invoice", "order": "best"}, True),
    "no hit": ({"q": "xyzzyx"}, False),
    "word and role": ({"q": "invoice", "role": "assistant"}, True),
    "word and rare role": ({"q": OFTEN, "role": library.RARE_ROLE}, True),
    "word and role without it": ({"q": "invoice", "role": "user"}, False),
    "word and model": ({"q": "invoice", "model": library.MODELS[2]}, True),
    "word and metadata": ({"q": "invoice", "meta": "team:7"}, True),
    "word and tool": ({"q": "invoice", "tool": library.TOOLS[0]}, True),
    "word and rare tool": ({"q": OFTEN, "tool": library.RARE_TOOL}, True),
}
LISTS: dict[str, dict[str, str]] = {
    "all": {},
    "model": {"model": library.MODELS[0]},
    "role": {"role": "system"},
    "rare tool": {"tool": library.RARE_TOOL},
    "metadata": {"meta": "team:7"},
}
OVERVIEW, OVERVIEW_OF_WORD = "overview", "overview of a word in most messages"
SHORT, LONG = "a conversation of 200 messages", "a page of 100 in the middle of a long one"


class Load(NamedTuple):
    """How long a page took, and how long the server worked for it, in milliseconds."""

    wall: float
    cpu: float


class Measured(NamedTuple):
    """All figures of a run: of pages by their kind and name, of searches and facets alone."""

    messages: int
    pages: dict[str, dict[str, list[Load]]]
    alone: dict[str, dict[str, list[Load]]]
    peak: float


# --- the measurement ------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    measured = asyncio.run(measure(options))
    report.print_environment()
    print(f"{measured.messages:,} messages\n")
    print("\n\n".join(tables(measured)) + "\n\n" + claims.table(claim(measured)))
    if options.json:
        settings = {**vars(options), "archive": str(options.archive)}
        options.json.write_bytes(report.as_json(settings, **measured._asdict()))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks view")
    add = parser.add_argument
    add("--messages", type=int, default=1_000_000, help="of the archive that is built")
    add("--archive", type=Path, metavar="FILE", help="build it there, or open what was built there")
    add("--times", type=int, default=20, help="that each page is loaded, at least 2")
    add("--starts", type=int, default=9, help="of the program, at least 2")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Measured:
    """Return the figures of one archive."""
    with TemporaryDirectory() as directory:
        path: Path = options.archive or Path(directory, "archive.db")
        await asyncio.to_thread(library.build_once, path, options.messages)
        starts = [await _start(path) for _ in range(1 + options.starts)]
        async with _served(path) as served:
            pages = await _pages(served, options.times)
            memory = peak(served.process.pid)
        apart = await _apart(path, options.times)
    # The first start compiles the modules, and fills the file cache.
    pages = {START: {"": starts[1:]}, **pages}
    return Measured(apart.messages, pages, apart.taken, memory)


class _Served:
    """A process that serves the pages, and a browser that has its cookie."""

    def __init__(self, process: subprocess.Popen[str], browser: aiohttp.ClientSession) -> None:
        self.process = process
        self._browser = browser
        self._address = ""

    async def open(self) -> None:
        """Wait for the address, and exchange its token for the cookie."""
        assert self.process.stdout
        printed = await asyncio.to_thread(self.process.stdout.readline)
        self._address = printed.partition("?")[0]
        async with self._browser.get(printed.strip()) as answer:
            assert answer.status == 200, printed

    async def load(self, path: str, query: dict[str, str]) -> tuple[Load, str]:
        """Load a page; return how long it took, and its text."""
        address = f"{self._address}{path}?{urlencode(query)}"
        cpu, wall = cpu_of(self.process.pid), time.perf_counter()
        async with self._browser.get(address) as answer:
            text = await answer.text()
            wall = time.perf_counter() - wall
        assert answer.status == 200, f"{address}: {answer.status}"
        return Load(1000 * wall, 1000 * (cpu_of(self.process.pid) - cpu)), text


@asynccontextmanager
async def _served(path: Path) -> AsyncIterator[_Served]:
    command = [sys.executable, "-m", "aiomessages", "view", str(path), "--no-open"]
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    jar = aiohttp.CookieJar(unsafe=True)  # the host is a number
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        with subprocess.Popen(  # noqa: ASYNC220, S603 of this program; it takes no time
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                served = _Served(process, browser)
                await served.open()
                yield served
            finally:
                process.terminate()


# What would change how the program starts.
_FOREIGN = {"PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "COVERAGE_PROCESS_CONFIG"}


async def _start(path: Path) -> Load:
    """Start the program, load its first page, and end it."""
    began = time.perf_counter()
    async with _served(path) as served:
        await served.load("", {})
        return Load(1000 * (time.perf_counter() - began), 1000 * cpu_of(served.process.pid))


async def _pages(served: _Served, times: int) -> dict[str, dict[str, list[Load]]]:
    """Load each page so many times."""
    found: dict[str, dict[str, list[Load]]] = {}

    async def load(kind: str, name: str, path: str, query: dict[str, str]) -> str:
        taken, text = await served.load(path, query)
        found.setdefault(kind, {}).setdefault(name, []).append(taken)
        return text

    for turn in range(times):
        for name, query in LISTS.items():
            text = await load("list", name, "", query)
            assert "data-item" in text, name
            await load("list", f"{name}, another page", "", {**query, **_next(text)})
        for name, (query, is_found) in SEARCHES.items():
            text = await load("search", name, "", query)
            assert ("data-item" in text) is is_found, name
        await load("overview", OVERVIEW, "overview", {})
        await load("overview", OVERVIEW_OF_WORD, "overview", {"q": OFTEN})
        await load("conversation", SHORT, f"c/{library.SHORT}", {})
        await load("conversation", LONG, f"c/{library.LONG}", {"m": str(100 * turn)})
    return found


def _next(page: str) -> dict[str, str]:
    """Return the parameter of the next page of a list, if there is one."""
    _, found, behind = page.partition("at=")
    return {"at": behind.partition('"')[0].partition("&")[0]} if found else {}


# --- searches and facets alone --------------------------------------------------------------------


class _Alone(NamedTuple):
    """What the process that does nothing else prints."""

    messages: int
    taken: dict[str, dict[str, list[Load]]]


async def _apart(path: Path, times: int) -> _Alone:
    """Count the messages, and time searches and facets, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.view", str(path), str(times)]
    printed = await asyncio.to_thread(subprocess.check_output, command)
    return msgspec.json.decode(printed, type=_Alone)


async def alone(path: str, times: int) -> _Alone:
    """Return the number of messages, and the times of each search and of its facets."""
    taken: dict[str, dict[str, list[Load]]] = {"search alone": {}, "facets alone": {}}
    mix = {name: query for name, (query, _) in SEARCHES.items()}
    mix |= {f"list: {name}": query for name, query in LISTS.items()}
    connection = ReadConnection(path)
    await connection.open()
    for _ in range(times):
        for name, query in mix.items():
            state = state_of(MultiDict(query))
            filters = state.filters(UTC)
            works: list[Work[object]] = [
                partial(find, filters=filters, best=state.best),
                partial(facets, filters=filters, utc=True),
            ]
            for kind, work in zip(taken, works, strict=True):
                wall, cpu = time.perf_counter(), time.process_time()
                await connection.run(work)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                taken[kind].setdefault(name, []).append(Load(1000 * wall, 1000 * cpu))
    counting = "SELECT count(*) FROM messages WHERE choice IS NULL"
    (count,) = await connection.run(lambda db: db.execute(counting).fetchone())
    await connection.aclose()
    return _Alone(count, taken)


# --- the tables -----------------------------------------------------------------------------------


def claim(measured: Measured) -> list[claims.Claim]:
    """Claim limits for the time of each kind of page, and for the memory."""
    pages, row = measured.pages, 11

    def at_most(target: float, subject: str, figures: list[float], unit: str) -> claims.Claim:
        return claims.at_most(target, row, subject, figures, unit)

    starts = [each.wall / 1000 for each in pages[START][""]]
    conversation = [each.wall for each in pages["conversation"][SHORT]]
    both = [percentile(_walls(pages["search"]))]
    searches, counted = ([percentile(_walls(each))] for each in measured.alone.values())
    return [
        at_most(1, START, starts, "s"),
        at_most(150, "95th percentile of a search alone", searches, "ms"),
        at_most(300, "95th percentile of facets alone", counted, "ms"),
        at_most(300, "95th percentile of the page with both", both, "ms"),
        at_most(80, SHORT, conversation, "ms"),
        at_most(150, "peak of the server", [measured.peak], "MB"),
    ]


def _walls(pages: dict[str, list[Load]]) -> list[float]:
    return [each.wall for loads in pages.values() for each in loads]


def tables(measured: Measured) -> list[str]:
    """Render the times of each page, of searches and of facets."""
    kinds = {**measured.pages, **measured.alone}
    return [_table(kind, pages) for kind, pages in kinds.items()]


def _table(kind: str, pages: dict[str, list[Load]]) -> str:
    rows = [[kind, "median ms", "95th percentile", "most", "CPU ms"]]
    for name, loads in pages.items():
        walls = [each.wall for each in loads]
        cpu = f"{median(each.cpu for each in loads):.1f}"
        figures = [f"{f(walls):.1f}" for f in (median, percentile, max)]
        rows.append([name, *figures, cpu])
    return report.aligned(rows)


def cpu_of(process: int) -> float:
    """Return the CPU seconds of another process, from its clock: see clock_getcpuclockid(3)."""
    return time.clock_gettime((~process << 3) | 2)


if __name__ == "__main__":
    given, count = sys.argv[1:]
    print(msgspec.json.encode(asyncio.run(alone(given, int(count)))).decode())
