"""Which fault strikes when: the words for it, and the count of what is still to come.

`NAME` strikes every request, `NAME:K` strikes K times, and `@N` behind either lets the requests
before the Nth pass. What a fault does is told elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from . import answers, broken, pages

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

    from .fault import Fault

Faults = str | Iterable[str] | Mapping[str, int | None]

FAULTS: dict[str, Fault] = broken.FAULTS | answers.FAULTS | pages.FAULTS

_SPEC = re.compile(
    r"(?P<name>[^:@]*)(?::(?P<times>[1-9][0-9]{0,8}))?(?:@(?P<first>[1-9][0-9]{0,8}))?"
)


class Plan:
    """The faults that are switched on, in their order: the next begins when one is spent.

    `faults` is one fault, several, or a mapping from a fault to its number of strikes (None: no
    end). Raises ValueError for a name that is none, and says which are nearest.
    """

    def __init__(self, faults: Faults = ()) -> None:
        self.specs = _specs(faults)
        self._faults = [_Armed(spec) for spec in self.specs]
        self._requests = 0

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request by the first fault that strikes it, or rightly."""
        self._requests += 1
        number = self._requests
        for fault in self._faults:
            response = await fault.strike(number, request, handler)
            if response is not None:
                return response
        return await handler(request)


class _Armed:
    """One fault, and how often it is still to strike."""

    def __init__(self, spec: str) -> None:
        found = _SPEC.fullmatch(spec)
        if found is None:
            raise ValueError(f"a fault is written NAME, NAME:K or NAME:K@N, not {spec!r}")
        self._fault = _named(found["name"])
        self._left = int(found["times"]) if found["times"] else math.inf
        self._first = int(found["first"] or 1)

    async def strike(
        self, number: int, request: web.Request, handler: Handler
    ) -> web.StreamResponse | None:
        if number < self._first or not self._left:
            return None
        self._left -= 1  # before anything is awaited, so that no two requests share a strike
        response = None
        try:
            response = await self._fault.strike(request, handler)
        finally:
            self._left += response is None  # it had nothing to strike
        return response


def _specs(faults: Faults) -> tuple[str, ...]:
    if isinstance(faults, str):
        return (faults,)
    if isinstance(faults, Mapping):
        return tuple(name if k is None else f"{name}:{k}" for name, k in faults.items())
    return tuple(faults)


def _named(name: str) -> Fault:
    if name not in FAULTS:
        nearest = ", ".join(get_close_matches(name, FAULTS, cutoff=0.0))
        raise ValueError(f"there is no fault {name!r}; the nearest are {nearest}")
    return FAULTS[name]
