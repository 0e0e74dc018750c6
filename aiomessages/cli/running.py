"""Run the coroutine of a command so that a signal always ends its wait for the network."""

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine in an event loop of its own, and return its result.

    Raises KeyboardInterrupt after a Ctrl-C, and whatever the coroutine raises.
    """
    try:
        return asyncio.run(_awake(main))
    except asyncio.CancelledError:  # the Ctrl-C came before the coroutine began
        raise KeyboardInterrupt from None


async def _awake(main: Coroutine[Any, Any, T]) -> T:
    with _woken_by_signals():
        return await main


@contextmanager
def _woken_by_signals() -> Iterator[None]:
    """Let every signal end the loop's wait for events.

    Python runs the handler of a signal in the main thread, between two instructions. A signal that
    arrives behind the last of them, on the way into the wait, or in another thread, ends no wait:
    its handler runs when something else does, with a silent server only at the timeout. A byte in
    a socket that the loop reads ends the wait at once. `asyncio.run` sets none up for its Ctrl-C,
    and handlers set by `signal.signal` have none.
    """
    loop = asyncio.get_running_loop()
    # The loop of Windows has such a socket. Only the main thread runs the handlers of signals.
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        loop.add_reader(reader, reader.recv, 4096)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(reader)


def stop_signal() -> asyncio.Event:
    """Return an event that Ctrl-C and SIGTERM set; both are a server's normal end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows, where Ctrl-C interrupts instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
