"""The blocking client: the calls of the async client from waiting threads, and their end."""

import asyncio
import contextlib
import copy
import gc
import inspect
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from faults.canary import shown_by_error
from loopback import Answer, Asked, Loopback, Script, conversation, error, message, page, replies
from loopback_proxy import LoopbackProxy

from aiomessages import (
    AsyncMessagesClient,
    ClientClosedError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    RetryPolicy,
)
from aiomessages.blocking import MessagesClient, Results, export
from aiomessages.blocking.caller_items import CallerItems
from aiomessages.blocking.client import ExportOptions
from aiomessages.blocking.thread import LoopThread
from aiomessages.export import export as async_export

KEY = "sk-canary-0123456789"
SECRET = "pass-canary-0123"
THREE_PAGES = [message(n) for n in range(250)]
IDS = [f"chatcmpl-{n}" for n in range(100)]


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """The portal in which the servers run."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def serve(portal: BlockingPortal) -> Iterator[Any]:
    """Return a function that starts a server in a thread of its own."""
    with contextlib.ExitStack() as stack:
        yield lambda script: stack.enter_context(
            portal.wrap_async_context_manager(Loopback(script))
        )


def client_of(server: Loopback, **options: Any) -> MessagesClient:
    """Return a client of the server."""
    return MessagesClient(KEY, base_url=server.base_url, **options)


def each_by_its_id(asked: Asked) -> Answer:
    """Answer with one message of any completion, or with the stored completion."""
    *_, completion_id, last = asked.path.split("/")
    if last == "messages":
        return Answer(page([message(0, completion_id=completion_id)]))
    return error(404)


def failing_after_a_page(asked: Asked) -> Answer:
    """Answer with a page that is not the last, and fail behind it; `chatcmpl-2` has one message."""
    if "chatcmpl-2" in asked.path:
        return each_by_its_id(asked)
    return error(500) if "after" in asked.query else conversation(THREE_PAGES)(asked)


def crossed(value: Any) -> Any:
    """Return what another process gets."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 our own bytes


async def nothing() -> None:
    """Do nothing at the end of a loop."""


def threads() -> list[str]:
    """Return the names of the clients' threads that run."""
    return [thread.name for thread in threading.enumerate() if thread.name == "aiomessages"]


# --- the calls ------------------------------------------------------------------------------------


def test_a_walk(serve: Any) -> None:
    """`for` gives every message of every page, and the cursor follows."""
    server = serve(conversation(THREE_PAGES))
    with client_of(server) as client:
        assert client.base_url == server.base_url
        stream = client.list("chatcmpl-1")
        assert stream.cursor is None
        seen = []
        for item in stream:
            seen.append(item.id)
            assert stream.cursor == item.id
        assert seen == [item["id"] for item in THREE_PAGES]
        assert next(stream, None) is None
    assert len(server.asked) == 3


def test_a_walk_crosses_over_once_a_page(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading thread asks the loop for pages, not for messages."""
    crossings, reader = 0, threading.get_ident()
    cross = asyncio.BaseEventLoop.call_soon_threadsafe

    def count(*args: Any, **options: Any) -> Any:
        nonlocal crossings
        crossings += threading.get_ident() == reader
        return cross(*args, **options)

    server = serve(conversation(THREE_PAGES))
    gc.collect()  # objects that other tests dropped call the loop as well
    monkeypatch.setattr(asyncio.SelectorEventLoop, "call_soon_threadsafe", count, raising=False)
    with client_of(server) as client:
        # Not in an assert, which would hold the streams: dropping a finished one calls no loop.
        items = len(list(client.list("chatcmpl-1")))
        gc.collect()  # the frame that raised the end is in a cycle, and holds the stream
        after_items = crossings
        pages = len(list(client.list("chatcmpl-1").pages()))
        gc.collect()
        assert (items, after_items) == (250, 4)  # three pages and the end
        assert (pages, crossings) == (3, 8)


def test_pages_and_bytes(serve: Any) -> None:
    """`page()` is one page, `pages()` each of them, `raw()` the bytes, as for the async client."""
    server = serve(conversation(THREE_PAGES))
    with client_of(server) as client:
        first = client.list("chatcmpl-1", limit=20).page()
        assert repr(first).startswith("MessagePage(20 items")
        assert first.has_next_page()
        assert [item.id for item in first.get_next_page().data] == [
            item["id"] for item in THREE_PAGES[20:40]
        ]
        last = client.list("chatcmpl-1", after="chatcmpl-1-248").page()
        assert not last.has_next_page()
        with pytest.raises(RuntimeError, match="no next page"):
            last.get_next_page()
        stream = client.list("chatcmpl-1")
        assert [len(found.data) for found in stream.pages()] == [100, 100, 50]
        assert stream.cursor == "chatcmpl-1-249"
        with client.list("chatcmpl-1") as stream:
            assert next(stream.raw()).startswith(b'{"id": "chatcmpl-1-0"')


def test_a_page_is_a_sequence_and_a_stream_collects(serve: Any) -> None:
    """A page has the members of the async client's page, and a stream `collect` and its repr."""
    with client_of(serve(conversation(THREE_PAGES))) as client:
        page_of_20 = client.list("chatcmpl-1").page()
        assert (len(page_of_20), page_of_20[0].id) == (20, "chatcmpl-1-0")
        assert [item.id for item in page_of_20[:2]] == [item.id for item in page_of_20][:2]
        assert "MessagePage: 20 items" in page_of_20._repr_html_()
        assert page_of_20.index(page_of_20[3]) == 3
        assert json.loads(page_of_20.to_json()) == page_of_20.to_dict()
        assert page_of_20.to_dict()["data"] == THREE_PAGES[:20]
        empty = client.list("chatcmpl-1", after="chatcmpl-1-249").page()
        assert empty
        assert len(empty) == 0
        stream = client.list("chatcmpl-1")
        assert [item.id for item in stream.collect(2)] == ["chatcmpl-1-0", "chatcmpl-1-1"]
        assert "cursor='chatcmpl-1-1'" in repr(stream)
        assert len(stream.collect()) == 248


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, crossed])
def test_a_copied_page(serve: Any, way: Callable[[Any], Any]) -> None:
    """A page that is pickled or copied has all that it had, but no client to ask for the next."""
    with client_of(serve(conversation(THREE_PAGES))) as client:
        first = client.list("chatcmpl-1").page()
    twin = way(first)
    assert (type(twin), [*twin], twin.ids, twin.body) == (
        type(first),
        [*first],
        first.ids,
        first.body,
    )
    assert twin.has_next_page()
    with pytest.raises(RuntimeError, match=r"no client: .*page\.next_cursor"):
        twin.get_next_page()


def test_completions(serve: Any) -> None:
    """One completion is fetched, and the list of completions is iterated."""
    stored = {"id": "chatcmpl-1", "object": "chat.completion", "choices": []}
    bodies = {"/chatcmpl-1": stored, "/messages": {"data": [{"role": "user"}]}}
    server = serve(
        lambda asked: Answer(bodies.get(asked.path[asked.path.rindex("/") :], page([stored])))
    )
    with client_of(server) as client:
        assert client.completion("chatcmpl-1", timeout=10).id == "chatcmpl-1"
        assert client.raw_completion("chatcmpl-1") == json.dumps(stored).encode()
        assert [completion.id for completion in client.completions()] == ["chatcmpl-1"]
        listed = client.completions(order="asc")
        (found,) = client.conversations(listed, include_reply=True, on_error="continue")
        assert isinstance(found.error, ConfigurationError | Exception)
        list(client.conversations(["chatcmpl-1"], on_error="continue", limit=7))
    assert server.asked[-1].query["limit"] == "7"


def test_it_takes_the_arguments_of_the_async_client() -> None:
    """Names, defaults and options are those of the async client, also where help shows them."""
    names = {name for name in vars(AsyncMessagesClient) if not name.startswith("_")}
    assert names - vars(MessagesClient).keys() == {"aclose"}
    for name in (names | {"__init__"}) - {"aclose", "base_url", "with_options"}:
        own = inspect.signature(getattr(MessagesClient, name)).parameters
        model = inspect.signature(getattr(AsyncMessagesClient, name)).parameters
        assert [(p.name, p.kind, p.default) for p in own.values()] == [
            (p.name, p.kind, p.default) for p in model.values()
        ]
    keywords = inspect.signature(async_export).parameters.values()
    named = {p.name for p in keywords if p.kind is p.KEYWORD_ONLY} - {"files"}
    assert set(ExportOptions.__annotations__) == named


def test_options_that_cannot_be_used() -> None:
    """A session of the caller's is refused; other arguments are checked as in the async client."""
    with pytest.raises(ConfigurationError, match="the client runs its own"):
        MessagesClient(KEY, session=object())  # type: ignore[arg-type]
    client = MessagesClient(KEY)
    with pytest.raises(ConfigurationError, match="limit"):
        client.list("chatcmpl-1", limit=0)
    with pytest.raises(ConfigurationError, match="iterable of ids"):
        client.conversations("chatcmpl-1")
    with pytest.raises(ConfigurationError, match="iterable of ids"):
        client.conversations(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(client)
    client.close()
    assert threads() == []  # nothing was ever asked for


def test_the_key_shows_nowhere() -> None:
    """Neither a repr nor a traceback that shows local variables has the key, or a header."""
    assert KEY not in repr(MessagesClient(KEY))
    with pytest.raises(ConfigurationError) as caught:
        MessagesClient(KEY, default_headers={"x-secret": KEY}, timeout=-1)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    shown = [frame for frame in frames if "aiomessages" in frame.filename]
    assert shown
    assert KEY not in "".join(str(frame.locals) for frame in shown if "tests" not in frame.filename)


def test_errors_are_the_same_and_short(serve: Any) -> None:
    """An error comes after what was before it, each time, and its traceback is the caller's."""
    first = Answer(page([message(0)], has_more=True))
    server = serve(replies(first, error(404, "gone")))
    with client_of(server) as client:
        stream = client.list("chatcmpl-1")
        assert next(stream).id == "chatcmpl-1-0"
        for _ in range(3):
            with pytest.raises(NotFoundError) as caught:
                next(stream)
            frames = traceback.extract_tb(caught.value.__traceback__)
            assert [frame.name for frame in frames[1:]] == ["__next__", "run"]
            assert caught.value.__context__ is None


def test_a_failure_of_another_kind_keeps_its_traceback(serve: Any) -> None:
    """An error of another package keeps its traceback."""

    async def no_key() -> str:
        raise LookupError("the vault is shut")

    server = serve(conversation(THREE_PAGES))
    with (
        MessagesClient(no_key, base_url=server.base_url) as client,
        pytest.raises(LookupError) as caught,
    ):
        client.list("chatcmpl-1").page()
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "no_key"


def test_a_walk_through_a_proxy(serve: Any, portal: BlockingPortal) -> None:
    """The options of the way to the API are those of the async client."""
    server = serve(conversation(THREE_PAGES))
    proxy = LoopbackProxy(server.base_url)
    with (
        portal.wrap_async_context_manager(proxy),
        MessagesClient(KEY, base_url=server.base_url, proxy=proxy.url) as client,
    ):
        assert len(list(client.list("chatcmpl-1"))) == 250
    assert len(proxy.heads) == 1


def test_a_password_of_a_certificate() -> None:
    """An error about a certificate shows its password in no traceback."""
    with pytest.raises(ConfigurationError, match="client_cert") as caught:
        MessagesClient(KEY, client_cert=("no.pem", "no.pem", SECRET))
    assert [place for place, text in shown_by_error(caught.value) if SECRET in text] == []


# --- many conversations, and exports --------------------------------------------------------------


def test_ids_are_read_by_the_thread_that_waits(serve: Any) -> None:
    """Ids are read in the waiting thread, so a cursor of a database can supply them."""
    database = sqlite3.connect(":memory:")
    database.execute("create table stored (id text)")
    database.executemany("insert into stored values (?)", [(name,) for name in IDS])
    ids = (name for (name,) in database.execute("select id from stored order by rowid"))
    with client_of(serve(each_by_its_id)) as client:
        found = [c.completion_id for c in client.conversations(ids, ordered=True, concurrency=8)]
    database.close()
    assert found == IDS


def test_ids_that_come_from_the_client_itself(serve: Any) -> None:
    """The iterable may use the client itself, and a plain list is read by the loop."""
    stored = [{"id": name, "object": "chat.completion", "choices": []} for name in IDS]

    def script(asked: Asked) -> Answer:
        return (
            Answer(page(stored)) if asked.path.endswith("/completions") else each_by_its_id(asked)
        )

    with client_of(serve(script)) as client:
        ids = (completion.id for completion in client.completions())
        assert {c.completion_id for c in client.conversations(ids)} == set(IDS)
        assert {c.completion_id for c in client.conversations(IDS)} == set(IDS)
        listed = client.conversations(client.completions(), include_reply=True)
        gc.collect()  # the list has no other holder, and is read all the same
        assert {c.completion_id for c in listed} == set(IDS)


def test_an_iterable_that_fails(serve: Any) -> None:
    """The error of the iterable is raised at the next conversation."""

    def ids() -> Iterator[str]:
        yield IDS[0]
        raise LookupError("the list is torn")

    with client_of(serve(each_by_its_id)) as client:
        conversations = client.conversations(ids(), concurrency=1)
        assert next(conversations).completion_id == IDS[0]
        for _ in range(2):
            with pytest.raises(LookupError, match="torn"):
                next(conversations)


def test_an_iterable_that_is_interrupted(serve: Any) -> None:
    """Ctrl-C while an id is read reaches the reader, and the results never look finished."""

    def ids() -> Iterator[str]:
        yield IDS[0]
        raise KeyboardInterrupt

    with client_of(serve(each_by_its_id)) as client:
        conversations, seen, interrupted = client.conversations(ids()), [], 0
        while True:
            try:
                seen += [found.completion_id for found in [next(conversations)]]
            except KeyboardInterrupt:
                interrupted += 1
            except ClientClosedError as error:
                problem = str(error)
                break
        assert problem == "reading the ids was interrupted"
        assert interrupted == 1
        assert seen == IDS[: len(seen)]


def test_conversations_that_are_closed(serve: Any) -> None:
    """Conversations that are closed in the middle raise an error, and read no further id."""
    read = []
    ids = (read.append(name) or name for name in IDS)  # type: ignore[func-returns-value]
    with client_of(serve(each_by_its_id)) as client:
        with client.conversations(ids, concurrency=2) as conversations:
            next(conversations)
        known = len(read)
        with pytest.raises(ClientClosedError):
            next(conversations)
        conversations.close()
    assert len(read) == known <= 4


def test_an_iterable_that_closes_the_client(serve: Any) -> None:
    """If the iterable closes the client, the error says so."""
    client = client_of(serve(each_by_its_id))

    def ids() -> Iterator[str]:
        client.close()
        yield IDS[0]

    with pytest.raises(ClientClosedError, match="during the call"):
        next(client.conversations(ids()))


def test_an_iterable_that_closes_the_conversations(serve: Any) -> None:
    """If the iterable closes the conversations, its id is dropped, and the error says so."""

    def ids() -> Iterator[str]:
        kept[0].close()
        yield IDS[0]

    with client_of(serve(each_by_its_id)) as client:
        kept = [client.conversations(ids())]
        with pytest.raises(ClientClosedError):
            next(kept[0])


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupt_between_two_ids(serve: Any) -> None:
    """Ctrl-C while the next id is not being read loses no id and no conversation."""
    with client_of(serve(interrupting(each_by_its_id, 3))) as client:
        conversations = client.conversations(iter(IDS), concurrency=1)
        seen: list[str] = []
        interrupted = 0
        while len(seen) < len(IDS):
            try:
                seen += [found.completion_id for found in [next(conversations)]]
            except KeyboardInterrupt:
                interrupted += 1
        assert next(conversations, None) is None
    assert interrupted == 3
    assert seen == IDS


def test_an_item_that_was_asked_for_before_an_interrupt() -> None:
    """An item that the loop still waits for is read by the next call."""
    thread = LoopThread(nothing)
    items = CallerItems(IDS)
    asked: list[asyncio.Future[str]] = []

    async def ask() -> None:
        asked.append(asyncio.ensure_future(anext(items)))
        await asyncio.sleep(0)

    async def answer() -> str:
        return await asked[0]

    thread.run(ask)  # it does not read the items
    assert thread.run(answer, items) == IDS[0]
    thread.close()


def test_items_that_are_no_longer_wanted() -> None:
    """An item that is no longer wanted is not read from the iterable."""
    thread = LoopThread(nothing)
    items = CallerItems(IDS)

    async def ask_in_vain() -> None:
        asked = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait({asked})

    async def ask() -> str:
        return await anext(items)

    thread.run(ask_in_vain)
    items.read()
    assert thread.run(ask, items) == IDS[0]
    thread.close()


def test_an_item_that_is_read_too_late() -> None:
    """An item that arrives after the loop has ended is dropped silently."""
    thread = LoopThread(nothing)

    def close_and_yield() -> Iterator[str]:
        thread.close()
        yield IDS[0]

    items = CallerItems(close_and_yield())

    async def ask() -> str:
        return await anext(items)

    with pytest.raises(ClientClosedError):
        thread.run(ask, items)


def test_an_export(serve: Any, tmp_path: Path) -> None:
    """An export reads any iterable of ids, and a second one continues."""
    server = serve(each_by_its_id)
    with client_of(server) as client:
        target = tmp_path / "out.jsonl"
        for ids in (IDS[:50], IDS):
            report = export(client, iter(ids), target, include_reply=False)
            assert report.finished
        assert report.progress.completions == 50
    assert len(target.read_text("utf-8").splitlines()) == 100


# --- who leaves, and how --------------------------------------------------------------------------


def test_leaving_a_loop_closes_the_upstream_request(serve: Any) -> None:
    """`break` ends the fetch of the next page, without a warning, and without a `with`."""
    begun = threading.Event()
    gone = threading.Event()

    async def second_never_comes(asked: Asked) -> Answer:
        if "after" not in asked.query:
            return Answer(page([message(0)], has_more=True))
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError("unreachable")

    server = serve(second_never_comes)
    with client_of(server) as client:
        for _ in client.list("chatcmpl-1"):
            assert begun.wait(5)
            break
        gc.collect()
        assert gone.wait(5)


def interrupting(script: Script, times: int) -> Script:
    """Return a script that presses Ctrl-C in this thread before the first answers."""
    left = [threading.get_ident()] * times

    def answer(asked: Asked) -> Any:
        if left:
            signal.pthread_kill(left.pop(), signal.SIGINT)
        return script(asked)

    return answer


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupted_walk_loses_nothing(serve: Any) -> None:
    """After Ctrl-C the stream continues where it was, with every message once."""
    with client_of(serve(interrupting(conversation(THREE_PAGES), 3))) as client:
        stream, seen = client.list("chatcmpl-1", prefetch=False), []
        interrupted = 0
        while True:
            try:
                seen += [item.id for item in [next(stream)]]
            except KeyboardInterrupt:
                interrupted += 1
            except StopIteration:
                break
        assert interrupted == 3
        assert seen == [item["id"] for item in THREE_PAGES]


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("by_page", [True, False])
def test_an_interrupted_collect_loses_nothing(serve: Any, *, by_page: bool) -> None:
    """After Ctrl-C collect() returns every message, also those that it had read before."""
    with client_of(serve(interrupting(conversation(THREE_PAGES), 3))) as client:
        stream: Any = client.list("chatcmpl-1", prefetch=False)
        stream = stream.pages() if by_page else stream
        found, interrupted = None, 0
        while found is None:
            try:
                found = stream.collect()
            except KeyboardInterrupt:  # one may stand for several that came at the same time
                interrupted += 1
        items = [item for one in found for item in getattr(one, "data", [one])]
        assert 1 <= interrupted <= 3
        assert [item.id for item in items] == [item["id"] for item in THREE_PAGES]


def test_a_collect_that_fails(serve: Any) -> None:
    """The error is raised, and what was read before it is kept."""
    with client_of(serve(failing_after_a_page), retry=RetryPolicy(max_retries=0)) as client:
        stream = client.list("chatcmpl-1")
        with pytest.raises(InternalServerError):
            stream.collect()
        assert stream.cursor is None
        assert len(stream.collect(100)) == 100
        with pytest.raises(ConfigurationError, match="max_items"):
            stream.collect(-1)
        conversations = client.conversations(["chatcmpl-2", "chatcmpl-1"], ordered=True)
        with pytest.raises(InternalServerError):
            conversations.collect()
        assert next(conversations).completion_id == "chatcmpl-2"


def test_all_conversations_as_a_list(serve: Any) -> None:
    """collect() of conversations returns those that are left."""
    with client_of(serve(each_by_its_id)) as client:
        conversations = client.conversations(IDS, ordered=True)
        assert next(conversations).completion_id == IDS[0]
        assert [found.completion_id for found in conversations.collect()] == IDS[1:]
        assert conversations.collect() == []


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupted_call_is_over(serve: Any) -> None:
    """Ctrl-C cancels the call that is waited for, and the client can be used again."""
    with client_of(serve(interrupting(conversation(THREE_PAGES), 1))) as client:
        with pytest.raises(KeyboardInterrupt):
            client.list("chatcmpl-1").page()
        assert len(client.list("chatcmpl-1").page().data) == 20


def test_an_interrupted_begin(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the work has reached the loop leaves nothing to wait for."""
    cross = asyncio.BaseEventLoop.call_soon_threadsafe
    pressed = [True]

    def interrupted(*args: Any, **options: Any) -> Any:
        if pressed and pressed.pop():
            raise KeyboardInterrupt
        return cross(*args, **options)

    with client_of(serve(conversation(THREE_PAGES))) as client:
        stream = client.list("chatcmpl-1")
        monkeypatch.setattr(
            asyncio.SelectorEventLoop, "call_soon_threadsafe", interrupted, raising=False
        )
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert len(list(stream)) == 250


def test_an_interrupt_just_after_the_begin(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C when the work has just started cancels it, and waits until it has ended."""
    cross, ended = asyncio.BaseEventLoop.call_soon_threadsafe, []
    thread, pressed, begun = LoopThread(nothing), [True], threading.Event()
    thread.run(nothing)

    def interrupted(*args: Any, **options: Any) -> Any:
        handle = cross(*args, **options)
        if pressed and pressed.pop():
            assert begun.wait(5)
            raise KeyboardInterrupt
        return handle

    async def never() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)
            raise LookupError

    monkeypatch.setattr(
        asyncio.SelectorEventLoop, "call_soon_threadsafe", interrupted, raising=False
    )
    with pytest.raises(KeyboardInterrupt):
        thread.run(never)
    assert ended == [True]
    thread.close()
    gc.collect()
    assert not caplog.records  # asyncio logs an error that nobody retrieves


def test_a_close_just_before_the_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that finds the loop closed, after the client looked open, says that it is closed."""
    cross, thread, todo = asyncio.BaseEventLoop.call_soon_threadsafe, LoopThread(nothing), [True]
    thread.run(nothing)

    def late(*args: Any, **options: Any) -> Any:
        if todo and todo.pop():
            thread.close()
        return cross(*args, **options)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "call_soon_threadsafe", late, raising=False)
    with pytest.raises(ClientClosedError, match="during the call"):
        thread.run(nothing)


def starting(monkeypatch: pytest.MonkeyPatch, before: Any, after: Any) -> list[threading.Thread]:
    """Call a function before or after the next start of a client's thread; return those started."""
    start, todo = threading.Thread.start, [True]
    started: list[threading.Thread] = []

    def watched(thread: threading.Thread) -> None:
        if thread.name != "aiomessages":
            return start(thread)
        started.append(thread)
        first = bool(todo and todo.pop())
        if first:
            before()
        start(thread)
        if first:
            after()
        return None

    monkeypatch.setattr(threading.Thread, "start", watched)
    return started


def interrupt_here() -> None:
    """Interrupt this thread as Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("begun", [True, False])
def test_an_interrupted_start(serve: Any, monkeypatch: pytest.MonkeyPatch, *, begun: bool) -> None:
    """Ctrl-C while the thread starts leaves none behind, and the next call starts another."""
    steps = (lambda: None, interrupt_here) if begun else (interrupt_here, lambda: None)
    started = starting(monkeypatch, *steps)
    with client_of(serve(conversation(THREE_PAGES))) as client:
        with pytest.raises(KeyboardInterrupt):
            client.list("chatcmpl-1").page()
        if not begun:  # it starts late
            started[0].start()
        started[0].join(5)
        assert threads() == []
        assert len(client.list("chatcmpl-1").page().data) == 20
        assert threads() == ["aiomessages"]


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupt_while_the_loop_begins(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the loop begins is raised at once, and the next call starts another."""
    main, gate, run = threading.get_ident(), threading.Event(), anyio.run

    def slow(*args: Any) -> Any:
        gate.wait(0.1)  # the other thread waits for the loop by then
        signal.pthread_kill(main, signal.SIGINT)
        assert gate.wait(5)
        return run(*args)

    with client_of(serve(conversation(THREE_PAGES))) as client:
        monkeypatch.setattr(anyio, "run", slow)
        with pytest.raises(KeyboardInterrupt):
            client.list("chatcmpl-1").page()
        monkeypatch.setattr(anyio, "run", run)
        gate.set()
        for thread in threading.enumerate():
            if thread.name == "aiomessages":
                thread.join(5)
        assert threads() == []
        assert len(client.list("chatcmpl-1").page().data) == 20
        assert threads() == ["aiomessages"]


@pytest.mark.parametrize("begun", [True, False])
def test_a_call_from_a_signal_handler(
    serve: Any, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    """A handler may use the client at any moment, also where it interrupts the first use of it."""
    got: list[int] = []

    def handle() -> None:
        got.append(len(client.list("chatcmpl-1").page().data))

    steps = (lambda: None, handle) if begun else (handle, lambda: None)
    started = starting(monkeypatch, *steps)
    with client_of(serve(conversation(THREE_PAGES))) as client:
        got.append(len(client.list("chatcmpl-1").page().data))
    assert got == [20, 20]
    for each in started:
        each.join(5)
    assert (len(started), threads()) == (2, [])


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupted_export_has_ended_when_it_raises(serve: Any, tmp_path: Path) -> None:
    """After Ctrl-C the destination is unlocked, and the next run continues."""
    with client_of(serve(interrupting(each_by_its_id, 1))) as client:
        target = tmp_path / "out.jsonl"
        with pytest.raises(KeyboardInterrupt):
            export(client, IDS, target, include_reply=False)
        assert export(client, IDS, target, include_reply=False).finished
    assert len(target.read_text("utf-8").splitlines()) == 100


@pytest.mark.usefixtures("_ctrl_c")
def test_a_result_of_an_interrupted_wait_is_kept() -> None:
    """A result that arrives after its wait was interrupted is returned by the next call."""
    main = threading.get_ident()

    async def results() -> AsyncGenerator[int, None]:
        signal.pthread_kill(main, signal.SIGINT)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        yield 1
        yield 2

    thread = LoopThread(nothing)
    kept = Results(thread, results(), convert=str)
    with pytest.raises(KeyboardInterrupt):
        next(kept)
    assert list(kept) == ["1", "2"]
    thread.close()


def test_closing_ends_the_calls_of_other_threads(serve: Any) -> None:
    """A call under way raises ClientClosedError when the client is closed, and so does a later."""
    arrived = threading.Event()
    failed: list[Exception] = []

    async def never(_: Asked) -> None:
        arrived.set()
        await asyncio.Event().wait()

    server = serve(never)
    client = client_of(server)
    stream = client.list("chatcmpl-1")

    def read() -> None:
        with pytest.raises(ClientClosedError) as caught:
            next(stream)
        failed.append(caught.value)

    reader = threading.Thread(target=read)
    reader.start()
    assert arrived.wait(5)
    client.close()
    client.close()
    reader.join()
    assert len(failed) == 1
    assert threads() == []
    stream.close()
    for call in (lambda: next(stream), lambda: client.completion("x"), client.list("x").page):
        with pytest.raises(ClientClosedError):
            call()


def test_a_wait_without_a_request_ends_as_well() -> None:
    """Closing also ends a wait that the end of the session would not end."""
    asked = threading.Event()

    async def no_key() -> str:
        asked.set()
        await asyncio.Event().wait()
        return KEY

    client = MessagesClient(no_key)

    def close() -> None:
        assert asked.wait(5)
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(ClientClosedError):
        client.completion("x")
    closer.join()


def test_calls_end_before_the_async_client() -> None:
    """Closing cancels the work and waits for its end, before it closes the async client."""
    begun, order = threading.Event(), []

    async def never() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("work")

    async def at_end() -> None:
        order.append("client")

    thread = LoopThread(at_end)

    def close() -> None:
        assert begun.wait(5)
        thread.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(ClientClosedError, match="during the call"):
        thread.run(never)
    closer.join()
    assert order == ["work", "client"]


def test_a_derived_client_shares_the_thread(serve: Any) -> None:
    """`with_options` shares session and thread; closing it leaves the other one open."""
    with client_of(serve(conversation(THREE_PAGES))) as client:
        with client.with_options(timeout=10) as derived:
            assert len(list(derived.list("chatcmpl-1"))) == 250
            assert threads() == ["aiomessages"]
        with pytest.raises(ClientClosedError):
            derived.list("chatcmpl-1").page()
        assert len(list(client.list("chatcmpl-1"))) == 250
        other = client.with_options()
    with pytest.raises(ClientClosedError):
        other.list("chatcmpl-1").page()
    other.close()


def test_threads_share_a_stream(serve: Any) -> None:
    """Several threads that read one stream get each message once."""
    seen: list[str] = []
    with client_of(serve(conversation(THREE_PAGES))) as client:
        stream = client.list("chatcmpl-1", limit=7)
        readers = [
            threading.Thread(target=lambda: seen.extend(item.id for item in stream))
            for _ in range(4)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert sorted(seen) == sorted(item["id"] for item in THREE_PAGES)


@pytest.mark.measured_programs
def test_a_dropped_client_warns_and_ends(serve: Any) -> None:
    """A client that is dropped without being closed warns, and its thread ends all the same."""
    clients = [client_of(serve(conversation(THREE_PAGES)))]
    next(clients[0].list("chatcmpl-1", prefetch=False))
    (thread,) = (t for t in threading.enumerate() if t.name == "aiomessages")
    gc.collect()  # objects in cycles of other tests warn now, or never
    with pytest.warns(ResourceWarning, match="dropped without being closed"):
        clients.clear()
    thread.join(5)
    assert not thread.is_alive()


def run_script(script: str, server: Loopback, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a script that has a client at its end, with every warning shown."""
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.base_url}
    begin = "from aiomessages.blocking import MessagesClient\nclient = MessagesClient()\n"
    return subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", begin + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
        **options,
    )


@pytest.mark.measured_programs
def test_a_script_that_forgets_to_close_ends(serve: Any) -> None:
    """The interpreter ends at once, with a fetch under way, one warning and nothing else."""

    async def second_never_comes(asked: Asked) -> Answer:
        if "after" in asked.query:
            await asyncio.Event().wait()
        return Answer(page([message(0)], has_more=True))

    run = run_script(
        """
base_url = client.base_url.replace('127.0.0.1', 'localhost')  # a name: threads resolve it
client = MessagesClient(base_url=base_url)
stream = client.list('chatcmpl-1')
print(next(stream).id)
""",
        serve(second_never_comes),
    )
    assert (run.returncode, run.stdout) == (0, "chatcmpl-1-0\n")
    assert run.stderr.count("Warning") == 1
    assert "Traceback" not in run.stderr
    assert "a MessagesClient was dropped without being closed" in run.stderr


@pytest.mark.measured_programs
def test_a_script_that_goes_on_when_all_is_over(serve: Any) -> None:
    """A call in the interpreter's last moments, after the thread has ended, raises an error."""
    run = run_script(
        """
import atexit, threading
from aiomessages.blocking import thread
def last() -> None:
    print([each.name for each in threading.enumerate() if each.daemon])
    try:
        list(stream)
    except Exception as error:
        print(type(error).__name__, error)
stream = client.list('chatcmpl-1')
next(stream)
atexit.unregister(thread._end_all)
atexit.register(last)
atexit.register(thread._end_all)
""",
        serve(conversation(THREE_PAGES)),
    )
    assert run.stdout == "[]\nClientClosedError the client was closed during the call\n"


@pytest.mark.measured_programs
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_is_refused(serve: Any) -> None:
    """In a forked child a call raises an error, does not wait, and the child ends."""
    run = run_script(
        """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of the fork itself, from Python 3.12 on
stream = client.list('chatcmpl-1', prefetch=False)
next(stream)
open_one = MessagesClient()
open_one.list('chatcmpl-1').page()
child = os.fork()
if child == 0:
    del stream, open_one
    try:
        client.list('chatcmpl-1').page()
    except RuntimeError as error:
        print(error, flush=True)
    client.close()
    raise SystemExit
print(os.waitpid(child, 0)[1], len(list(stream)))
client.close()
open_one.close()
""",
        serve(conversation(THREE_PAGES)),
    )
    assert run.stderr == ""
    made_before, rest = run.stdout.splitlines()
    assert made_before.startswith("this client was made before a fork")
    assert rest == "0 249"


@pytest.mark.measured_programs
@pytest.mark.skipif(sys.platform != "linux", reason="it counts file descriptors")
def test_a_thread_that_cannot_begin(serve: Any) -> None:
    """If no event loop can be made, the call raises that error, and does not wait."""
    run = run_script(
        """
import os, resource
used = len(os.listdir("/proc/self/fd"))
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
try:
    client.completion("chatcmpl-1")
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_NOFILE, before)
""",
        serve(each_by_its_id),
    )
    assert "Too many open files" in run.stdout


def test_an_end_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error at the end of the thread is reported like that of any other thread."""
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))

    async def fail() -> None:
        raise LookupError

    thread = LoopThread(fail)
    thread.run(nothing)
    thread.close()
    assert reported == [LookupError]


# --- where it must not be used --------------------------------------------------------------------


async def test_it_is_refused_in_async_code() -> None:
    """Inside an event loop a call raises an error that names the async client."""
    with (
        MessagesClient(KEY) as client,
        pytest.raises(RuntimeError, match=r"use aiomessages\.AsyncMessagesClient"),
    ):
        client.list("chatcmpl-1").page()
    assert threads() == []


async def test_it_works_in_a_notebook(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's cells run in a loop, and block it anyway, so calls are allowed there."""
    server = await asyncio.to_thread(serve, conversation(THREE_PAGES))
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with client_of(server) as client:
        assert len(list(client.list("chatcmpl-1"))) == 250


def test_hooks_must_not_wait_for_their_own_loop(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call in on_retry is refused, in a notebook as well; closing there does not wait."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    refused: list[str] = []

    def hook(_: object) -> None:
        with pytest.raises(RuntimeError) as caught:
            client.completion("x")
        refused.append(str(caught.value))
        client.close()

    client = client_of(
        serve(replies(error(500))), on_retry=hook, retry=RetryPolicy(initial_backoff=0)
    )
    with pytest.raises(ClientClosedError):
        client.list("chatcmpl-1").page()
    assert refused == ["on_retry and on_progress run in the client's loop: call no client"]


def test_the_annotations_can_be_read() -> None:
    """The annotations of the public names can be resolved at run time, as docs tools do."""
    for name in ("list", "completions", "completion", "conversations"):
        assert get_type_hints(getattr(MessagesClient, name))["return"]


# --- among greenlets ------------------------------------------------------------------------------

PATCHES = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
    "gevent, threads left alone": "import gevent.monkey; gevent.monkey.patch_all(thread=False)",
    "gevent, queues left alone": "import gevent.monkey; gevent.monkey.patch_all(queue=False)",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
MILDER_PATCHES = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all(thread=False, queue=False)",
    "eventlet": "import eventlet; eventlet.monkey_patch(thread=False)",
}
POOLS = {
    "gevent": "gevent.get_hub().threadpool.apply(asyncio.run, (main(),))",
    "eventlet": "eventlet.tpool.execute(asyncio.run, main())",
}
IMPORT = "import aiomessages.blocking, aiomessages.client"
CALL = """
from aiomessages.blocking import MessagesClient
with MessagesClient() as client:
    try:
        print(len(list(client.list("chatcmpl-1"))))
        print(len(list(client.list("chatcmpl-1"))))
    except RuntimeError as error:
        print(error)
"""


def run_patched(library: str, server: Loopback, *steps: str) -> str:
    """Run a program that a library may patch in between; return its last output."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    quiet = (
        "import warnings; warnings.simplefilter('ignore')"  # eventlet warns that it is deprecated
    )
    by_name = server.base_url.replace("127.0.0.1", "localhost")  # a name: threads resolve it
    run = subprocess.run(
        [sys.executable, "-c", "\n".join([quiet, *steps])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": by_name},
    )
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="first", marks=pytest.mark.measured_programs),
        pytest.param(IMPORT, id="imported"),
        pytest.param(CALL, id="used"),
    ],
)
@pytest.mark.parametrize("patch", PATCHES)
def test_it_is_refused_among_greenlets(patch: str, before: str, serve: Any) -> None:
    """If threads are patched, a call raises an error that names the library and a solution."""
    library = patch.partition(",")[0]
    said = run_patched(library, serve(conversation(THREE_PAGES)), before, PATCHES[patch], CALL)
    assert said.startswith(f"{library} has patched the threads of this process")
    assert POOLS[library] in said
    assert MILDER_PATCHES[library].partition("; ")[2].removeprefix("gevent.") in said


@pytest.mark.parametrize("library", MILDER_PATCHES)
def test_it_works_beside_greenlets_that_leave_threads_alone(library: str, serve: Any) -> None:
    """If only sockets are patched, the client has its thread, as the error advises."""
    server = serve(conversation(THREE_PAGES))
    assert run_patched(library, server, MILDER_PATCHES[library], CALL) == "250"


@pytest.mark.parametrize("library", POOLS)
def test_the_async_client_works_in_a_pool_of_threads(library: str, serve: Any) -> None:
    """A greenlet reads by the async client in a real thread, as the error advises."""
    main = """
import asyncio
from aiomessages import AsyncMessagesClient
async def main():
    async with AsyncMessagesClient() as client:
        return len([message async for message in client.list("chatcmpl-1")])
"""
    pool = {"gevent": "import gevent", "eventlet": "import eventlet.tpool"}[library]
    steps = (PATCHES[library], pool, main, f"print({POOLS[library]})")
    assert run_patched(library, serve(conversation(THREE_PAGES)), *steps) == "250"
