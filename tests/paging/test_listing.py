"""Lists over a real loopback socket: in bulk, from servers that repeat, and to an unclear end.

`test_page_size` tests the size of the next page as numbers, and `test_client` lists that are read
one at a time.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession
from loopback import Answer, Asked, Loopback, conversation, error, message, page

from aiomessages import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AsyncMessagesClient,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    InternalServerError,
    NotFoundError,
    PaginationError,
    ResponseTooLargeError,
    RetryDetails,
    RetryPolicy,
    SchemaError,
)
from aiomessages.calls.rate_limit import Pace
from aiomessages.client import caller_of
from aiomessages.paging import stream as stream_module
from aiomessages.paging.caller import Caller
from aiomessages.paging.page_size import PageSize
from aiomessages.server import LocalServer
from aiomessages.wire.decoding import RAW

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)
QUICK = RetryPolicy(max_retries=2, initial_backoff=0, max_backoff=0)

Refusal = Callable[[], Any]


def limit_of(asked: Asked) -> int:
    """Return the requested limit; 20 is the server's default."""
    return int(asked.query.get("limit", 20))


def limited_to(most: int, refusal: Refusal, items: int = 60) -> Callable[[Asked], Any]:
    """Return a script of a conversation that refuses pages with more items than so many."""
    script = conversation(message(n) for n in range(items))

    def answer(asked: Asked) -> Any:
        page = script(asked)
        return page if len(page.body["data"]) <= most else refusal()

    return answer


def client_of(server: Loopback, **options: Any) -> AsyncMessagesClient:
    """Return a client of a scripted server."""
    return AsyncMessagesClient(KEY, base_url=server.base_url, **{"retry": ONCE, **options})


def one_by_one(client: AsyncMessagesClient, **options: Any) -> Any:
    """Return the pages of the conversation as a bulk walk requests them."""
    return caller_of(client).plain_walk("chatcmpl-1", RAW, **options)


async def ids_of(pages: Any) -> list[str]:
    """Read all pages, and return the ids in them."""
    return [name for page in [page async for page in pages] for name in page.ids]


ALL = [f"chatcmpl-1-{n}" for n in range(60)]
REFUSED = Answer({"error": {"message": "too many", "param": "limit", "code": None}}, 400)


# --- a page that is too large ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal", [REFUSED, error(413), Answer(b"<html>", 413)], ids=["limit", "413", "413-html"]
)
async def test_a_page_that_is_refused(refusal: Answer) -> None:
    """A bulk walk requests half, from the same cursor and at once; client.list does not."""
    async with (
        Loopback(limited_to(25, lambda: refusal)) as server,
        client_of(server, retry=QUICK) as client,
    ):
        assert await ids_of(one_by_one(client)) == ALL
        assert [limit_of(asked) for asked in server.asked] == [100, 50, 25, 25, 25]
        assert [asked.query.get("after") for asked in server.asked[:3]] == [None] * 3
        assert server.asked[3].query["after"] == "chatcmpl-1-24"
        with pytest.raises(APIError):
            await client.list("chatcmpl-1", limit=50)
    assert len(server.asked) == 6


async def test_a_page_above_max_response_bytes() -> None:
    """A page larger than max_response_bytes is requested again with half the limit, unretried."""
    async with Loopback(conversation(message(n) for n in range(60))) as server:
        size = len(json.dumps({"data": [message(n) for n in range(30)]}))
        async with client_of(server, retry=QUICK, max_response_bytes=size) as client:
            pages = [page async for page in one_by_one(client)]
    assert [name for page in pages for name in page.ids] == ALL
    assert [limit_of(asked) for asked in server.asked] == [100, 50, 25, 25, 25]
    assert [page.attempts for page in pages] == [3, 1, 1]


async def test_a_page_that_is_halved_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the size of each page that failed, and the error."""
    caplog.set_level(logging.INFO, logger="aiomessages")
    async with Loopback(limited_to(25, lambda: REFUSED)) as server, client_of(server) as client:
        await ids_of(one_by_one(client))
    assert [text for text in caplog.messages if "asking for less" in text] == [
        f"a page of {size} failed (BadRequestError); asking for less" for size in (100, 50)
    ]


async def test_one_item_that_is_too_large() -> None:
    """A single message above max_response_bytes raises ResponseTooLargeError with a hint."""
    async with (
        Loopback(conversation(message(n) for n in range(60))) as server,
        client_of(server, max_response_bytes=100) as client,
    ):
        with pytest.raises(ResponseTooLargeError, match="raise max_response_bytes") as raised:
            await ids_of(one_by_one(client))
    assert "limit=" not in str(raised.value)
    assert [limit_of(asked) for asked in server.asked] == [100, 50, 25, 12, 6, 3, 1]
    assert raised.value.attempts == 7


@pytest.mark.parametrize("status", [504, 524])
async def test_a_page_that_takes_a_gateway_too_long(status: int) -> None:
    """A 504 is retried as often as the policy says; then half the page is requested."""
    refusal = error(status)
    async with (
        Loopback(limited_to(25, lambda: refusal)) as server,
        client_of(server, retry=QUICK) as client,
    ):
        assert await ids_of(one_by_one(client)) == ALL
    limits = [limit_of(asked) for asked in server.asked]
    assert limits == [100] * 3 + [50] * 3 + [25] * 3


async def test_a_page_that_takes_too_long_to_come() -> None:
    """A timeout in the body halves the page, one before the headers does not."""
    half = b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{"
    async with (
        Loopback(limited_to(25, lambda: half)) as server,
        client_of(server, timeout=0.1) as client,
    ):
        assert await ids_of(one_by_one(client)) == ALL
    assert [limit_of(asked) for asked in server.asked] == [100, 50, 25, 25, 25]

    async def silent() -> None:
        await asyncio.Event().wait()

    async with Loopback(limited_to(25, silent)) as server, client_of(server, timeout=0.1) as client:
        with pytest.raises(APITimeoutError):
            await ids_of(one_by_one(client))
    assert len(server.asked) == 1


async def test_a_gateway_that_is_down() -> None:
    """If every page is a 504, a page costs at most 21 requests, and then is an error."""
    async with (
        Loopback(limited_to(0, lambda: error(504))) as server,
        client_of(server, retry=QUICK) as client,
    ):
        with pytest.raises(InternalServerError) as raised:
            await ids_of(one_by_one(client))
    assert raised.value.attempts == len(server.asked) == 21
    assert limit_of(server.asked[-1]) == 1


async def test_an_outage_of_a_gateway() -> None:
    """Once the retry quota is spent, a page is requested once, and not in halves either."""
    async with (
        Loopback(limited_to(0, lambda: error(504))) as server,
        client_of(server, retry=QUICK) as client,
    ):
        caller_of(client).attempts.quota.tokens = 0  # an outage takes longer
        with pytest.raises(InternalServerError):
            await ids_of(one_by_one(client))
    assert len(server.asked) == 1


async def test_another_error() -> None:
    """An error that is not about size is raised at once, and its text does not name the size."""
    async with Loopback(limited_to(25, lambda: error(400))) as server, client_of(server) as client:
        with pytest.raises(BadRequestError) as raised:
            await ids_of(one_by_one(client))
    assert len(server.asked) == 1
    assert "max_response_bytes" not in str(raised.value)


async def test_a_limit_of_the_callers() -> None:
    """A walk begins with the given limit, and never requests more."""
    async with Loopback(limited_to(25, lambda: REFUSED)) as server, client_of(server) as client:
        assert await ids_of(one_by_one(client, limit=40)) == ALL
    assert [limit_of(asked) for asked in server.asked] == [40, 20, 20, 20, 20]


async def test_limits_that_the_walks_of_a_run_share() -> None:
    """A limit that the server refused once is not sent by any other walk of the run."""
    async with Loopback(limited_to(25, lambda: REFUSED)) as server, client_of(server) as client:
        size = PageSize()
        for _ in range(3):
            assert await ids_of(one_by_one(client, page_size=size)) == ALL
    assert [limit_of(asked) for asked in server.asked] == [100, 50] + [25] * 9


async def test_a_completion_that_is_not_visible_yet() -> None:
    """A bulk walk may wait for a completion to appear, as client.list does."""
    answers = [error(404, "not_found")] * 2
    script = limited_to(100, lambda: REFUSED)
    async with (
        Loopback(lambda asked: answers.pop() if answers else script(asked)) as server,
        client_of(server) as client,
    ):
        assert await ids_of(one_by_one(client, wait_until_visible=5)) == ALL
        answers.append(error(404, "not_found"))
        with pytest.raises(NotFoundError):
            await ids_of(one_by_one(client))


async def test_many_conversations() -> None:
    """Conversations are read with the limit that is given, and share what they learn of it."""
    async with Loopback(limited_to(25, lambda: REFUSED)) as server, client_of(server) as client:
        ids = ["chatcmpl-1"] * 3
        got = [c async for c in client.conversations(ids, concurrency=1, limit=60)]
        assert [[m.id for m in c.messages] for c in got] == [ALL] * 3
        with pytest.raises(ConfigurationError, match="limit must be an int of 1 or more"):
            client.conversations(ids, limit=0)
    assert [limit_of(asked) for asked in server.asked] == [60, 30] + [15] * 15


# --- a full page that says it is the last ---------------------------------------------------------


def ending_early(items: int) -> Callable[[Asked], Answer]:
    """Return a script of a conversation whose pages all say that nothing follows."""
    script = conversation(message(n) for n in range(items))

    def answer(asked: Asked) -> Answer:
        found = script(asked)
        return Answer({**found.body, "has_more": False})

    return answer


@pytest.mark.parametrize(("items", "sent"), [(60, 4), (59, 3), (20, 2), (19, 1)])
async def test_a_server_that_ends_every_page(items: int, sent: int) -> None:
    """In bulk, a full page is not the last one, whatever it says; a shorter one is."""
    async with Loopback(ending_early(items)) as server, client_of(server) as client:
        assert await ids_of(one_by_one(client, limit=20)) == ALL[:items]
    assert len(server.asked) == sent


async def test_a_server_that_ends_every_page_and_ignores_the_cursor() -> None:
    """A full page that comes again does not prove that it was the last one."""
    body = page([message(n) for n in range(20)], has_more=False)
    async with Loopback(lambda _: Answer(body)) as server, client_of(server) as client:
        with pytest.raises(PaginationError, match="only repeats"):
            await ids_of(one_by_one(client, limit=20))


async def test_a_server_that_ends_every_page_and_ignores_the_limit() -> None:
    """A page with more than was asked for may be the whole list, as it says."""
    body = page([message(n) for n in range(60)], has_more=False)
    async with Loopback(lambda _: Answer(body)) as server, client_of(server) as client:
        assert await ids_of(one_by_one(client, limit=20)) == ALL
    assert len(server.asked) == 1


# --- the list of completions, as an export reads it -----------------------------------------------


def stored(n: int) -> dict[str, Any]:
    """Return a stored completion."""
    return {"id": f"c-{n}", "created": n, "choices": []}


def completions(most: int, refusal: Refusal) -> Callable[[Asked], Any]:
    """Return a script of a list of 60 completions that allows pages of at most so many."""
    script = conversation(stored(n) for n in range(60))

    def answer(asked: Asked) -> Any:
        page = script(asked)
        return page if len(page.body["data"]) <= most else refusal()

    return answer


def bulk_pages(stream: Any, like: Caller | None = None) -> Any:
    """Return the pages of a list of completions, as an export requests them."""
    return stream_module.bulk_pages(stream, like and like.attempts)


@pytest.mark.parametrize("limit", [None, 40])
@pytest.mark.parametrize("prefetch", [True, False])
async def test_a_list_of_completions_in_bulk(limit: int | None, prefetch: bool) -> None:
    """The pages of a list are raw, and halved if they are too large; its arguments count."""
    script = completions(10, lambda: REFUSED)
    async with Loopback(script) as server, client_of(server) as client:
        stream = client.completions(
            after="c-55", order="desc", max_items=30, limit=limit, model="m", prefetch=prefetch
        )
        async with bulk_pages(stream) as pages:
            got = [page async for page in pages]
        assert stream.cursor == "c-25"
        assert pages.cursor == "c-25"
    assert [json.loads(item) for page in got for item in page.data] == [
        stored(n) for n in range(54, 24, -1)
    ]
    assert [limit_of(asked) for asked in server.asked[:2]] == [30, 15]
    assert {asked.query["model"] for asked in server.asked} == {"m"}
    assert {asked.query["order"] for asked in server.asked} == {"desc"}


async def test_a_list_in_bulk_without_prefetch() -> None:
    """With prefetch=False, no page of a list that is read in bulk is requested ahead."""
    script = completions(100, lambda: REFUSED)
    async with (
        Loopback(
            lambda asked: Answer(stored(0)) if asked.path.endswith("/c-0") else script(asked)
        ) as server,
        client_of(server) as client,
        bulk_pages(client.completions(limit=20, prefetch=False)) as pages,
    ):
        for read in (1, 2, 3):
            await anext(pages)
            await client.completion("c-0")  # a request ahead would have been sent before this one
            assert len(server.asked) == 2 * read


async def test_the_cursor_of_a_list_in_bulk_before_its_first_page() -> None:
    """Before a page is read in bulk, the cursor is the `after` of the list."""
    async with AsyncMessagesClient(KEY) as client:
        stream = client.completions(after="c-55")
        assert bulk_pages(stream).cursor == stream.cursor == "c-55"


async def test_a_list_that_grows_again() -> None:
    """After a stretch of large completions, pages of full size are requested again."""
    script = conversation(stored(n) for n in range(2000))

    def answer(asked: Asked) -> Any:
        page = script(asked)
        fits = len(page.body["data"]) <= 10 or page.body["data"][0]["created"] > 50
        return page if fits else error(413)

    async with (
        Loopback(answer) as server,
        client_of(server) as client,
        bulk_pages(client.completions()) as pages,
    ):
        assert len(await ids_of(pages)) == 2000
    limits = [limit_of(asked) for asked in server.asked]
    assert limits[:5] == [100, 50, 25, 12, 6]
    assert limits[-1] == 100
    assert len(limits) < 60


async def test_a_list_in_the_turns_of_an_export() -> None:
    """An export's list uses its queue and rules, and the list's own key and address."""
    retries: list[RetryDetails] = []
    sent: list[object] = []
    answers = [error(429, retry_after_ms="1"), Answer({"detail": "Not Found"}, 404)]
    script = conversation(stored(n) for n in range(3))
    async with (
        Loopback(lambda asked: answers.pop(0) if answers else script(asked)) as server,
        client_of(server) as client,
        AsyncMessagesClient("sk-other", base_url=f"{server.base_url}/other") as other,
    ):
        patient = other.with_options(retry=QUICK, on_retry=retries.append)
        paced = caller_of(patient).paced(Pace(), on_sent=lambda: sent.append(1))
        async with bulk_pages(client.completions(), paced) as pages:
            assert await ids_of(pages) == ["c-0", "c-1", "c-2"]
        assert await client.completions(max_items=1)
    assert {asked.headers["authorization"] for asked in server.asked} == {f"bearer {KEY}"}
    assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
    assert (len(sent), len(retries), len(server.asked)) == (3, 2, 4)


async def test_a_list_that_is_left() -> None:
    """Pages that were left early do not end normally."""
    async with Loopback(completions(100, lambda: REFUSED)) as server, client_of(server) as client:
        pages = bulk_pages(client.completions(limit=5))
        async with pages:
            await anext(pages)
        assert pages.cursor == "c-4"
        with pytest.raises(ClientClosedError, match="closed before its end"):
            await anext(pages)


async def test_a_list_that_is_read_already() -> None:
    """A list that was begun in another way cannot be read in bulk."""
    async with Loopback(completions(100, lambda: REFUSED)) as server, client_of(server) as client:
        stream = client.completions()
        await anext(stream)
        with pytest.raises(RuntimeError, match="being read already"):
            bulk_pages(stream)
        await stream.aclose()
        stream = client.completions()
        bulk_pages(stream)
        with pytest.raises(RuntimeError, match="through its pages"):
            await anext(stream)


# --- servers that list again what was listed ------------------------------------------------------


def repeating(overlap: int, *, counted: bool, items: Any = None) -> Callable[[Asked], Answer]:
    """Return a script whose pages begin with so many items up to the one that `after` names.

    With `counted` these count in the limit.
    """
    stored = items or [message(n) for n in range(60)]

    def script(asked: Asked) -> Answer:
        ordered = stored[::-1] if asked.query.get("order") == "desc" else stored
        ids = [item["id"] for item in ordered]
        behind = ids.index(asked.query["after"]) + 1 if "after" in asked.query else 0
        begin = max(behind - overlap, 0)
        end = (begin if counted else behind) + limit_of(asked)
        return Answer(page(ordered[begin:end], has_more=end < len(ids)))

    return script


async def manually(stream: Any) -> list[str]:
    """Read a list by turning its pages, and return the ids in them."""
    got = await stream
    ids = list(got.ids)
    while got.has_next_page():
        got = await got.get_next_page()
        ids += got.ids
    return ids


async def by_items(stream: Any) -> list[str]:
    """Read a list, and return the ids."""
    return [item.id async for item in stream]


async def by_lines(stream: Any) -> list[str]:
    """Read a list as bytes, and return the ids."""
    return [json.loads(line)["id"] async for line in stream.raw()]


async def by_pages(stream: Any) -> list[str]:
    """Read a list page by page, and return the ids."""
    return await ids_of(stream.pages())


async def by_bulk(stream: Any) -> list[str]:
    """Read a list as an export does, and return the ids."""
    return await ids_of(bulk_pages(stream))


WAYS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "items": (by_items, {}),
    "without prefetch": (by_items, {"prefetch": False}),
    "raw": (by_lines, {}),
    "pages": (by_pages, {}),
    "by hand": (manually, {}),
    "lookahead": (by_items, {"lookahead": True}),
    "bulk": (by_bulk, {}),
}
way_by_way = pytest.mark.parametrize("way", WAYS)
overlaps = pytest.mark.parametrize(
    ("overlap", "counted"),
    [
        pytest.param(1, True, id="inclusive"),
        pytest.param(1, False, id="overlap"),
        pytest.param(3, False, id="overlap of three"),
        pytest.param(3, True, id="overlap of three, within the limit"),
    ],
)


@way_by_way
@overlaps
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("max_items", [None, 25])
async def test_a_server_that_repeats(
    *, way: str, overlap: int, counted: bool, order: Any, max_items: int | None
) -> None:
    """After a cursor each item comes once and in order, by every way of reading."""
    read, options = WAYS[way]
    expected = ALL[:: 1 if order == "asc" else -1]
    async with Loopback(repeating(overlap, counted=counted)) as server, client_of(server) as client:
        for behind in (None, 9):
            stream = client.list(
                "chatcmpl-1",
                order=order,
                after=None if behind is None else expected[behind],
                limit=10,
                max_items=max_items,
                **options,
            )
            got = await read(stream)
            begin = 0 if behind is None else behind + 1
            assert got == expected[begin:][:max_items]


@overlaps
async def test_other_lists_of_a_server_that_repeats(*, overlap: int, counted: bool) -> None:
    """The same holds for completions and for many conversations."""
    async with Loopback(repeating(overlap, counted=counted)) as server, client_of(server) as client:
        ids = ["chatcmpl-1"] * 2
        for conversation_ in [c async for c in client.conversations(ids, limit=7)]:
            assert [m.id for m in conversation_.messages] == ALL
    script = repeating(overlap, counted=counted, items=[stored(n) for n in range(60)])
    async with Loopback(script) as server, client_of(server) as client:
        for read in (by_items, by_pages, by_bulk, manually):
            stream = client.completions(after="c-9", limit=7, max_items=30)
            assert await read(stream) == [f"c-{n}" for n in range(10, 40)]


@pytest.mark.parametrize("fault", ["overlap", "inclusive-after"])
@way_by_way
async def test_max_items_of_a_server_that_repeats(way: str, fault: str) -> None:
    """max_items counts the delivered items: 150 are 150, by every way of reading."""
    read, options = WAYS[way]
    async with (
        LocalServer(sample=True, faults=fault) as server,
        AsyncMessagesClient(server.api_key, base_url=server.base_url) as client,
    ):
        got = await read(client.list("chatcmpl-vocabulary", max_items=150, **options))
    assert got == [f"chatcmpl-vocabulary-{n}" for n in range(150)]


@way_by_way
async def test_a_page_without_room_for_anything_new(way: str) -> None:
    """A page without room for new items is an error that suggests a larger limit."""
    read, options = WAYS[way]
    async with Loopback(repeating(1, counted=True)) as server, client_of(server) as client:
        with pytest.raises(PaginationError, match=r"use a larger limit=") as caught:
            await read(client.list("chatcmpl-1", limit=1, after=ALL[5], **options))
        assert caught.value.cursor == ALL[5]
        assert len([asked for asked in server.asked if "order" not in asked.query]) == 1
        got = await client.list("chatcmpl-1", max_items=1, after=ALL[5])
        assert (got.ids, got.attempts, got.has_next_page()) == ([ALL[6]], 2, False)
        assert await read(client.list("chatcmpl-1", max_items=1, after=ALL[59], **options)) == []


@way_by_way
async def test_an_inclusive_server_without_has_more(way: str) -> None:
    """Without has_more, a page with only the cursor's item is the end."""
    read, options = WAYS[way]
    script = repeating(1, counted=True)

    def silent(asked: Asked) -> Answer:
        answer = script(asked)
        del answer.body["has_more"]
        return answer

    async with Loopback(silent) as server, client_of(server) as client:
        assert await read(client.list("chatcmpl-1", limit=10, **options)) == ALL
        assert await read(client.list("chatcmpl-1", limit=10, after=ALL[-1], **options)) == []


# --- an end that was not promised -----------------------------------------------------------------


def promising(times: int, *, has_more: bool | None = False) -> Callable[[Asked], Answer]:
    """Return a script that sends so many empty pages in place of a promised one."""
    script = conversation(message(n) for n in range(60))
    left = times

    def answer(asked: Asked) -> Answer:
        nonlocal left
        if asked.query.get("after") == ALL[19] and left:
            left -= 1
            return Answer(page([]) | {"has_more": has_more})
        return script(asked)

    return answer


async def several_connections(server: Loopback, client: AsyncMessagesClient) -> None:
    """Put some connections into the pool."""
    await asyncio.gather(*[client.list("chatcmpl-1", limit=1) for _ in range(5)])
    server.asked.clear()


def walked(server: Loopback) -> list[Asked]:
    """Return the requests in plain order."""
    return [asked for asked in server.asked if asked.query.get("order") != "desc"]


@way_by_way
@pytest.mark.parametrize("has_more", [False, None])
async def test_an_empty_page_of_another_request(*, way: str, has_more: bool | None) -> None:
    """An unexpected empty page is requested again on a new connection, and nothing is lost."""
    read, options = WAYS[way]
    async with Loopback(promising(1, has_more=has_more)) as server, client_of(server) as client:
        await several_connections(server, client)
        assert await read(client.list("chatcmpl-1", limit=20, **options)) == ALL
        first, again = [a for a in walked(server) if a.query.get("after") == ALL[19]][-2:]
        assert again.connection > max(a.connection for a in server.asked if a is not again) or (
            options.get("lookahead")
        )
        used = [asked.connection for asked in server.asked[server.asked.index(again) + 1 :]]
        assert first.connection != again.connection
        assert first.connection not in used


@way_by_way
async def test_an_end_after_all(way: str) -> None:
    """If the second page is empty as well, that is the end, after one more request."""
    read, options = WAYS[way]
    async with Loopback(promising(9)) as server, client_of(server) as client:
        assert await read(client.list("chatcmpl-1", limit=20, **options)) == ALL[:20]
        assert len(walked(server)) - bool(options.get("lookahead")) <= 3
        assert await read(client.list("chatcmpl-1", limit=20, after=ALL[19], **options)) == []


@way_by_way
async def test_the_end_where_has_more_is_missing(way: str) -> None:
    """Without has_more an empty page is the end, and is requested once."""
    read, options = WAYS[way]
    script = conversation(message(n) for n in range(20))

    def silent(asked: Asked) -> Answer:
        answer = script(asked)
        del answer.body["has_more"]
        return answer

    async with Loopback(silent) as server, client_of(server) as client:
        assert await read(client.list("chatcmpl-1", limit=20, **options)) == ALL[:20]
        assert len(walked(server)) == 2


async def test_an_end_in_a_session_that_was_handed_in() -> None:
    """In a borrowed session, the connection of the empty page is not used again."""
    async with Loopback(promising(1)) as server, ClientSession() as session:
        client = client_of(server, session=session)
        assert await by_items(client.list("chatcmpl-1", limit=20)) == ALL
    (first, again) = [a for a in server.asked if a.query.get("after") == ALL[19]]
    assert first.connection != again.connection


# --- answers of the wrong shape -------------------------------------------------------------------

OTHERS = page([message(n, completion_id="chatcmpl-2") for n in range(2)])
WRONG: dict[str, tuple[Answer, type[APIError]]] = {
    "a page of another completion": (Answer(OTHERS), APIConnectionError),
    "another shape": (Answer({"object": "list", "data": 5}), SchemaError),
    "no JSON": (Answer(b"<html>"), DecodeError),
    "an empty body": (Answer(b""), DecodeError),
    "no list with its status": (Answer(b"", 204), DecodeError),
    "an unknown compression": (Answer(page([]), headers={"content-encoding": "br"}), DecodeError),
    "more without data": (Answer(page([], has_more=True)), PaginationError),
    "a wrong last_id": (
        Answer(page([message(0)], has_more=True) | {"last_id": "x"}),
        PaginationError,
    ),
    "the cursor again": (Answer(page([message(4)], has_more=True)), PaginationError),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_connection_with_a_wrong_answer(wrong: str) -> None:
    """After a response of the wrong shape, its connection is not used again."""
    answer, kind = WRONG[wrong]
    script = conversation(message(n) for n in range(60))
    async with (
        Loopback(
            lambda asked: answer if asked.query.get("after") == ALL[4] else script(asked)
        ) as server,
        client_of(server) as client,
    ):
        for _ in range(2):
            await client.list("chatcmpl-1", limit=5)  # so that the shortcut has stored its head
        with pytest.raises(kind):
            await client.list("chatcmpl-1", limit=5, after=ALL[4])
        await client.list("chatcmpl-1", limit=5)
    *_, before, spoiled, behind = [asked.connection for asked in server.asked]
    assert before == spoiled != behind


@pytest.mark.parametrize("raw", [False, True])
async def test_another_completion_than_was_asked_for(*, raw: bool) -> None:
    """A completion of another id is not delivered, typed or raw, nor is its reply attached."""

    def script(asked: Asked) -> Answer:
        if asked.path.endswith("/messages"):
            return Answer(page([message(0)]))
        return Answer(stored(2) | {"choices": [{"index": 0, "message": {"content": "no"}}]})

    async with Loopback(script) as server, client_of(server) as client:
        for _ in range(2):
            await client.list("chatcmpl-1")
        with pytest.raises(APIConnectionError, match="response to another request"):
            await (client.raw_completion if raw else client.completion)("chatcmpl-1")
        with pytest.raises(APIConnectionError, match="response to another request"):
            _ = [c async for c in client.conversations(["chatcmpl-1"], include_reply=True)]
    assert len({asked.connection for asked in server.asked[1:]}) > 1
