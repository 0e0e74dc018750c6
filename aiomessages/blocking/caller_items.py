"""Items that the calling thread reads for the event loop, one at a time, while it waits.

The iterable is read in the thread that made it, because a cursor of a database must stay in its
thread, and a generator may block.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from queue import SimpleQueue
from typing import Any, Generic, Self, TypeVar

from aiomessages.errors import ClientClosedError

ItemT = TypeVar("ItemT")


class CallerItems(AsyncIterator[ItemT], Generic[ItemT]):
    """An async iterator for the loop over an iterable that only the calling thread reads.

    The loop leaves a future in `_wanted`, and wakes the calling thread through `wake_ups`; that
    thread sets the future's result in `read`.
    """

    def __init__(self, items: Iterable[ItemT] = ()) -> None:
        self._items = iter(items)
        self._wanted: asyncio.Future[ItemT] | None = None
        self.wake_ups: SimpleQueue[None] = SimpleQueue()  # C code: a signal cannot break its lock

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT:
        wanted: asyncio.Future[ItemT] = asyncio.get_running_loop().create_future()
        self._wanted = wanted  # the calling thread may clear this at once
        self.wake_ups.put(None)
        return await wanted

    def read(self) -> None:
        """Read the next item, if the loop waits for one. Call it in the calling thread.

        A request that an interrupt left unread is still there at the next call.
        """
        wanted = self._wanted
        if wanted is None or wanted.done():  # no item is wanted, or the loop has given up waiting
            return
        try:
            self._wanted = None  # before the loop can want another one
            _settle(wanted.set_result, wanted, next(self._items))
        except StopIteration:
            _settle(wanted.set_exception, wanted, StopAsyncIteration())
        except Exception as error:  # noqa: BLE001 the results raise it
            _settle(wanted.set_exception, wanted, error)
        except BaseException:
            # Ctrl-C may have ended a generator. Without an error the results would look complete.
            interrupted = ClientClosedError("reading the ids was interrupted")
            _settle(wanted.set_exception, wanted, interrupted)
            raise


def _settle(settle: Callable[[Any], None], wanted: "asyncio.Future[Any]", outcome: object) -> None:
    def settle_once() -> None:
        if not wanted.done():  # cancelled meanwhile, or settled just before an interrupt
            settle(outcome)

    with contextlib.suppress(RuntimeError):  # the loop has ended
        wanted.get_loop().call_soon_threadsafe(settle_once)
