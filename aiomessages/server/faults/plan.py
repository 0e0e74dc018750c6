"""Which fault strikes when: the words for it, and the count of what is still to come.

`NAME` strikes every request, `NAME:K` strikes K times, and `@N` behind either lets the requests
before the Nth pass. What a fault does is told elsewhere.
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


class ArmedFault:
    """One fault, and the count of when it is still to strike.

    It lets the requests before the `first`th pass, and then strikes `times` of them (None: no end).
    With a `completion_id` only requests for that completion are counted, and struck.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        times: int | None = None,
        first: int = 1,
        completion_id: str | None = None,
        spec: str | None = None,
    ) -> None:
        self.spec = spec or fault.does
        self._fault = fault
        self._left = math.inf if times is None else times
        self._to_pass = first - 1
        self._completion_id = completion_id

    @classmethod
    def parse(cls, spec: str) -> Self:
        """Read NAME, NAME:K or NAME:K@N. Raises ValueError for what is no fault."""
        found = _SPEC.fullmatch(spec)
        if found is None:
            raise ValueError(f"a fault is written NAME, NAME:K or NAME:K@N, not {spec!r}")
        times = int(found["times"]) if found["times"] else None
        return cls(named(found["name"]), times=times, first=int(found["first"] or 1), spec=spec)

    def is_due(self, request: web.Request) -> bool:
        """Count a request, and tell whether it is one to strike."""
        if self._completion_id not in (None, request.match_info.get("completion_id")):
            return False
        if self._to_pass:
            self._to_pass -= 1
            return False
        return True

    async def strike(self, request: web.Request, handler: Handler) -> web.StreamResponse | None:
        """Answer a request; None where the fault is spent, or has nothing to spoil in it."""
        if not self._left:
            return None
        self._left -= 1  # before anything is awaited, so that no two requests share a strike
        response = None
        try:
            response = await self._fault.strike(request, handler)
        finally:
            self._left += response is None  # it had nothing to strike
        return response


Faults = str | Iterable[str | ArmedFault] | Mapping[str, int | None]


class Plan:
    """The faults that are switched on, in their order: the next begins when one is spent.

    `faults` is one fault, several, or a mapping from a fault to its number of strikes (None: no
    end). Raises ValueError for a name that is none, and says which are nearest.
    """

    def __init__(self, faults: Faults = ()) -> None:
        self._faults = [
            fault if isinstance(fault, ArmedFault) else ArmedFault.parse(fault)
            for fault in _listed(faults)
        ]

    @property
    def specs(self) -> tuple[str, ...]:
        """The faults as they were written, or what those do that were not."""
        return tuple(fault.spec for fault in self._faults)

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request by the first fault that strikes it, or rightly."""
        for fault in [fault for fault in self._faults if fault.is_due(request)]:  # all count it
            response = await fault.strike(request, handler)
            if response is not None:
                return response
        return await handler(request)


def _listed(faults: Faults) -> tuple[str | ArmedFault, ...]:
    if isinstance(faults, str):
        return (faults,)
    if isinstance(faults, Mapping):
        return tuple(name if k is None else f"{name}:{k}" for name, k in faults.items())
    return tuple(faults)


def named(name: str) -> Fault:
    """Return the fault of a name. Raises ValueError for one that is none."""
    if name not in FAULTS:
        nearest = ", ".join(get_close_matches(name, FAULTS, cutoff=0.0))
        raise ValueError(f"there is no fault {name!r}; the nearest are {nearest}")
    return FAULTS[name]
