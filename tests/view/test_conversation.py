"""The page of a conversation: turns, calls beside their answers, media, and hostile messages."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from conftest_view import opened, store
from hostile import CORPUS
from markup import Page

from aiomessages.view import render_message
from aiomessages.view.rendering.parts import Medium, parts_of

if TYPE_CHECKING:
    from pathlib import Path

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
WAV = base64.b64encode(b"RIFF\0\0\0\0WAVE" + bytes(20)).decode()


def call(id: str | None, name: str = "find", given: Any = '{"a": [1, {}], "b": "\\u4f60"}') -> Any:
    """Return a call of a function."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": given}}


def picture(url: str) -> dict[str, Any]:
    """Return a part with an image."""
    return {"type": "image_url", "image_url": {"url": url}}


async def test_hostile_texts_in_every_field(tmp_path: Path) -> None:
    """Whatever a field has, a page of a conversation has our elements and addresses alone."""
    path = tmp_path / "hostile.db"
    texts = [*CORPUS[:25], *CORPUS[-26:], *CORPUS[25:400:9]]
    for number, text in enumerate(texts):
        part = {"type": text, "text": text, text: text}
        message = {
            "role": text,
            "name": text,
            "content": text,
            "refusal": text,
            text: text,
            "content_parts": [part, picture(text), {"type": "file", "file": {"file_id": text}}],
            "tool_calls": [call(text, text, text), {"type": text, text: text}],
            "annotations": [{"type": "url_citation", "url_citation": {"url": text, "title": text}}],
            "audio": {"id": text, "data": text, "transcript": text},
        }
        answer = {"role": "tool", "tool_call_id": text, "name": text, "content": text}
        fields = {"metadata": {text: text}, "service_tier": text, "model": text}
        choice = {"finish_reason": text, "message": {"role": "assistant", "content": text}}
        store(path, f"{number}", message, answer, choices=[choice, choice], **fields)
    async with opened(path) as room:
        for number, text in enumerate(texts):
            answered = await room.get(f"/c/chatcmpl-{number}?m=1")
            assert answered.status == 200
            assert Page(answered.body.decode()).wrong == [], text


async def test_turns(tmp_path: Path) -> None:
    """An answer stands beside its call, and each call says what became of it."""
    path = tmp_path / "calls.db"
    store(
        path,
        "a",
        "**Where?**",
        {"role": "assistant", "content": None, "tool_calls": [call("1"), call("2"), call(None)]},
        {"role": "tool", "tool_call_id": "2", "content": '{"found": true}'},
        {"role": "tool", "tool_call_id": "9", "content": "alone"},
        {"role": "assistant", "function_call": {"name": "old", "arguments": "x"}},
        {"role": "function", "name": "old", "content": "an old answer"},
        choices=[{"finish_reason": "length", "message": {"tool_calls": [call("z")]}}] * 2,
    )
    async with opened(path) as room:
        text = (await room.get("/c/chatcmpl-a?m=3")).text
        order = ["never answered.", 'id="m2"', "never answered.", 'id="m3"']
        assert text.index('id="m1"') < text.index(order[0]) < text.index(order[1])
        assert text.index(order[1]) < text.rindex(order[2]) < text.index(order[3])
        assert text.count("It was never answered.") == 2
        assert text.count("The conversation ends with this call.") == 2
        assert text.index('id="m5"') > text.index("<code>old</code>")
        assert "<strong>Where?</strong>" in text
        assert "reply 1 of 2" in text
        assert "<bdi>length</bdi>" in text
        assert '"你"' in text
        assert text.count("data-marked") == 1
        assert 'id="m3" data-item tabindex="-1" aria-labelledby="who3" data-marked' in text


async def test_a_long_prompt_is_folded(tmp_path: Path) -> None:
    """A long prompt of the system is folded, unless a link leads to it; a user's text never is."""
    path = tmp_path / "long.db"
    text = "<b>rule</b> " * 300
    store(path, "a", {"role": "system", "content": text}, text)
    store(path, "b", {"role": "system", "content": "a short one"})
    async with opened(path) as room:
        folded = (await room.get("/c/chatcmpl-a")).body.decode()
        assert folded.count('<details class="long">') == 1
        assert "&lt;b&gt;rule&lt;/b&gt;" in folded
        assert "<b>" not in folded
        assert '<details class="long" open>' in (await room.get("/c/chatcmpl-a?m=0")).text
        assert 'class="long"' not in (await room.get("/c/chatcmpl-b")).text


async def test_pages_of_a_conversation(tmp_path: Path) -> None:
    """A long conversation has pages, and a call leads to its answer on another one."""
    path = tmp_path / "long.db"
    messages: list[Any] = [f"text {n}" for n in range(250)]
    messages[99] = {"role": "assistant", "tool_calls": [call("far"), call("none")]}
    messages[120] = {"role": "tool", "tool_call_id": "far", "content": "here"}
    store(path, "a", *messages)
    async with opened(path) as room:
        first = (await room.get("/c/chatcmpl-a", {"q": "text"})).text
        assert "Messages 1 to 100 of 250" in first
        assert 'href="?q=text&m=120"' in first
        assert "This page has no answer to it." in first
        assert "?q=text&from=200" in first
        second = (await room.get("/c/chatcmpl-a?from=100")).text
        assert "Messages 101 to 200 of 250" in second
        assert "data-marked" not in second
        assert (await room.get("/c/chatcmpl-a?from=x")).status == 400
        assert (await room.get("/c/none")).status == 404
        assert (await room.get('/c/chatcmpl-a?q="')).status == 200


async def test_media(tmp_path: Path) -> None:
    """Images and sounds come by their first bytes, whatever they say; nothing else comes."""
    path = tmp_path / "media.db"
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()
    parts = [
        picture(f"data:text/html;base64,{PNG}"),
        {"type": "input_audio", "input_audio": {"format": "mp3", "data": WAV}},
        picture(f"data:image/png;base64,{svg}"),
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "%PDF"}},
        picture("https://img.example/a.png"),
        picture("data:image/svg+xml,<svg/>"),
    ]
    store(path, "a", {"role": "user", "content": None, "content_parts": parts})
    async with opened(path) as room:
        page = Page((await room.get("/c/chatcmpl-a")).body.decode())
        assert [link for link in page.sources if "media" in link] == [
            "../c/chatcmpl-a/0/media/0",
            "../c/chatcmpl-a/0/media/1",
        ]
        image = await room.get("/c/chatcmpl-a/0/media/0")
        assert (image.status, image.headers["Content-Type"]) == (200, "image/png")
        assert image.has_all_headers()
        assert (await room.get("/c/chatcmpl-a/0/media/1")).headers["Content-Type"] == "audio/wav"
        for k in (2, 3, 4, 99):
            assert (await room.get(f"/c/chatcmpl-a/0/media/{k}")).status == 404
        assert "https://img.example/a.png" in page.links


async def test_large_and_deep_messages(tmp_path: Path) -> None:
    """What is too large or too deep is shown in part, with a link to the whole."""
    path = tmp_path / "large.db"
    deep = "[" * 2000 + "]" * 2000
    store(path, "a", "word " * 5_000_000, "x" * 30_000, deep, {"role": "tool", "content": deep})
    async with opened(path) as room:
        answer = await room.get("/c/chatcmpl-a")
        assert answer.status == 200
        assert len(answer.body) < 200_000
        assert "of 30,000 characters" in answer.text
        assert "chatcmpl-a/1.txt" in answer.text


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, "no role"),
        ({"role": "user", "content": " \n"}, "nothing but space"),
        ({"role": 1, "content": 7}, "Part"),
        ({"role": "user", "content": ["a", {"type": "text", "text": 1}]}, "Part of type text"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}, "Refused"),
        ({"role": "assistant", "refusal": {"a": 1}}, "Refusal"),
        ({"role": "assistant", "audio": {"id": "x"}}, "Audio"),
        ({"role": "assistant", "audio": {"data": WAV, "transcript": "said"}}, "said"),
        ({"role": "assistant", "tool_calls": [call("1", given=None)]}, "calls"),
        ({"role": "assistant", "tool_calls": [call("1", given={"a": 1})]}, '"a"'),
        (
            {"tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "n", "input": "i"}}]},
            "Arguments",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f-1"}}]}, "f-1"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "Part of type file"),
        ({"role": "user", "content": [picture("x")] * 300}, "and 100 more"),
        ({"role": "user", "content": "", "mood": "x" * 30_000}, "of 30,016 characters"),
    ],
    ids=range(15),
)
def test_every_kind_of_part(message: dict[str, Any], expected: str) -> None:
    """A part of each kind, and one of a wrong shape, is shown in a way that cannot act."""
    page = Page(render_message(message))
    assert page.wrong == []
    assert expected in page.text


def test_a_message_can_be_rendered_from_its_json() -> None:
    """The JSON of a message is the same page, also where Python's json module would fail."""
    message = {"role": "user", "content": "half an emoji: \ud83d"}
    assert render_message(json.dumps(message).encode()) == render_message(message)
    odd = b'{"role":"user","content":"said","number":' + b"9" * 5000 + b"}"
    assert "said" in render_message(odd)
    assert "9" * 100 in render_message(odd)
    assert Page(render_message(b"[]")).wrong == []


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "audio": {"id": "a", "data": {"lost": 1}}},
        {"role": "assistant", "audio": {"data": ["lost"], "transcript": "said"}},
        {"role": "assistant", "audio": {"data": WAV, "mood": "lost"}},
        {
            "role": "user",
            "content": [{"type": "input_audio", "input_audio": {"data": "", "x": "lost"}}],
        },
        {"role": "user", "content": [{"type": "input_audio", "input_audio": "lost"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"lost": 1}}]},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "x", "detail": ["lost"]}}],
        },
        {"role": "user", "content": [{"type": "text", "text": "a", "annotations": ["lost"]}]},
        {
            "role": "user",
            "content": [{"type": "file", "file": {"filename": "a", "file_id": "lost"}}],
        },
        {
            "role": "user",
            "content": [{"type": "file", "file": {"filename": "a", "file_data": ["lost"]}}],
        },
        {"role": "user", "content": "lost", "content_parts": [{"type": "text", "text": "other"}]},
        {"role": "user", "content": ["lost"], "content_parts": [{"type": "text", "text": "other"}]},
        {"role": "user", "content": {"lost": 1}},
        {"role": ["lost"], "content": "a"},
        {"role": "user", "name": ["lost"], "content": "a"},
        {"role": "tool", "tool_call_id": ["lost"], "content": "a"},
        {"role": "tool", "tool_call_id": "lost", "content": "a"},
        {"role": "assistant", "tool_calls": [call("1") | {"id": ["lost"]}]},
        {
            "role": "assistant",
            "tool_calls": [call("1") | {"custom": {"name": "n", "input": "lost"}}],
        },
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "n", "arguments": 1, "input": "lost"}}],
        },
        {"role": "assistant", "tool_calls": "lost"},
        {"role": "assistant", "function_call": "lost"},
        {
            "role": "assistant",
            "annotations": [{"type": "url_citation", "url_citation": {"title": "lost"}}],
        },
        {
            "role": "assistant",
            "annotations": [{"type": "x", "url_citation": {"url": "javascript:lost()"}}],
        },
        {"role": "assistant", "content": "a", "reasoning_content": "lost"},
    ],
    ids=range(25),
)
def test_nothing_is_lost(message: dict[str, Any]) -> None:
    """A value of another shape than the API knows is on the page, as JSON if need be."""
    page = Page(render_message(message))
    assert page.wrong == []
    assert "lost" in page.text


def test_what_repeats_is_shown_once() -> None:
    """The text of a message that repeats its parts is not shown again, nor are lists that do."""
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    for content in ("one\ntwo", "onetwo", parts, None, ""):
        text = Page(
            render_message({"role": "user", "content": content, "content_parts": parts})
        ).text
        assert (text.count("one"), text.count("two")) == (1, 1)


def test_reasoning_is_a_text_of_its_own() -> None:
    """The reasoning that some servers add is shown once, with its lines, before the content."""
    message = {"content": "said", "reasoning": "first\nlast", "reasoning_content": "first\nlast"}
    page = Page(render_message({"role": "assistant", **message}))
    assert page.text.count("first\nlast") == 1
    assert page.text.index("last") < page.text.index("said")


async def test_messages_that_are_no_objects(tmp_path: Path) -> None:
    """A message that is a text, a list or a number is shown as its content."""
    path = tmp_path / "odd.db"
    store(path, "a", b'"a text"', b'[{"type": "text", "text": "a part"}]', b"1234567")
    async with opened(path) as room:
        text = (await room.get("/c/chatcmpl-a")).text
    assert all(words in text for words in ("a text", "a part", "1234567"))


def test_citations_are_links_that_say_where_they_lead() -> None:
    """A source of the web is a link with its title and its host; another address is none."""
    urls = ("https://a.example/x", "javascript:alert(1)")
    notes = [
        {"type": "url_citation", "url_citation": {"url": url, "title": "a title"}} for url in urls
    ]
    page = Page(render_message({"role": "assistant", "content": "x", "annotations": notes}))
    assert page.links == ["https://a.example/x"]
    assert "a title (a.example)" in page.text
    assert page.text.count("a title") == 2


async def test_a_message_that_the_page_left_out(tmp_path: Path) -> None:
    """A message that is too large for the query of a page is read alone, with all of its parts."""
    path = tmp_path / "large.db"
    content = [{"type": "text", "text": "a part"}, picture("x" * 300_000), {"type": "file"}]
    store(path, "a", {"role": "user", "content": content})
    async with opened(path) as room:
        text = (await room.get("/c/chatcmpl-a")).text
    assert "a part" in text
    assert "Part of type file" in text


async def test_a_message_of_many_parts_can_be_copied(tmp_path: Path) -> None:
    """What is copied or saved as Markdown says how many parts it leaves out."""
    path = tmp_path / "many.db"
    store(path, "a", {"role": "user", "content": ["x"] * 250})
    async with opened(path) as room:
        assert "and 50 more" in (await room.get("/c/chatcmpl-a/conversation.md")).text
        assert (await room.get("/c/chatcmpl-a")).text.count("and 50 more") == 2


def test_a_value_that_is_nested_too_deep() -> None:
    """A value that no JSON can be written of is named, and the message is shown."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    page = Page(render_message({"role": "user", "content": [{"type": "x", "y": deep}, "words"]}))
    assert "nested too deep to be shown" in page.text
    assert "words" in page.text


async def test_a_message_that_is_read_field_by_field(tmp_path: Path) -> None:
    """A field that Python cannot read is shown as it was sent, and the others as always."""
    path = tmp_path / "deep.db"
    deep = b"[" * 100_000 + b"]" * 100_000
    store(path, "a", b'{"role": "user", "content": "words", "x": null, "deep": ' + deep + b"}")
    async with opened(path) as room:
        page = Page((await room.get("/c/chatcmpl-a")).body.decode())
    assert page.wrong == []
    assert "words" in page.outside
    assert "[" * 1000 in page.text


async def test_answers_and_calls_that_do_not_fit(tmp_path: Path) -> None:
    """Calls of one id have their answers in order; one without a call says what it is to."""
    path = tmp_path / "calls.db"
    answers = [{"role": "tool", "tool_call_id": "same", "content": text} for text in "xyz"]
    calls = {"role": "assistant", "tool_calls": [call("same", "one"), call("same", "two")]}
    store(path, "a", {"role": "tool", "tool_call_id": "later", "content": "w"}, calls, *answers)
    async with opened(path) as room:
        page = Page((await room.get("/c/chatcmpl-a")).body.decode())
    assert page.wrong == []
    order = r"Answers\s+later.*w.*one.*x.*two.*y.*Answers\s+same.*z"
    assert re.search(order, " ".join(page.outside), re.DOTALL)
    assert page.text.count("Answers") == 2


async def test_a_chain_of_calls(tmp_path: Path) -> None:
    """Answers that call tools themselves are shown within each other, however many there are."""
    path = tmp_path / "chain.db"
    chain = [
        {
            "role": "tool",
            "tool_call_id": str(n),
            "content": f"text {n}",
            "tool_calls": [call(str(n + 1))],
        }
        for n in range(100)
    ]
    store(path, "a", *chain)
    async with opened(path) as room:
        page = Page((await room.get("/c/chatcmpl-a")).body.decode())
    assert page.wrong == []
    assert "text 99" in page.text


async def test_a_page_of_very_much(tmp_path: Path) -> None:
    """A page bounds what it formats, colours and shows over all messages, and counts the rest."""
    path = tmp_path / "much.db"
    code = "```python\n" + "x = f(1)\n" * 400 + "```"
    calls = [call(str(n), given=json.dumps({"a": [n] * 50})) for n in range(180)]
    store(path, "code", *[code] * 150)
    store(path, "calls", *[{"role": "assistant", "tool_calls": calls}] * 150)
    store(path, "texts", *["&" * 19_000 + "\n\n*end*"] * 150)
    store(path, "links", {"role": "user", "content": [picture("http://a.b/" + "c" * 3000)]})
    async with opened(path) as room:
        shown = {name: await room.get(f"/c/chatcmpl-{name}") for name in ("code", "calls", "texts")}
        assert 1000 < shown["code"].text.count('<span class="hm">') < 15_000
        assert "x = f(1)" in shown["code"].text.rpartition('id="m99"')[2]
        assert max(len(page.body) for page in shown.values()) < 12_000_000
        assert "and 179 more" in shown["calls"].text.rpartition('id="m99"')[2]
        last = shown["texts"].text.rpartition('id="m99"')[2]
        assert "These are the first 200 of 19,007 characters." in last
        assert 'id="source' not in last
        assert (await room.get("/c/chatcmpl-links")).text.count("no link") == 1


def test_media_have_the_same_numbers_everywhere() -> None:
    """The k-th medium is counted over parts and the spoken reply; without a page it is data."""
    message = {
        "role": "assistant",
        "content_parts": [picture(f"data:image/png;base64,{PNG}")],
        "audio": {"data": WAV},
    }
    assert [part.k for part in parts_of(message) if isinstance(part, Medium)] == [0, 1]
    assert f"data:image/png;base64,{PNG}" in render_message(message)
    assert json.dumps(message)
