"""The example's page in a real browser: a conversation arrives, is interrupted, is stopped.

Skipped where there is no Chromium, or no playwright to drive it: `nox -s browser` has both.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from loopback import Answer, Asked, Loopback, conversation, error, message, page
from web import serving

from aiomessages import AsyncMessagesClient, RetryPolicy

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
from examples.fastapi_app.app import create_app  # noqa: E402 not needed where the above skips

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync"""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.asyncio(loop_scope="module"),  # one browser, so one loop
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    """Run one browser for all tests of this file."""
    async with api.async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield started
        await started.close()


class Api:
    """A scripted API with one completion, of which `messages` answers the list."""

    def __init__(self, messages: Callable[[Asked], Any]) -> None:
        self._messages = messages
        self.cursors: list[str | None] = []

    def __call__(self, asked: Asked) -> Any:
        """Answer any of the three routes."""
        if asked.path.endswith("/messages"):
            self.cursors.append(asked.query.get("after"))
            return self._messages(asked)
        reply = {"role": "assistant", "content": "the reply"}
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": reply}],
        }
        one = asked.path.endswith("/chatcmpl-1")
        return Answer(completion if one else page([completion]))


@asynccontextmanager
async def shown(
    browser: Any, messages: Callable[[Asked], Any], path: str = "/#chatcmpl-1"
) -> AsyncIterator[Any]:
    """Open the page over an API; what goes wrong in there, or is asked elsewhere, is a failure."""
    wrong: list[str] = []
    async with Loopback(messages) as upstream:
        options = {"base_url": upstream.base_url, "retry": RetryPolicy(max_retries=0)}
        app = create_app(partial(AsyncMessagesClient, "sk-canary", **options))
        async with serving(app) as url, await browser.new_page() as tab:
            tab.set_default_timeout(10_000)  # milliseconds
            tab.on("pageerror", lambda problem: wrong.append(str(problem)))
            tab.on("dialog", lambda dialog: wrong.append(dialog.message))
            tab.on("request", lambda asked: wrong.extend(_elsewhere(asked.url, url)))
            await tab.goto(url + path)
            yield tab
    assert wrong == []


def _elsewhere(url: str, app: str) -> list[str]:
    return [] if url.startswith((app, "data:")) else [url]


async def state(tab: Any, name: str) -> str:
    """Wait for a state of the stream, and return what the page says of it."""
    await tab.wait_for_selector(f"#status[data-state={name}]")
    return str(await tab.text_content("#said"))


async def texts(tab: Any, kind: str = "") -> list[str]:
    """Return what each message says, or each of a role."""
    return list(await tab.locator(f"article{kind} .said").all_text_contents())


async def test_a_conversation_is_seen_arriving_and_then_its_reply(browser: Any) -> None:
    """What is here is shown while the rest is on its way; at the end comes the model's reply."""
    more = asyncio.Event()
    ten = conversation(message(n) for n in range(10))

    async def slow(asked: Asked) -> Any:
        if asked.query.get("after") == "chatcmpl-1-3":
            await more.wait()
        return ten(asked)

    async with shown(browser, Api(slow)) as tab:
        await tab.wait_for_selector("article:nth-of-type(4)")
        assert await state(tab, "arriving") == "arriving · 4 messages"
        more.set()
        await tab.wait_for_selector("article.reply")
        assert await state(tab, "complete") == "complete · 10 messages"
        assert await texts(tab) == [*(f"message {n}" for n in range(10)), "the reply"]
        assert await tab.locator("a[aria-current]").count() == 1


async def test_an_interrupted_conversation_is_resumed_where_it_was(browser: Any) -> None:
    """The browser comes back by itself, behind the last message: none is lost, none comes twice."""
    ten = conversation(message(n) for n in range(10))
    limits = [error(429, "rate_limit_exceeded", retry_after="1")]
    script = Api(lambda asked: limits.pop() if limits and "after" in asked.query else ten(asked))
    async with shown(browser, script) as tab:
        said = await state(tab, "interrupted")
        assert said == "The API is asked too much; try again later. Coming back…"
        assert await texts(tab) == [f"message {n}" for n in range(4)]
        await tab.wait_for_selector("article.reply")
        assert await texts(tab, ":not(.reply)") == [f"message {n}" for n in range(10)]
    assert script.cursors == [None, *["chatcmpl-1-3"] * 2, "chatcmpl-1-7"]


async def test_a_conversation_can_be_stopped_and_gone_on_with(browser: Any) -> None:
    """Stop ends the request to the API; the rest is asked for from there."""
    more = asyncio.Event()
    ten = conversation(message(n) for n in range(10))

    async def slow(asked: Asked) -> Any:
        if asked.query.get("after") == "chatcmpl-1-7":
            await more.wait()
        return ten(asked)

    async with shown(browser, Api(slow)) as tab:
        await tab.wait_for_selector("article:nth-of-type(8)")
        await tab.get_by_role("button", name="Stop").click()
        assert await state(tab, "idle") == "stopped · 8 messages"
        more.set()
        await tab.get_by_role("button", name="Go on").click()
        await tab.wait_for_selector("article.reply")
        assert await texts(tab, ":not(.reply)") == [f"message {n}" for n in range(10)]


async def test_an_unknown_conversation_is_explained(browser: Any) -> None:
    """An EventSource knows no status; the page finds out what was wrong."""
    script = Api(lambda _: error(404, "not_found"))
    async with shown(browser, script, "/#chatcmpl-nobody") as tab:
        assert await state(tab, "failed") == "No such completion, or not yet, or no longer."
        await tab.get_by_role("button", name="Try again").wait_for()


async def test_what_a_message_says_does_nothing(browser: Any) -> None:
    """Markup is shown as it was written, and no picture is fetched from elsewhere."""
    markup = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    picture = {"type": "image_url", "image_url": {"url": "https://elsewhere.example/x.png"}}
    stored = [
        message(0, role=markup, name=markup, content=markup),
        message(1, content_parts=[picture]),
        message(
            2,
            tool_calls=[
                {"id": "1", "type": "function", "function": {"name": markup, "arguments": markup}}
            ],
        ),
        message(3, content_parts=[{"type": "hologram", "hologram": {}}]),
    ]
    async with shown(browser, Api(conversation(stored))) as tab:
        await tab.wait_for_selector("article.reply")
        said = await texts(tab, ":not(.reply)")
        assert said[0] == markup
        assert said[1] == "Picture: https://elsewhere.example/x.png"
        assert said[2] == f"message 2{markup}({markup})"
        assert said[3] == "A part of type hologram"
