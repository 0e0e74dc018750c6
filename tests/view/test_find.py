"""The first page: search, facets, chips, pages of results, and the ids of a selection."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from conftest_view import opened, store

if TYPE_CHECKING:
    from pathlib import Path

    from conftest_view import Opened

HREF = re.compile(r'href="([^"]*)"')


def links(text: str, beginning: str) -> list[str]:
    """Return the links of a page that begin so."""
    return [link for link in HREF.findall(text) if link.startswith(beginning)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of a few conversations: two models, a tool, metadata, states."""
    path = tmp_path / "few.db"
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    store(path, "rain", "Will it rain?", replies=("Take an umbrella.",), created=86_400)
    store(
        path,
        "sun",
        "Will the sun shine?",
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sun and rain"},
        model="gpt-mini",
        metadata={"team": "a:b", "x:y": "1"},
        created=2 * 86_400,
        state="gone",
    )
    return path


async def test_all_conversations_newest_first(room: Opened) -> None:
    """The first page shows the newest conversations, what they have in common, and how many."""
    answer = await room.get("/")
    assert answer.status == 200
    assert answer.has_all_headers()
    assert answer.headers["Cache-Control"] == "no-store"
    assert re.search(r"<h1>\s*36 conversations\s*</h1>", answer.text)
    times = re.findall(r'<time datetime="([^"]+)"', answer.text)
    assert len(times) == 20
    assert times == sorted(times, reverse=True)
    assert {"Model", "Role", "Tool", "State", "Finish reason", "Day"} <= set(
        re.findall(r"<h2><bdi>([^<]+)</bdi></h2>", answer.text)
    )


async def test_pages_of_results(room: Opened) -> None:
    """The next page has the other conversations, and leads back."""
    first = await room.get("/")
    (following,) = [link for link in links(first.text, "./?") if "at=" in link]
    second = await room.get(following.removeprefix("."))
    found = [set(links(page.text, "./c/")) for page in (first, second)]
    assert [len(some) for some in found] == [20, 16]
    assert not found[0] & found[1]
    assert 'rel="next"' not in second.text
    assert "First page" in second.text or "Previous page" in second.text


async def test_search(archive: Path) -> None:
    """A search shows the messages that match, with their words marked, and links to them."""
    async with opened(archive) as room:
        answer = await room.get("/", {"q": "rain"})
        assert "2 conversations" in answer.text
        assert "Will it <mark>rain</mark>?" in answer.text
        assert "sun and <mark>rain</mark>" in answer.text
        assert './c/chatcmpl-sun?q=rain&m=2"' in answer.text
        best = await room.get("/", {"q": "rain", "order": "best"})
        assert "2 conversations" in best.text
        assert 'value="rain"' in best.text


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"model": "gpt-mini"}, 1),
        ({"model": "none"}, 0),
        ({"role": "user"}, 2),
        ({"role": "tool"}, 1),
        ({"q": "rain", "role": "user"}, 1),
        ({"tool": "find"}, 1),
        ({"tool": "lose"}, 0),
        ({"finish": "stop"}, 1),
        ({"state": "gone"}, 1),
        ({"meta": "team:a:b"}, 1),
        ({"meta": "x%3Ay:1"}, 1),
        ({"meta": "team:a"}, 0),
        ({"day": "1970-01-02"}, 1),
        ({"since": "1970-01-02"}, 2),
        ({"until": "1970-01-02"}, 0),
        ({"since": "1970-01-03", "until": "1970-01-04"}, 1),
    ],
)
async def test_filters(archive: Path, query: dict[str, str], count: int) -> None:
    """Each filter of an address selects, shows a chip, and says what to do if nothing is left."""
    async with opened(archive) as room:
        answer = await room.get("/", query)
        assert answer.status == 200
        assert len(set(links(answer.text, "./c/"))) == count
        assert answer.text.count('class="chip"') == len(query)
        if not count:
            assert "Nothing found" in answer.text
            assert "Remove a filter" in answer.text


async def test_facets_lead_to_what_they_count(archive: Path) -> None:
    """Each value of a facet is a link, and its page has as many conversations as it says."""
    async with opened(archive) as room:
        page = await room.get("/")
        choices = re.findall(
            r'class="choice" href="\.([^"]+)".*?class="count">(\d+)<', page.text, re.DOTALL
        )
        assert len(choices) > 10
        for link, count in choices:
            answer = await room.get(link)
            assert len(set(links(answer.text, "./c/"))) == int(count), link


async def test_a_facet_that_was_chosen_is_removed_by_its_link(archive: Path) -> None:
    """The chosen value is marked, and its link goes back to all."""
    async with opened(archive) as room:
        answer = await room.get("/", {"model": "gpt-mini"})
        assert re.search(r'href="\./" aria-current="true"><bdi>gpt-mini', answer.text)


async def test_a_new_search_keeps_the_filters(archive: Path) -> None:
    """The form has the filters of the address as hidden fields, and not the place."""
    async with opened(archive) as room:
        answer = await room.get("/", {"model": "gpt-4o", "meta": "a:b", "q": "x"})
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.text)
        assert fields == [("model", "gpt-4o"), ("meta", "a:b")]


async def test_an_empty_archive_says_how_to_fill_it(tmp_path: Path) -> None:
    """Without any conversation the page names the commands that bring some."""
    path = tmp_path / "empty.db"
    store(path)
    async with opened(path) as room:
        for page in ("/", "/overview"):
            answer = await room.get(page)
            assert answer.status == 200
            assert "aiomessages sync" in answer.text
            assert "aiomessages import" in answer.text


@pytest.mark.parametrize("words", ['"', "a OR", "NOT", "(", "x" * 1001, "***"])
async def test_a_search_that_is_none(room: Opened, words: str) -> None:
    """A search that cannot be understood is shown again, with a sentence about it."""
    answer = await room.get("/", {"q": words})
    assert answer.status == 400
    assert "This search cannot be understood" in answer.text
    assert re.search(r'id="problem"[^>]*>.*([Ww]rite|too long)', answer.text)
    assert 'name="q"' in answer.text


def written(value: Any) -> str:
    """Return a value as a cursor may have it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        *("x", "-1", "%00", "A" * 10_000, "../..", "é", "null"),
        *(written(value) for value in (None, [], {}, 1, "x", ["after"], ["after", [0, "x", 1]])),
        written(["after", [10**30, "x"]]),
        written(["before", [-(10**30), "x"]]),
        written(["after", [0.5, "x"]]),
        written(["after", ["0", 0]]),
        written(["after", [2**63, "x"]]),
        written(["ranked", [0, "none"]]),
        written([["after"] * 5000]),
    ],
)
@pytest.mark.parametrize("words", ["", "rain"])
async def test_a_cursor_that_was_changed(room: Opened, cursor: str, words: str) -> None:
    """A cursor of an older state, or one that is none, leads to the first page."""
    answer = await room.get("/", {"q": words, "at": cursor, "model": "x"})
    assert answer.status == 400
    assert "These results have moved" in answer.text
    assert re.search(r'href="\./\?(q=rain&)?model=x"', answer.text)


async def test_a_cursor_of_something_else(room: Opened) -> None:
    """A cursor that fits names a place in any list: it has results, or leads to the first page."""
    for value in (["after", [0, "\u0000"]], ["before", [2**62, "é" * 5000]], ["ranked", [1, "x"]]):
        for query in ({}, {"q": "rain"}, {"q": "rain", "order": "best"}):
            answer = await room.get("/", query | {"at": written(value)})
            assert answer.status in (200, 400)
            assert answer.status == 200 or "These results have moved" in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "day=x",
        "order=x",
        "state=x",
        "meta=x",
        "since=2026-99-99",
        "%00=%00&q=a&q=b&model=%ED%A0%80",
        "&&&===&;;;",
        "q=%F0%9F%98%80%00%1b&role=%E2%80%AE",
        "model=" + "m" * 20_000,
        "since=2026-12-01&until=2026-01-01",
    ],
)
async def test_garbage_in_the_query(room: Opened, query: str) -> None:
    """Whatever the query holds, the answer is a page, with a status for a fault of the address."""
    for page in ("/", "/overview", "/ids.txt"):
        answer = await room.get(f"{page}?{query}")
        assert answer.status in (200, 400), page
        assert answer.has_all_headers()
        assert "Traceback" not in answer.text
        assert b"\x00" not in answer.body


@pytest.mark.parametrize("utc", [True, False])
async def test_times_that_no_calendar_has(tmp_path: Path, *, utc: bool) -> None:
    """A time of creation may be any number: none is an error, and each conversation is listed."""
    path = tmp_path / "odd.db"
    times = [None, -1, 0, 10**15, -(10**15), 2**63 - 1, 253_402_300_799, -62_135_596_800]
    for number, created in enumerate([*times, -62_150_000_000]):
        store(path, f"n{number}", "text", created=created)
    async with opened(path, utc=utc) as room:
        for page in ("/", "/overview"):
            assert (await room.get(page)).status == 200
        text = (await room.get("/")).text
    assert len(set(links(text, "./c/"))) == 9
    assert "unknown time" in text
    assert "1,000,000,000,000,000 s after 1970" in text
    assert "1970-01-01" in text
