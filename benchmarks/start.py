"""The question: how much does a start cost, from the start of the interpreter.

Each program is a fresh process; they take turns. The figure is its CPU time (user and system); its
wall time is shown beside it: to its end, or to its first message if it reads one. The libraries
alone are the least that a client on them takes. All modules are compiled before, as in an installed
package.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import claims, report
from benchmarks.rounds import rotated
from benchmarks.server import COMPLETION_ID, KEY, serving

OUR_FIRST_MESSAGE = f"""
import asyncio, sys, time, aiomessages

async def main():
    async with aiomessages.AsyncMessagesClient({KEY!r}, base_url=sys.argv[1]) as client:
        async for message in client.list({COMPLETION_ID!r}):
            return print(time.process_time(), flush=True)

asyncio.run(main())
"""
OPENAI_FIRST_MESSAGE = f"""
import asyncio, sys, time, openai

async def main():
    async with openai.AsyncOpenAI(api_key={KEY!r}, base_url=sys.argv[1]) as client:
        async for message in client.chat.completions.messages.list({COMPLETION_ID!r}):
            return print(time.process_time(), flush=True)

asyncio.run(main())
"""
LOAD_LIBRARIES = "import asyncio, time, aiohttp, msgspec; print(time.process_time())"
NOTHING, IMPORT, VERSION = "python -c pass", "import aiomessages", "aiomessages --version"
LIBRARIES = "the libraries alone"
OURS, OPENAI = "first message, aiomessages", "first message, openai"


class Run(NamedTuple):
    """One process, in seconds from its start."""

    cpu: float
    wall: float


Runs = dict[str, list[Run]]


def main(arguments: list[str]) -> None:
    """Measure, print the table, and write the raw figures to the file of `--json`."""
    options = parser().parse_args(arguments)
    runs = asyncio.run(measure(options))
    report.print_environment()
    print(f"{options.rounds} rounds\n\n{table(runs)}\n\n{claims.table(claim(runs))}")
    if options.json:
        options.json.write_bytes(report.as_json(vars(options), runs=as_rows(runs)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks start")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser


async def measure(options: argparse.Namespace) -> Runs:
    """Return the runs of each program, in order of rounds."""
    async with serving(1000, 400) as base_url:
        programs = {
            NOTHING: ["-c", "pass"],
            IMPORT: ["-c", "import aiomessages"],
            VERSION: [str(script), "--version"] if (script := _script()) else _MODULE,
            LIBRARIES: ["-c", LOAD_LIBRARIES],
            OURS: ["-c", OUR_FIRST_MESSAGE, base_url],
            OPENAI: ["-c", OPENAI_FIRST_MESSAGE, base_url],
        }
        runs: Runs = {name: [] for name in programs}
        for number in range(-1, options.rounds):
            for name in rotated(programs, number):
                done = await asyncio.to_thread(
                    run, programs[name], to_first_line=name in _PRINTS_CPU_TIME
                )
                if number >= 0:  # the first round compiles the modules, and fills the file cache
                    runs[name].append(done)
    return runs


_MODULE = ["-m", "aiomessages", "--version"]


def _script() -> Path | None:
    """Return the console script of this interpreter, if the package is installed with it."""
    script = Path(sys.executable).with_name("aiomessages")
    return script if script.exists() else None


def run(program: list[str], *, to_first_line: bool) -> Run:
    """Run Python with these arguments; return the time to its end, or to its first line.

    On that line the program prints its own CPU time.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    began = time.perf_counter()
    command = [sys.executable, *program]  # of the table above
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)  # noqa: S603
    with process:
        assert process.stdout
        line = process.stdout.readline()
        wall_to_line = time.perf_counter() - began
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{program} ended with {process.returncode}"
    cpu = usage.ru_utime + usage.ru_stime
    return Run(float(line), wall_to_line) if to_first_line else Run(cpu, wall)


_FOREIGN = {"PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "COVERAGE_PROCESS_CONFIG"}
_PRINTS_CPU_TIME = {LIBRARIES, OURS, OPENAI}


def claim(runs: Runs) -> list[claims.Claim]:
    """Claim limits for the import and the program, and a ratio to openai's first message."""
    cpu = {name: [run.cpu for run in each] for name, each in runs.items()}
    wall = {name: [run.wall for run in each] for name, each in runs.items()}
    added = [1e3 * (a - b) for a, b in zip(cpu[IMPORT], cpu[NOTHING], strict=True)]
    faster = "openai ÷ aiomessages, first message of a fresh process"
    return [
        claims.at_most(15, 6, "import aiomessages, beyond python -c pass", added, "ms"),
        claims.at_most(2, 6, f"{VERSION} ÷ {NOTHING}", claims.ratios(cpu[VERSION], cpu[NOTHING])),
        claims.at_least(3.3, 6, f"{faster}, CPU", claims.ratios(cpu[OPENAI], cpu[OURS])),
        claims.at_least(3.3, 6, f"{faster}, wall", claims.ratios(wall[OPENAI], wall[OURS])),
    ]


def table(runs: Runs) -> str:
    """Render the milliseconds of each program."""
    rows = [["", "CPU ms", "(min-max)", "wall ms", "(min-max)"]]
    for name, each in runs.items():
        cpu, wall = ([1e3 * seconds for seconds in figures] for figures in zip(*each, strict=True))
        rows.append([name, *report.spread(cpu, digits=1), *report.spread(wall, digits=1)])
    return report.aligned(rows)


def as_rows(runs: Runs) -> list[dict[str, object]]:
    """Return every run with its program."""
    return [{"program": name, **run._asdict()} for name, each in runs.items() for run in each]
