"""Read an archive from Python: its completions and messages are the values of the client.

Nothing here writes. SQLite runs in a thread, and reads rows in batches: memory is bounded, however
long a conversation or the archive is, and the event loop is never blocked.
"""

import os
import sqlite3
import sys
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from aiomessages.conversations import Conversation
from aiomessages.errors import ConfigurationError
from aiomessages.models import Message, StoredCompletion
from aiomessages.settings import check_count
from aiomessages.wire.decoding import COMPLETIONS, MESSAGES

from .connection import ReadConnection, snapshot
from .errors import IncompleteError, NotInArchiveError
from .hits import Hit
from .search import Search
from .selection import State, Time, Values, selected
from .status import ArchiveStatus, read_status
from .values import read_completion, read_items, within_budget

Order = Literal["asc", "desc"]
# For each order: the comparison that selects rows after a place, and the sort direction.
_ORDERS: Final[dict[Order, tuple[str, str]]] = {"asc": (">", "ASC"), "desc": ("<", "DESC")}
Place = tuple[int, str]  # of a completion in the order
_BATCH: Final = 200  # rows at a time
_MANY: Final = sys.maxsize

# The queries (S608) are made of constants of this package; values are always bound.


class _Found(NamedTuple):
    number: int
    id: str
    state: State
    body: bytes


class Archive:
    """An archive that `aiomessages sync` keeps, opened to read, also while a sync writes it.

    async with Archive("archive.db") as archive:
        conversation = await archive.conversation("chatcmpl-1")

    Entering it raises NotAnArchiveError for any other file or an older archive. An iterator may
    be left at any time, and several may be read at the same time.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._connection = ReadConnection(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({os.fspath(self._connection.path)!r})"

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the file. Later calls raise ArchiveError."""
        await self._connection.aclose()

    def completions(
        self,
        *,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        state: State | None = None,
        order: Order = "asc",
        max_items: int | None = None,
    ) -> AsyncGenerator[StoredCompletion, None]:
        """Iterate over the completions, by time of creation and within a second by id.

        `since` (included) and `until` (excluded) are datetimes or Unix seconds. `state` is one of
        `complete`, `gone`, `expired` and `lost`; without it all come but `lost`, which lack
        messages. Raises ConfigurationError at once.
        """
        if order not in _ORDERS:
            raise ConfigurationError(f"order must be 'asc' or 'desc', not {order!r}")
        if max_items is not None:
            check_count("max_items", max_items)
        where, values = selected(
            model=model, metadata=metadata, since=since, until=until, state=state
        )
        return self._completions(where, values, order, max_items)

    async def completion(self, completion_id: str) -> StoredCompletion:
        """Return one completion. Raises NotInArchiveError."""
        return await self._connection.run(lambda db: read_completion(_find(db, completion_id).body))

    async def conversation(self, completion_id: str) -> Conversation:
        """Return a completion with all of its messages and its reply.

        If its messages changed while they were read, `error` is an IncompleteError, and `messages`
        has those that were read. Raises NotInArchiveError.
        """
        return await self._connection.run(lambda db: _conversation(db, completion_id))

    def messages(self, completion_id: str) -> AsyncGenerator[Message, None]:
        """Iterate over the messages that were sent to the model, in order.

        The replies are in the completion's `choices`. Raises NotInArchiveError; and after the last
        message IncompleteError, if the messages changed while they were read.
        """
        return self._messages(completion_id)

    def search(
        self,
        words: str,
        *,
        role: str | None = None,
        model: str | None = None,
        since: Time | None = None,
        until: Time | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int | None = None,
        best: bool = False,
    ) -> AsyncGenerator[Hit, None]:
        """Iterate over the messages and replies that match, the newest first.

        `words` must all occur; `"a phrase"`, `begin*`, `OR`, `NOT` and parentheses are understood,
        in capital letters. Accents and capitals do not count. With `best` the order is by bm25
        rank; of many hits the newest are ranked, and the others follow. Raises SearchError at once
        for words that are no query.
        """
        if limit is not None:
            check_count("limit", limit)
        where, values = selected(
            model=model, metadata=metadata, since=since, until=until, state="any"
        )
        return self._search(Search(words, where, values, role=role, best=best), limit)

    async def status(self) -> ArchiveStatus:
        """Return what the archive holds, its last runs, and what waits."""
        return await self._connection.run(lambda db: read_status(db, self._connection.path))

    async def _completions(
        self, where: str, values: Values, order: Order, max_items: int | None
    ) -> AsyncGenerator[StoredCompletion, None]:
        place: Place | None = None
        left = _MANY if max_items is None else max_items

        def read(db: sqlite3.Connection) -> tuple[list[StoredCompletion], Place | None]:
            return _page_of_completions(db, where, values, order, place, min(left, _BATCH))

        while left:
            items, place = await self._connection.run(read)
            if place is None:
                return
            for item in items:
                yield item
            left -= len(items)

    async def _messages(self, completion_id: str) -> AsyncGenerator[Message, None]:
        codec = MESSAGES.fresh()
        last = -1

        def read(db: sqlite3.Connection) -> tuple[list[Message], int]:
            with snapshot(db):
                found = _find(db, completion_id)  # a sync may have replaced it
                rows = _inputs(db, found.number, last)
            if not rows:
                _check_whole(found)
                return [], last
            return read_items(codec, [body for _, body in rows]), rows[-1][0]

        while True:
            items, last = await self._connection.run(read)
            if not items:
                return
            for item in items:
                yield item

    async def _search(self, search: Search, limit: int | None) -> AsyncGenerator[Hit, None]:
        batches = await self._connection.run(search.batches)
        left = limit
        while left is None or left > 0:
            batch = await self._connection.run(lambda _: next(batches, None))
            if batch is None:
                return
            for hit in batch[:left]:
                yield hit
            left = None if left is None else left - len(batch)


def _find(db: sqlite3.Connection, completion_id: str) -> _Found:
    row = db.execute(
        "SELECT number, id, state, CAST(body AS BLOB) FROM completions WHERE id = ?",
        (completion_id,),
    ).fetchone()
    if row is None:
        raise NotInArchiveError(f"{completion_id}: the archive has no such completion")
    return _Found(*row)


def _check_whole(found: _Found) -> None:
    if found.state == "lost":
        raise IncompleteError(
            f"{found.id}: its messages changed while they were read; the archive has a part of them"
        )


def _inputs(db: sqlite3.Connection, number: int, last: int) -> list[tuple[int, bytes]]:
    """Return the next messages that were sent to the model, after the number `last`."""
    rows = db.execute(
        "SELECT n, CAST(body AS BLOB) FROM messages"
        " WHERE completion = ? AND choice IS NULL AND n > ? ORDER BY n",
        (number, last),
    )
    return within_budget(rows, _BATCH)


def _conversation(db: sqlite3.Connection, completion_id: str) -> Conversation:
    messages: list[Message] = []
    codec, last, error = MESSAGES.fresh(), -1, None
    with snapshot(db):
        found = _find(db, completion_id)
        while rows := _inputs(db, found.number, last):
            messages += read_items(codec, [body for _, body in rows])
            last = rows[-1][0]
    completion = read_completion(found.body)
    try:
        _check_whole(found)
    except IncompleteError as incomplete:
        error = incomplete
    reply = completion.choices[0].message if completion.choices else None
    return Conversation(completion.id, messages, reply, error=error, completion=completion)


def _page_of_completions(
    db: sqlite3.Connection,
    where: str,
    values: Values,
    order: Order,
    place: Place | None,
    count: int,
) -> tuple[list[StoredCompletion], Place | None]:
    """Return the next completions, and the place of the last one; None if there are no more."""
    comparison, direction = _ORDERS[order]
    if place is not None:
        # The first term is what SQLite finds in the index.
        where += (
            f" AND ifnull(c.created, 0) {comparison}= ?"
            f" AND (ifnull(c.created, 0), c.id) {comparison} (?, ?)"
        )
        values = [*values, place[0], *place]
    cursor = db.execute(
        "SELECT ifnull(c.created, 0), c.id, CAST(c.body AS BLOB) FROM completions AS c"  # noqa: S608
        f" WHERE {where} ORDER BY ifnull(c.created, 0) {direction}, c.id {direction}",
        values,
    )
    rows = within_budget(cursor, count)
    cursor.close()  # else it would keep its view of the archive
    items = read_items(COMPLETIONS, [body for _, _, body in rows])
    return items, rows[-1][:2] if rows else None
