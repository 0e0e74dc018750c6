"""A command's coroutine: its result, and the signals that end its wait."""

import asyncio
import os
import signal
import threading

import pytest

from aiomessages.cli.running import run


def test_its_result() -> None:
    """The result of the coroutine is returned."""

    async def main() -> str:
        await asyncio.sleep(0)
        return "result"

    assert run(main()) == "result"


def test_a_signal_between_two_instructions() -> None:
    """A signal that the kernel hands to another thread ends the main thread's wait at once.

    Only the main thread runs handlers, and nothing else ends its wait here: this stands for every
    signal that arrives where it interrupts no system call of the main thread.
    """
    before = signal.getsignal(signal.SIGUSR1)
    waiting = threading.Event()

    def other() -> None:
        waiting.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    async def main() -> None:
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(heard.set))
        loop.call_soon(waiting.set)
        await heard.wait()

    thread = threading.Thread(target=other)
    thread.start()
    main_thread = threading.main_thread().ident
    guard = threading.Timer(20, signal.pthread_kill, (main_thread, signal.SIGUSR1))
    guard.start()
    try:
        run(main())
        assert guard.is_alive(), "the signal itself ended no wait"
    finally:
        guard.cancel()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_interrupted_before_it_begins() -> None:
    """A coroutine that is cancelled by Ctrl-C raises KeyboardInterrupt."""

    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(KeyboardInterrupt):
        run(main())


def test_in_another_thread() -> None:
    """A thread that may not set up signals runs the coroutine as it is."""
    results: list[str] = []

    async def main() -> str:
        return "result"

    thread = threading.Thread(target=lambda: results.append(run(main())))
    thread.start()
    thread.join()
    assert results == ["result"]


def test_what_was_set_up_before_stays() -> None:
    """The wakeup descriptor of a program around it is set again."""

    async def main() -> None:
        pass

    assert signal.set_wakeup_fd(-1) == -1
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    try:
        run(main())
    finally:
        assert signal.set_wakeup_fd(-1) == write
        os.close(read)
        os.close(write)
