"""What the tests of this folder share: jobs, pacers without Ray, and the content of folders."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiomessages.ray.pacer import Pacer
from aiomessages.ray.plan import RunSettings
from aiomessages.ray.projects import access_of
from aiomessages.ray.worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomessages.testing import MessagesServer

SETTINGS = RunSettings("messages", 2, include_reply=True, format="jsonl.gz")


class Remote:
    """A method with the `remote` of an actor's."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def options(self, **_: Any) -> Remote:
        """Return the method."""
        return self

    def remote(self, *arguments: Any) -> Any:
        """Call the method."""
        return self._method(*arguments)


class PacerHere:
    """A pacer in this process, with the calls of an actor."""

    def __init__(self, max_rps: float | None = None) -> None:
        pacer = Pacer(max_rps)
        self.take = Remote(pacer.take)
        self.report = Remote(
            lambda outcomes: asyncio.get_running_loop().call_soon(pacer.report, outcomes)
        )


def job(server: MessagesServer, folder: Path, **changes: Any) -> Job:
    """Return a job for one project, `a`, whose key is in KEY_A."""
    access = access_of("env:KEY_A", server.base_url, changes.pop("options", {}))
    facts = {"settings": SETTINGS, "raises": False, "concurrency": 16, "shard_size": 10, **changes}
    return Job(destination=str(folder), accesses={"a": access}, **facts)


def rows(folder: Path) -> list[Any]:
    """Return the lines of all data files, in the order of the plan."""
    files = sorted(Path(folder, "data").glob("*.jsonl.gz"))
    return [json.loads(line) for file in files for line in gzip.open(file)]
