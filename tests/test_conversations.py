"""Many conversations at once: order, errors, reading ahead, and no leftovers."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from loopback import Answer, Asked, Loopback, error, message, page

from aiomessages import (
    APIConnectionError,
    AsyncMessagesClient,
    AuthenticationError,
    Choice,
    ClientClosedError,
    ConfigurationError,
    Conversation,
    ConversationStream,
    InsufficientQuotaError,
    InternalServerError,
    Message,
    MessagesError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    Reply,
    RetryPolicy,
    StoredCompletion,
)

KEY = "sk-canary-0123456789"


def completion(name: str) -> dict[str, Any]:
    """Return a stored completion with a reply."""
    reply = {"role": "assistant", "content": f"reply of {name}"}
    return {"id": name, "object": "chat.completion", "choices": [{"index": 0, "message": reply}]}


def service(asked: Asked) -> Answer:
    """Serve two messages of any completion, but none of those whose name holds `missing`."""
    parts = asked.path.split("/")
    if len(parts) == 4:
        return Answer(page([completion("c-1"), completion("c-2")]))
    if "missing" in parts[4]:
        return error(404, "not_found")
    if parts[-1] != "messages":
        return Answer(completion(parts[4]))
    return Answer(page([message(n, completion_id=parts[4]) for n in range(2)]))


def client_of(server: Loopback) -> AsyncMessagesClient:
    """Return a client that does not wait between attempts."""
    return AsyncMessagesClient(
        KEY, base_url=server.base_url, retry=RetryPolicy(initial_backoff=0, max_backoff=0)
    )


async def test_each_id_once() -> None:
    """Every id gives its conversation, once."""
    ids = [f"c-{n}" for n in range(50)]
    async with Loopback(service) as server, client_of(server) as client:
        got = [c async for c in client.conversations(ids, concurrency=8)]
    assert sorted(c.completion_id for c in got) == sorted(ids)
    assert all(
        [m.id for m in c.messages] == [f"{c.completion_id}-{n}" for n in (0, 1)] for c in got
    )
    assert all(c.reply is None and c.error is None for c in got)


async def test_in_order() -> None:
    """With ordered=True the conversations come in the order of their ids."""
    ids = [f"c-{n}" for n in range(20)]
    slow = asyncio.Event()

    async def script(asked: Asked) -> Answer:
        if "c-0/" in asked.path:
            await slow.wait()
        if "c-3/" in asked.path:
            slow.set()
        return service(asked)

    async with Loopback(script) as server, client_of(server) as client:
        got = [
            c.completion_id async for c in client.conversations(ids, concurrency=4, ordered=True)
        ]
    assert got == ids


async def test_replies() -> None:
    """include_reply fetches the completion besides; one that was listed carries it already."""
    async with Loopback(service) as server, client_of(server) as client:
        by_id = [c async for c in client.conversations(["c-9"], include_reply=True)]
        listed = [c async for c in client.conversations(client.completions(), include_reply=True)]
    assert [c.reply and c.reply.content for c in by_id] == ["reply of c-9"]
    assert {c.reply and c.reply.content for c in listed} == {"reply of c-1", "reply of c-2"}
    assert [a.path for a in server.asked if a.path.endswith(("/c-1", "/c-2"))] == []
    assert all(c.completion and c.completion.id == c.completion_id for c in by_id + listed)


async def test_completions_without_replies() -> None:
    """A completion from a list or a page is in its conversation, also without include_reply."""
    async with Loopback(service) as server, client_of(server) as client:
        by_id = [c async for c in client.conversations(["c-9"])]
        listed = [c async for c in client.conversations(client.completions(), ordered=True)]
        page = await client.completions()
        of_page = [c async for c in client.conversations(page, ordered=True)]
    assert [c.completion for c in by_id] == [None]
    assert [c.completion and c.completion.id for c in listed] == ["c-1", "c-2"]
    assert of_page == listed
    assert {c.reply for c in by_id + listed} == {None}
    assert [a.path for a in server.asked if not a.path.endswith(("messages", "completions"))] == []


async def test_all_conversations_as_a_list() -> None:
    """collect() returns the conversations that are left, and raises their errors."""
    async with Loopback(service) as server, client_of(server) as client:
        conversations = client.conversations(["c-1", "c-2", "c-3"], ordered=True)
        await anext(conversations)
        assert [c.completion_id for c in await conversations.collect()] == ["c-2", "c-3"]
        assert await conversations.collect() == []
        with pytest.raises(NotFoundError):
            await client.conversations(["missing"]).collect()


async def test_a_listed_completion_that_fails() -> None:
    """A conversation with an error has the completion that was listed, and no reply."""

    async def listed() -> AsyncIterator[StoredCompletion]:
        yield StoredCompletion("missing", [Choice(0, Reply(content="Hi"))])

    async with Loopback(service) as server, client_of(server) as client:
        (got,) = [
            c async for c in client.conversations(listed(), include_reply=True, on_error="continue")
        ]
    assert isinstance(got.error, NotFoundError)
    assert got.completion is not None
    assert got.reply is None


# --- at a prompt ----------------------------------------------------------------------------------


def test_json_of_a_conversation() -> None:
    """to_json() is one line with all fields of to_dict(), and the error by its class and text."""
    reply = Reply(content="two\nlines")
    completion = StoredCompletion("c", [Choice(0, reply)])
    whole = Conversation("c", [Message("m", "user", "Hi")], reply, completion=completion)
    assert whole.to_dict() == {
        "completion_id": "c",
        "messages": [whole.messages[0].to_dict()],
        "reply": reply.to_dict(),
        "error": None,
        "completion": completion.to_dict(),
    }
    assert json.loads(whole.to_json()) == whole.to_dict()
    assert "\n" not in whole.to_json()
    failed = Conversation("c", [], error=NotFoundError("no such completion", status=404))
    assert failed.to_dict() == {
        "completion_id": "c",
        "messages": [],
        "reply": None,
        "error": {"type": "NotFoundError", "message": str(failed.error)},
        "completion": None,
    }


def test_the_repr_of_a_conversation() -> None:
    """The repr leaves out what the conversation does not have."""
    assert repr(Conversation("c", [])) == "Conversation(completion_id='c', messages=[])"


def test_the_html_of_a_conversation() -> None:
    """A notebook shows the id, the messages, the reply and the error, escaped."""
    error = NotFoundError("<no such completion>", status=404)
    messages = [Message("m", "user", "Hi <b>")]
    html = Conversation("c-1", messages, Reply(content="Bye <b>"), error)._repr_html_()
    for text in ("c-1", "Hi &lt;b&gt;", "Bye &lt;b&gt;", "NotFoundError", "&lt;no such"):
        assert text in html
    assert "<b>" not in html
    assert "None" not in Conversation("c-1", [])._repr_html_()


async def test_a_completion_without_a_reply() -> None:
    """A completion whose choices are empty has no reply."""

    def script(asked: Asked) -> Answer:
        if asked.path.endswith("messages"):
            return service(asked)
        return Answer({"id": "c-1", "choices": []})

    async with Loopback(script) as server, client_of(server) as client:
        (got,) = [c async for c in client.conversations(["c-1"], include_reply=True)]
    assert got.reply is None


async def test_an_id_that_fails() -> None:
    """With on_error="continue" an id that fails gives a conversation with its error."""
    ids = ["c-1", "missing", "", "c-2"]
    async with Loopback(service) as server, client_of(server) as client:
        got = [c async for c in client.conversations(ids, on_error="continue", ordered=True)]
        strict = client.conversations(ids, concurrency=1)
        assert (await anext(strict)).completion_id == "c-1"
        for _ in range(2):
            with pytest.raises(NotFoundError, match="completion missing"):
                await anext(strict)
        await strict.aclose()
    assert [type(c.error) for c in got] == [
        type(None),
        NotFoundError,
        ConfigurationError,
        type(None),
    ]


async def test_a_key_that_is_cancelled() -> None:
    """An api_key callable that was cancelled fails its conversation, and holds up no other."""

    async def key() -> str:
        if len(calls) == 0:
            calls.append("first")
            raise asyncio.CancelledError
        return KEY

    calls: list[str] = []
    async with (
        Loopback(service) as server,
        AsyncMessagesClient(key, base_url=server.base_url) as client,
    ):
        conversations = client.conversations(["c-1", "c-2"], concurrency=1, on_error="continue")
        got = [c async for c in conversations]
    assert [type(c.error) for c in got] == [APIConnectionError, type(None)]


async def test_a_key_that_is_cancelled_before_the_reply() -> None:
    """The same holds for the fetch of a reply; the messages that were read before it are kept."""

    async def key() -> str:
        calls.append("")
        if len(calls) == 2:
            raise asyncio.CancelledError
        return KEY

    calls: list[str] = []
    async with (
        Loopback(service) as server,
        AsyncMessagesClient(key, base_url=server.base_url) as client,
    ):
        conversations = client.conversations(
            ["c-1", "c-2"], concurrency=1, include_reply=True, on_error="continue"
        )
        got = [c async for c in conversations]
    assert [type(c.error) for c in got] == [APIConnectionError, type(None)]
    assert [len(c.messages) for c in got] == [2, 2]
    assert "completion c-1" in str(got[0].error)


# --- errors that end it all -----------------------------------------------------------------------


async def ends_after(
    client: AsyncMessagesClient, ids: Any, **options: Any
) -> tuple[list[Conversation], BaseException | None]:
    """Return the conversations before the end or an error, and the error."""
    got: list[Conversation] = []
    try:
        async with asyncio.timeout(5), client.conversations(ids, **options) as conversations:
            async for conversation in conversations:
                got.append(conversation)  # noqa: PERF401 what came before an error is wanted
    except Exception as error:  # noqa: BLE001 the test looks at it
        return got, error
    return got, None


@pytest.mark.parametrize("on_error", ["raise", "continue"])
@pytest.mark.parametrize("concurrency", [1, 4, 64])
async def test_ids_that_are_cancelled(concurrency: int, on_error: Any) -> None:
    """Ids that wait for something cancelled end with an error, and never normally."""

    async def ids() -> AsyncIterator[str]:
        cancelled = asyncio.get_running_loop().create_future()
        for n in range(50):
            if n == 10:
                cancelled.cancel()
                await cancelled
            yield f"c-{n}"

    async with Loopback(service) as server, client_of(server) as client:
        got, problem = await ends_after(client, ids(), concurrency=concurrency, on_error=on_error)
    assert sorted(c.completion_id for c in got) == [f"c-{n}" for n in range(10)]
    assert isinstance(problem, MessagesError)


async def test_no_request_after_an_error() -> None:
    """Once a conversation has failed, no further request is sent, however slow the taker is."""

    def script(asked: Asked) -> Answer:
        return error(404, "not_found") if "c-5/" in asked.path else service(asked)

    async def take_slowly() -> None:
        async for conversation in conversations:
            assert len(conversation.messages) == 2
            for _ in range(100):
                await asyncio.sleep(0)
            asked.append(len(server.asked))

    asked: list[int] = []
    async with Loopback(script) as server, client_of(server) as client:
        conversations = client.conversations([f"c-{n}" for n in range(50)], concurrency=8)
        with pytest.raises(NotFoundError, match="completion c-5"):
            await take_slowly()
    assert set(asked) == {len(server.asked)}
    assert len(server.asked) <= 10


async def test_an_error_in_its_turn() -> None:
    """In order, the error of a conversation comes after the conversations before it."""
    failed = asyncio.Event()

    async def script(asked: Asked) -> Answer:
        if "c-5/" in asked.path:
            failed.set()
            return error(404, "not_found")
        await failed.wait()
        return service(asked)

    ids = [f"c-{n}" for n in range(50)]
    async with Loopback(script) as server, client_of(server) as client:
        got, problem = await ends_after(client, ids, concurrency=8, ordered=True)
    assert [c.completion_id for c in got] == ids[:5]
    assert isinstance(problem, NotFoundError)
    assert problem.completion_id == "c-5"


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(401, "invalid_api_key"), AuthenticationError),
        (error(429, "insufficient_quota"), InsufficientQuotaError),
        (error(403, "forbidden"), PermissionDeniedError),
        (error(429, "rate_limit_exceeded", retry_after="86400"), RateLimitError),
        (error(503, None, retry_after="86400"), InternalServerError),
    ],
    ids=["401", "quota", "403", "429 for a day", "503 for a day"],
)
async def test_an_error_of_all(answer: Answer, kind: type[Exception], *, ordered: bool) -> None:
    """An error that every other conversation would meet too ends the run at once."""

    def script(asked: Asked) -> Answer:
        return service(asked) if len(server.asked) <= 20 else answer

    ids = [f"c-{n}" for n in range(1000)]
    options: dict[str, Any] = {"concurrency": 8, "ordered": ordered, "on_error": "continue"}
    async with Loopback(script) as server, client_of(server) as client:
        got, problem = await ends_after(client, ids, **options)
        assert len(server.asked) <= 20 + 8 + 2
    assert type(problem) is kind
    assert [c for c in got if c.error is None] == [c for c in got if len(c.messages) == 2]
    assert len(got) <= 22


async def test_completions_that_are_forbidden() -> None:
    """Forbidden completions between readable ones have errors of their own."""

    def script(asked: Asked) -> Answer:
        return error(403, "forbidden") if "secret" in asked.path else service(asked)

    ids = ["secret-1", "secret-2", "c-1"] * 5
    async with Loopback(script) as server, client_of(server) as client:
        got, problem = await ends_after(client, ids, concurrency=1, on_error="continue")
    assert problem is None
    assert [c.completion_id for c in got if c.error is None] == ["c-1"] * 5
    assert {type(c.error) for c in got} == {PermissionDeniedError, type(None)}


async def test_long_conversations() -> None:
    """A conversation of several pages is complete, and each page is requested once."""

    def script(asked: Asked) -> Answer:
        after = int(asked.query.get("after", "c-1--1").rpartition("c-1-")[2])
        numbers = range(after + 1, min(after + 3, 5))
        messages = [message(n, completion_id="c-1") for n in numbers]
        return Answer(page(messages, has_more=numbers[-1] < 4))

    async with Loopback(script) as server, client_of(server) as client:
        (got,) = [c async for c in client.conversations(["c-1"])]
    assert [m.id for m in got.messages] == [f"c-1-{n}" for n in range(5)]
    assert [asked.query.get("after") for asked in server.asked] == [None, "c-1-1", "c-1-3"]


async def test_how_far_ahead_ids_are_read() -> None:
    """Ids are read no further ahead than the conversations in work or not yet taken."""
    taken = []

    def ids() -> Iterator[str]:
        for n in range(100):
            taken.append(n)
            yield f"c-{n}"

    async with (
        Loopback(service) as server,
        client_of(server) as client,
        client.conversations(ids(), concurrency=5) as conversations,
    ):
        await anext(conversations)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(taken) <= 6


async def test_async_ids_that_fail() -> None:
    """An error of the iterable comes after the conversations that were read, and is repeated."""

    async def ids() -> AsyncIterator[str]:
        yield "c-1"
        raise ZeroDivisionError

    async with Loopback(service) as server, client_of(server) as client:
        conversations = client.conversations(ids(), concurrency=1)
        assert (await anext(conversations)).completion_id == "c-1"
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await anext(conversations)
        await conversations.aclose()


async def test_no_ids() -> None:
    """Without ids there are no conversations, at every call."""
    async with Loopback(service) as server, client_of(server) as client:
        conversations = client.conversations([])
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(conversations)
    assert server.asked == []


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_a_cancelled_taker(turns: int) -> None:
    """A taker that is cancelled at any moment loses nothing."""
    ids = [f"c-{n}" for n in range(6)]
    async with Loopback(service) as server, client_of(server) as client:
        conversations = client.conversations(ids, concurrency=2)
        got: list[str] = []

        async def take() -> None:
            async for c in conversations:
                got.append(c.completion_id)

        taker = asyncio.create_task(take())
        for _ in range(turns):
            await asyncio.sleep(0)
        taker.cancel()
        await asyncio.wait({taker})
        got += [c.completion_id async for c in conversations]
    assert sorted(got) == ids


async def test_leaving_early() -> None:
    """Leaving ends all work under way; the conversations left do not look complete."""
    async with Loopback(service) as server, client_of(server) as client:
        async with client.conversations([f"c-{n}" for n in range(50)]) as conversations:
            async for _ in conversations:
                break
        with pytest.raises(ClientClosedError):
            await anext(conversations)
        assert asyncio.all_tasks() - {asyncio.current_task()} <= server_tasks()


def endless_list(next_page: asyncio.Event) -> Callable[[Asked], Awaitable[Answer]]:
    """Return a script whose list of completions has a second page that never comes."""

    async def script(asked: Asked) -> Answer:
        if not asked.path.endswith("/completions"):
            return service(asked)
        if "after" in asked.query:
            next_page.set()
            await asyncio.Event().wait()
        return Answer(page([*map(completion, ("c-1", "c-2", "missing"))], has_more=True))

    return script


async def leave_by_break(conversations: ConversationStream) -> None:
    """Leave the block in the middle."""
    async with conversations:
        async for _ in conversations:
            break


async def leave_by_aclose(conversations: ConversationStream) -> None:
    """Close the conversations."""
    await conversations.aclose()


async def leave_by_error(conversations: ConversationStream) -> None:
    """Go on until the error."""
    with pytest.raises(NotFoundError):
        [c async for c in conversations]


async def leave_by_cancellation(conversations: ConversationStream) -> None:
    """Be cancelled while waiting for the list."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), conversations:
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    "leave", [leave_by_break, leave_by_aclose, leave_by_error, leave_by_cancellation]
)
async def test_leaving_a_list_of_completions(leave: Any) -> None:
    """However conversations end, the list that they were read from is closed with them."""
    next_page = asyncio.Event()
    async with Loopback(endless_list(next_page)) as server, client_of(server) as client:
        listed = client.completions()
        conversations = client.conversations(listed, concurrency=1)
        await anext(conversations)
        await next_page.wait()
        await leave(conversations)
        assert client_tasks() == set()
        with pytest.raises(ClientClosedError):
            [c async for c in listed]
        del listed, conversations
        gc.collect()  # and nothing warns


async def test_dropping_a_list_of_completions() -> None:
    """Conversations that are dropped warn once, of themselves and not of the list."""
    next_page = asyncio.Event()
    async with Loopback(endless_list(next_page)) as server, client_of(server) as client:
        conversations = client.conversations(client.completions(), concurrency=3)
        await anext(conversations)
        await next_page.wait()
        with pytest.warns(ResourceWarning, match="results were dropped") as warned:  # noqa: PT031
            del conversations
            gc.collect()
        assert len(warned) == 1
        await asyncio.sleep(0)
        while client_tasks():
            await asyncio.wait(client_tasks())
        gc.collect()


def client_tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks of the loop that are neither this one nor the scripted server's."""
    return asyncio.all_tasks() - {asyncio.current_task()} - server_tasks()


def server_tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks of the scripted server, and of its script."""
    names = ("Loopback", ".script()")
    return {task for task in asyncio.all_tasks() if any(name in repr(task) for name in names)}


async def test_closing_before_the_beginning_and_after_the_end() -> None:
    """A run that was closed before it began is closed, and one that ended stays at its end."""
    async with Loopback(service) as server, client_of(server) as client:
        unread = client.conversations(["c-1"])
        await unread.aclose()
        with pytest.raises(ClientClosedError):
            await anext(unread)
        read = client.conversations(["c-1"])
        assert len([c async for c in read]) == 1
        await read.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(read)


async def test_closing_the_client() -> None:
    """Closing the client ends the whole run, and is not an error of one conversation."""
    arrived = asyncio.Event()

    async def never(_: Asked) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with Loopback(never) as server:
        client = client_of(server)
        conversations = client.conversations(["c-1"], on_error="continue")
        taking = asyncio.ensure_future(anext(conversations))
        await arrived.wait()
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await taking
        await conversations.aclose()


async def test_being_dropped() -> None:
    """Conversations that are dropped during their work leave no task, and warn."""
    async with Loopback(service) as server, client_of(server) as client:
        conversations = client.conversations([f"c-{n}" for n in range(50)], concurrency=2)
        await anext(conversations)
        with pytest.warns(ResourceWarning, match="aclose"):
            del conversations
        gc.collect()


async def test_sending_and_throwing() -> None:
    """asend(None) is next; nothing else can be sent; athrow closes and raises."""
    async with Loopback(service) as server, client_of(server) as client:
        conversations = client.conversations(["c-1", "c-2"])
        await conversations.asend(None)
        with pytest.raises(TypeError):
            await conversations.asend(1)  # type: ignore[arg-type]
        with pytest.raises(KeyError):
            await conversations.athrow(KeyError("x"))
        with pytest.raises(KeyError):
            await conversations.athrow(KeyError)


@pytest.mark.parametrize(
    "arguments",
    [
        {"ids": "chatcmpl-1"},
        {"ids": 5},
        {"concurrency": 0},
        {"concurrency": True},
        {"on_error": "ignore"},
    ],
    ids=str,
)
def test_arguments_that_cannot_be_used(arguments: dict[str, Any]) -> None:
    """A wrong argument is refused at the call."""
    client = AsyncMessagesClient(KEY)
    with pytest.raises(ConfigurationError):
        client.conversations(**{"ids": [], **arguments})
