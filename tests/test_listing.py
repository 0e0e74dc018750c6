"""Lists that are read in bulk, over a real loopback socket: pages too large, and whose turns it is.

How large the next page is, is tested as numbers in `test_page_size`; lists that are read one at a
time in `test_client`.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from loopback import Answer, Asked, Loopback, conversation, error, message

from aiomessages import (
    APIError,
    APITimeoutError,
    AsyncMessagesClient,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    ResponseTooLargeError,
    RetryDetails,
    RetryPolicy,
)
from aiomessages.decoding import RAW
from aiomessages.pace import Pace
from aiomessages.page_size import PageSize

KEY = "sk-canary-0123456789"
ONCE = RetryPolicy(max_retries=0)
QUICK = RetryPolicy(max_retries=2, initial_backoff=0, max_backoff=0)

Refusal = Callable[[], Any]


def limit_of(asked: Asked) -> int:
    """Return the limit that was asked for; 20 is the server's own."""
    return int(asked.query.get("limit", 20))


def bears(most: int, refusal: Refusal, items: int = 60) -> Callable[[Asked], Any]:
    """Return a script of a conversation that answers otherwise where a page would hold more."""
    script = conversation(message(n) for n in range(items))

    def answer(asked: Asked) -> Any:
        page = script(asked)
        return page if len(page.body["data"]) <= most else refusal()

    return answer


def client_of(server: Loopback, **options: Any) -> AsyncMessagesClient:
    """Return a client of a scripted server."""
    return AsyncMessagesClient(KEY, base_url=server.base_url, **{"retry": ONCE, **options})


def one_by_one(client: AsyncMessagesClient, **options: Any) -> Any:
    """Return the pages of the conversation, as a bulk run asks for them."""
    return client._one_by_one("chatcmpl-1", RAW, **options)  # noqa: SLF001 what an export calls


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
    """A bulk walk asks for half, from the same cursor and at once; client.list does as told."""
    async with (
        Loopback(bears(25, lambda: refusal)) as server,
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
    """A page that is larger than max_response_bytes is asked for in halves, without retries."""
    async with Loopback(conversation(message(n) for n in range(60))) as server:
        size = len(json.dumps({"data": [message(n) for n in range(30)]}))
        async with client_of(server, retry=QUICK, max_response_bytes=size) as client:
            pages = [page async for page in one_by_one(client)]
    assert [name for page in pages for name in page.ids] == ALL
    assert [limit_of(asked) for asked in server.asked] == [100, 50, 25, 25, 25]
    assert [page.attempts for page in pages] == [3, 1, 1]


async def test_one_item_that_is_too_large() -> None:
    """A single message above max_response_bytes is the error that it is, and what helps."""
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
    """A 504 is tried again as often as the policy says, and then half the page."""
    refusal = error(status)
    async with (
        Loopback(bears(25, lambda: refusal)) as server,
        client_of(server, retry=QUICK) as client,
    ):
        assert await ids_of(one_by_one(client)) == ALL
    limits = [limit_of(asked) for asked in server.asked]
    assert limits == [100] * 3 + [50] * 3 + [25] * 3


async def test_a_page_that_takes_too_long_to_come() -> None:
    """A timeout in the body halves the page, one before the headers does not."""
    half = b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{"
    async with (
        Loopback(bears(25, lambda: half)) as server,
        client_of(server, timeout=0.1) as client,
    ):
        assert await ids_of(one_by_one(client)) == ALL
    assert [limit_of(asked) for asked in server.asked] == [100, 50, 25, 25, 25]

    async def silent() -> None:
        await asyncio.Event().wait()

    async with Loopback(bears(25, silent)) as server, client_of(server, timeout=0.1) as client:
        with pytest.raises(APITimeoutError):
            await ids_of(one_by_one(client))
    assert len(server.asked) == 1


async def test_a_gateway_that_is_down() -> None:
    """Where every page is a 504, a page costs at most 21 requests, and is an error then."""
    async with (
        Loopback(bears(0, lambda: error(504))) as server,
        client_of(server, retry=QUICK) as client,
    ):
        with pytest.raises(InternalServerError) as raised:
            await ids_of(one_by_one(client))
    assert raised.value.attempts == len(server.asked) == 21
    assert limit_of(server.asked[-1]) == 1


async def test_an_outage_of_a_gateway() -> None:
    """Once the quota of retries is spent, a page is asked for once, and not in halves either."""
    async with (
        Loopback(bears(0, lambda: error(504))) as server,
        client_of(server, retry=QUICK) as client,
    ):
        client._attempts._quota.tokens = 0  # noqa: SLF001 an outage is not made in a moment
        with pytest.raises(InternalServerError):
            await ids_of(one_by_one(client))
    assert len(server.asked) == 1


async def test_another_error() -> None:
    """An error that is not one of size is raised at once."""
    async with Loopback(bears(25, lambda: error(400))) as server, client_of(server) as client:
        with pytest.raises(BadRequestError):
            await ids_of(one_by_one(client))
    assert len(server.asked) == 1


async def test_a_limit_of_the_callers() -> None:
    """A walk begins with the limit that it was given, and never asks for more."""
    async with Loopback(bears(25, lambda: REFUSED)) as server, client_of(server) as client:
        assert await ids_of(one_by_one(client, limit=40)) == ALL
        for limit in (0, True, "9"):
            with pytest.raises(ConfigurationError, match="limit"):
                one_by_one(client, limit=limit)
    assert [limit_of(asked) for asked in server.asked] == [40, 20, 20, 20]


async def test_behind_a_cursor() -> None:
    """A walk may begin behind a message."""
    async with Loopback(bears(25, lambda: REFUSED)) as server, client_of(server) as client:
        assert await ids_of(one_by_one(client, after="chatcmpl-1-39")) == ALL[40:]
    assert [limit_of(asked) for asked in server.asked] == [100]


async def test_what_the_walks_of_a_run_share() -> None:
    """A limit that the server refused once is asked for by no other walk of the run."""
    async with Loopback(bears(25, lambda: REFUSED)) as server, client_of(server) as client:
        size = PageSize()
        for _ in range(3):
            assert await ids_of(one_by_one(client, page_size=size)) == ALL
    assert [limit_of(asked) for asked in server.asked] == [100, 50] + [25] * 9


async def test_a_completion_that_is_not_visible_yet() -> None:
    """A bulk walk may wait for a completion to appear, as client.list does."""
    answers = [error(404, "not_found")] * 2
    script = bears(100, lambda: REFUSED)
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
    async with Loopback(bears(25, lambda: REFUSED)) as server, client_of(server) as client:
        ids = ["chatcmpl-1"] * 3
        got = [c async for c in client.conversations(ids, concurrency=1, limit=60)]
        assert [[m.id for m in c.messages] for c in got] == [ALL] * 3
        with pytest.raises(ConfigurationError, match="limit must be an int of 1 or more"):
            client.conversations(ids, limit=0)
    assert [limit_of(asked) for asked in server.asked] == [60, 30] + [15] * 12


# --- the list of completions, as an export reads it -----------------------------------------------


def stored(n: int) -> dict[str, Any]:
    """Return a stored completion."""
    return {"id": f"c-{n}", "created": n, "choices": []}


def completions(most: int, refusal: Refusal) -> Callable[[Asked], Any]:
    """Return a script of a list of 60 completions that bears pages of at most so many."""
    script = conversation(stored(n) for n in range(60))

    def answer(asked: Asked) -> Any:
        page = script(asked)
        return page if len(page.body["data"]) <= most else refusal()

    return answer


def bulk_pages(stream: Any, like: AsyncMessagesClient | None = None) -> Any:
    """Return the pages of a list of completions, as an export asks for them."""
    return stream._bulk_pages(like and like._attempts)  # noqa: SLF001 what an export calls


@pytest.mark.parametrize("limit", [None, 40])
@pytest.mark.parametrize("prefetch", [True, False])
async def test_a_list_of_completions_in_bulk(limit: int | None, prefetch: bool) -> None:
    """The pages of a list are raw, and halved where they are too large; its arguments count."""
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


async def test_a_list_that_grows_again() -> None:
    """Behind one stretch of large completions, pages of full size are asked for again."""
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
    """A list is asked for at an export's pace and by its rules, with its own key and place."""
    told: list[RetryDetails] = []
    sent: list[object] = []
    answers = [error(429, retry_after_ms="1"), Answer({"detail": "Not Found"}, 404)]
    script = conversation(stored(n) for n in range(3))
    async with (
        Loopback(lambda asked: answers.pop(0) if answers else script(asked)) as server,
        client_of(server) as client,
        AsyncMessagesClient("sk-other", base_url=f"{server.base_url}/other") as other,
    ):
        patient = other.with_options(retry=QUICK, on_retry=told.append)
        paced = patient._paced(Pace(), on_sent=lambda: sent.append(1))  # noqa: SLF001 as an export
        async with bulk_pages(client.completions(), paced) as pages:
            assert await ids_of(pages) == ["c-0", "c-1", "c-2"]
        assert await client.completions(max_items=1)
    assert {asked.headers["authorization"] for asked in server.asked} == {f"bearer {KEY}"}
    assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
    assert (len(sent), len(told), len(server.asked)) == (3, 2, 4)


async def test_a_list_that_is_left() -> None:
    """Pages that were left early are over, and do not look finished."""
    async with Loopback(completions(100, lambda: REFUSED)) as server, client_of(server) as client:
        pages = bulk_pages(client.completions(limit=5))
        async with pages:
            await anext(pages)
        assert pages.cursor == "c-4"
        with pytest.raises(ClientClosedError, match="closed before its end"):
            await anext(pages)


async def test_a_list_that_is_read_already() -> None:
    """A list is read in one way: what was begun in another cannot be read in bulk."""
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
