"""The server of a test: a LocalServer in a thread of its own, worked from ordinary functions.

It needs no event loop of the test's, so it serves synchronous tests, those of every async plugin,
and apps that run in a loop, a thread or a process of their own. Nothing here knows pytest.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from anyio.from_thread import start_blocking_portal

from aiomessages.server import LocalServer, RecordError
from aiomessages.server.faults import ArmedFault

from .received import ReceivedRequest
from .records import record
from .switches import delay, fault_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from anyio.from_thread import BlockingPortal

    from aiomessages.server.faults import Fault
    from aiomessages.server.records import Source

    from .records import Messages


class MessagesServer:
    """Serve stored completions on a loopback port, from a thread, while its `with` block runs.

    It begins empty, but for what `database`, `sample` and `records` hold; these and the other
    options are LocalServer's. `requests` has what arrived, in that order, and may be cleared.
    Any thread may call it; nothing here may be called from the server's own.
    """

    def __init__(
        self,
        database: str | os.PathLike[str] = ":memory:",
        *,
        sample: bool = False,
        records: Source | None = None,
        api_key: str | None = None,
        latency: float = 0.0,
        rate: float | None = None,
        visibility_delay: float = 0.0,
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        self._local = LocalServer(
            database,
            sample=sample,
            records=records,
            api_key=api_key,
            latency=latency,
            rate=rate,
            visibility_delay=visibility_delay,
            on_request=lambda request: self.requests.append(ReceivedRequest.of(request)),
        )
        self._faults: list[ArmedFault] = []
        self._numbers = itertools.count()
        self._ids: set[str] = set()
        self._portal: BlockingPortal | None = None

    def __repr__(self) -> str:
        where = self.base_url if self._portal else "not running"
        return f"<MessagesServer {where}>"

    # --- its life ---------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self._local))
            self._portal = portal
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal = None
        self._stack.__exit__(kind, error, traceback)

    def _running(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("the server is not running: use it in a with block")
        return self._portal

    # --- how an app finds it ----------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The URL to give to a client, "/v1" included. Raises RuntimeError unless running."""
        return self._local.base_url

    @property
    def api_key(self) -> str:
        """The key that it takes; made up for this server, unless one was given."""
        return self._local.api_key

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find it. Raises RuntimeError unless running."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.api_key}

    # --- what it holds ----------------------------------------------------------------------------

    def store(
        self,
        messages: Messages = "Hello!",
        *,
        id: str | None = None,
        model: str = "gpt-4o-mini",
        metadata: Mapping[str, str] | None = None,
        reply: str | Mapping[str, Any] | None = "Hello! How can I help you?",
        **fields: Any,
    ) -> str:
        """Store a completion and return its id.

        `messages` are texts (person and model take turns), dicts as they are given to the API, or
        Messages; one of these, several, or a number of them. `reply` is what the model answered: a
        text, a dict, or None for no choice. `fields` are other fields of the completion, such as
        `created`, which else is a second later with each. An id that is stored already is replaced.

        Raises TypeError and ValueError for what cannot be stored.
        """
        number = next(self._numbers)
        completion_id = id or self._free_id(number)
        options = {"model": model, "metadata": dict(metadata or {}), **fields}
        stored = record(completion_id, number, messages, reply, options)
        try:
            self._running().call(self._local.import_records, [stored])
        except RecordError as error:
            raise ValueError(f"this completion cannot be stored: {error.reason}") from None
        self._ids.add(completion_id)
        return completion_id

    def _free_id(self, number: int) -> str:
        ids = (f"chatcmpl-{n}" for n in itertools.count(number + 1))
        return next(id for id in ids if id not in self._ids)

    # --- what it does to requests -----------------------------------------------------------------

    def fail(
        self,
        fault: str | int,
        *,
        times: int | None = None,
        first: int = 1,
        completion_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Answer requests with a fault: an HTTP status, or a name from docs/faults.md.

        It strikes so many `times` (None: until `recover`), beginning with the `first` request from
        now, of those for one completion where a `completion_id` is given. Faults that are switched
        on one after the other strike in that order: the next begins when one is spent.
        `retry_after` is how many seconds the answer asks to wait.

        Raises ValueError for what is no fault, and says what there is.
        """
        self._arm(fault_of(fault, retry_after=retry_after), times, first, completion_id)

    def slow_down(
        self,
        seconds: float,
        *,
        times: int | None = None,
        first: int = 1,
        completion_id: str | None = None,
    ) -> None:
        """Answer rightly, but so many seconds late; else as `fail`."""
        self._arm(delay(seconds), times, first, completion_id)

    def recover(self) -> None:
        """End every fault."""
        self._faults.clear()
        self._local.faults = ()

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Drop open connections and refuse new ones inside the block; what is stored stays."""
        portal = self._running()
        portal.call(self._local.pause)
        try:
            yield
        finally:
            portal.call(self._local.resume)

    def _arm(self, fault: Fault, times: int | None, first: int, completion_id: str | None) -> None:
        if first < 1 or (times is not None and times < 1):
            raise ValueError("times and first are counted from 1")
        armed = ArmedFault(fault, times=times, first=first, completion_id=completion_id)
        self._faults.append(armed)
        self._local.faults = self._faults
