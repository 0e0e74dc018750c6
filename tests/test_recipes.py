"""The recipes of docs/recipes.md at work: over real sockets, and in a real kernel.

test_docs.py runs each block, as those of every page.
"""

import ast
import asyncio
import contextlib
import inspect
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import CodeType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from jupyter_client.manager import AsyncKernelManager
from loopback import Answer, Asked, Loopback, Script, conversation, error, message, page, replies
from web import serving

from aiomessages import Conversation

PAGE = Path(__file__).resolve().parent.parent / "docs" / "recipes.md"
SECTION = re.compile(r"^## (?P<title>.+)\n(?P<text>(?s:.*?))(?=^## |\Z)", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(?P<code>(?s:.*?))^```$", re.MULTILINE)
KEY = "sk-canary-0123456789"


def blocks(title: str) -> list[CodeType]:
    """Return the compiled python blocks of a recipe."""
    texts = {found["title"]: found["text"] for found in SECTION.finditer(PAGE.read_text("utf-8"))}
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return [
        compile(found["code"], title, "exec", flags=flags) for found in BLOCK.finditer(texts[title])
    ]


async def recipe(title: str) -> dict[str, Any]:
    """Run a recipe, and return the names that it defines."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(title):
        result = eval(block, names)  # noqa: S307 our own documentation
        if inspect.isawaitable(result):
            await result
    return names


@contextlib.asynccontextmanager
async def upstream(script: Script) -> AsyncIterator[Loopback]:
    """Run the server to which the environment points."""
    with pytest.MonkeyPatch.context() as environment:
        async with Loopback(script) as server:
            environment.setenv("OPENAI_API_KEY", KEY)
            environment.setenv("OPENAI_BASE_URL", server.base_url)
            yield server


def stored(asked: Asked) -> Answer:
    """Answer with one conversation of 250 messages; no other exists."""
    known = asked.path.endswith("/chatcmpl-1/messages")
    return LONG(asked) if known else error(404)


LONG = conversation(message(n) for n in range(250))


@contextlib.asynccontextmanager
async def asking(app: web.Application) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Serve an aiohttp.web app, and give a session and the app's address."""
    async with TestServer(app) as server, aiohttp.ClientSession() as browser:
        yield browser, str(server.make_url("/conversations/"))


# --- web apps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("app", ["app", "sharing"])
async def test_aiohttp_web_streams_a_conversation(app: str) -> None:
    """Each message is a line, and an unknown id is a 404, with an own and with a shared session."""
    names = await recipe("aiohttp.web")
    async with upstream(stored) as server:
        async with asking(names[app]) as (browser, url):
            async with browser.get(url + "chatcmpl-1") as answer:
                lines = (await answer.read()).splitlines()
            async with browser.get(url + "chatcmpl-nobody") as unknown:
                assert unknown.status == 404
        await server.all_gone()  # what was opened is closed with the app
    assert [json.loads(line)["id"] for line in lines] == [f"chatcmpl-1-{n}" for n in range(250)]


async def test_aiohttp_web_cuts_a_list_that_fails_midway() -> None:
    """A list that fails after its first page does not look whole to the reader."""
    answers = [Answer(page([message(0)], has_more=True)), error(404)]
    async with (
        upstream(replies(*answers)),
        asking((await recipe("aiohttp.web"))["app"]) as (browser, url),
        browser.get(url + "chatcmpl-1") as answer,
    ):
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_aiohttp_web_stops_with_its_reader() -> None:
    """A reader who leaves in the middle ends the list: its rest is never requested."""
    large = conversation(message(n, content="x" * 100_000) for n in range(500))
    async with upstream(large) as server:
        async with asking((await recipe("aiohttp.web"))["app"]) as (browser, url):
            answer = await browser.get(url + "chatcmpl-1")
            await answer.content.readany()
            answer.close()
        await server.all_gone()
        assert len(server.asked) < 5


async def test_starlette_passes_a_page_on() -> None:
    """A page arrives as the bytes that the server sent, and an unknown id is a 404."""
    names = await recipe("Starlette")
    async with (
        upstream(stored),
        serving(names["starlette_app"]) as url,
        aiohttp.ClientSession(url) as browser,
    ):
        async with browser.get("/conversations/chatcmpl-1?after=chatcmpl-1-19") as answer:
            found = await answer.json()
        async with browser.get("/conversations/chatcmpl-nobody") as unknown:
            assert unknown.status == 404
    assert found == LONG(Asked("", {"after": "chatcmpl-1-19"}, {}, 1)).body


# --- workers --------------------------------------------------------------------------------------


async def test_a_worker_marks_handled_ids() -> None:
    """Ids stay in the queue until they are handled, and one that fails stops no other."""
    async with upstream(stored):
        work = (await recipe("A worker that takes ids from a queue"))["work"]
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        for completion_id in ["chatcmpl-1", "chatcmpl-nobody"] * 20:
            queue.put_nowait(completion_id)
        queue.put_nowait(None)
        waiting: list[int] = []
        outcomes: list[bool] = []

        async def handle(found: Conversation) -> None:
            waiting.append(queue.qsize())
            outcomes.append(found.error is None)

        await work(queue, handle)
    assert waiting[0] >= 41 - 1 - 8 - 8  # eight under way, eight more as they came
    assert sorted(outcomes) == [False] * 20 + [True] * 20


# --- a notebook -----------------------------------------------------------------------------------


async def test_a_notebook() -> None:
    """The cells run in a kernel: one that awaits at its top level, and one that waits."""
    text = next(
        f["text"] for f in SECTION.finditer(PAGE.read_text("utf-8")) if "book" in f["title"]
    )
    said_there = [message(n, completion_id="chatcmpl-umbrella") for n in range(2)]
    async with upstream(conversation(said_there)):
        manager = AsyncKernelManager(kernel_name="python3")
        await manager.start_kernel()
        kernel = manager.client()
        kernel.start_channels()
        try:
            await kernel.wait_for_ready(timeout=60)
            for cell in BLOCK.findall(text):
                said: list[str] = []
                reply = await kernel.execute_interactive(
                    cell, output_hook=lambda m, said=said: said.append(m["content"].get("text", ""))
                )
                assert reply["content"]["status"] == "ok", reply["content"]
                assert "".join(said) == "['user', 'assistant']\n"
        finally:
            kernel.stop_channels()
            await manager.shutdown_kernel(now=True)
