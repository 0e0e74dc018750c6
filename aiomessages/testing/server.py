"""The server of a test: a LocalServer in its own thread, controlled by synchronous methods.

It needs no event loop of the test. So it serves synchronous tests, the tests of every async plugin,
and apps in their own loop, thread or process. Nothing here depends on pytest.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from anyio.from_thread import start_blocking_portal

from aiomessages.server import LocalServer, RecordError
from aiomessages.server.faults import ScheduledFault

from .faults import delayed, fault_for
from .received import ReceivedRequest
from .records import record

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from anyio.from_thread import BlockingPortal

    from aiomessages.archive.records import Source
    from aiomessages.server.faults import Fault

    from .records import Messages


class MessagesServer:
    """Serve stored completions on a loopback port, from a thread, while its `with` block runs.

    The options are those of LocalServer; without `database`, `sample` and `records` the server is
    empty. The methods may be called from any thread but the server's own.
    """

    requests: list[ReceivedRequest]
    """The received requests in the order of arrival; the list may be cleared."""

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
        self.requests = []
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
        self._faults: list[ScheduledFault] = []
        self._numbers = itertools.count()
        self._ids: set[str] = set()
        self._portal: BlockingPortal | None = None

    def __repr__(self) -> str:
        state = self.base_url if self._portal else "not running"
        return f"<MessagesServer {state}>"

    # --- start and stop ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self._local))
            self._portal = portal
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._portal = None
        self._stack.close()

    def _running(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("the server is not running: use it in a with block")
        return self._portal

    # --- connection settings ----------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The URL to give to a client, "/v1" included. Raises RuntimeError unless running."""
        return self._local.base_url

    @property
    def api_key(self) -> str:
        """The key that the server accepts; generated unless it was given."""
        return self._local.api_key

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for clients: OPENAI_BASE_URL and OPENAI_API_KEY.

        Raises RuntimeError unless running.
        """
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.api_key}

    # --- stored completions -----------------------------------------------------------------------

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

        `messages` is a text, a dict as in a request to the API, or a Message; several of these; or
        the number of messages to make up. Texts alternate between the roles user and assistant.
        `reply` is the answer of the model: a text, a dict, or None for no choice. `fields` are
        other fields of the completion; `created` is by default one second later for each. A
        completion with a stored `id` replaces the stored one.

        Raises TypeError for a message of another type, ValueError for one the API cannot have
        stored, and RuntimeError unless running.
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

    # --- faults -----------------------------------------------------------------------------------

    def fail(
        self,
        fault: str | int,
        *,
        times: int | None = None,
        first: int = 1,
        completion_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Respond to requests with a fault: an HTTP status, or a name from docs/faults.md.

        It affects `times` requests (None: all until `recover`), starting at the `first` one from
        now, counted from 1. With a `completion_id` it counts and affects only requests for that
        completion. Several faults apply in the order of their calls: the next one starts when one
        is used up. `retry_after` is the wait, in seconds, that the response asks for.

        Raises ValueError for an unknown fault or a number out of range.
        """
        self._schedule(fault_for(fault, retry_after=retry_after), times, first, completion_id)

    def slow_down(
        self,
        seconds: float,
        *,
        times: int | None = None,
        first: int = 1,
        completion_id: str | None = None,
    ) -> None:
        """Delay correct responses by `seconds`; the other parameters are those of `fail`."""
        self._schedule(delayed(seconds), times, first, completion_id)

    def recover(self) -> None:
        """Switch all faults off."""
        self._faults.clear()
        self._local.faults = ()

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Drop open connections and refuse new ones inside the block. Stored data stays."""
        portal = self._running()
        portal.call(self._local.pause)
        try:
            yield
        finally:
            portal.call(self._local.resume)

    def _schedule(
        self, fault: Fault, times: int | None, first: int, completion_id: str | None
    ) -> None:
        if first < 1 or (times is not None and times < 1):
            raise ValueError("times and first are counted from 1")
        scheduled = ScheduledFault(fault, times=times, first=first, completion_id=completion_id)
        self._faults.append(scheduled)
        self._local.faults = self._faults
