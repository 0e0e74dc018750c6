"""A key that is kept, fetched by one caller at a time, and replaced before it expires."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import pytest
import virtual_time

from aiomessages import ConfigurationError
from aiomessages.keys.renewed import MARGIN, PATIENCE, PAUSE, YOUNG, Lease, RenewedKey, renewal_time
from aiomessages.settings import UnusableKeyError
from aiomessages.values.secrets import SecretStr

if TYPE_CHECKING:
    from collections.abc import Callable

LIFE = 3600.0


class Source(RenewedKey):
    """Gives `key-1`, `key-2` and so on by a clock of the test's; `work` runs in each fetch."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: self.now)
        self.now = 1_000_000.0
        self.fetches = 0
        self.life = LIFE
        self.keys: Callable[[int], str] = "key-{}".format
        self.problem: str | None = None
        self.may_end: asyncio.Event | threading.Event | None = None
        self.began = threading.Event()

    async def fetch(self) -> Lease:
        """Give the next key, or the problem."""
        self.fetches += 1
        fetch = self.fetches
        self.began.set()
        if isinstance(self.may_end, asyncio.Event):
            await self.may_end.wait()
        elif self.may_end is not None:
            await asyncio.to_thread(self.may_end.wait, 10)
        if self.problem:
            raise UnusableKeyError(self.problem)
        return Lease(SecretStr(self.keys(fetch)), self.now + self.life)


@pytest.mark.parametrize(
    ("life", "kept"),
    [(3600, 3300), (86_400, 86_100), (1500, 1200), (100, 80), (0, 0), (-60, -60)],
)
def test_when_a_key_is_replaced(life: float, kept: float) -> None:
    """A key is replaced five minutes before its end, and a short one after four fifths."""
    assert renewal_time(1000, 1000 + life) == 1000 + kept


async def test_a_key_is_kept() -> None:
    """A key is fetched once until shortly before its end, and then again."""
    source = Source()
    assert [await source(), await source()] == ["key-1", "key-1"]
    source.now += LIFE - MARGIN - 1
    assert await source() == "key-1"
    source.now += 1
    assert [await source(), await source(), source.fetches] == ["key-2", "key-2", 2]


async def test_callers_at_the_same_time() -> None:
    """Callers without a valid key wait for the one that fetches it."""
    source = Source()
    source.may_end = asyncio.Event()
    callers = [asyncio.create_task(source()) for _ in range(20)]
    await asyncio.sleep(0)
    source.may_end.set()
    assert (set(await asyncio.gather(*callers)), source.fetches) == ({"key-1"}, 1)


async def test_a_key_that_is_valid_meanwhile() -> None:
    """While one caller replaces a key that is still valid, the others use it without waiting."""
    source = Source()
    await source()
    source.now += LIFE - MARGIN
    source.may_end = asyncio.Event()
    first = asyncio.create_task(source())
    await asyncio.sleep(0)
    assert [await source(), await source()] == ["key-1", "key-1"]
    source.may_end.set()
    assert [await first, await source(), source.fetches] == ["key-2", "key-2", 2]


async def test_a_failure_that_callers_wait_for() -> None:
    """Callers that wait for a fetch that fails share its error, and the next one tries again."""
    source = Source()
    source.problem, source.may_end = "no vault", asyncio.Event()
    callers = [asyncio.create_task(source()) for _ in range(3)]
    await asyncio.sleep(0)
    source.may_end.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in errors] == [UnusableKeyError] * 3
    assert ({str(error) for error in errors}, source.fetches) == ({"no vault"}, 1)
    source.problem = None
    assert await source() == "key-2"


async def test_a_failure_while_the_key_is_valid(caplog: pytest.LogCaptureFixture) -> None:
    """A key stays in use while no other one can be fetched: the log says so, without the key."""
    source = Source()
    await source()
    source.now += LIFE - MARGIN
    source.problem = "no vault"
    with caplog.at_level(logging.WARNING, "aiomessages"):
        assert [await source(), await source(), source.fetches] == ["key-1", "key-1", 2]
    assert caplog.messages == ["the last key stays in use: no vault"]
    source.now += PAUSE
    assert [await source(), source.fetches] == ["key-1", 3]
    source.now += MARGIN
    with pytest.raises(ConfigurationError, match="no vault"):
        await source()


def test_a_source_that_hangs_while_the_key_is_valid() -> None:
    """A source that hangs holds up a caller for half a minute; then the valid key is used."""

    async def call() -> None:
        source = Source()
        await source()
        source.now += LIFE - MARGIN
        source.may_end = asyncio.Event()
        assert await source() == "key-1"
        assert virtual_time.now() == PATIENCE

    virtual_time.run(call())


async def test_a_source_that_has_no_other_key_yet() -> None:
    """A source that gives the same key near its end is not asked again at each request."""
    source = Source()
    source.keys, source.life = lambda _: "key", MARGIN / 2
    await source()
    source.now += MARGIN / 2 - 20
    source.life = 20
    assert [await source(), await source(), source.fetches] == ["key", "key", 2]


async def test_a_caller_that_is_cancelled() -> None:
    """If the caller that fetches is cancelled, one that waits fetches in its place."""
    source = Source()
    source.may_end = asyncio.Event()
    first, second = asyncio.create_task(source()), asyncio.create_task(source())
    await asyncio.sleep(0)
    first.cancel()
    source.may_end.set()
    assert await second == "key-2"
    assert first.cancelled()


async def test_a_refused_key() -> None:
    """A refused key is replaced at once, and a refusal of an earlier key changes nothing."""
    source = Source()
    await source()
    source.now += YOUNG
    source.refused("key-1")
    assert await source() == "key-2"
    source.refused("key-1")
    assert [await source(), source.fetches] == ["key-2", 2]


async def test_a_young_key_that_is_refused() -> None:
    """A refused key that was fetched a moment ago is the newest one, so nothing is fetched."""
    source = Source()
    await source()
    source.now += YOUNG - 1
    source.refused("key-1")
    assert [await source(), source.fetches] == ["key-1", 1]


async def test_a_key_that_is_refused_while_it_is_replaced() -> None:
    """A key that is refused while another is fetched is not used once more, even on failure."""
    source = Source()
    await source()
    source.now += LIFE - MARGIN
    source.may_end, source.problem = asyncio.Event(), "no vault"
    first = asyncio.create_task(source())
    await asyncio.sleep(0)
    source.refused("key-1")
    source.may_end.set()
    with pytest.raises(UnusableKeyError, match="no vault"):
        await first


def test_callers_in_two_event_loops() -> None:
    """A caller in another thread and loop waits for the same fetch."""
    source = Source()
    source.may_end = threading.Event()
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda: got.append(asyncio.run(_call(source)))) for _ in range(2)
    ]
    threads[0].start()
    assert source.began.wait(10)
    threads[1].start()
    source.may_end.set()
    for thread in threads:
        thread.join(10)
    assert (got, source.fetches) == (["key-1", "key-1"], 1)


async def _call(source: Source) -> str:
    return await source()


def test_a_loop_that_is_closed_while_a_caller_waits() -> None:
    """A loop that ended before the fetch of another one leaves no trace."""
    source = Source()
    source.may_end = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_call(source)))
    thread.start()
    assert source.began.wait(10)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(_call(source))
    loop.run_until_complete(asyncio.sleep(0))
    waiting.cancel()
    loop.run_until_complete(asyncio.wait([waiting]))
    loop.close()
    source.may_end.set()
    thread.join(10)
    assert asyncio.run(_call(source)) == "key-1"
