"""A server of stored completions that is played on a virtual clock, and knows the truth.

It is not the local server: it can create, change, delete and expire completions at any moment, show
them late, list them in any order, and fail. What it knows is what a perfect observer knows.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from email.utils import formatdate
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.archive.schema import APPLICATION_ID
from aiomessages.archive.syncing import sync
from aiomessages.archive.text import searchable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiomessages.archive.report import SyncReport

    Answer = Callable[[web.Request], web.Response | None]

DAY, HOUR = 86_400.0, 3_600.0
RETENTION = 30 * DAY


@dataclass
class Completion:
    """A completion as the server keeps it; times are in seconds of the virtual clock."""

    id: str
    created: float
    visible: float
    metadata: dict[str, str]
    messages: list[str]
    model: str = "gpt-4o"
    deleted: float | None = None
    hidden: bool = False  # it is in no list
    extra: dict[str, Any] = field(default_factory=dict)  # other values of its JSON

    def body(self) -> dict[str, Any]:
        """Return its JSON, with the reply in its only choice."""
        reply = {"role": "assistant", "content": f"reply to {self.id}"}
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": int(self.created),
            "model": self.model,
            "metadata": self.metadata,
            "choices": [{"index": 0, "finish_reason": "stop", "message": reply}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            "request_id": f"req_{self.id}",
        } | self.extra


@dataclass
class PlayedServer:
    """The server: `now` is its clock, `listing` the way in which it lists.

    `ascending` honours `order` and sorts by time of creation, `storage` by the time at which a
    completion became visible; `newest-first` ignores `order`, and `shuffled` has no order.
    """

    now: float = 1_700_000_000.0
    listing: str = "ascending"
    page: int = 100
    ends_every_page: bool = False  # each page says that nothing follows
    requests: int = 0
    kept: dict[str, Completion] = field(default_factory=dict)
    fail: Callable[[web.Request], Any] = lambda _: None  # a response, or None; or awaitable
    random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311
    base_url: str = ""
    organization: str = "org-1"
    date: Callable[[float], float | None] = lambda now: now  # of the answers

    def create(self, *, late: float = 0.0, at: float | None = None, **changes: Any) -> Completion:
        """Create a completion of a few messages, which is visible `late` seconds from now."""
        created = self.now if at is None else at
        id = f"chatcmpl-{len(self.kept):05}{self.random.randrange(16**6):06x}"
        messages = [f"{id} {n}" for n in range(self.random.randint(1, 4))]
        completion = Completion(id, created, created + late, {}, messages)
        vars(completion).update(changes)
        self.kept[id] = completion
        return completion

    def exists(self, completion: Completion) -> bool:
        """Return whether the server shows a completion now."""
        is_kept = completion.deleted is None or completion.deleted > self.now
        return completion.visible <= self.now < completion.created + RETENTION and is_kept

    def shown(self) -> list[Completion]:
        """Return what the server shows now, in the order of its list."""
        found = [one for one in self.kept.values() if self.exists(one)]
        if self.listing == "shuffled":
            return sorted(found, key=lambda one: one.id[::-1])
        by_storage = self.listing == "storage"
        return sorted(found, key=lambda one: (one.visible if by_storage else one.created, one.id))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PlayedServer]:
        """Serve on a free port of this machine."""
        app = web.Application(middlewares=[self._envelope])
        app.router.add_get("/v1/chat/completions", self._completions)
        app.router.add_get("/v1/chat/completions/{id}", self._completion)
        app.router.add_get("/v1/chat/completions/{id}/messages", self._messages)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _envelope(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests += 1
        fault = self.fail(request)
        fault = await fault if isawaitable(fault) else fault
        response: web.StreamResponse = fault or await handler(request)
        # An empty one: aiohttp sends its own where there is none.
        date = self.date(self.now)
        response.headers["Date"] = "" if date is None else formatdate(date, usegmt=True)
        response.headers["openai-organization"] = self.organization
        return response

    async def _completions(self, request: web.Request) -> web.Response:
        wanted = {
            name[9:-1]: value for name, value in request.query.items() if name[:9] == "metadata["
        }
        model = request.query.get("model")
        items = [
            one.body()
            for one in self.shown()
            if wanted.items() <= one.metadata.items()
            and model in (None, one.model)
            and not one.hidden
        ]
        descends = request.query.get("order") == "desc" or self.listing == "newest-first"
        return self._page(request, items[::-1] if descends else items)

    async def _completion(self, request: web.Request) -> web.Response:
        found = self._find(request)
        return _not_found(request) if found is None else web.json_response(found.body())

    async def _messages(self, request: web.Request) -> web.Response:
        found = self._find(request)
        if found is None:
            return _not_found(request)
        items = [
            {"id": f"{found.id}-{n}", "role": "user", "content": text}
            for n, text in enumerate(found.messages)
        ]
        return self._page(request, items)

    def _find(self, request: web.Request) -> Completion | None:
        found = self.kept.get(request.match_info["id"])
        return found if found is not None and self.exists(found) else None

    def _page(self, request: web.Request, items: list[dict[str, Any]]) -> web.Response:
        after, limit = request.query.get("after"), int(request.query.get("limit", 20))
        ids = [item["id"] for item in items]
        if after is not None:
            if after not in ids:
                return _refused(f"No item with id {after}", "after", 404)
            items = items[ids.index(after) + 1 :]
        page = items[: min(limit, self.page)]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        return web.json_response(
            {
                "object": "list",
                "data": page,
                "first_id": first,
                "last_id": last,
                "has_more": len(items) > len(page) and not self.ends_every_page,
            }
        )


def _not_found(request: web.Request) -> web.Response:
    message = f"Completion {request.match_info['id']} not found"
    return _refused(message, "completion_id", 404)


def _refused(message: str, param: str, status: int) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param}
    return web.json_response({"error": error | {"code": "not_found"}}, status=status)


# --- helpers of tests -----------------------------------------------------------------------------


async def run(server: PlayedServer, archive: Path, **options: Any) -> SyncReport:
    """Sync once, without waits between attempts."""
    retry = RetryPolicy(max_retries=1, initial_backoff=0.001, max_backoff=0.001)
    async with AsyncMessagesClient("sk-sync", base_url=server.base_url, retry=retry) as client:
        return await sync(client, archive, **options)


def ask(archive: Path, query: str) -> list[tuple[Any, ...]]:
    """Return what a query finds in the archive."""
    with closing(sqlite3.connect(archive)) as db:
        return db.execute(query).fetchall()


def create(server: PlayedServer, count: int, **changes: Any) -> list[Completion]:
    """Create completions, an hour apart, the last of them two hours ago."""
    made = []
    for _ in range(count):
        server.now += HOUR
        made.append(server.create(**changes))
    server.now += 2 * HOUR
    return made


def answering(path: str, status: int, error: dict[str, Any] | None = None) -> Answer:
    """Return a fault: requests whose path ends so get this answer."""

    def answer(request: web.Request) -> web.Response | None:
        if not request.path.endswith(path):
            return None
        return web.json_response({"error": error or {"message": "a fault"}}, status=status)

    return answer


def not_found(id: str) -> dict[str, Any]:
    """Return the API's own error for an unknown id."""
    message = f"Completion {id} not found"
    return {"message": message, "param": "completion_id", "code": "not_found"}


def check_consistent(archive: Path) -> None:
    """Check what holds at every moment: conversations are whole, and the index is that of them."""
    with closing(sqlite3.connect(archive)) as db:
        if db.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            return  # it was killed before the tables were there
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        broken = db.execute(
            "SELECT id FROM completions WHERE message_count !="
            " (SELECT count(*) FROM messages WHERE completion = completions.number"
            "  AND choice IS NULL)"
        ).fetchall()
        assert broken == []
        both = "SELECT id FROM waiting WHERE id IN (SELECT id FROM completions)"
        assert db.execute(both).fetchall() == []
        db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, instance)")
        indexed = {(row, term) for term, row in db.execute("SELECT term, doc FROM terms")}
        texts = db.execute("SELECT number, text FROM messages").fetchall()
        assert indexed == {(row, word) for row, text in texts for word in words_of(text)}


def words_of(text: str) -> list[str]:
    """Return the words of a text of these tests, as the index has them."""
    return searchable(text.replace("-", " ")).lower().split()


def rows(archive: Path) -> list[tuple[object, ...]]:
    """Return everything that the archive has of the completions, in an order of its own."""
    with closing(sqlite3.connect(archive)) as db:
        return db.execute(
            "SELECT completions.id, completions.body, state, n, choice, messages.id, text"
            " FROM completions JOIN messages ON completion = completions.number ORDER BY 1, 4"
        ).fetchall()
