"""The question: how many pages a second, and how much CPU time, do many conversations take.

Every conversation is one page. All clients run in this process against a server in another one. For
each latency and concurrency they are opened again, and take turns in rounds, in a rotating order.
Rates are of wall time, from the call to its end, and include all that an export writes, syncs and
records. CPU time is user and system time of this process with all its threads.

An export begins at FIRST_RATE, and its rate takes seconds to grow, whatever the number of pages. So
it is measured twice: from its start, in fewer and longer runs, because the rate depends on their
length; and with a FIRST_RATE above all rates, which shows the rate after the growth.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import openai

from aiomessages import AsyncMessagesClient
from aiomessages.calls.rate_limit import FIRST_RATE
from aiomessages.export import export
from benchmarks import report
from benchmarks.contenders import BARE_PAGE, rust_client
from benchmarks.rounds import opened, rotated
from benchmarks.server import KEY, serving

# Reads the conversations of these ids, with a concurrency and a directory to write to, and returns
# the number of messages.
Read = Callable[[list[str], int, Path], Awaitable[int]]
Contender = Callable[[str], AbstractAsyncContextManager[Read]]


class Run(NamedTuple):
    """The result of one run: its pages, and its seconds."""

    pages: int
    wall: float
    cpu: float


Setting = tuple[float, int]  # latency in milliseconds, concurrency
Runs = dict[Setting, dict[str, list[Run]]]

# --- the contenders -------------------------------------------------------------------------------


@asynccontextmanager
async def conversations(base_url: str) -> AsyncIterator[Read]:
    """Read typed messages by this client's `conversations`."""
    async with AsyncMessagesClient(KEY, base_url=base_url) as client:

        async def read(ids: list[str], concurrency: int, _: Path) -> int:
            count = 0
            async for conversation in client.conversations(ids, concurrency=concurrency):
                for _message in conversation.messages:
                    count += 1
            return count

        yield read


@asynccontextmanager
async def exported(base_url: str) -> AsyncIterator[Read]:
    """Export to a JSONL file, from its first rate on."""
    async with AsyncMessagesClient(KEY, base_url=base_url) as client:

        async def read(ids: list[str], concurrency: int, directory: Path) -> int:
            target = directory / "out.jsonl"
            done = await export(client, ids, target, concurrency=concurrency, include_reply=False)
            assert done.progress.retries == 0, "the server refuses nothing"
            return done.rows

        yield read


@asynccontextmanager
async def exported_at_full_rate(base_url: str) -> AsyncIterator[Read]:
    """Export to a JSONL file, with a first rate above all rates."""
    async with exported(base_url) as read_export:

        async def read(ids: list[str], concurrency: int, directory: Path) -> int:
            with patch("aiomessages.calls.rate_limit.FIRST_RATE", 1e6):
                return await read_export(ids, concurrency, directory)

        yield read


@asynccontextmanager
async def openai_gather(base_url: str) -> AsyncIterator[Read]:
    """Gather the official client's lists, under a semaphore."""
    async with openai.AsyncOpenAI(api_key=KEY, base_url=base_url) as client:

        async def read(ids: list[str], concurrency: int, _: Path) -> int:
            semaphore = asyncio.Semaphore(concurrency)

            async def conversation(completion_id: str) -> int:
                async with semaphore:
                    pages = client.chat.completions.messages.list(completion_id, limit=100)
                    return len([message async for message in pages])

            return sum(await asyncio.gather(*map(conversation, ids)))

        yield read


@asynccontextmanager
async def rust_gather(base_url: str) -> AsyncIterator[Read]:
    """Gather pages by pyreqwest and msgspec. Raises RuntimeError if it is not installed."""
    async with rust_client() as client:

        async def read(ids: list[str], concurrency: int, _: Path) -> int:
            semaphore = asyncio.Semaphore(concurrency)

            async def conversation(completion_id: str) -> int:
                url = f"{base_url}/chat/completions/{completion_id}/messages?limit=100"
                async with semaphore:
                    response = await client.get(url).build().send()
                    return len(BARE_PAGE.decode(await response.bytes()).data)

            return sum(await asyncio.gather(*map(conversation, ids)))

        yield read


OPENAI, FULL_RATE, FROM_START = "openai + gather", "export, at full rate", "export, from its start"
CONVERSATIONS, RUST = "conversations", "pyreqwest + gather"
CONTENDERS: dict[str, Contender] = {
    CONVERSATIONS: conversations,
    FULL_RATE: exported_at_full_rate,
    FROM_START: exported,
    OPENAI: openai_gather,
    RUST: rust_gather,
}

# --- the measurement ------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    runs = asyncio.run(measure(options))
    for name, fact in report.environment().items():
        print(f"{name}: {fact}")
    print(f"pages of {options.messages} messages of {options.size} bytes, {options.rounds} rounds")
    print(
        f"{FROM_START}: from {FIRST_RATE:.0f} pages a second upwards, {options.ramps} of the rounds"
    )
    for (latency, concurrency), measured in runs.items():
        print("\n" + table(f"{latency:g} ms, concurrency {concurrency}", measured))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), runs=as_rows(runs)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks export")
    add = parser.add_argument
    add("--messages", type=int, default=100, help="of a conversation, at most 100: one page")
    add("--size", type=int, default=400, help="bytes of one message")
    add("--latencies", type=float, nargs="+", default=[0, 50], metavar="MS")
    add("--concurrency", type=int, nargs="+", default=[16, 64, 256], metavar="N")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=0.4, help="approximate length of a run")
    add("--ramps", type=int, default=1, help="rounds with a run from the start")
    add("--ramp-seconds", type=float, default=1, help="length of that run at full rate")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Runs:
    """Return all runs, by setting and contender, in order of rounds."""
    runs: Runs = {}
    for latency in options.latencies:
        async with serving(options.messages, options.size, latency / 1000) as base_url:
            for concurrency in options.concurrency:
                runs[latency, concurrency] = await compare(base_url, concurrency, options)
    return runs


async def compare(
    base_url: str, concurrency: int, options: argparse.Namespace
) -> dict[str, list[Run]]:
    """Return each contender's runs in one setting."""
    async with AsyncExitStack() as stack:
        reads = await opened(CONTENDERS, base_url, stack)
        pages = await warm_up(reads, concurrency, options)
        runs: dict[str, list[Run]] = {name: [] for name in reads}
        for number in range(options.rounds):
            for name in rotated(list(reads), number):
                if name != FROM_START or number < options.ramps:
                    runs[name].append(
                        await timed(reads[name], pages[name], concurrency, options.messages)
                    )
    return runs


async def warm_up(
    reads: dict[str, Read], concurrency: int, options: argparse.Namespace
) -> dict[str, int]:
    """Run each contender without growth twice, and return the number of pages for each.

    So many pages take about the wanted time, judged by the second run, when the connections are
    open. They are enough to use each connection twice.
    """
    pages = {}
    for name, read in reads.items():
        if name != FROM_START:
            some = max(64, concurrency)
            await timed(read, some, concurrency, options.messages)
            run = await timed(read, some, concurrency, options.messages)
            pages[name] = max(int(options.seconds * run.pages / run.wall), 2 * concurrency)
    share = options.ramp_seconds / options.seconds
    pages[FROM_START] = int(pages[FULL_RATE] * share)
    gc.collect()
    gc.freeze()  # else a collection in one contender's run traverses the objects of all
    return pages


async def timed(read: Read, pages: int, concurrency: int, messages: int) -> Run:
    """Return one run, which must see every message."""
    ids = [f"conversation-{number}" for number in range(pages)]
    with TemporaryDirectory() as directory:
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        seen = await read(ids, concurrency, Path(directory))
        run = Run(pages, time.perf_counter() - wall, time.process_time() - cpu)
    assert seen == pages * messages, f"saw {seen} of {pages * messages} messages"
    return run


# --- the tables -----------------------------------------------------------------------------------


def table(title: str, measured: dict[str, list[Run]]) -> str:
    """Render one setting: medians, spread, and ratios within the rounds, above 1 if better."""
    head = ["pages", "pages/s", "(min-max)", "÷ openai", "CPU µs/page", "(min-max)", "openai ÷ it"]
    rows = [[title, *head]]
    peers = measured[OPENAI]
    for name, runs in measured.items():
        if runs:
            figures = [*rates(runs, peers), *costs(runs, peers)]
            rows.append([name, str(runs[0].pages), *figures])
    return report.aligned(rows)


def rates(runs: list[Run], peers: list[Run]) -> list[str]:
    """Return the cells for pages a second."""
    own, others = ([run.pages / run.wall for run in each] for each in (runs, peers))
    return [*report.spread(own, digits=0), report.ratio(own, others[: len(own)])]


def costs(runs: list[Run], peers: list[Run]) -> list[str]:
    """Return the cells for CPU time a page."""
    own, others = ([1e6 * run.cpu / run.pages for run in each] for each in (runs, peers))
    return [*report.spread(own, digits=0), report.ratio(others[: len(own)], own)]


def as_rows(runs: Runs) -> list[dict[str, object]]:
    """Return every run with its setting, in seconds."""
    return [
        {"latency": latency / 1000, "concurrency": concurrency, "contender": name, **run._asdict()}
        for (latency, concurrency), measured in runs.items()
        for name, each in measured.items()
        for run in each
    ]
