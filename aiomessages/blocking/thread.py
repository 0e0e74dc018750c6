"""An event loop in a thread of its own, whose work other threads start and wait for.

A waiting thread may be interrupted between any two steps: by Ctrl-C, or by a signal handler that
makes a call of its own. So a call waits in a SimpleQueue, which holds no lock written in Python.

`asyncio.run_coroutine_threadsafe` leaves no future to cancel where Ctrl-C interrupts it, and its
future, once cancelled, is done before the work has ended. anyio's portal costs three times the CPU
time: 135 µs for an empty call, against 40 µs here.
"""

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import anyio

from aiomessages.errors import ClientClosedError, MessagesError

from .caller_items import CallerItems
from .greenlets import refuse_greenlets

# Closing the async client takes up to 5 s, and asyncio's wait for name look-ups as long.
CLOSE_TIMEOUT: Final = 10.0
NOTHING: Final = partial(asyncio.sleep, 0)

ResultT = TypeVar("ResultT")
Work = Callable[[], Coroutine[Any, Any, ResultT]]


class LoopThread:
    """One event loop in one thread, started by the first call. `at_end` is awaited at its end.

    Any thread may use it. Dropping it without closing it gives a ResourceWarning.
    """

    def __init__(self, at_end: Work[object]) -> None:
        self._at_end = at_end
        self._thread: _Thread | None = None
        self._lock = threading.RLock()  # reentrant: a signal handler may make a call under it
        self._pid = os.getpid()
        self._closed = False

    def run(self, work: Work[ResultT], items: CallerItems[Any] | None = None) -> ResultT:
        """Return the result of the work, or raise its error. Read `items` while it runs.

        An interrupt cancels the work, waits until it has ended, and is raised. Raises RuntimeError
        in async code and among greenlets, and ClientClosedError once closed.
        """
        refuse_greenlets()
        _refuse_in_async_code()
        try:
            return self._running_thread().run_call(work, items or CallerItems())
        except asyncio.CancelledError:
            problem: MessagesError = ClientClosedError("the client was closed during the call")
        except MessagesError as error:
            problem = error
        # Raised here, without the frames in between: the error's text says what a user needs.
        try:
            raise problem.with_traceback(None)
        finally:
            del problem

    def _running_thread(self) -> "_Thread":
        if self._pid != os.getpid():
            raise RuntimeError("this client was made before a fork; make one in each process")
        with self._lock:
            if self._closed:
                raise ClientClosedError("the client is closed; make a new one")
            return self._thread or self._start()

    def _start(self) -> "_Thread":
        thread = _Thread(self._at_end)
        weakref.finalize(self, thread.abandon).atexit = False
        try:
            thread.start_loop()
            self._thread = self._thread or thread  # the handler of a signal may have been quicker
        finally:
            if self._thread is not thread:  # or the start was interrupted
                thread.at_end = NOTHING  # the client continues in another thread
                thread.leave()
        return self._thread

    def start_soon(self, work: Work[object]) -> None:
        """Start work without waiting for it, unless the loop never began or has ended."""
        if self._thread is not None:
            self._thread.start_soon(work)

    def close(self) -> None:
        """End the calls under way and the loop, and wait for that, 10 s at most."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.leave()
            if thread is not threading.current_thread():  # a hook that closes its own client
                thread.join(CLOSE_TIMEOUT)


class _Thread(threading.Thread):
    """The thread. It holds no reference to its LoopThread, so that one can be collected."""

    def __init__(self, at_end: Work[object]) -> None:
        super().__init__(name="aiomessages", daemon=True)
        self.at_end = at_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: SimpleQueue[BaseException | None] = SimpleQueue()
        self._is_leaving = False
        self._leave = asyncio.Event()
        self._ends: set[Callable[[], None]] = set()  # each ends a call that a thread waits for
        self._tasks: set[asyncio.Task[Any]] = set()  # a loop holds its tasks weakly

    def start_loop(self) -> None:
        """Start the thread and wait until its loop runs, or raise why it cannot."""
        self.start()
        problem = self._begun.get()
        if problem is not None:
            raise problem

    def run(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            if self._loop is not None:
                raise
            self._begun.put(error)
        finally:
            for end in list(self._ends):  # of calls that the loop has not even started
                end()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun.put(None)
        if not self._is_leaving:
            await self._leave.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.at_end()
        if not threading.main_thread().is_alive():
            # The interpreter exits, and has ended its executors. asyncio would start a thread to
            # wait for the one that resolved names; Python 3.12 refuses to start any.
            self._loop.shutdown_default_executor = NOTHING  # type: ignore[method-assign]

    def run_call(self, work: Work[ResultT], items: CallerItems[Any]) -> ResultT:
        """Start the work in the loop, read `items` until it ends, and return its result."""
        task: asyncio.Task[ResultT] | None = None
        has_ended = False

        def start() -> None:
            nonlocal task
            task = self._create_task(work)
            task.add_done_callback(end)

        def cancel() -> None:
            if task is None:  # interrupted before `start` was passed on
                end()
            else:
                # asyncio logs an error that nobody looks at.
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
                task.cancel()

        def end(done: Any = None) -> None:
            nonlocal has_ended
            has_ended = True
            self._tasks.discard(done)
            items.wake_ups.put(None)

        def wait_after(step: Callable[[], object]) -> None:
            if not self._call_soon(step):
                end()
            while not has_ended:
                items.read()
                items.wake_ups.get()

        self._ends.add(end)  # before the start: a loop that ends instead of starting it calls `end`
        try:
            wait_after(start)
        except BaseException:  # Ctrl-C, or an error of a signal handler; perhaps before the start
            wait_after(cancel)
            raise
        finally:
            self._ends.discard(end)
        if task is None or not task.done():
            raise asyncio.CancelledError
        return task.result()

    def start_soon(self, work: Work[object]) -> None:
        """Start work, unless the loop has ended, without waiting for it."""

        def start() -> None:
            self._create_task(work).add_done_callback(self._tasks.discard)

        self._call_soon(start)

    def _create_task(self, work: Work[ResultT]) -> "asyncio.Task[ResultT]":
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        return task

    def _call_soon(self, step: Callable[[], object]) -> bool:
        """Call the step in the loop. Return False if the loop has not begun, or has ended.

        The garbage collector may call this in any thread, also in the loop's own: it never waits.
        """
        if self._loop is not None and self.is_alive():  # a forked child has no such thread
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._loop.call_soon_threadsafe(step)
                return True
        return False

    def leave(self) -> None:
        """End the calls under way, and then the loop, without waiting for it."""
        self._is_leaving = True  # read by a loop that has not begun
        self._call_soon(self._leave.set)

    def abandon(self) -> None:
        """Leave, and warn that nobody closed the client."""
        if self.is_alive() and not self._is_leaving:
            self.leave()
            warnings.warn(
                "a MessagesClient was dropped without being closed;"
                " leave it by `with` or `client.close()`",
                ResourceWarning,
                stacklevel=2,
            )


@atexit.register
def _end_all() -> None:
    """End the loops that were left open, while there is still an interpreter to run them."""
    for thread in threading.enumerate():
        if isinstance(thread, _Thread):
            thread.abandon()
            thread.join(CLOSE_TIMEOUT)


def _refuse_in_async_code() -> None:
    """Raise RuntimeError if waiting would block an event loop, or would never end."""
    if type(threading.current_thread()) is _Thread:
        raise RuntimeError("on_retry and on_progress run in the client's loop: call no client")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        # A notebook, which runs each cell inside an event loop, may wait.
        raise RuntimeError(
            "MessagesClient would block this event loop:"
            " use aiomessages.AsyncMessagesClient in async code"
        )
