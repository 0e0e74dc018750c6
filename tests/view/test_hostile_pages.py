"""Everything in an archive is hostile: no text of it becomes markup on a page of lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from conftest_view import opened, store
from markup import Page

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></head><body onload=alert(1)>",
    "--><!--<![CDATA[ ]]><?php ?>",
    "javascript:alert(1)",
    "//evil.example/x",
    "{{ 7 * 7 }}{% raw %}",
    "\u202etxt.exe\u2066\u2069",
    "\x00\x07\x1b[31m\x7f\x85",
    "\ud800",
    "&lt;b&gt;&amp;&#0;",
    "\u2028\u2029\ufeff\U000e0041",
    "</svg><rect onclick=alert(1)>",
    "a\r\nSet-Cookie: x=y",
]
# Characters that stay in no text, and those that may not be in a name either.
CONTROL = set("\x00\x07\x1b\x7f\x85")
ACTIVE = CONTROL | set("\u202e\u2066\u2069\u2028\u2029\ufeff")


def hostile_archive(path: Path, text: str) -> None:
    """Put a text into every field of a conversation."""
    call = {"id": text, "type": "function", "function": {"name": text, "arguments": text}}
    message: dict[str, Any] = {"role": text, "name": text, "content": text, "tool_calls": [call]}
    store(
        path,
        "x",
        message,
        {"role": "user", "content": f"word {text}"},
        id=text,
        model=text,
        service_tier=text,
        metadata={text: text, "key": text, f"{text}:": "value"},
        choices=[
            {
                "index": 0,
                "finish_reason": text,
                "message": {"role": text, "content": f"word {text}"},
            }
        ],
    )


@pytest.mark.unmeasured
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_no_text_becomes_markup(tmp_path: Path, text: str) -> None:
    """With a hostile text in every field, pages have the elements of our templates alone."""
    path = tmp_path / "hostile.db"
    hostile_archive(path, text)
    named = quote(text, errors="replace")
    async with opened(path) as room:
        for page in (
            "/",
            "/?q=word",
            f"/?q={named}",
            f"/?model={named}&role={named}&tool={named}&finish={named}&meta=key:{named}",
            f"/?day={named}",
            f"/?at={named}",
            "/overview",
            f"/overview?model={named}",
            f"/none/{named}",
            f"/c/{named}x/0.json",
            f"/c/{named}",
            f"/c/{named}?m=1&q={named}",
        ):
            answer = await room.get(page)
            assert answer.status in (200, 400, 404), page
            found = Page(answer.body.decode(), of_lists=True)
            assert found.wrong == [], page
            for link in found.links:
                assert link.startswith(("./", "../", "#", "?")), link
            assert not ACTIVE & set("".join(found.names)), page
            assert not CONTROL & set("".join(found.outside)), page


async def test_the_name_of_the_archive(tmp_path: Path) -> None:
    """The name of the file is on each page, and is no markup either."""
    path = tmp_path / "<script>\u202e'\".db"
    store(path, "a", "text")
    async with opened(path) as room:
        found = Page((await room.get("/")).body.decode(), of_lists=True)
        assert found.wrong == []
        assert "<script>[U+202E]'\".db" in found.texts


@pytest.mark.unmeasured
async def test_links_of_facets_lead_to_hostile_values(tmp_path: Path) -> None:
    """A hostile value can be chosen: its link selects the conversation that has it."""
    for number, text in enumerate(HOSTILE):
        if "\ud800" in text:
            continue
        path = tmp_path / f"{number}.db"
        hostile_archive(path, text)
        async with opened(path) as room:
            links = Page((await room.get("/")).body.decode(), of_lists=True).links
            chosen = [link for link in links if link.startswith("./?")]
            assert len(chosen) >= 8
            for link in chosen:
                answer = await room.get(link.removeprefix("."))
                assert "1 conversation" in answer.text, (text, link)


@pytest.mark.unmeasured
async def test_a_hundred_thousand_values(tmp_path: Path) -> None:
    """A page of an archive with very many values of a facet stays small."""
    path = tmp_path / "many.db"
    store(path, "a", "text", metadata={f"key {n}": f"value {n}" for n in range(100_000)})
    async with opened(path) as room:
        for page in ("/", "/overview"):
            answer = await room.get(page)
            assert answer.status == 200
            assert len(answer.body) < 100_000


@pytest.mark.unmeasured
async def test_a_message_of_fifty_megabytes(tmp_path: Path) -> None:
    """A page with a very long message has its beginning alone; the message itself comes whole."""
    path = tmp_path / "long.db"
    store(path, "a", "word " * 10_000_000, replies=("word " * 1000,))
    async with opened(path) as room:
        for page in ("/", "/?q=word", "/overview"):
            answer = await room.get(page)
            assert answer.status == 200
            assert len(answer.body) < 20_000
        assert len((await room.get("/c/chatcmpl-a/0.txt")).body) == 50_000_000
