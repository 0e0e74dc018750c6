"""The writer: the moment of a commit, and its state after an error or a cancellation."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
import virtual_time

from aiomessages.export.layouts import joined
from aiomessages.export.ledger_schema import Entry
from aiomessages.export.stored import Lines
from aiomessages.export.writer import BATCH_BYTES, BATCH_SECONDS, Writer, run_to_end

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FULL = b"x" * BATCH_BYTES
GRACE = 5.0  # seconds in which a thread answers, by the real clock


class Batches:
    """Stands in for an output: keeps the batches, and can be held up or fail."""

    def __init__(self) -> None:
        self.written: list[tuple[bytes, list[Entry]]] = []
        self.numbers: list[int] = []
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        self.error: Exception | None = None

    def write(
        self, pieces: Iterable[Lines], entries: Sequence[Entry], incomplete: Iterable[bytes]
    ) -> int:
        """Take a batch; the lines of lost completions are not kept."""
        assert not [*incomplete]
        lines = joined(pieces)
        self.began.set()
        self.may_end.wait()
        if self.error is not None:
            raise self.error
        self.written.append((bytes(lines.text), [*entries]))
        self.numbers.append(lines.number)
        return len(lines.text)


@pytest.fixture
def output() -> Batches:
    """Give a stand-in for an output."""
    return Batches()


@pytest.fixture
def sizes() -> list[int]:
    """Give the sizes that each commit reports."""
    return []


@pytest.fixture
def writer(output: Any, sizes: list[int]) -> Writer:
    """Give a writer to it."""
    return Writer(output, sizes.append)


def lines(text: bytes = b"") -> Lines:
    """Return lines whose text alone matters."""
    return Lines(text, 1)


def entry(name: str, messages: int = 1) -> Entry:
    """Return an entry."""
    return Entry(name, "done", messages=messages)


async def begun(output: Batches) -> None:
    """Wait until a batch is being written."""
    await asyncio.to_thread(output.began.wait)


# --- batches --------------------------------------------------------------------------------------


async def test_a_small_batch_waits(writer: Writer, output: Batches, sizes: list[int]) -> None:
    """Lines are written with their entries when they are flushed, and never twice."""
    await writer.add(lines(b"12"), entry("a"))
    await writer.add(lines(b"3"), entry("b"))
    assert output.written == []
    for _ in range(2):
        await writer.flush()
        assert output.written == [(b"123", [entry("a"), entry("b")])]
        assert sizes == [3]


async def test_a_large_batch(writer: Writer, output: Batches) -> None:
    """Lines are written as soon as they have the size of a batch."""
    await writer.add(lines(FULL[1:]), entry("a"))
    assert output.written == []
    await writer.add(lines(b"x"), entry("b"))
    assert output.written == [(FULL[1:] + b"x", [entry("a"), entry("b")])]


async def test_the_lines_of_a_batch_are_counted(writer: Writer, output: Batches) -> None:
    """The number of lines starts at 0 with each batch."""
    for names in ("ab", "c"):
        for name in names:
            await writer.add(lines(b"1"), entry(name))
        await writer.flush()
    assert output.numbers == [2, 1]


async def test_a_large_completion_follows_the_collected_lines(
    writer: Writer, output: Batches
) -> None:
    """The collected lines are written first; then the pieces, as a batch of their own."""
    await writer.add(lines(b"1"), entry("a"))
    await writer.add_large([lines(b"2"), lines(b"3")], entry("b"))
    assert output.written == [(b"1", [entry("a")]), (b"23", [entry("b")])]


def test_an_old_batch(writer: Writer, output: Batches) -> None:
    """An old batch is written with the next lines; then a new one begins."""

    async def add() -> None:
        written = []
        for name, seconds in (("a", 0), ("b", BATCH_SECONDS), ("c", BATCH_SECONDS), ("d", 1)):
            virtual_time.work(seconds)
            await writer.add(lines(), entry(name))
            written.append(len(output.written))
        assert written == [0, 1, 1, 1]

    virtual_time.run(add(), grace=GRACE)


def test_an_old_batch_while_nothing_is_added(writer: Writer, output: Batches) -> None:
    """A batch is written when it is old, also while a long conversation is still being read."""

    async def add() -> None:
        async with writer:
            await asyncio.sleep(BATCH_SECONDS / 2)
            await writer.add(lines(b"1"), entry("a"))
            await asyncio.sleep(BATCH_SECONDS * 0.9)
            assert output.written == []
            await asyncio.sleep(BATCH_SECONDS * 0.2)
            assert output.written == [(b"1", [entry("a")])]
            await writer.add(lines(b"2"), entry("b"))
        assert output.written[1:] == [(b"2", [entry("b")])]

    virtual_time.run(add(), grace=GRACE)


def test_an_old_batch_that_cannot_be_written(writer: Writer, output: Batches) -> None:
    """The error of a batch that was written because of its age is raised by what comes next."""

    async def add() -> None:
        output.error = OSError("full")
        async with writer:
            await writer.add(lines(b"1"), entry("a"))
            await asyncio.sleep(2 * BATCH_SECONDS)
            with pytest.raises(OSError, match="full"):
                await writer.add(lines(b"2"), entry("b"))

    with pytest.raises(OSError, match="full"):
        virtual_time.run(add(), grace=GRACE)
    assert output.written == []


async def test_a_completion_twice_in_a_batch(writer: Writer, output: Batches) -> None:
    """Of two entries of one completion the later one is recorded, with the lines of both."""
    await writer.add(lines(b"1"), entry("a", 1))
    await writer.add(lines(b"2"), entry("a", 2))
    await writer.flush()
    assert output.written == [(b"12", [entry("a", 2)])]


async def test_one_batch_at_a_time(writer: Writer, output: Batches) -> None:
    """Lines that are added while a batch is written join the next batch; a full one waits."""
    output.may_end.clear()
    first = asyncio.ensure_future(writer.add(lines(FULL), entry("a")))
    await begun(output)
    rest = [asyncio.ensure_future(writer.add(lines(FULL), entry(name))) for name in "bc"]
    await asyncio.sleep(0)
    assert not any(task.done() for task in (first, *rest))
    output.may_end.set()
    await asyncio.gather(first, *rest)
    assert [entries for _, entries in output.written] == [[entry("a")], [entry("b"), entry("c")]]


# --- errors ---------------------------------------------------------------------------------------


async def test_a_batch_that_fails(writer: Writer, output: Batches, sizes: list[int]) -> None:
    """The error of a batch is raised, and again each time; nothing is written after it."""
    output.error = OSError("disk")
    with pytest.raises(OSError, match="disk"):
        await writer.add(lines(FULL), entry("a"))
    output.error = None
    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            await writer.add(lines(FULL), entry("b"))
        with pytest.raises(OSError, match="disk"):
            await writer.flush()
    assert (output.written, sizes) == ([], [])


async def test_a_batch_that_fails_while_another_waits(writer: Writer, output: Batches) -> None:
    """A task that waits to write the next batch gets the error as well."""
    output.may_end.clear()
    output.error = OSError("disk")
    tasks = [asyncio.ensure_future(writer.add(lines(FULL), entry("a")))]
    await begun(output)
    tasks.append(asyncio.ensure_future(writer.add(lines(FULL), entry("b"))))
    await asyncio.sleep(0)
    output.may_end.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert errors == [output.error, output.error]


# --- being cancelled ------------------------------------------------------------------------------


async def test_being_cancelled_while_writing(writer: Writer, output: Batches) -> None:
    """A task that is cancelled, even twice, ends only after its batch is written."""
    output.may_end.clear()
    task = asyncio.ensure_future(writer.add(lines(FULL), entry("a")))
    await begun(output)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
    output.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert output.written == [(FULL, [entry("a")])]


async def test_being_cancelled_while_waiting(writer: Writer, output: Batches) -> None:
    """Lines that a task added before it was cancelled are in the next batch."""
    output.may_end.clear()
    first = asyncio.ensure_future(writer.add(lines(FULL), entry("a")))
    await begun(output)
    second = asyncio.ensure_future(writer.add(lines(FULL), entry("b")))
    await asyncio.sleep(0)
    second.cancel()
    output.may_end.set()
    await asyncio.wait([first, second])
    await writer.flush()
    assert [entries for _, entries in output.written] == [[entry("a")], [entry("b")]]


async def test_an_error_counts_for_more_than_being_cancelled(
    writer: Writer, output: Batches
) -> None:
    """A task that is cancelled while its batch fails raises the error of the batch."""
    output.may_end.clear()
    output.error = OSError("disk")
    task = asyncio.ensure_future(writer.add(lines(FULL), entry("a")))
    await begun(output)
    task.cancel()
    await asyncio.sleep(0)
    output.may_end.set()
    with pytest.raises(OSError, match="disk"):
        await task


async def test_the_result_of_a_thread() -> None:
    """A function gets its arguments in a thread of its own, and its result comes back."""
    assert await run_to_end(divmod, 7, 2) == (3, 1)
    assert await run_to_end(threading.get_ident) != threading.get_ident()
