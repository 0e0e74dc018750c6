"""A process that exports in children of its own, each killed as its task says.

Python and the package are loaded once; a child is a fork of this process, before it has any thread
or loop, so that a kill costs some milliseconds. It reads a task a line, and writes an exit code.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bugs import BUGS
from crashing import PART_BYTES, SMALL, SteppedFiles

import aiomessages.export.writer
from aiomessages import AsyncMessagesClient
from aiomessages.errors import MessagesError
from aiomessages.export import export

Task = dict[str, Any]


class Steps:
    """Counts the steps that may be the last one, and kills at one of them."""

    def __init__(self, last: int) -> None:
        self._left = last
        self._lock = threading.Lock()

    def __call__(self, _: str = "") -> None:
        """Take a step."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class KillingFiles(SteppedFiles):
    """Files whose steps are counted."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def step(self, name: str) -> None:
        """Take a step."""
        self._steps(name)


def count_statements(steps: Steps) -> None:
    """Make each statement that changes a ledger a step."""
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(
            lambda sql: None if sql.startswith("SELECT") or " seen " in sql else steps(sql)
        )
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]


def child(task: Task) -> int:
    """Export as the task says; return 0, the exit code of an error, or 99 for an unexpected one."""
    try:
        prepare(task)
        asyncio.run(run(task))
    except MessagesError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return getattr(error, "exit_code", 98)
    except BaseException:  # noqa: BLE001 a child never returns to its parent's loop
        traceback.print_exc()
        return 99
    return 0


def prepare(task: Task) -> None:
    """Make batches small, and put in the bug that must be found."""
    aiomessages.export.writer.BATCH_BYTES = SMALL["aiomessages.export.writer.BATCH_BYTES"]
    if task["bug"]:
        BUGS[task["bug"]].put_in(setattr)


async def run(task: Task) -> None:
    """Export; a source without ids is the list of all completions."""
    steps = Steps(task["step"])
    count_statements(steps)
    async with AsyncMessagesClient(task["api_key"], base_url=task["base_url"]) as client:
        await export(
            client,
            task["ids"] or client.completions(limit=3),
            task["destination"],
            files=KillingFiles(steps),
            part_bytes=PART_BYTES,
            concurrency=3,
        )


def supervise(task: Task) -> int:
    """Start a child, kill it after `seconds` if given, and return how it ended."""
    process = os.fork()
    if process == 0:
        os._exit(child(task))
    if task["seconds"]:
        time.sleep(task["seconds"])
        os.kill(process, signal.SIGKILL)  # it is not waited for yet, so the number is still its own
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(f"{supervise(json.loads(line))}\n")
        sys.stdout.flush()
