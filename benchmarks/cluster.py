"""The question: what does an export on a cluster cost, and how does it grow with its workers.

The cost is CPU time a page (user and system) beside that of `aiomessages.export.export`, which
writes the same conversations to the same format in a process of its own. Both take turns in rounds
and read from a server in another process. The cluster is Ray on this machine. Counted are the
worker and the actor that hands out the pace, from the end of the first shard to that of the last
one, so that their start does not count; the pages are the requests of that time. The driver is
shown beside them, and so are the raylet, the GCS and Ray's agents, which a cluster runs anyway. Of
the single machine, the whole call counts, and the process that makes columns.

The growth is pages a second with different numbers of workers, from a server with latency and
without a rate limit, in the second half of each run: a rate that adapts takes some seconds to grow.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from aiomessages import AsyncMessagesClient
from aiomessages.export import export
from benchmarks import claims, report
from benchmarks.held import peak
from benchmarks.rounds import rotated
from benchmarks.server import KEY, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiomessages.ray import ClusterProgress

PAGE = 100
SHARDS = 10  # of a run; the first one is the warm-up
FORMATS = ("jsonl.gz", "parquet")
SINGLE, CLUSTER = "one machine", "cluster"
ACTORS, DRIVER, RAY = "worker and pacer", "driver", "Ray itself"
TICK = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """CPU seconds of a run's processes by their part, its pages, and the peak of one in MB."""

    pages: float
    cpu: dict[str, float]
    peak: float


class Speed(NamedTuple):
    """The pages of the second half of a run, and its seconds."""

    pages: float
    seconds: float


Costs = dict[str, dict[str, list[Cost]]]  # setting → contender → one a round
Speeds = dict[int, list[Speed]]  # workers → one a round


class Measured(NamedTuple):
    """All figures."""

    costs: Costs
    speeds: Speeds


# --- processes ------------------------------------------------------------------------------------


class Process(NamedTuple):
    """A process: its parent, its CPU seconds, and its title."""

    parent: int
    cpu: float
    title: str


def below(root: int) -> dict[int, Process]:
    """Return the processes that a process has started, and those that they have, from Linux."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            stat = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
            ticks = int(stat[11]) + int(stat[12])
            found[int(folder.name)] = Process(int(stat[1]), ticks / TICK, title.replace("\0", " "))
    wanted = {root}
    while more := {key for key, one in found.items() if one.parent in wanted} - wanted:
        wanted |= more
    return {key: found[key] for key in wanted - {root}}


class Sample(NamedTuple):
    """The state of a run at a moment: its progress, and the CPU seconds of each process."""

    moment: float
    requests: int
    done: int
    cpu: dict[int, float]
    parts: dict[int, str]
    peak: float


def sample(progress: ClusterProgress) -> Sample:
    """Return the state of a run, as the driver sees it."""
    running = below(os.getpid())
    parts = {key: _part(process.title) for key, process in running.items()}
    times = os.times()
    cpu = {key: process.cpu for key, process in running.items()}
    own = os.getpid()
    workers = [key for key, one in running.items() if one.title.startswith("ray::Worker")]
    return Sample(
        time.perf_counter(),
        progress.requests,
        progress.done,
        {**cpu, own: times.user + times.system},
        {**parts, own: DRIVER},
        max(map(_peak, workers), default=0),
    )


def _part(title: str) -> str:
    return ACTORS if title.startswith(("ray::Worker", "ray::Pacer")) else RAY


def _peak(process: int) -> float:
    with contextlib.suppress(OSError):
        return peak(process)
    return 0


def cost(first: Sample, last: Sample) -> Cost:
    """Return the cost of the time between two samples."""
    cpu = dict.fromkeys((ACTORS, DRIVER, RAY), 0.0)
    for key, seconds in last.cpu.items():
        cpu[last.parts[key]] += seconds - first.cpu.get(key, 0)
    return Cost(last.requests - first.requests, cpu, last.peak)


# --- the runs -------------------------------------------------------------------------------------


def on_cluster(
    base_url: str, completions: int, ending: str, workers: int, directory: Path
) -> list[Sample]:
    """Export on the cluster, and return a sample for each shard that was done."""
    from aiomessages.ray import Project  # noqa: PLC0415 needs Ray
    from aiomessages.ray import export as export_on_cluster  # noqa: PLC0415

    samples: list[Sample] = []
    shards = max(SHARDS, 5 * workers)
    done = export_on_cluster(
        [Project("bench", ids(completions), base_url=base_url)],
        directory / "cluster",
        workers=workers,
        format=ending,  # type: ignore[arg-type]  # one of FORMATS
        include_reply=False,
        shard_size=max(completions // shards, 1),
        on_progress=lambda progress: samples.append(sample(progress)),
    )
    assert done.completions == completions, done
    return samples


def ids(completions: int) -> list[str]:
    """Return the ids of so many completions, all of which the server has."""
    return [f"conversation-{number}" for number in range(completions)]


def on_one_machine(base_url: str, completions: int, ending: str) -> Cost:
    """Export in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cluster", base_url, str(completions), ending]
    found = json.loads(subprocess.check_output(command))  # noqa: S603 our own
    return Cost(0, {SINGLE: found["cpu"]}, found["peak"])


async def run(base_url: str, completions: int, ending: str) -> None:
    """Export to a temporary directory, and print the CPU time and the memory."""
    with TemporaryDirectory() as directory:
        async with AsyncMessagesClient(KEY, base_url=base_url) as client:
            target = Path(directory, f"out.{ending}")
            before = _spent()
            done = await export(client, ids(completions), target, include_reply=False)
            taken = {"cpu": _spent() - before, "peak": peak()}
    assert not done.failed
    print(json.dumps(taken))


def _spent() -> float:
    """Return the CPU seconds of this process and of those that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


# --- the measurement ------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    measured = asyncio.run(measure(options))
    report.print_environment()
    print(f"messages of {options.size} bytes; {options.rounds} rounds and {options.runs} runs\n")
    print("\n\n".join(tables(measured, options)) + "\n\n" + claims.table(claim(measured)))
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), **measured._asdict()))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ray")
    add = parser.add_argument
    add("--lengths", type=int, nargs="+", default=[100, 1000], metavar="N", help="of conversations")
    add("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    add("--size", type=int, default=400, help="bytes of one message")
    add("--pages", type=int, default=6000, help="of each run whose cost is measured")
    add("--rounds", type=int, default=5)
    add("--workers", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    add("--latency", type=float, default=150, help="milliseconds, of the runs for the growth")
    add("--growth-messages", type=int, default=10, help="of a conversation in those runs")
    add("--growth-pages", type=int, default=12_000, help="of each worker in those runs")
    add("--runs", type=int, default=3, help="with each number of workers")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Measured:
    """Return all figures."""
    with ray_here(max(options.workers, default=1)):
        return Measured(await costs(options), await speeds(options))


@contextlib.contextmanager
def ray_here(cpus: int) -> Iterator[None]:
    """Start Ray on this machine, with the key of the servers, and stop it."""
    import ray  # noqa: PLC0415 it is large, and installed by its session alone

    os.environ |= {"OPENAI_API_KEY": KEY, "RAY_USAGE_STATS_ENABLED": "0"}
    # Local, for another cluster may run on this machine.
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


async def costs(options: argparse.Namespace) -> Costs:
    """Return the cost of both, for each length and format."""
    found: Costs = {}
    for length in options.lengths:
        async with serving(length, options.size) as base_url:
            pages = -(-length // PAGE)
            completions = max(options.pages // pages, SHARDS)
            for ending in options.formats:
                setting = f"{ending}, conversations of {pages} page{'s' * (pages > 1)}"
                found[setting] = await asyncio.to_thread(
                    compare, base_url, completions, pages, ending, options.rounds
                )
    return found


def compare(
    base_url: str, completions: int, pages: int, ending: str, rounds: int
) -> dict[str, list[Cost]]:
    """Return the costs of one setting, interleaved."""
    found: dict[str, list[Cost]] = {SINGLE: [], CLUSTER: []}
    for number in range(rounds):
        for name in rotated(found, number):
            with TemporaryDirectory() as directory:
                if name == SINGLE:
                    spent = on_one_machine(base_url, completions, ending)
                    found[name].append(spent._replace(pages=completions * pages))
                else:
                    taken = on_cluster(base_url, completions, ending, 1, Path(directory))
                    first = next(one for one in taken if one.done)
                    found[name].append(cost(first, taken[-1]))
    return found


async def speeds(options: argparse.Namespace) -> Speeds:
    """Return the speed with each number of workers, interleaved."""
    found: Speeds = {workers: [] for workers in options.workers}
    async with serving(options.growth_messages, options.size, options.latency / 1000) as base_url:
        for number in range(options.runs):
            for workers in rotated(found, number):
                with TemporaryDirectory() as directory:
                    completions = options.growth_pages * workers
                    taken = await asyncio.to_thread(
                        on_cluster, base_url, completions, "jsonl.gz", workers, Path(directory)
                    )
                half = next(one for one in taken if 2 * one.done >= taken[-1].done)
                seconds = taken[-1].moment - half.moment
                found[workers].append(Speed(taken[-1].requests - half.requests, seconds))
    return found


# --- the tables -----------------------------------------------------------------------------------


def claim(measured: Measured) -> list[claims.Claim]:
    """Compare the cost of each setting with its target."""
    return [
        claims.at_most(1.3, 12, f"{CLUSTER} ÷ {SINGLE}, {setting}: CPU a page", ratios)
        for setting, found in measured.costs.items()
        for ratios in [claims.ratios(_each(found[CLUSTER], ACTORS), _each(found[SINGLE], SINGLE))]
    ]


def _each(runs: list[Cost], part: str) -> list[float]:
    """Return microseconds a page."""
    return [1e6 * run.cpu[part] / run.pages for run in runs]


def tables(measured: Measured, options: argparse.Namespace) -> list[str]:
    """Render the costs and the growth."""
    rows = [["CPU µs/page", "median", "(min-max)", f"÷ {SINGLE}", "peak MB"]]
    for setting, found in measured.costs.items():
        single = _each(found[SINGLE], SINGLE)
        memory = {name: f"{max(run.peak for run in runs):.0f}" for name, runs in found.items()}
        rows.append([setting, "", "", "", ""])
        rows.append([f"  {SINGLE}", *report.spread(single, digits=0), "", memory[SINGLE]])
        for part in (ACTORS, DRIVER, RAY):
            figures = _each(found[CLUSTER], part)
            taken = memory[CLUSTER] if part == ACTORS else ""
            shown = report.spread(figures, digits=0)
            rows.append([f"  {part}", *shown, report.ratio(figures, single), taken])
    if not measured.speeds:
        return [report.aligned(rows)]
    growth = [[f"workers, {options.latency:g} ms", "pages/s", "(min-max)", "÷ the first"]]
    rates = {
        workers: [one.pages / one.seconds for one in runs]
        for workers, runs in measured.speeds.items()
    }
    least = median(next(iter(rates.values())))
    for workers, found_rates in rates.items():
        shown = report.spread(found_rates, digits=0)
        growth.append([str(workers), *shown, f"{median(found_rates) / least:.2f}"])
    return [report.aligned(rows), report.aligned(growth)]


if __name__ == "__main__":
    url, count, wanted = sys.argv[1:]
    asyncio.run(run(url, int(count), wanted))
