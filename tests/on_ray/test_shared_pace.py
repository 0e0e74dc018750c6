"""The pace of many workers as numbers: simulated servers, and a clock that is just a number.

The targets are those of one process: 1.15 times N/R for N requests to a server that allows R a
second, and 3 % of them answered 429, with 1, 2 and 4 workers.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from rate_limits import Server, absent, exactly, in_seconds
from shared_pace import SharedExport, shared_export
from virtual_time import now

from aiomessages.ray.pacer import Grant, Pacer

TIME, SHARE = 1.15, 0.03
RETRY_AFTER = {"exact": exactly, "whole seconds": in_seconds, "absent": absent}


# All of them take minutes; the suite makes a sample.
GRID = [
    (rate, workers, capacity, latency, wait)
    for rate in (20, 50, 100, 200, 500)
    for workers in (1, 2, 4)
    for capacity in (0.5, 1)
    for latency in (0.05, 0.1, 0.2)
    for wait in RETRY_AFTER
]
SAMPLE = [
    (100, 1, 1, 0.05, "exact"),
    (100, 2, 0.5, 0.2, "absent"),
    (100, 4, 1, 0.1, "whole seconds"),
    (20, 4, 0.5, 0.1, "whole seconds"),
    (200, 4, 1, 0.05, "exact"),
    (200, 4, 0.5, 0.05, "absent"),
]


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("rate", "workers", "capacity", "latency", "wait"),
    GRID if os.environ.get("AIOMESSAGES_GRID") else SAMPLE,
)
def test_a_steady_limit(
    rate: float, workers: int, capacity: float, latency: float, wait: str
) -> None:
    """Some workers share what a server allows as one process uses it."""
    seconds = max(5000 / rate, 30) if rate < 500 else 40
    found = shared_export(
        rate,
        workers=workers,
        capacity=capacity,
        retry_after=RETRY_AFTER[wait],
        latency=latency,
        seconds=seconds,
    )
    assert found.seconds / seconds <= TIME
    assert found.share <= SHARE


def test_a_maximum_holds_for_all_workers() -> None:
    """`max_rps` is the rate of all workers together."""
    found = SharedExport(
        Server(lambda _: 1000, 1000), 1000, workers=4, pacer=Pacer(max_rps=50)
    ).run()
    assert 0.95 <= found.seconds * 50 / 1000 <= 1.05
    assert found.refused == 0


def test_the_pacer_is_replaced() -> None:
    """A pacer that begins in the middle goes on with what the last one knew."""

    def replace(export: SharedExport) -> None:
        export.pacer = Pacer()

    server = Server(lambda _: 100, 100)
    events = [(seconds, replace) for seconds in (10, 11, 20, 30)]
    found = SharedExport(server, 4000, workers=2, events=events).run()
    assert found.seconds / 40 <= TIME
    assert found.share <= SHARE


def test_nothing_is_sent_without_a_pacer() -> None:
    """While the pacer is gone, the workers send nothing after the slots that they have."""

    class Gone(Pacer):
        async def take(self, *question: Any) -> Grant:
            await asyncio.sleep(max(15 - now(), 0))
            return await super().take(*question)

    def lose(export: SharedExport) -> None:
        export.pacer = Gone()

    found = SharedExport(Server(lambda _: 100, 100), 2000, workers=2, events=[(10, lose)]).run()
    assert [moment for moment in found.sent if 10.2 < moment < 15] == []
    assert len(found.sent) - found.refused == 2000
