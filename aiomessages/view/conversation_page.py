"""The page of a conversation: its messages as turns, and the images and sounds in them."""

import sqlite3
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import hdrs, web
from markupsafe import Markup

from aiomessages.archive.conversation_order import neighbours
from aiomessages.archive.conversation_pages import (
    ConversationPage,
    StoredMessage,
    answers,
    conversation_page,
    message,
)
from aiomessages.archive.errors import SearchError

from .rendering.allowance import Allowance
from .rendering.blocks import Blocks
from .rendering.documents import read
from .rendering.media import Medium
from .rendering.parts import Document, parts_of
from .rendering.turns import Turn, joined, turn_of, written
from .room import ROOM, Room, iso, root_of
from .url_state import BadAddressError, State, id_of, message_of, segment, state_of

_COUNT: Final = 100  # messages on a page
_MOST_JSON: Final = 20_000  # bytes of a message that can be copied from the page
# Bytes of a message that is read to be shown, and of all those that a page left out.
_MOST_READ: Final = 16 * 1024 * 1024
_MOST_REREAD: Final = 64 * 1024 * 1024


class _Read(NamedTuple):
    page: ConversationPage
    turns: list[Turn]
    completion: Markup | None
    previous: str | None
    next: str | None


async def show(request: web.Request) -> web.StreamResponse:
    """Show a conversation from the message that the address names, with its neighbours."""
    room, state = request.app[ROOM], state_of(request.query)
    completion_id, marked = id_of(request.match_info["id"]), message_of(request.query)
    first = marked if marked is not None else _first_of(request)
    address = f"{root_of(request)}c/{segment(completion_id)}"
    query = state.query_of_message()

    def read_all(db: sqlite3.Connection) -> _Read:
        page = conversation_page(db, completion_id, at=first, count=_COUNT)
        allowance = Allowance()
        turns = list(_turns(db, room, page, address, query, allowance))
        for turn in turns:
            turn.is_marked = turn.n == marked
        top = joined(turns)
        _explain(db, page, turns, query)
        before, after = _neighbours(db, state, room, completion_id)
        return _Read(page, top, _completion(page, allowance), before, after)

    found = await room.pool.run(read_all)
    page = found.page
    return room.page(
        request,
        "conversation.html",
        query=state.with_().query,
        state=state,
        anywhere=State(),
        address=address,
        page=page,
        turns=found.turns,
        written=written,
        previous=found.previous,
        next=found.next,
        completion=found.completion,
        pages=_pages(page),
    )


async def medium(request: web.Request) -> web.StreamResponse:
    """Send an image or a sound of a message, if its first bytes are of a type that pages show."""
    found = request.match_info
    completion_id, n, k = id_of(found["id"]), int(found["n"]), int(found["k"])

    def read_one(db: sqlite3.Connection) -> tuple[bytes, str] | None:
        parts = parts_of(read(message(db, completion_id, n).body))
        wanted = next((part for part in parts if isinstance(part, Medium) and part.k == k), None)
        type = wanted.type if wanted else None
        data = wanted.data() if wanted and type else None
        return None if data is None or type is None else (data, type)

    sent = await request.app[ROOM].pool.run(read_one)
    if sent is None:
        raise web.HTTPNotFound
    body, type = sent
    headers = {hdrs.CONTENT_DISPOSITION: "inline", hdrs.ACCEPT_RANGES: "none"}
    return web.Response(body=body, content_type=type, headers=headers)


def _first_of(request: web.Request) -> int:
    """Return the message that a page begins with, or is near to its beginning."""
    text = request.query.get("from") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadAddressError(f"from={text} is no message: they are numbered from 0")
    return int(text)


def _pages(page: ConversationPage) -> list[tuple[str, int, bool]]:
    """Return the links to the other pages of a long conversation: a word, a message, its key."""
    last = max(page.total - 1, 0) // _COUNT * _COUNT
    before, after = max(page.first - _COUNT, 0), min(page.first + _COUNT, last)
    links = [
        ("First", 0, page.first > _COUNT),
        ("Previous", before, page.first > 0),
        ("Next", after, page.first < last),
        ("Last", last, page.first + _COUNT < last),
    ]
    return [link for link in links if link[2]]


def _neighbours(
    db: sqlite3.Connection, state: State, room: Room, completion_id: str
) -> tuple[str | None, str | None]:
    try:
        best = state.best and bool(state.words)
        return neighbours(db, state.filters(room.zone), completion_id, best=best)
    except SearchError:  # the words of an address that was written by hand
        return None, None


def _completion(page: ConversationPage, allowance: Allowance) -> Markup | None:
    """Return the JSON of the completion, unless it is long."""
    if not 0 < len(page.body) <= _MOST_JSON:
        return None
    text = page.body.decode("utf-8", "replace")
    return Blocks(allowance=allowance).write(Document("The JSON of the completion", text))


# --- turns ----------------------------------------------------------------------------------------


def _turns(
    db: sqlite3.Connection,
    room: Room,
    page: ConversationPage,
    address: str,
    query: str,
    allowance: Allowance,
) -> Iterator[Turn]:
    """Yield the turns of a page. What the page left out for its size is read one at a time."""
    reasons = _finish_reasons(page.body)
    left = _MOST_REREAD
    for stored in page.messages:
        if not stored.body and stored.size <= min(left, _MOST_READ):
            left -= stored.size
            stored = message(db, page.summary.id, stored.n)  # noqa: PLW2901 the same, whole
        turn = _turn(stored, f"{address}/{stored.n}", query, allowance)
        if stored.choice is not None:
            created = page.summary.created
            turn.time, turn.iso = (
                ("", "") if created is None else (room.time(created), iso(created))
            )
            replies = 1 + max(item.choice or 0 for item in page.messages)
            turn.choice = f"{stored.choice + 1} of {replies}" if replies > 1 else ""
            reason = reasons.get(stored.choice, "")
            turn.notes = [reason] if reason not in ("", "stop", "tool_calls") else []
        yield turn


def _turn(stored: StoredMessage, address: str, query: str, allowance: Allowance) -> Turn:
    sent = read(stored.body)
    is_too_large = not stored.body
    if is_too_large:
        sent = {"role": stored.role, "name": stored.name, "content": stored.text}
    turn = turn_of(
        sent,
        is_reply=stored.choice is not None,
        medium=lambda k: f"{address}/media/{k}",
        whole=f"{address}.{'txt' if stored.text else 'json'}",
        allowance=allowance,
    )
    turn.n, turn.address = stored.n, address
    turn.link = f"{query}{'&' if query else '?'}m={stored.n}"
    if is_too_large:
        turn.notes = [f"{stored.size:,} bytes"]
        turn.source = None
    elif len(stored.body) <= min(_MOST_JSON, allowance.shown):
        turn.json = allowance.shows(stored.body.decode("utf-8", "replace"))
    return turn


def _finish_reasons(completion: bytes) -> dict[int, str]:
    """Return why each reply ended, as far as it is known."""
    try:
        choices = msgspec.json.decode(completion, type=_Completion).choices
    except (ValueError, RecursionError):
        return {}
    reasons = {n: choice.finish_reason for n, choice in enumerate(choices)}
    return {n: reason for n, reason in reasons.items() if isinstance(reason, str)}


class _Choice(msgspec.Struct):
    finish_reason: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


def _explain(db: sqlite3.Connection, page: ConversationPage, turns: list[Turn], query: str) -> None:
    """Say of each call without its answer on this page where that is, or that there is none."""
    calls = [(turn, call) for turn in turns for call in turn.calls if call.answer is None]
    ids = {call.call.id for _, call in calls if call.call.id is not None}
    is_last = page.last >= page.total - 1
    elsewhere = answers(db, page.summary.id, ids, behind=page.last) if ids and not is_last else {}
    for turn, call in calls:
        n = elsewhere.get(call.call.id or "")
        if n is not None:
            call.elsewhere = f"{query}{'&' if query else '?'}m={n}"
        elif turn.is_reply:
            call.note = "The conversation ends with this call."
        else:
            call.note = "It was never answered." if is_last else "This page has no answer to it."
