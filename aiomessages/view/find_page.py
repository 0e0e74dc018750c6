"""The first page: search an archive, narrow it down, and go through what is found."""

import asyncio
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp import web

from aiomessages.archive.browsing import ResultPage, find
from aiomessages.archive.cursors import CursorError
from aiomessages.archive.errors import SearchError
from aiomessages.archive.facets import Count, Facets, facets

from .room import ROOM, Room
from .url_state import State, state_of

# The facets in the order of the page: title, name in Facets, and in a State.
_FACETS: Final = (
    ("Model", "model"),
    ("Role", "role"),
    ("Tool", "tool"),
    ("State", "state"),
    ("Finish reason", "finish_reason"),
    ("Day", "day"),
)


Choose = Callable[[str | None], State]  # a value of a facet, or none of it


class Choice(NamedTuple):
    """A value of a facet: the number of its conversations, and the state that has it or drops it.

    Without a state it cannot be chosen: the conversations have no value there.
    """

    value: str | None
    conversations: int
    state: State | None
    is_chosen: bool


class Facet(NamedTuple):
    """The most frequent values of one field, and the number of those that are left out."""

    title: str
    choices: list[Choice]
    more: int


async def show(request: web.Request) -> web.StreamResponse:
    """Show a page of results, and counts of what they have in common."""
    room, state = request.app[ROOM], state_of(request.query)
    try:
        found, counts = await _read(room, state)
    except (SearchError, CursorError) as error:
        return _page(request, state, problem=error)
    return _page(request, state, found=found, counts=counts)


async def _read(room: Room, state: State) -> tuple[ResultPage, Facets]:
    """Read both at the same time, with two connections."""
    filters = state.filters(room.zone)
    best = state.best and bool(state.words)
    return await asyncio.gather(
        room.pool.run(lambda db: find(db, filters, best=best, cursor=state.at)),
        room.pool.run(lambda db: facets(db, filters, utc=room.utc)),
    )


def _page(
    request: web.Request,
    state: State,
    *,
    found: ResultPage | None = None,
    counts: Facets | None = None,
    problem: Exception | None = None,
) -> web.StreamResponse:
    """Return the page; with a problem it has the search, so that it can be mended."""
    return request.app[ROOM].page(
        request,
        "find.html",
        status=HTTPStatus.BAD_REQUEST if problem else HTTPStatus.OK,
        here="find",
        query=state.with_().query,
        state=state,
        found=found,
        counts=counts,
        facets=list(_facets(state, counts)) if counts else [],
        problem=problem,
        is_old=isinstance(problem, CursorError),
    )


def _facets(state: State, counts: Facets) -> Iterator[Facet]:
    """Yield the facets that have a value."""

    def of_field(name: str) -> Choose:
        return lambda value: state.with_(**{name: value})

    def of_metadata(key: str) -> Choose:
        return lambda value: state.with_metadata(key, value)

    chosen = dict(state.metadata)
    fields = [
        (title, getattr(counts, name), getattr(state, name), of_field(name), name)
        for title, name in _FACETS
    ]
    keys = [
        (key, values, chosen.get(key), of_metadata(key), key) for key, values in counts.metadata
    ]
    for title, values, current, choose, name in [*fields, *keys]:
        if values:
            choices = [_choice(found, current, choose) for found in values]
            yield Facet(title, choices, counts.more.get(name, 0))


def _choice(found: Count, current: str | None, choose: Choose) -> Choice:
    if found.value is None:
        return Choice(None, found.count, None, is_chosen=False)
    is_chosen = found.value == current
    return Choice(found.value, found.count, choose(None if is_chosen else found.value), is_chosen)
