"""An event loop in a thread of its own, whose work other threads start and wait for.

anyio's portal runs the work, passes on its result or error, and cancels what is left at the end.
This module decides when the thread starts and ends, and what an interrupt does.

anyio's `start_blocking_portal` cannot start the thread: where Ctrl-C interrupts it during the start
(some 50 ms, the first time), it joins a thread that nothing stops, and hangs (anyio 4.16).
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
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

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
            return _run_in(self._portal(), work, items or CallerItems())
        except CancelledError:
            problem: MessagesError = ClientClosedError("the client was closed during the call")
        except MessagesError as error:
            problem = error
        # Raised here, without the frames in between: the error's text says what a user needs.
        try:
            raise problem.with_traceback(None)
        finally:
            del problem

    def _portal(self) -> BlockingPortal:
        if self._pid != os.getpid():
            raise RuntimeError("this client was made before a fork; make one in each process")
        with self._lock:
            if self._closed:
                raise ClientClosedError("the client is closed; make a new one")
            thread = self._thread or self._start()
            try:
                return thread.portal.result()
            except Exception:
                self._thread = None  # its loop could not begin; the next call tries again
                raise

    def _start(self) -> "_Thread":
        thread = _Thread(self._at_end)
        weakref.finalize(self, thread.abandon).atexit = False
        try:
            thread.start()
            self._thread = self._thread or thread  # the handler of a signal may have been quicker
        finally:
            if self._thread is not thread:  # or the start was interrupted
                thread.at_end = NOTHING  # the client goes on in another thread
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
    """The thread. It holds no reference to its LoopThread, which can so be garbage-collected."""

    def __init__(self, at_end: Work[object]) -> None:
        super().__init__(name="aiomessages", daemon=True)
        self.portal: Future[BlockingPortal] = Future()
        self.at_end = at_end
        self._loop: asyncio.AbstractEventLoop
        self._is_leaving = False
        self._tasks: set[asyncio.Task[Any]] = set()  # a loop holds its tasks weakly

    def run(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            if self.portal.done():
                raise
            self.portal.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with BlockingPortal() as portal:
            self.portal.set_result(portal)
            await portal.sleep_until_stopped()
        await self.at_end()
        if not threading.main_thread().is_alive():
            # The interpreter exits, and has ended its executors. asyncio would start a thread to
            # wait for the one that resolved names; Python 3.12 refuses to start any.
            self._loop.shutdown_default_executor = NOTHING  # type: ignore[method-assign]

    def start_soon(self, work: Work[object]) -> None:
        """Start work once the loop runs, unless it has ended.

        The garbage collector may call this in any thread, also in the loop's own: it never waits.
        """

        def start() -> None:
            task = self._loop.create_task(work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def cross(portal: Future[BlockingPortal]) -> None:
            if self.is_alive() and portal.exception() is None:  # a forked child has no such thread
                with contextlib.suppress(RuntimeError):  # the loop has just been closed
                    self._loop.call_soon_threadsafe(start)

        self.portal.add_done_callback(cross)

    def leave(self) -> None:
        """End the calls under way, and then the loop, without waiting for it."""
        if not self._is_leaving:
            self._is_leaving = True
            self.start_soon(self._stop_portal)

    async def _stop_portal(self) -> None:
        await self.portal.result().stop(cancel_remaining=True)

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


def _run_in(portal: BlockingPortal, work: Work[ResultT], items: CallerItems[Any]) -> ResultT:
    """Return the result of the work, or raise its error, or CancelledError."""
    task: asyncio.Task[Any] | None = None
    has_ended = False

    async def run() -> ResultT:
        nonlocal task, has_ended
        task = asyncio.current_task()
        try:
            return await work()
        finally:
            has_ended = True
            items.wake_ups.put(None)

    def cancel() -> None:
        if task is not None:
            task.cancel()

    def wait() -> None:
        while not has_ended:
            items.read()
            items.wake_ups.get()

    try:
        future = _start_soon(portal, run)
        wait()
    except BaseException:
        # Ctrl-C, or an error of a signal handler; perhaps during the start, which returned no
        # future then. The loop calls `cancel` after the start, so that `task` says whether it ran.
        with contextlib.suppress(RuntimeError):  # the portal has stopped, and cancels by itself
            portal.call(cancel)
        if task is not None:
            wait()
        raise
    return future.result()


def _start_soon(portal: BlockingPortal, work: Work[ResultT]) -> Future[ResultT]:
    try:
        return portal.start_task_soon(work)
    except RuntimeError:  # the portal has stopped
        raise CancelledError from None


def _refuse_in_async_code() -> None:
    """Raise RuntimeError where waiting would hold up an event loop, or would never end."""
    if type(threading.current_thread()) is _Thread:
        raise RuntimeError("on_retry and on_progress run in the client's loop: use no client there")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        # A notebook, which runs each cell inside an event loop, may wait.
        raise RuntimeError(
            "MessagesClient waits, and would hold up this event loop:"
            " use aiomessages.AsyncMessagesClient in async code"
        )
