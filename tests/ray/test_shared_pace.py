"""The pace of many workers as numbers: simulated servers, and a clock that is just a number.

The targets are those of one process: 1.15 times N/R for N requests to a server that allows R a
second, and 3 % of them answered 429, with 1, 2 and 4 workers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from rate_limits import Server, absent, exactly, in_seconds
from shared_pace import SharedExport, shared_export
from virtual_time import now

from aiomessages.ray.pacer import Grant, Pacer

if TYPE_CHECKING:
    from rate_limits import RetryAfter

TIME, SHARE = 1.15, 0.03
RETRY_AFTER = {"exact": exactly, "whole seconds": in_seconds, "absent": absent}
with_retry_after = pytest.mark.parametrize("retry_after", RETRY_AFTER.values(), ids=RETRY_AFTER)


@with_retry_after
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("rate", [20, 100, 200])
def test_a_steady_limit(rate: float, workers: int, retry_after: RetryAfter) -> None:
    """Some workers share what a server allows as one process uses it."""
    seconds = max(2500 / rate, 40)
    found = shared_export(rate, workers=workers, retry_after=retry_after, seconds=seconds)
    assert found.seconds / seconds <= TIME
    assert found.share <= SHARE


@pytest.mark.parametrize("latency", [0.1, 0.2])
@pytest.mark.parametrize("capacity", [0.5, 1])
def test_other_latencies_and_buckets(capacity: float, latency: float) -> None:
    """A slower server and a smaller bucket are within the targets as well."""
    found = shared_export(100, workers=4, capacity=capacity, latency=latency, seconds=50)
    assert found.seconds / 50 <= TIME
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
