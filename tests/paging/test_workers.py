"""Results of many tasks over one source: their end, their errors, and no leftovers."""

import asyncio
import contextlib
import gc
import logging
import subprocess
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self

import anyio
import pytest
import virtual_time

from aiomessages import ClientClosedError, MessagesError
from aiomessages.calls.running import CLOSE_TIMEOUT
from aiomessages.paging.workers import Results

COUNTS = (1, 3, 64)


class OddError(BaseException):
    """An error that is no Exception, as some frameworks raise to end a task."""


ODD_ERRORS = (ZeroDivisionError, GeneratorExit, OddError)


async def same(item: Any) -> Any:
    """Return the item after one iteration of the loop."""
    await asyncio.sleep(0)
    return item


async def drained(results: Results[Any]) -> tuple[list[Any], BaseException | None]:
    """Return the results before the end or an error, and the error."""
    got: list[Any] = []
    try:
        async with asyncio.timeout(60):
            while True:
                got.append(await anext(results))
    except StopAsyncIteration:
        return got, None
    except BaseException as error:  # noqa: BLE001 whatever it is, the test looks at it
        return got, error


def others() -> set[asyncio.Task[Any]]:
    """Return the tasks of the loop besides this one."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def others_to_leave() -> None:
    """Wait until this is the only task."""
    await asyncio.sleep(0)
    while others():
        await asyncio.wait(others())


class Source(AsyncIterator[int]):
    """An async iterator that counts how often it is closed and asked after its end."""

    def __init__(self, length: int, *, broken_by: type[BaseException] | None = None) -> None:
        self.length, self.broken_by = length, broken_by
        self.given = self.closed = self.asked_after_its_end = 0

    async def __anext__(self) -> int:
        await asyncio.sleep(0)
        if self.given == self.length:
            self.asked_after_its_end += 1
            if self.asked_after_its_end > 1:
                return -1
            raise self.broken_by or StopAsyncIteration
        self.given += 1
        return self.given - 1

    async def aclose(self) -> None:
        """Note the close."""
        await asyncio.sleep(0)
        self.closed += 1


# --- a source that breaks -------------------------------------------------------------------------


async def generator(error: type[BaseException]) -> AsyncIterator[int]:
    """Yield 0 to 9, then fail."""
    for n in range(10):
        yield n
    raise error


def plain_generator(error: type[BaseException]) -> Iterator[int]:
    """Yield 0 to 9, then fail, without `async`."""
    yield from range(10)
    raise error


def iterator(error: type[BaseException]) -> AsyncIterator[int]:
    """Return an iterator that is no generator, and fails after 0 to 9."""
    return Source(10, broken_by=error)


@pytest.mark.parametrize("source", [generator, plain_generator, iterator])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("concurrency", COUNTS)
async def test_a_source_that_was_cancelled(source: Any, *, ordered: bool, concurrency: int) -> None:
    """A cancellation of something that the source waits for is an error, after earlier results."""
    items = source(asyncio.CancelledError)
    results = Results(items, same, concurrency=concurrency, ordered=ordered)
    got, error = await drained(results)
    assert sorted(got) == list(range(10))
    assert type(error) is MessagesError
    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert "the source of the items waited for something that was cancelled" in str(error)
    assert await drained(results) == ([], error)
    assert others() == set()


@pytest.mark.parametrize("error", ODD_ERRORS)
@pytest.mark.parametrize("source", [generator, plain_generator, iterator])
@pytest.mark.parametrize("concurrency", COUNTS)
async def test_any_error_of_a_source(
    source: Any, error: type[BaseException], concurrency: int
) -> None:
    """An error of a source is raised unchanged after the earlier results, and again."""
    results = Results(source(error), same, concurrency=concurrency)
    got, raised = await drained(results)
    assert (sorted(got), type(raised)) == (list(range(10)), error)
    assert await drained(results) == ([], raised)
    assert others() == set()


async def test_a_source_that_cannot_be_iterated() -> None:
    """An error of the source's own `__aiter__` is one of the source."""

    class Unready:
        def __aiter__(self) -> AsyncIterator[int]:
            raise ZeroDivisionError

    results = Results(Unready(), same, concurrency=3)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await anext(results)


async def test_a_plain_source_that_raises_the_end_of_an_async_one() -> None:
    """StopAsyncIteration is not the end of an iterator that is not async."""
    results = Results(plain_generator(StopAsyncIteration), same, concurrency=3)
    got, error = await drained(results)
    assert sorted(got) == list(range(10))
    assert isinstance(error, RuntimeError)


async def test_a_source_that_goes_on_after_its_end() -> None:
    """A source that has ended is not asked again by any worker."""
    source = Source(3)
    got, error = await drained(Results(source, same, concurrency=8))
    assert (sorted(got), error, source.asked_after_its_end) == ([0, 1, 2], None, 1)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_each_result_that_is_taken_makes_room_for_an_item(concurrency: int) -> None:
    """The source is read `concurrency` items ahead of the taken results, and no further."""
    source = Source(9)
    results = Results(source, same, concurrency=concurrency)
    for taken in range(1, 10):
        await anext(results)
        for _ in range(20):
            await asyncio.sleep(0)
        assert source.given == min(taken + concurrency, 9)
    with pytest.raises(StopAsyncIteration):
        await anext(results)


# --- work that fails ------------------------------------------------------------------------------


def failing(error: type[BaseException]) -> Callable[[int], Awaitable[int]]:
    """Return work that fails at item 3."""

    async def work(item: int) -> int:
        await asyncio.sleep(0)
        if item == 3:
            raise error
        return item

    return work


@pytest.mark.parametrize(
    ("error", "expected"),
    [(asyncio.CancelledError, MessagesError), *zip(ODD_ERRORS, ODD_ERRORS, strict=True)],
)
@pytest.mark.parametrize("concurrency", COUNTS)
async def test_any_error_of_work(
    error: type[BaseException], expected: type[BaseException], concurrency: int
) -> None:
    """An error of the work is raised; a cancellation that did not target the taker is an error."""
    results = Results(range(20), failing(error), concurrency=concurrency, ordered=True)
    got, raised = await drained(results)
    assert (got, type(raised)) == ([0, 1, 2], expected)
    assert await drained(results) == ([], raised)
    assert others() == set()


@pytest.mark.parametrize("stop", [StopIteration, StopAsyncIteration])
async def test_work_that_raises_the_end_of_an_iterator(stop: type[Exception]) -> None:
    """StopIteration or StopAsyncIteration from work is an error, and never ends the results."""

    def work(item: int) -> Awaitable[int]:
        if item == 3:
            raise stop
        return same(item)

    results = Results(range(20), work, concurrency=1)
    got, error = await drained(results)
    assert (got, type(error)) == ([0, 1, 2], RuntimeError)
    assert await drained(results) == ([], error)


async def test_work_that_waits_for_a_cancelled_task() -> None:
    """The error of a cancellation inside the work says that it was the work's, and the cause."""
    _, error = await drained(Results(range(9), failing(asyncio.CancelledError), concurrency=3))
    assert isinstance(error, MessagesError)
    assert "the work on an item waited for something that was cancelled" in str(error)
    assert isinstance(error.__cause__, asyncio.CancelledError)


async def test_no_work_starts_after_an_error() -> None:
    """Once work has failed, all other work is cancelled, and no further item is read."""
    begun: list[int] = []
    cancelled: list[int] = []

    async def work(item: int) -> int:
        begun.append(item)
        if item < 2:
            return item
        if item == 5:
            await asyncio.sleep(0)
            raise ZeroDivisionError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    got, error = await drained(Results(range(50), work, concurrency=6))
    assert (got, type(error)) == ([0, 1], ZeroDivisionError)
    assert sorted(cancelled) == sorted({*begun} - {0, 1, 5})
    assert len(begun) <= 8


async def test_work_that_finishes_although_it_is_cancelled() -> None:
    """A result that a cancelled worker still finished comes before the error."""

    async def work(item: int) -> int:
        if item == 1:
            await asyncio.sleep(0)
            raise ZeroDivisionError
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return item

    got, error = await drained(Results(range(50), work, concurrency=3))
    assert (sorted(got), type(error)) == ([0, 2], ZeroDivisionError)


async def test_an_error_in_its_turn() -> None:
    """In order, the results of earlier items come before the error; later work is cancelled."""
    failed = asyncio.Event()
    cancelled: list[int] = []

    async def work(item: int) -> int:
        if item == 5:
            failed.set()
            raise ZeroDivisionError
        try:
            await (failed if item < 5 else asyncio.Event()).wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    got, error = await drained(Results(range(50), work, concurrency=8, ordered=True))
    assert (got, type(error)) == ([0, 1, 2, 3, 4], ZeroDivisionError)
    assert cancelled == []  # 6 and 7 were not begun yet


@pytest.mark.parametrize("first", [5, 2])
async def test_two_errors(first: int) -> None:
    """In order, the error of the earlier item is raised, whichever came first."""
    failed = asyncio.Event()

    async def work(item: int) -> int:
        if item not in (2, 5):
            await asyncio.sleep(0)
            return item
        if item != first:
            await failed.wait()
        failed.set()
        raise ZeroDivisionError(item)

    results = Results(range(50), work, concurrency=8, ordered=True)
    got, error = await drained(results)
    assert (got, repr(error)) == ([0, 1], "ZeroDivisionError(2)")


async def test_a_traceback_does_not_grow() -> None:
    """An error that is raised repeatedly keeps its traceback, which does not grow."""
    results = Results(range(5), failing(ZeroDivisionError), concurrency=1)
    _, error = await drained(results)
    assert error is not None
    once = len(traceback.extract_tb(error.__traceback__))
    for _ in range(3):
        await drained(results)
    assert len(traceback.extract_tb(error.__traceback__)) == once


async def test_a_traceback_shows_the_work() -> None:
    """The traceback of an error leads to the work that raised it, at each call."""
    results = Results(range(5), failing(ZeroDivisionError), concurrency=1)
    for _ in range(2):
        _, error = await drained(results)
        assert error is not None
        assert traceback.extract_tb(error.__traceback__)[-1].name == "work"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["source", "work"])
def test_an_interrupt(
    where: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """KeyboardInterrupt and SystemExit end the loop at once; the taker is cancelled cleanly."""
    raised: list[BaseException | None] = []

    async def main() -> None:
        if where == "source":
            results = Results(generator(error), same, concurrency=3)
        else:
            results = Results(range(20), failing(error), concurrency=3)
        raised.append((await drained(results))[1])
        await results.aclose()

    with pytest.raises(error):
        asyncio.run(main())
    assert [type(problem) for problem in raised] == [asyncio.CancelledError]
    raised.clear()
    gc.collect()  # an error that nobody retrieved is logged when its task goes
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_loop_that_survives_an_interrupt(error: type[BaseException]) -> None:
    """If the loop runs again after an interrupt, the taker gets an error."""
    with asyncio.Runner() as runner:
        results = Results(plain_generator(error), same, concurrency=1)
        with pytest.raises(error):
            runner.run(drained(results))
        got, raised = runner.run(drained(results))
    assert type(raised) is error
    assert set(got) <= set(range(10))


# --- workers that somebody else cancels -----------------------------------------------------------


@pytest.mark.parametrize("concurrency", COUNTS)
@pytest.mark.parametrize("turns", range(6))
async def test_workers_that_are_cancelled_from_outside(turns: int, concurrency: int) -> None:
    """Workers that were cancelled from outside, at any moment, are an error and never an end."""
    before = asyncio.all_tasks()

    async def source() -> AsyncIterator[int]:
        for n in range(1000):
            yield await same(n)

    results = Results(source(), same, concurrency=concurrency)
    taker = asyncio.create_task(drained(results))
    await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - before - {taker}:
        task.cancel()
    got, error = await taker
    assert isinstance(error, MessagesError)
    assert sorted(got) == list(range(len(got)))
    assert await drained(results) == ([], error)
    assert others() == set()


async def test_a_worker_that_is_cancelled_at_work() -> None:
    """A single worker that is cancelled from outside ends the results, and cancels the others."""
    begun = asyncio.Event()

    async def work(_: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    results = Results(range(9), work, concurrency=3)
    taker = asyncio.create_task(drained(results))
    await begun.wait()
    min(others() - {taker}, key=lambda task: task.get_name()).cancel()
    got, error = await taker
    assert got == []
    assert isinstance(error, MessagesError)
    assert "a task that worked for these results was cancelled" in str(error)
    assert others() == set()


async def test_a_worker_that_is_cancelled_after_the_last_item() -> None:
    """An idle worker that is cancelled after the source has ended loses no result."""
    go = asyncio.Event()

    async def work(item: int) -> int:
        await go.wait()
        return item

    results = Results(range(2), work, concurrency=2)
    taker = asyncio.create_task(drained(results))
    for _ in range(5):
        await asyncio.sleep(0)
    go.set()
    assert await taker == ([0, 1], None)


# --- takers that are cancelled --------------------------------------------------------------------


async def test_a_taker_that_is_cancelled_while_the_source_waits() -> None:
    """A cancelled taker loses nothing: the next one gets the result."""
    go = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        yield 0
        await go.wait()
        yield 1

    results = Results(source(), same, concurrency=2)
    assert await anext(results) == 0
    taker = asyncio.ensure_future(anext(results))
    for _ in range(5):
        await asyncio.sleep(0)
    taker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taker
    go.set()
    assert await drained(results) == ([1], None)


async def test_a_taker_that_is_cancelled_while_the_source_closes() -> None:
    """A cancelled wait for the source to close does not keep it from closing."""
    closing, go, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[int]:
        try:
            yield 0
            yield 1
        finally:
            closing.set()
            await go.wait()
            closed.set()

    results = Results(source(), failing(ZeroDivisionError), concurrency=1)
    assert await anext(results) == 0
    leaving = asyncio.create_task(results.aclose())
    await closing.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    go.set()
    await closed.wait()
    await results.aclose()
    assert others() == set()


# --- the source is closed -------------------------------------------------------------------------


async def leave_by_aclose(results: Results[Any]) -> None:
    """Take one result and close."""
    await anext(results)
    await results.aclose()


async def leave_by_context(results: Results[Any]) -> None:
    """Leave the block by `break`."""
    async with results:
        async for _ in results:
            break


async def leave_by_athrow(results: Results[Any]) -> None:
    """Throw an exception in."""
    await anext(results)
    with pytest.raises(KeyError):
        await results.athrow(KeyError("x"))


async def leave_at_the_end(results: Results[Any]) -> None:
    """Take all results, or get an error."""
    await drained(results)


async def leave_before_the_beginning(results: Results[Any]) -> None:
    """Take nothing."""
    await results.aclose()


LEAVING = [
    leave_by_aclose,
    leave_by_context,
    leave_by_athrow,
    leave_at_the_end,
    leave_before_the_beginning,
]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("broken_by", [None, ZeroDivisionError, asyncio.CancelledError])
@pytest.mark.parametrize("work", [same, failing(ZeroDivisionError)])
async def test_the_source_is_closed(leave: Any, broken_by: Any, work: Any) -> None:
    """The iterator that was passed in is closed once, however the results end."""
    source = Source(50, broken_by=broken_by)
    await leave(Results(source, work, concurrency=3))
    assert source.closed == 1
    assert others() == set()


@pytest.mark.parametrize("leave", LEAVING[:-1])
async def test_an_iterator_made_here_is_closed(leave: Any) -> None:
    """An iterable's own iterator is closed; the iterable is not."""

    class Again:
        def __init__(self) -> None:
            self.made: list[Source] = []

        def __aiter__(self) -> AsyncIterator[int]:
            self.made.append(Source(50))
            return self.made[-1]

        async def aclose(self) -> None:
            raise AssertionError

    items = Again()
    await Results(items, same, concurrency=3).aclose()
    for _ in range(2):
        await leave(Results(items, same, concurrency=3))
    assert [source.closed for source in items.made] == [1, 1]


@pytest.mark.parametrize("leave", LEAVING)
async def test_an_iterator_that_cannot_be_closed(leave: Any) -> None:
    """An iterator without `aclose` is not closed."""

    class Bare:
        def __init__(self) -> None:
            self.given = 0

        def __aiter__(self) -> Self:
            return self

        async def __anext__(self) -> int:
            self.given += 1
            if self.given > 9:
                raise StopAsyncIteration
            return self.given

    await leave(Results(Bare(), same, concurrency=3))
    assert others() == set()


async def test_a_dropped_source_is_closed() -> None:
    """Results that are dropped close their source, and warn once, at the line that did it."""
    source = Source(50)
    results = Results(source, same, concurrency=3)
    await anext(results)
    with pytest.warns(ResourceWarning, match="aclose") as warned:  # noqa: PT031 what warns is two
        del results
        gc.collect()
    await others_to_leave()
    assert (len(warned), source.closed) == (1, 1)
    assert warned[0].filename == __file__


async def test_dropped_results_cancel_all_their_work() -> None:
    """Results that are dropped before the first of them came cancel the work on each item."""
    all_begun = asyncio.Event()
    cancelled: list[int] = []

    async def work(item: int) -> None:
        if item == 2:
            all_begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    results = Results(range(9), work, concurrency=3)
    taker = asyncio.ensure_future(anext(results))
    await all_begun.wait()
    taker.cancel()
    await asyncio.wait({taker})
    with pytest.warns(ResourceWarning, match="aclose"):  # noqa: PT031 what warns is two
        del results, taker
        gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    assert sorted(cancelled) == [0, 1, 2]


async def test_results_dropped_after_their_error() -> None:
    """Results whose error nobody has taken close their source as well."""
    source = Source(50)
    failed = asyncio.Event()

    async def work(item: int) -> int:
        if item:
            failed.set()
            raise ZeroDivisionError
        return item

    results = Results(source, work, concurrency=3)
    assert await anext(results) == 0
    await failed.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del results
        gc.collect()
    await others_to_leave()
    assert source.closed == 1


async def test_results_dropped_when_nothing_is_left_to_do() -> None:
    """Results that are dropped with no work left give no warning."""
    done = asyncio.Event()

    async def work(item: int) -> int:
        if item == 1:
            done.set()
        return item

    results = Results(range(2), work, concurrency=3)
    await anext(results)
    await done.wait()
    await others_to_leave()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del results
        gc.collect()
    await others_to_leave()


async def test_a_source_that_fails_to_close() -> None:
    """The error of a source that fails to close is raised by `aclose`, once."""

    async def source() -> AsyncIterator[int]:
        try:
            yield 0
            yield 1
        finally:
            raise ZeroDivisionError

    results = Results(source(), same, concurrency=1)
    await anext(results)
    with pytest.raises(ZeroDivisionError):
        await results.aclose()
    await results.aclose()
    with pytest.raises(ClientClosedError):
        await anext(results)


def test_a_source_that_does_not_close(caplog: pytest.LogCaptureFixture) -> None:
    """Closing waits a bounded time for a source, and logs one that does not close."""

    async def main() -> None:
        async def source() -> AsyncIterator[int]:
            try:
                yield 0
                yield 1
            finally:
                await asyncio.Event().wait()

        results = Results(source(), same, concurrency=1)
        await anext(results)
        await results.aclose()
        assert virtual_time.now() == pytest.approx(CLOSE_TIMEOUT)
        await others_to_leave()
        assert virtual_time.now() == pytest.approx(2 * CLOSE_TIMEOUT)

    virtual_time.run(main())
    assert f"did not close within {2 * CLOSE_TIMEOUT:.0f} s" in caplog.text


def test_closing_cancels_the_work_on_every_item() -> None:
    """Closing results of which none came yet cancels all work at once, and waits for no timeout."""

    async def main() -> None:
        cancelled: list[int] = []

        async def work(item: int) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(item)
                raise

        results = Results(range(9), work, concurrency=3)
        taker = asyncio.create_task(drained(results))
        for _ in range(10):
            await asyncio.sleep(0)
        await results.aclose()
        assert sorted(cancelled) == [0, 1, 2]
        assert virtual_time.now() == 0
        got, error = await taker
        assert (got, type(error)) == ([], ClientClosedError)

    virtual_time.run(main())


async def test_closing_while_another_task_closes() -> None:
    """Each task that closes the results waits until the source is closed."""
    closing, go, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[int]:
        try:
            yield 0
            yield 1
        finally:
            closing.set()
            await go.wait()
            closed.set()

    results = Results(source(), same, concurrency=1)
    await anext(results)
    first = asyncio.create_task(results.aclose())
    await closing.wait()
    asyncio.get_running_loop().call_soon(go.set)
    await results.aclose()
    assert closed.is_set()
    await first


async def test_closing_inside_a_cancelled_scope() -> None:
    """In a cancelled anyio scope, work that takes long to clean up has ended after closing."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(_: int) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            ended.set()

    results = Results(range(9), work, concurrency=1)
    taker = asyncio.create_task(drained(results))
    await begun.wait()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await results.aclose()
    assert ended.is_set()
    got, error = await taker
    assert (got, type(error)) == ([], ClientClosedError)


async def stay(go: asyncio.Event) -> None:
    """Wait for the event, and ignore every cancellation."""
    while not go.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await go.wait()


@pytest.mark.parametrize("where", ["source", "work"])
def test_a_worker_that_does_not_leave(where: str) -> None:
    """Closing waits a bounded time for a worker that ignores its cancellation."""

    async def main() -> None:
        go = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            yield 0
            if where == "source":
                await stay(go)
            yield 1
            yield 2

        async def work(item: int) -> int:
            if item == 1 and where == "work":
                await stay(go)
            return item

        results = Results(source(), work, concurrency=1)
        assert await anext(results) == 0
        for _ in range(5):
            await asyncio.sleep(0)
        await results.aclose()
        assert virtual_time.now() == pytest.approx(CLOSE_TIMEOUT)
        with pytest.raises(ClientClosedError):
            await anext(results)
        go.set()
        await others_to_leave()
        with pytest.raises(ClientClosedError):
            await anext(results)

    virtual_time.run(main())


def test_a_source_that_is_still_read_when_closing_ends() -> None:
    """A source that does not let its reader leave is closed as soon as it does."""

    async def main() -> None:
        go, closed = asyncio.Event(), asyncio.Event()

        async def source() -> AsyncIterator[int]:
            try:
                yield 0
                await stay(go)
                yield 1
            finally:
                closed.set()

        results = Results(source(), same, concurrency=1)
        assert await anext(results) == 0
        for _ in range(5):
            await asyncio.sleep(0)
        await results.aclose()
        assert not closed.is_set()
        go.set()
        await others_to_leave()
        assert closed.is_set()

    virtual_time.run(main())


def test_a_result_that_comes_after_the_error() -> None:
    """A result that a cancelled worker finishes late does not come after the error."""

    async def main() -> None:
        go = asyncio.Event()

        async def work(item: int) -> int:
            if item == 0:
                await stay(go)
                return item
            raise ZeroDivisionError

        results = Results(range(9), work, concurrency=2)
        with pytest.raises(ZeroDivisionError):
            await anext(results)
        assert virtual_time.now() == pytest.approx(CLOSE_TIMEOUT)
        go.set()
        await others_to_leave()
        with pytest.raises(ZeroDivisionError):
            await anext(results)

    virtual_time.run(main())


def test_workers_that_are_thrown_away_with_their_loop() -> None:
    """Workers whose loop was closed during their work raise nothing more."""
    kept: list[Results[int]] = []
    thrown_away: list[int] = []

    async def work(item: int) -> int:
        try:
            await asyncio.sleep(0 if item == 0 else 60)
        except GeneratorExit:
            thrown_away.append(item)
            raise
        return item

    async def main() -> None:
        kept.append(Results(range(9), work, concurrency=3))
        assert await anext(kept[0]) == 0

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending"
    loop.run_until_complete(main())
    loop.close()
    kept.clear()
    gc.collect()
    assert set(thrown_away) >= {1, 2}


@pytest.mark.measured_programs
def test_results_that_are_left_when_the_interpreter_ends() -> None:
    """The end of the interpreter gives no warning of the results that a script still holds."""
    script = """
import asyncio
from aiomessages.paging.workers import Results

async def work(item):
    if item:
        await asyncio.Event().wait()
    return item

results = Results(range(9), work, concurrency=2)
print(asyncio.new_event_loop().run_until_complete(anext(results)))
"""
    command = [sys.executable, "-W", "always", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "0\n")
    assert "dropped" not in run.stderr


# --- collect() ------------------------------------------------------------------------------------


async def test_results_collected_before_an_error() -> None:
    """The results keep them: who reads on gets them in their order, and then the error."""

    async def fails_at_2(item: int) -> int:
        if item == 2:
            raise ZeroDivisionError
        return item

    results = Results(range(5), fails_at_2, concurrency=1, ordered=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await results.collect()
    got, error = await drained(results)
    assert (got, type(error)) == ([0, 1], ZeroDivisionError)


async def test_a_cancelled_collect_loses_no_result() -> None:
    """The next collect() returns every result, and no more than `concurrency` items are begun."""
    begun: list[int] = []
    blocked, gate = asyncio.Event(), asyncio.Event()

    async def waits_at_2(item: int) -> int:
        begun.append(item)
        if item == 2:
            blocked.set()
            await gate.wait()
        return item

    results = Results(range(9), waits_at_2, concurrency=1)
    collecting = asyncio.create_task(results.collect())
    await blocked.wait()
    collecting.cancel()
    await asyncio.wait({collecting})
    assert [await anext(results) for _ in range(2)] == [0, 1]
    await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    gate.set()
    assert await results.collect() == [*range(2, 9)]


async def test_closing_results_drops_what_a_collect_has_put_back() -> None:
    """Nothing is given after the close."""
    results = Results([1, 0], lambda item: same(1 // item), concurrency=1)
    with pytest.raises(ZeroDivisionError):
        await results.collect()
    await results.aclose()
    with pytest.raises(ZeroDivisionError):
        await anext(results)
