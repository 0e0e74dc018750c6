"""The overview: numbers over time, each a link to what it counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from conftest_archive import stored
from conftest_view import opened, store

if TYPE_CHECKING:
    from pathlib import Path

    from conftest_view import Opened

DAY = 86_400


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of three conversations on two days."""
    path = tmp_path / "few.db"
    usage = {"prompt_tokens": 1000, "completion_tokens": 234, "total_tokens": 1234}
    store(path, "a", "x", created=DAY, usage=usage)
    store(path, "b", "x", created=3 * DAY, model="gpt-mini", state="gone")
    store(path, "c", "x", created=3 * DAY)
    return path


async def test_each_bar_leads_to_what_it_counts(archive: Path) -> None:
    """The page of a bar has as many conversations as the bar says."""
    async with opened(archive) as room:
        page = await room.get("/overview")
        assert page.status == 200
        bars = re.findall(
            r'<a href="\.([^"]+)" tabindex="-1"><rect [^>]*><title>[^<]*: (\d+) conversations',
            page.text,
        )
        assert len(bars) == 3
        for link, count in bars:
            answer = await room.get(link)
            assert f"{count} conversation" in answer.text


async def test_a_table_has_the_numbers_of_the_charts(archive: Path) -> None:
    """Each chart has a table behind it, whose numbers are links."""
    async with opened(archive) as room:
        page = await room.get("/overview")
        rows = re.findall(r"<tr>(.*?)</tr>", page.text, re.DOTALL)
        cells = [re.sub(r"<[^>]+>", " ", row).split() for row in rows]
        assert cells == [
            ["Day", "Model", "Conversations", "Tokens"],
            ["1970-01-04", "gpt-4o", "1", "0"],
            ["1970-01-04", "gpt-mini", "1", "0"],
            ["1970-01-02", "gpt-4o", "1", "1,234"],
        ]
        assert '<th scope="row"><a href="./?day=1970-01-04">' in page.text


async def test_the_overview_of_a_selection(archive: Path) -> None:
    """The filters of the address count here as well, and can be removed."""
    async with opened(archive) as room:
        page = await room.get("/overview", {"model": "gpt-mini"})
        assert 'href="./overview"' in page.text
        assert "1970-01-02" not in page.text
        assert 'href="./?model=gpt-mini"' in page.text


async def test_states_are_links(archive: Path) -> None:
    """What is gone is counted, and leads to it."""
    async with opened(archive) as room:
        page = await room.get("/overview")
        assert re.search(
            r'href="\./\?state=gone"><bdi>gone</bdi> <span class="count">1<', page.text
        )


async def test_the_drawings_are_well_formed(room: Opened) -> None:
    """Each drawing is XML, with no style, event or script."""
    page = await room.get("/overview")
    drawings = re.findall(r"<svg .*?</svg>", page.body.decode(), re.DOTALL)
    assert len(drawings) > 4
    for drawing in drawings:
        for element in ET.fromstring(drawing).iter():  # noqa: S314 - our own page
            assert element.tag in ("svg", "a", "rect", "line", "text", "title")
            assert not {name for name in element.attrib if name.startswith(("on", "style"))}


async def test_no_chart_without_a_bar(tmp_path: Path) -> None:
    """An archive of conversations whose tokens are unknown has no empty chart of tokens."""
    path = tmp_path / "tokens.db"
    store(path, "a", "text")
    async with opened(path) as room:
        text = (await room.get("/overview")).text
    assert "Conversations a day" in text
    assert "Tokens a day" not in text


async def test_a_bounded_overview_says_so(tmp_path: Path) -> None:
    """With words that very many conversations have, the page says how many of them it counts."""
    path = tmp_path / "many.db"
    with stored(path) as insert:
        for n in range(5001):
            insert(f"{n}", "a word")
    async with opened(path) as room:
        bounded = (await room.get("/overview", {"q": "word"})).text
        whole = (await room.get("/overview")).text
    assert "Only the newest 5,000 conversations that match are counted here" in bounded
    assert ">5,001<" in whole
    assert "Only the newest" not in whole
