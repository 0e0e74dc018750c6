"""The schedule of faults: its notation, and the counts that decide which request gets a fault.

`NAME` affects every request and `NAME:K` affects K requests; `@N` after either starts at the Nth
request. The other modules of this folder define the faults themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Self

from . import answers, broken, pages

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

    from .fault import Fault

FAULTS: dict[str, Fault] = broken.FAULTS | answers.FAULTS | pages.FAULTS

_SPEC = re.compile(
    r"(?P<name>[^:@]*)(?::(?P<times>[1-9][0-9]{0,8}))?(?:@(?P<first>[1-9][0-9]{0,8}))?"
)


class ScheduledFault:
    """A fault, and the counts that decide which requests it affects.

    It skips the requests before the `first`th, counted from 1, and then affects `times` requests
    (None: all). With a `completion_id` it counts and affects only requests for that completion.
    `spec` is the notation that it was parsed from.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        times: int | None,
        first: int,
        completion_id: str | None = None,
        spec: str | None = None,
    ) -> None:
        self.spec = spec or fault.description
        self._fault = fault
        self._remaining = math.inf if times is None else times
        self._to_skip = first - 1
        self._completion_id = completion_id

    @classmethod
    def parse(cls, spec: str) -> Self:
        """Return the fault of NAME, NAME:K, NAME@N or NAME:K@N.

        Raises ValueError for another notation, and for an unknown name.
        """
        found = _SPEC.fullmatch(spec)
        if found is None:
            raise ValueError(f"a fault is written NAME, NAME:K or NAME:K@N, not {spec!r}")
        times = int(found["times"]) if found["times"] else None
        return cls(
            fault_named(found["name"]), times=times, first=int(found["first"] or 1), spec=spec
        )

    def is_due(self, request: web.Request) -> bool:
        """Count a request, and return whether the fault may affect it."""
        if self._completion_id not in (None, request.match_info.get("completion_id")):
            return False
        if self._to_skip:
            self._to_skip -= 1
            return False
        return True

    async def inject(self, request: web.Request, handler: Handler) -> web.StreamResponse | None:
        """Return the faulty response; None if the fault is used up or does not apply."""
        if not self._remaining:
            return None
        self._remaining -= 1  # before the first await, so that concurrent requests count once each
        response = None
        try:
            response = await self._fault.inject(request, handler)
        finally:
            self._remaining += response is None  # it did not apply to this request
        return response


Faults = str | Iterable[str | ScheduledFault] | Mapping[str, int | None]


class Plan:
    """The faults that are switched on, in order: the next one starts when one is used up.

    `faults` is one fault, several, or a mapping from a name to the number of affected requests
    (None: all). Raises ValueError for an unknown name; the message lists the nearest names.
    """

    def __init__(self, faults: Faults = ()) -> None:
        self._faults = [
            fault if isinstance(fault, ScheduledFault) else ScheduledFault.parse(fault)
            for fault in _as_tuple(faults)
        ]

    @property
    def specs(self) -> tuple[str, ...]:
        """The notation of each fault, or its description if it was not parsed."""
        return tuple(fault.spec for fault in self._faults)

    async def respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return the response of the first fault that affects the request, or the correct one."""
        due = [fault for fault in self._faults if fault.is_due(request)]  # each counts the request
        for fault in due:
            response = await fault.inject(request, handler)
            if response is not None:
                return response
        return await handler(request)


def _as_tuple(faults: Faults) -> tuple[str | ScheduledFault, ...]:
    if isinstance(faults, str):
        return (faults,)
    if isinstance(faults, Mapping):
        return tuple(name if k is None else f"{name}:{k}" for name, k in faults.items())
    return tuple(faults)


def fault_named(name: str) -> Fault:
    """Return the fault of this name. Raises ValueError for an unknown name."""
    if name not in FAULTS:
        nearest = ", ".join(get_close_matches(name, FAULTS, cutoff=0.0))
        raise ValueError(f"there is no fault {name!r}; the nearest are {nearest}")
    return FAULTS[name]
