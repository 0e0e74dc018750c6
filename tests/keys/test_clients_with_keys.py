"""Keys that change, in clients over a real socket: after a 401, in many calls and loops."""

import asyncio
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Asked, Loopback, error, message, page

from aiomessages import (
    AsyncMessagesClient,
    AuthenticationError,
    BadRequestError,
    RetryDetails,
    RetryPolicy,
)
from aiomessages.blocking import MessagesClient
from aiomessages.keys import KeyCommand, KeyFile
from aiomessages.testing import MessagesServer

OLD, NEW = "sk-canary-old-0123", "sk-canary-new-0123"
NO_RETRIES = RetryPolicy(max_retries=0)


def accepting(*keys: str) -> Callable[[Asked], Answer]:
    """Return a script that answers 401 to every key but these, and repeats the key, as some do."""

    def script(asked: Asked) -> Answer:
        key = asked.headers["authorization"].removeprefix("bearer ")
        if key in keys:
            return Answer(page([message(0)]))
        refused = error(401, "invalid_api_key")
        refused.body["error"]["message"] = f"Incorrect API key provided: {key}"
        return refused

    return script


def changing(path: Path, then: str) -> Callable[[Asked], Answer]:
    """Return a script that changes the file when the old key arrives, and accepts the new one."""
    accept = accepting(NEW)

    def script(asked: Asked) -> Answer:
        path.write_text(then, "utf-8")
        return accept(asked)

    return script


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file with the old key."""
    path = tmp_path / "key"
    path.write_text(OLD, "utf-8")
    return path


async def test_a_key_that_changed(path: Path) -> None:
    """After a 401 the request is sent once more with another key, and reported as a retry."""
    retries: list[RetryDetails] = []
    async with (
        Loopback(changing(path, NEW)) as server,
        AsyncMessagesClient(
            KeyFile(path), base_url=server.base_url, retry=NO_RETRIES, on_retry=retries.append
        ) as client,
    ):
        got = await client.list("x")
        await client.list("x")
    assert [asked.headers["authorization"][7:] for asked in server.asked] == [OLD, NEW, NEW]
    assert got.attempts == 2
    assert [(type(one.error), one.delay) for one in retries] == [(AuthenticationError, 0)]


async def test_a_key_that_stays_refused(path: Path) -> None:
    """A refused key that is still the only one is not sent again."""
    async with (
        Loopback(accepting(NEW)) as server,
        AsyncMessagesClient(KeyFile(path), base_url=server.base_url) as client,
    ):
        with pytest.raises(AuthenticationError, match="the API key") as caught:
            await client.list("x")
    assert (len(server.asked), caught.value.attempts) == (1, 1)
    assert OLD not in str(caught.value)


async def test_another_key_that_is_refused_too() -> None:
    """A call gets another key once: two refused keys are an error after two requests."""
    keys = iter(f"sk-canary-{number}-0123" for number in range(9))

    async def provide() -> str:
        return next(keys)

    async with (
        Loopback(accepting(NEW)) as server,
        AsyncMessagesClient(provide, base_url=server.base_url) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            await client.list("x")
    assert (len(server.asked), caught.value.attempts) == (2, 2)


async def test_no_key_after_a_refused_one(path: Path) -> None:
    """If the source has no key after a 401, the error is the refusal, with the reason as well."""
    async with (
        Loopback(changing(path, "")) as server,
        AsyncMessagesClient(KeyFile(path), base_url=server.base_url) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            await client.list("x")
    assert len(server.asked) == 1
    assert "There is no other key: the key file holds no key: name a file" in str(caught.value)


async def test_a_client_that_is_closed_while_it_asks_again() -> None:
    """A callable that outlasts the closing of its client sends nothing afterwards."""
    asked_again = asyncio.Event()
    keys = iter([OLD])

    async def provide() -> str:
        if (key := next(keys, None)) is not None:
            return key
        asked_again.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return NEW
        raise AssertionError

    async with Loopback(accepting(NEW)) as server:
        client = AsyncMessagesClient(provide, base_url=server.base_url)
        call = asyncio.create_task(client.list("x").collect())
        await asked_again.wait()
        async with asyncio.timeout(4):  # a call that goes on would hold up the closing for 5 s
            await client.aclose()
            await asyncio.wait([call])
    assert type(call.exception()).__name__ == "ClientClosedError"
    assert len(server.asked) == 1


async def test_many_calls_at_once(tmp_path: Path) -> None:
    """The calls of a client share one run of a command, also after a 401 for all of them."""
    runs = tmp_path / "runs"
    code = f"f = open({str(runs)!r}, 'a'); f.write('x'); print({NEW!r})"
    key = KeyCommand([sys.executable, "-S", "-c", code])
    async with (
        Loopback(accepting(NEW)) as server,
        AsyncMessagesClient(key, base_url=server.base_url) as client,
    ):
        pages = await asyncio.gather(*(client.list("x").collect() for _ in range(30)))
    assert (len(pages), runs.read_text()) == (30, "x")


def test_the_blocking_client_and_the_async_one(
    path: Path, record: Callable[..., dict[str, Any]]
) -> None:
    """One callable serves the blocking client, the async one, and one in another loop."""
    key = KeyCommand(["cat", str(path)])
    with MessagesServer(records=[record()], api_key=OLD) as server:
        with MessagesClient(key, base_url=server.base_url) as client:
            assert len(list(client.list("chatcmpl-c1"))) == 3

        async def read() -> Any:
            async with AsyncMessagesClient(key, base_url=server.base_url) as client:
                return await client.list("chatcmpl-c1")

        assert [len(asyncio.run(read())) for _ in range(2)] == [3, 3]


async def test_a_key_of_a_callable_in_an_id(path: Path) -> None:
    """A key that a callable gave is hidden in the ids of an error, like a constant one."""
    async with (
        Loopback(lambda _: error(400)) as server,
        AsyncMessagesClient(KeyFile(path), base_url=server.base_url) as client,
    ):
        with pytest.raises(BadRequestError) as caught:
            await client.list(f"chatcmpl-{OLD}", after=f"{OLD}-3")
    assert OLD not in str(caught.value)
    assert str(caught.value).count("[the API key]") == 2


async def test_nothing_shows_the_key(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No log line, traceback or local variable of a failed call has a key that was read."""
    with caplog.at_level(logging.DEBUG):
        async with (
            Loopback(accepting(NEW)) as server,
            AsyncMessagesClient(KeyFile(path), base_url=server.base_url) as client,
        ):
            with pytest.raises(AuthenticationError) as caught:
                await client.list("x")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = (frame for frame in shown.stack if "tests" not in frame.filename)
    assert OLD not in "".join(f"{frame.locals}" for frame in ours) + caplog.text
