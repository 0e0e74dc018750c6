"""Sources: how many ids are read at a time, and the JSON of listed completions."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from loopback import Answer, Asked, Loopback

from aiomessages import AsyncMessagesClient, ConfigurationError, RetryPolicy, SchemaError
from aiomessages.export import CreatedBetween, export
from aiomessages.export.source import BATCH, SourceItem, batches, selection_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MANY = [f"chatcmpl-{n}" for n in range(2 * BATCH + 1)]


class Lazy:
    """Knows the number of its ids, and makes them on request."""

    def __len__(self) -> int:
        return len(MANY)

    def __iter__(self) -> Iterator[str]:
        return iter(MANY)


class Both(Lazy):
    """Can be iterated in both ways, one of which would block."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("it blocks")

    async def __aiter__(self) -> AsyncIterator[str]:
        for name in MANY:
            yield name


@pytest.mark.parametrize(
    "source",
    [MANY, tuple(MANY), dict.fromkeys(MANY), dict.fromkeys(MANY).keys()],
    ids=["list", "tuple", "dict", "keys"],
)
async def test_a_container_is_read_in_batches(source: Any) -> None:
    """Ids of a container are read in batches."""
    read = [[named.completion_id for named in batch] async for batch in batches(source)]
    assert [len(batch) for batch in read] == [BATCH, BATCH, 1]
    assert [name for batch in read for name in batch] == MANY


@pytest.mark.parametrize("source", [iter(MANY), Lazy(), Both()], ids=["iterator", "lazy", "both"])
async def test_a_generator_is_read_one_by_one(source: Any) -> None:
    """Ids of a generator are read one by one, whether it knows its length or not."""
    read = [[named.completion_id for named in batch] async for batch in batches(source)]
    assert read == [[name] for name in MANY]


@pytest.mark.parametrize("more", [1, 4])
async def test_a_list_that_grows_meanwhile(more: int) -> None:
    """Ids that are added to a list before its end is read are read as well."""
    ids = MANY[:3]
    read = []
    async for batch in batches(ids):
        read += [named.completion_id for named in batch]
        ids += MANY[len(read) : len(read) + more]
    assert read == MANY


@pytest.mark.parametrize(("ids", "problem"), [(["a", 7], "number 2"), (["\ud83d"], "surrogate")])
async def test_an_invalid_id(ids: Any, problem: str) -> None:
    """An id of another type, or one that no request can hold, is refused with its number."""
    with pytest.raises(ConfigurationError, match=problem):
        [batch async for batch in batches(iter(ids))]


# --- listed completions ---------------------------------------------------------------------------


class Listing(Loopback):
    """A server that lists items of JSON, a few a page, and fails a given number of times."""

    def __init__(self, *items: bytes, page: int = 2) -> None:
        super().__init__(self._answer)
        self._items = items
        self._page = page
        self.failing = {0: 0}
        self.went_on = asyncio.Event()

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("/messages"):
            return Answer({"object": "list", "data": [], "has_more": False})
        after = asked.query.get("after")
        ids = [json.loads(item, parse_int=str).get("id") for item in self._items]
        first = ids.index(after) + 1 if after else 0
        if first:
            self.went_on.set()
        if self.failing.get(first):
            self.failing[first] -= 1
            return Answer(status=500)
        shown = self._items[first : first + self._page]
        more = b"true" if first + self._page < len(self._items) else b"false"
        return Answer(b'{"object":"list","data":[%b],"has_more":%b}' % (b",".join(shown), more))


def client_of(server: Loopback, retries: int = 0) -> AsyncMessagesClient:
    """Return a client of the server."""
    policy = RetryPolicy(max_retries=retries, initial_backoff=0.001)
    return AsyncMessagesClient("key", base_url=server.base_url, retry=policy)


FIVE = [b'{"id":"c%d","created":%d}' % (n, n) for n in range(5)]


async def test_a_list_is_read_by_pages() -> None:
    """Each page of a list is a batch, with the JSON of every completion."""
    async with Listing(*FIVE) as server, client_of(server) as client:
        read = [batch async for batch in batches(client.completions())]
    assert read == [
        [SourceItem("c0", FIVE[0]), SourceItem("c1", FIVE[1])],
        [SourceItem("c2", FIVE[2]), SourceItem("c3", FIVE[3])],
        [SourceItem("c4", FIVE[4])],
    ]


async def test_a_page_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with more items than the ledger looks up at once becomes several batches.

    (SQLite refuses a statement of more than some thousands of values.)
    """
    monkeypatch.setattr("aiomessages.export.source.BATCH", 3)
    items = [b'{"id":"c%d","created":1}' % n for n in range(8)]
    body = b'{"data":[%b],"has_more":false}' % b",".join(items)
    async with Loopback(lambda _: Answer(body)) as server, client_of(server) as client:
        read = [len(batch) async for batch in batches(client.completions())]
    assert read == [3, 3, 2]


async def test_pages_outside_the_range() -> None:
    """A page without completions of the range is no batch."""
    async with Listing(*FIVE) as server, client_of(server) as client:
        source = CreatedBetween(client.completions(), since=3, until=4)
        assert [batch async for batch in batches(source)] == [[SourceItem("c3", FIVE[3])]]


async def test_batches_that_are_left_early() -> None:
    """Closing the batches closes the list."""
    async with Listing(*FIVE) as server, client_of(server) as client:
        async with aclosing(batches(client.completions())) as read:
            await anext(read)
            await server.went_on.wait()
        assert not [task for task in asyncio.all_tasks() if "_Fetcher" in repr(task.get_coro())]


ODD = {
    "a float": b'{"id":"c","created":1744857525.25,"seed":1.0}',
    "numbers in metadata": b'{"id":"c","created":12,"metadata":{"n":5}}',
    "a choice without its number": b'{"id":"c","choices":[{"message":{"role":"assistant"}}]}',
    "another model": b'{"id":"c","model":["gpt"],"tools":7,"usage":"none"}',
    "no float": b'{"id":"c","usage":{"n":1e400}}',
    "digits": b'{"id":"c","usage":{"n":%b}}' % (b"9" * 5000),
    "half an emoji": rb'{"id":"c","model":"\ud83d"}',
    "U+FFFD": rb'{"id":"c\ufffd","model":"\ud83d"}',
}


@pytest.mark.parametrize("item", ODD.values(), ids=ODD)
@pytest.mark.parametrize("since", [None, 0])
async def test_whatever_has_an_id(item: bytes, since: float | None) -> None:
    """A listed completion needs only an id; indentation is removed without other changes."""
    indented = item.replace(b",", b",\n    ", 1)
    async with Listing(item, indented) as server, client_of(server) as client:
        source = CreatedBetween(client.completions(), since=since)
        read = [named async for batch in batches(source) for named in batch]
    expected = json.loads(item, parse_int=str)["id"]
    kept = since is None or b"created" in item
    assert [named.completion_id for named in read] == [expected, expected] * kept
    assert [(named.completion or b"").count(b"\n") for named in read] == [0, 0] * kept


@pytest.mark.parametrize(
    "wrong", [b'{"created":1}', b'{"id":null}', b'{"id":7}', rb'{"id":"\ud83d"}']
)
async def test_a_completion_without_an_id(wrong: bytes, tmp_path: Path) -> None:
    """A listed completion without an id is an error, and the export is not finished."""
    async with Listing(FIVE[0], wrong) as server, client_of(server) as client:
        for _ in range(2):
            with pytest.raises(SchemaError):
                await export(
                    client, client.completions(), tmp_path / "out.jsonl", on_error="continue"
                )
        assert not (tmp_path / "out.jsonl").exists()


# --- what a list holds ----------------------------------------------------------------------------


@pytest.fixture
def client() -> AsyncMessagesClient:
    """Give a client that sends no request."""
    return AsyncMessagesClient("key", default_query={"key": "canary"})


def test_the_selection_of_ids() -> None:
    """A source of ids has no selection."""
    assert selection_of(["a"]) is None
    assert selection_of(iter("a")) is None


def test_the_selection_of_a_list(client: AsyncMessagesClient) -> None:
    """The selection of a list has every option that decides which completions it holds."""
    listed = client.completions(
        model="gpt", metadata={"b": "2", "a": "1"}, after="c7", max_items=5, order="desc", limit=3
    )
    assert selection_of(listed) == {
        "model": "gpt",
        "metadata[a]": "1",
        "metadata[b]": "2",
        "after": "c7",
        "max_items": 5,
        "order": "desc",
    }
    assert list(selection_of(listed) or ()) == sorted(selection_of(listed) or ())
    assert selection_of(client.completions(max_items=1)) == {"max_items": 1, "order": "asc"}


def test_options_that_select_nothing(client: AsyncMessagesClient) -> None:
    """Options of fetching, and headers of the client, are not in the selection."""
    listed = client.completions(limit=3, order="desc", prefetch=False, extra_headers={"x": "y"})
    assert selection_of(listed) == {}
    assert selection_of(CreatedBetween(listed, order="desc")) == {}


def test_the_selection_of_a_query(client: AsyncMessagesClient) -> None:
    """Values of the caller's own query can be compared, and not read."""
    first, again, other = (
        selection_of(client.completions(extra_query={"z": 1, "user": user}))
        for user in ("canary", "canary", "other")
    )
    assert first == again != other
    assert list((first or {})["extra_query"]) == ["user", "z"]
    hashed = "sha256:" + hashlib.sha256(b"canary").hexdigest()[:16]  # older ledgers hold it
    assert (first or {})["extra_query"]["user"] == hashed


def test_the_selection_of_a_range(client: AsyncMessagesClient) -> None:
    """The selection of a range has its times, or the caller's names for them."""
    span: dict[str, Any] = {"since": 1, "until": 2.5}
    listed = client.completions(model="gpt")
    assert selection_of(CreatedBetween(listed, **span)) == {"model": "gpt", **span}
    named = CreatedBetween(listed, **span, selection={"since": "30d"})
    assert selection_of(named) == {"model": "gpt", "since": "30d"}
    assert selection_of(CreatedBetween(listed, since=1, selection={})) == {"model": "gpt"}
