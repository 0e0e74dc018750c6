"""The example's page in a real browser: a conversation arrives, is interrupted, is stopped.

How a message looks is tested with `aiomessages.view`, which renders it. Skipped without Chromium or
playwright: `nox -s browser` has both.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chromium import MARKS, watched
from loopback import Answer, Asked, Loopback, conversation, error, message, page
from web import serving

from aiomessages import AsyncMessagesClient, RetryPolicy, view
from aiomessages.archive.store import import_records
from aiomessages.server import LocalServer
from aiomessages.server.sample import sample_records
from aiomessages.view.serving import bound
from aiomessages.view.serving import serving as view_serving

pytest.importorskip("playwright.async_api", reason="playwright is not installed")
from examples.fastapi_app.app import create_app

pytestmark = MARKS
KEY = "sk-canary-8f2e"


class Api:
    """A scripted API with one completion, of which `messages` answers the list."""

    def __init__(
        self, messages: Callable[[Asked], Any], *replies: str, refusal: Answer | None = None
    ) -> None:
        self._messages = messages
        self._replies = replies or ("the reply",)
        self._refusal = refusal
        self.cursors: list[str | None] = []

    def __call__(self, asked: Asked) -> Any:
        """Answer any of the three routes."""
        if asked.path.endswith("/messages"):
            self.cursors.append(asked.query.get("after"))
            return self._messages(asked)
        replies = [{"role": "assistant", "content": text} for text in self._replies]
        choices = [{"index": n, "message": reply} for n, reply in enumerate(replies)]
        completion = {"id": "chatcmpl-1", "object": "chat.completion", "choices": choices}
        if not asked.path.endswith("/chatcmpl-1"):
            return Answer(page([completion]))
        return self._refusal or Answer(completion)


@asynccontextmanager
async def shown(
    browser: Any, messages: Callable[[Asked], Any], path: str = "/#chatcmpl-1"
) -> AsyncIterator[Any]:
    """Open the page over a scripted API."""
    async with Loopback(messages) as upstream, shown_over(browser, upstream.base_url, path) as tab:
        yield tab


@asynccontextmanager
async def shown_over(browser: Any, base_url: str, path: str) -> AsyncIterator[Any]:
    """Open the page over an API; errors and requests to other hosts are failures."""
    retry = RetryPolicy(max_retries=0)
    app = create_app(partial(AsyncMessagesClient, KEY, base_url=base_url, retry=retry))
    async with serving(app) as url, await browser.new_page() as tab:
        wrong = watched(tab, url)
        await tab.goto(url + path)
        yield tab
    assert wrong == []


async def state(tab: Any, name: str) -> str:
    """Wait for a state of the stream, and return the page's text about it."""
    await tab.wait_for_selector(f"#status[data-state={name}]")
    return str(await tab.text_content("#said"))


async def texts(tab: Any, kind: str = "") -> list[str]:
    """Return what each message says, or each of a kind."""
    return list(await tab.locator(f".turn{kind} .said").all_inner_texts())


async def test_a_conversation_is_seen_arriving_and_then_its_reply(browser: Any) -> None:
    """Messages are shown as they arrive; at the end comes the model's reply."""
    more = asyncio.Event()
    ten = conversation(message(n) for n in range(10))

    async def slow(asked: Asked) -> Any:
        if asked.query.get("after") == "chatcmpl-1-3":
            await more.wait()
        return ten(asked)

    async with shown(browser, Api(slow)) as tab:
        await tab.wait_for_selector(".turn:nth-of-type(4)")
        assert await state(tab, "arriving") == "arriving · 4 messages"
        more.set()
        await tab.wait_for_selector(".by-reply")
        assert await state(tab, "complete") == "complete · 10 messages"
        assert await texts(tab) == [*(f"message {n}" for n in range(10)), "the reply"]
        assert await tab.locator("a[aria-current]").count() == 1
        assert "reply" in await tab.locator(".by-reply .who").inner_text()


async def test_each_reply_is_shown(browser: Any) -> None:
    """A completion of several choices has several replies."""
    async with shown(browser, Api(conversation([message(0)]), "one", "another")) as tab:
        await tab.wait_for_selector(".by-reply >> nth=1")
        assert await texts(tab, ".by-reply") == ["one", "another"]


async def test_a_reply_that_cannot_be_read_is_named(browser: Any) -> None:
    """Where the reply is missing, the page says so: the conversation would look complete."""
    script = Api(conversation([message(0)]), refusal=error(404, "not_found"))
    async with shown(browser, script) as tab:
        said = await tab.locator(".divider").inner_text()
        assert said.startswith("The model's reply could not be read: The completion does not")
        assert await texts(tab) == ["message 0"]


async def test_a_conversation_looks_as_in_the_view(browser: Any, tmp_path: Path) -> None:
    """The same message is the same HTML in both, in the same colours and sizes."""
    look = """all => all.map(element => {
        const {color, backgroundColor, fontSize, padding, borderRadius} = getComputedStyle(element);
        return [color, backgroundColor, fontSize, padding, borderRadius, element.innerHTML];
    })"""
    said = ".turn:is(.by-user, .by-reply) > .said"
    async with (
        LocalServer(sample=True, api_key=KEY) as server,
        shown_over(browser, server.base_url, "/#chatcmpl-code-review") as tab,
    ):
        await tab.wait_for_selector(".by-reply")
        ours = await tab.locator(said).evaluate_all(look)
    import_records(str(tmp_path / "sample.db"), sample_records())
    with bound() as listener:
        access = view.Access(listener.getsockname()[1])
        app = view.create_app(tmp_path / "sample.db", access=access)
        async with view_serving(app, listener), await browser.new_page() as tab:
            await tab.goto(f"{access.address}c/chatcmpl-code-review?token={access.token}")
            await tab.wait_for_selector(".by-reply")
            theirs = await tab.locator(said).evaluate_all(look)
    assert len(ours) > 1
    assert ours == theirs


async def test_an_interrupted_conversation_is_resumed_where_it_was(browser: Any) -> None:
    """The browser reconnects by itself after the last message: none is lost or repeated."""
    ten = conversation(message(n) for n in range(10))
    limits = [error(429, "rate_limit_exceeded", retry_after="1")]
    script = Api(lambda asked: limits.pop() if limits and "after" in asked.query else ten(asked))
    async with shown(browser, script) as tab:
        said = await state(tab, "interrupted")
        assert said == "Rate limited; try again later. Coming back…"
        assert await texts(tab) == [f"message {n}" for n in range(4)]
        await tab.wait_for_selector(".by-reply")
        assert await texts(tab, ":not(.by-reply)") == [f"message {n}" for n in range(10)]
    assert script.cursors == [None, *["chatcmpl-1-3"] * 2, "chatcmpl-1-7"]


async def test_a_conversation_can_be_stopped_and_gone_on_with(browser: Any) -> None:
    """Stop ends the request to the API; continuing requests the rest."""
    more = asyncio.Event()
    ten = conversation(message(n) for n in range(10))

    async def slow(asked: Asked) -> Any:
        if asked.query.get("after") == "chatcmpl-1-7":
            await more.wait()
        return ten(asked)

    async with shown(browser, Api(slow)) as tab:
        await tab.wait_for_selector(".turn:nth-of-type(8)")
        await tab.get_by_role("button", name="Stop").click()
        assert await state(tab, "idle") == "stopped · 8 messages"
        more.set()
        await tab.get_by_role("button", name="Go on").click()
        await tab.wait_for_selector(".by-reply")
        assert await texts(tab, ":not(.by-reply)") == [f"message {n}" for n in range(10)]


async def test_an_unknown_conversation_is_explained(browser: Any) -> None:
    """An EventSource has no status, so the page finds out the error itself."""
    script = Api(lambda _: error(404, "not_found"))
    async with shown(browser, script, "/#chatcmpl-nobody") as tab:
        said = await state(tab, "failed")
        assert said == "The completion does not exist, is not visible yet, or was deleted."
        await tab.get_by_role("button", name="Try again").wait_for()


async def test_markup_in_a_message_does_nothing(browser: Any) -> None:
    """Markup in a message is shown as text, and no picture is loaded from elsewhere."""
    markup = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    picture = {"type": "image_url", "image_url": {"url": "https://elsewhere.example/x.png"}}
    call = {"id": "1", "type": "function", "function": {"name": markup, "arguments": markup}}
    stored = [
        message(0, role=markup, name=markup, content=markup),
        message(1, content_parts=[picture]),
        message(2, tool_calls=[call]),
        message(3, content_parts=[{"type": "hologram", "hologram": {}}]),
    ]
    async with shown(browser, Api(conversation(stored), markup)) as tab:
        await tab.wait_for_selector(".by-reply")
        said = await texts(tab)
        assert said[0] == said[4] == markup
        assert "https://elsewhere.example/x.png" in said[1]
        assert said[2].count(markup) == 2
        assert "hologram" in said[3]
        assert await tab.locator("#messages img, #messages script").count() == 0


ODD_VALUES = [
    None,
    False,
    0,
    "",
    "text",
    [],
    {},
    [None],
    [[]],
    [""],
    [{}],
    {"url": None},
    {"a": [1]},
]


def every_odd_message() -> list[dict[str, Any]]:
    """Return messages with each odd value in each place that is shown."""
    fields = ["role", "name", "content", "content_parts", "refusal", "tool_calls", "function_call"]
    kinds = ["text", "image_url", "input_audio", "file", "hologram"]
    return [
        odd
        for value in ODD_VALUES
        for odd in (
            *({field: value} for field in fields),
            *({"content_parts": [{"type": kind, kind: value}]} for kind in kinds),
            {"content_parts": [value, {"type": value}]},
            *(
                {"tool_calls": [{"type": "function", kind: value}]}
                for kind in ("function", "custom")
            ),
            *({"tool_calls": [{"function": {key: value}}]} for key in ("name", "arguments")),
        )
    ]


async def test_no_shape_of_a_message_stops_the_page(browser: Any) -> None:
    """Each odd value in each place gives one message on the page, and no error of its script."""
    odd = every_odd_message()
    stored = conversation(message(n, **changes) for n, changes in enumerate(odd))
    async with shown(browser, Api(stored)) as tab:
        await tab.wait_for_selector(".by-reply")
        assert await state(tab, "complete") == f"complete · {len(odd)} messages"
        assert await tab.locator(".turn:not(.by-reply)").count() == len(odd)


async def test_a_message_that_comes_again_is_shown_once(browser: Any) -> None:
    """A message that is sent again, because its id could not be resumed, is shown once."""
    without_id = [message(0, id="é" * n, content=f"message {n}") for n in range(1, 6)]
    limits = [error(429, "rate_limit_exceeded", retry_after="1")]
    five = conversation(without_id)
    script = Api(lambda asked: limits.pop() if limits and "after" in asked.query else five(asked))
    async with shown(browser, script) as tab:
        await tab.wait_for_selector(".by-reply")
        assert await state(tab, "complete") == "complete · 5 messages"
        assert await texts(tab, ":not(.by-reply)") == [f"message {n}" for n in range(1, 6)]
    assert script.cursors == [None, "éééé", None, "éééé"]


async def test_an_address_that_is_not_encoded(browser: Any) -> None:
    """An unencoded % in the address is part of an id, and no error of the page's script."""
    async with shown(browser, Api(conversation([])), "/#100%") as tab:
        await tab.get_by_role("heading", name="100%").wait_for()
