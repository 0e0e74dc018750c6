"""An event loop in a thread of its own, and the crossing over to it.

What another thread waits for is done in the loop, and its result or its error handed over. An
interrupted wait leaves nothing running, and a process that wants to end can end: the thread is a
daemon, and is told to leave while there is still an interpreter to do it.

anyio's portal does the same in two crossings a call, and waits in between: measured, 150 µs against
90. Here a crossing is one call_soon_threadsafe, so that the garbage collector may cross as well.
"""

import asyncio
import atexit
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeVar, cast

import anyio

from aiomessages.errors import ClientClosedError, MessagesError

from .greenlets import refuse_greenlets
from .thread_bridge import Call, Inbox, Work

# The calls of a client have 5 s to leave; the loop, and the names it may still look up, as much.
CLOSE_TIMEOUT: Final = 10.0

ResultT = TypeVar("ResultT")


class LoopThread:
    """One event loop in one thread, from the first use on; `at_end` is awaited at its end.

    Any thread may use it. Who drops it without closing it is warned by a ResourceWarning.
    """

    def __init__(self, at_end: Work[object]) -> None:
        self._at_end = at_end
        self._thread: _Thread | None = None
        self._beginning = threading.RLock()  # a signal's handler may come while it is held
        self._pid = os.getpid()
        self._closed = False

    def run(self, work: Work[ResultT], inbox: Inbox | None = None) -> ResultT:
        """Return what the work gives, or raise what it raises; answer meanwhile what it asks.

        Who is interrupted cancels the work, and waits for it to leave. Raises RuntimeError in
        async code and among greenlets, and ClientClosedError once closed.
        """
        refuse_greenlets()
        _refuse_in_async_code()
        try:
            return self._open().run_call(Call(work, inbox or Inbox()))
        except asyncio.CancelledError:
            problem: MessagesError = ClientClosedError("the client was closed during the call")
        except MessagesError as error:
            problem = error
        # Out here, and without what lies between: the text of the error says all that there is.
        try:
            raise problem.with_traceback(None)
        finally:
            del problem

    def _open(self) -> "_Thread":
        if self._pid != os.getpid():
            raise RuntimeError("this client was made before a fork; make one in each process")
        if self._closed:
            raise ClientClosedError("the client is closed; make a new one")
        with self._beginning:  # always taken: a call costs a thousand times as much
            return self._thread or self._begin()

    def _begin(self) -> "_Thread":
        thread = _Thread(self._at_end)
        try:
            thread.begin()
            weakref.finalize(self, thread.abandon).atexit = False
            self._thread = self._thread or thread  # a handler may have been quicker
        finally:
            if self._thread is not thread:  # or whoever began was interrupted
                thread.give_up()
        return self._thread

    def when_dropped(self, holder: object, work: Work[object]) -> "weakref.finalize[Any, Any]":
        """Have work done in the loop once the holder is gone; nobody waits for it."""
        finalizer = weakref.finalize(holder, self._soon, work)
        finalizer.atexit = False
        return finalizer

    def _soon(self, work: Work[object]) -> None:
        if self._thread is not None:
            self._thread.soon(work)

    def close(self) -> None:
        """End the calls under way and the loop, and wait for that, 10 s at most."""
        self._closed = True
        if self._thread is not None:
            self._thread.end()


class _Thread(threading.Thread):
    """The thread. It does not know for whom it works, who can be dropped."""

    def __init__(self, at_end: Work[object]) -> None:
        super().__init__(name="aiomessages", daemon=True)
        self._at_end = at_end
        self._pid = os.getpid()
        self._calls: set[Call[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()  # a loop holds its tasks weakly
        self._told_to_leave = False
        self._has_left = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: SimpleQueue[BaseException | None] = SimpleQueue()

    def begin(self) -> None:
        """Start, and wait for the loop; raise what kept it from beginning."""
        self.start()
        if (problem := self._begun.get()) is not None:
            raise problem

    def run(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            if self._loop is not None:
                raise
            self._begun.put(error)
        finally:
            self._has_left = True
            for call in list(self._calls):
                call.finish()

    async def _serve(self) -> None:
        self._leave = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._begun.put(None)
        if not self._told_to_leave:
            await self._leave.wait()
        await self._at_end()
        if not threading.main_thread().is_alive():
            # The interpreter ends, and its executors have ended. asyncio would start a thread to
            # wait for this loop's, as there is where names are resolved; Python 3.12 refuses to.
            self._loop.shutdown_default_executor = _nothing  # type: ignore[method-assign]

    def run_call(self, call: "Call[ResultT]") -> ResultT:
        """Have a call made, in the thread that waits for it."""
        try:
            self._begin(call, call.begin)
            call.wait()
        except BaseException:
            self._begin(call, call.cancel)
            call.wait()
            raise
        finally:
            self._calls.discard(call)
        return call.result()

    def _begin(self, call: "Call[Any]", step: Callable[[], object]) -> None:
        # Known before it crosses over, so that either this or the end of the thread finishes it.
        self._calls.add(call)
        if not self._cross(step) or self._has_left:
            call.finish()

    def soon(self, work: Work[object]) -> None:
        """Have work done without waiting for it. The collector may ask, in whatever thread."""

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        if self._pid == os.getpid():
            self._cross(begin)

    def _cross(self, step: Callable[[], object]) -> bool:
        """Have a step made in the loop, unless it has ended."""
        try:
            cast("asyncio.AbstractEventLoop", self._loop).call_soon_threadsafe(step)
        except RuntimeError:
            return False
        return True

    def _tell_to_leave(self) -> None:
        self._told_to_leave = True
        if self._loop is not None:  # else it will see so
            self._cross(self._leave.set)

    def give_up(self) -> None:
        """Leave as soon as it has begun, if it has: nothing was done here."""
        self._at_end = partial(asyncio.sleep, 0)
        self._tell_to_leave()

    def end(self) -> None:
        """Tell the thread to leave, and wait for it; it does not wait for itself."""
        if self._pid == os.getpid():
            self._tell_to_leave()
            if self is not threading.current_thread():
                self.join(CLOSE_TIMEOUT)

    def abandon(self) -> None:
        """Tell the thread to leave, and warn, if whoever it works for is gone without a word."""
        if self._pid == os.getpid() and not self._told_to_leave:
            self._tell_to_leave()
            warnings.warn(
                "a MessagesClient was dropped without being closed;"
                " leave it by `with` or `client.close()`",
                ResourceWarning,
                stacklevel=2,
            )


async def _nothing(*_: object) -> None:
    """Wait for nothing."""


@atexit.register
def _end_all() -> None:
    """End what was left open, while there is still an interpreter to do it."""
    for thread in threading.enumerate():
        if isinstance(thread, _Thread):
            thread.abandon()
            thread.end()


def _refuse_in_async_code() -> None:
    """Raise RuntimeError where waiting would hold up an event loop, or would have no end."""
    if type(threading.current_thread()) is _Thread:
        raise RuntimeError("on_retry and on_progress run in the client's loop: use no client there")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if not _in_notebook():
        raise RuntimeError(
            "MessagesClient waits, and would hold up this event loop:"
            " use aiomessages.AsyncMessagesClient in async code"
        )


def _in_notebook() -> bool:
    """Tell whether this is a notebook, whose every cell runs inside an event loop."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
