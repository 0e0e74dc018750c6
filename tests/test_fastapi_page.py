"""The example's page in a real browser: a conversation arrives, is interrupted, is stopped.

Skipped without Chromium or playwright: `nox -s browser` has both.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from chromium import MARKS, watched
from loopback import Answer, Asked, Loopback, conversation, error, message, page
from web import serving

from aiomessages import AsyncMessagesClient, RetryPolicy

pytest.importorskip("playwright.async_api", reason="playwright is not installed")
from examples.fastapi_app.app import create_app

pytestmark = MARKS


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
    """Open the page over an API; errors and requests to other hosts are failures."""
    async with Loopback(messages) as upstream:
        options = {"base_url": upstream.base_url, "retry": RetryPolicy(max_retries=0)}
        app = create_app(partial(AsyncMessagesClient, "sk-canary", **options))
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
    """Return what each message says, or each of a role."""
    return list(await tab.locator(f"article{kind} .said").all_text_contents())


async def test_a_conversation_is_seen_arriving_and_then_its_reply(browser: Any) -> None:
    """Messages are shown as they arrive; at the end comes the model's reply."""
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
    """The browser reconnects by itself after the last message: none is lost or repeated."""
    ten = conversation(message(n) for n in range(10))
    limits = [error(429, "rate_limit_exceeded", retry_after="1")]
    script = Api(lambda asked: limits.pop() if limits and "after" in asked.query else ten(asked))
    async with shown(browser, script) as tab:
        said = await state(tab, "interrupted")
        assert said == "Rate limited; try again later. Coming back…"
        assert await texts(tab) == [f"message {n}" for n in range(4)]
        await tab.wait_for_selector("article.reply")
        assert await texts(tab, ":not(.reply)") == [f"message {n}" for n in range(10)]
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
        await tab.wait_for_selector("article:nth-of-type(8)")
        await tab.get_by_role("button", name="Stop").click()
        assert await state(tab, "idle") == "stopped · 8 messages"
        more.set()
        await tab.get_by_role("button", name="Go on").click()
        await tab.wait_for_selector("article.reply")
        assert await texts(tab, ":not(.reply)") == [f"message {n}" for n in range(10)]


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


FLAG = {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACw="}
# A message of an odd shape, and its text on the page.
ODD_MESSAGES = [
    ({"content": None}, "no content"),
    ({"content": ""}, "no content"),
    ({"content": 5}, "5"),
    ({"content": ["one", {"type": "text", "text": "two"}]}, "onetwo"),
    ({"content": "as a text", "content_parts": None}, "as a text"),
    ({"content": "as a text", "content_parts": []}, "as a text"),
    ({"content_parts": {"type": "text", "text": "no list"}}, "no list"),
    ({"content_parts": [None, 1, [], {}]}, "null1[]{}"),
    ({"content_parts": [{"type": "text", "text": None}]}, "A part of type text"),
    ({"content_parts": [{"type": "image_url", "image_url": None}]}, "A part of type image_url"),
    ({"content_parts": [{"type": "image_url"}]}, "A part of type image_url"),
    (
        {"content_parts": [{"type": "image_url", "image_url": "https://x/y"}]},
        "Picture: https://x/y",
    ),
    ({"content_parts": [{"type": "image_url", "image_url": FLAG["url"]}]}, ""),
    ({"content_parts": [{"type": "image_url", "image_url": {**FLAG, "detail": None}}]}, ""),
    (
        {"content_parts": [{"type": "image_url", "image_url": {"url": 1}}]},
        "A part of type image_url",
    ),
    (
        {"content_parts": [{"type": "input_audio", "input_audio": None}]},
        "A part of type input_audio",
    ),
    ({"content_parts": [{"type": "file", "file": {"file_id": "f-1"}}]}, "File: f-1"),
    ({"content_parts": [{"type": "file", "file": None}]}, "A part of type file"),
    ({"content_parts": [{"type": "hologram", "hologram": None}]}, "A part of type hologram"),
    ({"content_parts": [{"type": "constructor"}]}, "A part of type constructor"),
    ({"content_parts": [{"type": "__proto__"}]}, "A part of type __proto__"),
    ({"refusal": False}, "no content"),
    ({"refusal": ["no"]}, '["no"]'),
    ({"tool_calls": [None]}, "null"),
    ({"tool_calls": {"type": "function", "function": {"name": "find"}}}, "find()"),
    ({"tool_calls": [{"type": "function", "function": None}]}, "function()"),
    ({"tool_calls": [{"function": {"name": "find", "arguments": None}}]}, "find()"),
    ({"tool_calls": [{"function": {"name": "find", "arguments": {"a": 1}}}]}, 'find({"a":1})'),
    ({"tool_calls": [{"custom": {"name": "sum", "input": "1 + 1"}}]}, "sum(1 + 1)"),
    ({"function_call": {"name": "find", "arguments": "{}"}}, "find({})"),
]
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
    """Return messages with each odd value in each place that the page reads."""
    fields = ["role", "name", "content", "content_parts", "refusal", "tool_calls", "function_call"]
    kinds = ["text", "image_url", "input_audio", "file", "hologram"]
    return [
        odd
        for value in ODD_VALUES
        for odd in (
            *({field: value} for field in fields),
            *({"content_parts": [{"type": kind, kind: value}]} for kind in kinds),
            *({"content_parts": [value, {"type": value}]},),
            *(
                {"tool_calls": [{"type": "function", kind: value}]}
                for kind in ("function", "custom")
            ),
            *({"tool_calls": [{"function": {key: value}}]} for key in ("name", "arguments")),
        )
    ]


@asynccontextmanager
async def shown_as_they_are(browser: Any, sent: list[dict[str, Any]]) -> AsyncIterator[Any]:
    """Open the page with these messages, without the client's conversions."""
    events = [f"data: {json.dumps(item)}\n\n" for item in sent]
    body = "".join([*events, "event: end\nid: #end\ndata: {}\n\n"])

    async def answer(route: Any) -> None:
        await route.fulfill(body=body, content_type="text/event-stream")

    async with shown(browser, Api(conversation([])), "/") as tab:
        await tab.route("**/messages/stream?*", answer)
        await tab.get_by_label("Open by id").fill("chatcmpl-1")
        await tab.get_by_label("Open by id").press("Enter")
        await tab.wait_for_selector("article.reply")
        yield tab


async def test_a_message_of_an_odd_shape_is_shown_as_far_as_it_goes(browser: Any) -> None:
    """Odd values are named or shown as JSON, and other messages as usual."""
    sent = [{"id": f"m-{n}", "role": "user", **odd} for n, (odd, _) in enumerate(ODD_MESSAGES)]
    async with shown_as_they_are(browser, sent) as tab:
        assert await texts(tab, ":not(.reply)") == [said for _, said in ODD_MESSAGES]
        assert await tab.locator("article img").count() == 2


async def test_no_shape_of_a_message_stops_the_page(browser: Any) -> None:
    """Each odd value in each place gives one message on the page, and no error of its script."""
    odd = every_odd_message()
    async with shown_as_they_are(
        browser, [{"id": f"m-{n}", **one} for n, one in enumerate(odd)]
    ) as tab:
        assert await state(tab, "complete") == f"complete · {len(odd)} messages"
        assert await tab.locator("article:not(.reply)").count() == len(odd)


async def test_a_message_that_comes_again_is_shown_once(browser: Any) -> None:
    """A message that is sent again, because its id could not be resumed, is shown once."""
    without_id = [message(0, id="é" * n, content=f"message {n}") for n in range(1, 6)]
    limits = [error(429, "rate_limit_exceeded", retry_after="1")]
    five = conversation(without_id)
    script = Api(lambda asked: limits.pop() if limits and "after" in asked.query else five(asked))
    async with shown(browser, script) as tab:
        await tab.wait_for_selector("article.reply")
        assert await state(tab, "complete") == "complete · 5 messages"
        assert await texts(tab, ":not(.reply)") == [f"message {n}" for n in range(1, 6)]
    assert script.cursors == [None, "éééé", None, "éééé"]


async def test_an_address_that_is_not_encoded(browser: Any) -> None:
    """An unencoded % in the address is part of an id, and no error of the page's script."""
    async with shown(browser, Api(conversation([])), "/#100%") as tab:
        await tab.get_by_role("heading", name="100%").wait_for()
